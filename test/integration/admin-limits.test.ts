/** Limits on hot users and channels. */
import { describe, expect, it } from 'vitest';
import type { AdminStatus } from '../../gateway/admin/status-types.js';
import { Client, type Gateway, startGateway } from './gateway-support.js';

const LIMIT_PER_S = 20;
const FLOOD_MS = 2000;
const REQUESTS_A_FRAME = 200;
/** Of a request of each user. */
const FRAMES_MAX = 1000;

interface Flood {
  readonly sent: number;
  readonly busy: number;
  readonly seconds: number;
}

/** Sends frames of requests until the time is over, each when the one before is answered. */
async function flood(gateway: Gateway, requestOf: (i: number) => object): Promise<Flood> {
  const client = await Client.open(gateway.streamUrl, 'tidemark.v1.json');
  const start = performance.now();
  let sent = 0;
  let busy = 0;
  while (performance.now() - start < FLOOD_MS) {
    const requests = Array.from({ length: REQUESTS_A_FRAME }, () => ({ id: sent, ...requestOf(sent++) }));
    const answers = await client.ask(...requests);
    for (const { error } of answers) if ((error as { code: string } | undefined)?.code === 'busy') busy++;
    client.received.length = 0;
  }
  client.socket.terminate();
  return { sent, busy, seconds: (performance.now() - start) / 1000 };
}

/** What went through before the key was noticed is a part of what was sent; then a bucket of a second, and the rate. */
function expectLimited({ sent, busy, seconds }: Flood): void {
  expect(sent).toBeGreaterThan(LIMIT_PER_S * (seconds + 1) * 4);
  const answered = sent - busy;
  expect(answered).toBeLessThan(LIMIT_PER_S * (seconds + 2) + sent / 2);
  expect(answered).toBeGreaterThan(LIMIT_PER_S * seconds * 0.5);
}

describe('limits', () => {
  it('answer a hot user busy beyond its rate, and nobody else', async () => {
    const gateway = await startGateway({ limitUser: String(LIMIT_PER_S) });
    try {
      const [others, hot] = await Promise.all([
        flood(gateway, (i) => ({ op: 'badge', user_id: String(1000 + (i % 5000)) })),
        flood(gateway, () => ({ op: 'badge', user_id: '5' })),
      ]);
      expectLimited(hot);
      expect(others.busy).toBe(0);
      const status = (await (await fetch(`${gateway.url}/admin/status`)).json()) as AdminStatus;
      expect(status.totals.limited_per_s).toBeGreaterThan(0);
      expect(status.totals.busy_per_s).toBeGreaterThanOrEqual(status.totals.limited_per_s);
      expect(status.hot!.users[0]!.user_id).toBe('5');
    } finally {
      await gateway.close();
    }
  });

  it('answer a hot channel busy, whoever asks for it', async () => {
    const gateway = await startGateway({ limitChannel: String(LIMIT_PER_S) });
    try {
      const get = (i: number): object => ({ op: 'get', user_id: String(1 + (i % 64)), channel_id: '9' });
      const answers = await flood(gateway, get);
      expectLimited(answers);
    } finally {
      await gateway.close();
    }
  });

  it('hold for hundreds of users of one lane at once', async () => {
    const USERS = 200;
    const gateway = await startGateway({
      shards: '1',
      lanes: '1',
      partitions: '1',
      limitUser: String(LIMIT_PER_S),
    });
    try {
      const client = await Client.open(gateway.streamUrl, 'tidemark.v1.json');
      const refused = new Set<number>();
      for (let frames = 0; refused.size < USERS && frames < FRAMES_MAX; frames++) {
        const answers = await client.ask(
          ...Array.from({ length: USERS }, (_, user) => ({
            id: user,
            op: 'badge',
            user_id: String(1 + user),
          })),
        );
        for (const { id, error } of answers) if (error !== undefined) refused.add(id as number);
        client.received.length = 0;
      }
      client.socket.terminate();
      expect(refused.size).toBe(USERS);
      expect(await (await fetch(`${gateway.url}/metrics`)).text()).toMatch(
        /^tidemark_shard_unlimited_total\{shard="0"\} 0$/m,
      );
    } finally {
      await gateway.close();
    }
  });

  it('are off unless asked for', async () => {
    const gateway = await startGateway();
    try {
      expect((await flood(gateway, () => ({ op: 'badge', user_id: '5' }))).busy).toBe(0);
    } finally {
      await gateway.close();
    }
  });
});
