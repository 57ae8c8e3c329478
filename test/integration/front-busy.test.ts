/** What the front refuses itself, which no shard hears of, shows in the metrics, the status and the history. */
import { expect, it } from 'vitest';
import type { AdminHistory, AdminStatus } from '../../gateway/admin/status-types.js';
import { Client, type Gateway, startGateway, until } from './gateway-support.js';

async function counts({ url }: Gateway): Promise<Record<string, number>> {
  const text = await (await fetch(`${url}/metrics`)).text();
  const lines = text.matchAll(/^tidemark_front_busy_total\{reason="(\w+)"\} (\d+)$/gm);
  return Object.fromEntries([...lines].map(([, reason, count]) => [reason, Number(count)]));
}

it('operations that the front answers busy are counted by the bound that was reached', async () => {
  const gateway = await startGateway({ maxInFlight: '2', maxPending: '4', maxSubscriptions: '1' });
  const { url, streamUrl, port } = gateway;
  try {
    const none = await counts(gateway);
    expect(Object.values(none).length).toBeGreaterThan(5);
    expect(Object.values(none).every((count) => count === 0)).toBe(true);
    const [json, other, binary] = [
      await Client.open(streamUrl, 'tidemark.v1.json'),
      await Client.open(streamUrl, 'tidemark.v1.json'),
      await Client.open(streamUrl, 'tidemark.v1.bin'),
    ];
    const badge = (id: number): object => ({ id, op: 'badge', user_id: '1' });

    port.ringFull = true;
    expect((await fetch(`${url}/v1/users/1/badge`)).status).toBe(503);
    await json.ask(badge(1));
    await json.ask({ id: 2, op: 'mention', channel_id: '7', user_ids: ['1', '2', '3'] });
    await json.ask({ id: 3, op: 'subscribe', user_ids: ['1'] });
    binary.socket.send(Buffer.from(Int32Array.of(4, 9, 1, 0, 0, 0, 0, 0, 11, 9, 1, 0, 0, 0, 0, 0).buffer));
    await until(() => binary.words.length === 8, 'both are refused');
    port.ringFull = false;
    expect(await counts(gateway)).toEqual({ ...none, ring_full: 8 });

    binary.socket.send(Buffer.from(Int32Array.of(11, 9, 1, 0, 0, 0, 0, 0, 11, 9, 2, 0, 0, 0, 0, 0).buffer));
    await until(() => binary.words.length === 16, 'one is refused');
    port.hold();
    json.socket.send(JSON.stringify([1, 2, 3].map(badge)));
    other.socket.send(JSON.stringify([1, 2].map(badge)));
    await until(() => json.received.length === 4, 'one is refused');
    expect((await fetch(`${url}/v1/users/1/badge`)).status).toBe(503);
    port.release();
    await until(() => json.received.length === 6 && other.received.length === 2, 'the others are answered');
    expect(await counts(gateway)).toEqual({
      ...none,
      ring_full: 8,
      max_subscriptions: 1,
      max_in_flight: 1,
      max_pending: 1,
    });

    const { totals, front } = (await (await fetch(`${url}/admin/status`)).json()) as AdminStatus;
    expect(front.busy).toEqual(await counts(gateway));
    expect(totals.front_busy_per_s).toBeGreaterThan(0);
    expect(totals.busy_per_s).toBeGreaterThanOrEqual(totals.front_busy_per_s);
    const refused = async (): Promise<number> => {
      const history = (await (await fetch(`${url}/admin/history`)).json()) as AdminHistory;
      return history.columns.refused_per_s.reduce<number>((sum, value) => sum + (value ?? 0), 0);
    };
    await expect.poll(refused, { timeout: 10_000 }).toBeGreaterThan(0);
  } finally {
    await gateway.close();
  }
});
