/** Clients that leave in the middle of everything: nothing of them stays, and what they asked for is done or not, never half. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { OP, operation, Stream } from './frames.js';
import { RawSocket } from './raw-http.js';
import { until, Victim } from './victim.js';

const MIB = 2 ** 20;

let victim: Victim;
beforeAll(async () => {
  victim = await Victim.start({ shards: '2', flushDelay: '500ms' });
});
afterAll(async () => {
  expect(await victim.stop(), victim.log).toEqual({ code: 0, signal: null });
  expect(victim.log).not.toContain('bug');
});

/** All that a client can leave behind. */
async function nothingIsLeft(): Promise<void> {
  for (const gauge of [
    'tidemark_ws_connections',
    'tidemark_subscriptions',
    'tidemark_requests_waiting',
    'tidemark_list_bytes',
    'tidemark_ws_backpressure_bytes',
    'tidemark_shard_parked',
    'tidemark_ring_filled_bytes',
  ]) {
    await until(async () => (await victim.metric(gauge)) === 0, `${gauge} is 0`);
  }
}

describe('clients that vanish', () => {
  it('with thousands of operations in flight leave each done once or not at all', async () => {
    const CONNECTIONS = 20;
    const OPERATIONS = 3000;
    await victim.fault('LOAD_DELAY_MS', 30);
    for (let i = 0; i < CONNECTIONS; i++) {
      const stream = await Stream.open(victim.streamUrl, 'bin');
      const mentions = Array.from({ length: OPERATIONS }, (_, id) =>
        operation(OP.mention, id, 1 + (id % 100), 5, 1 + i * OPERATIONS + id),
      );
      mentions.push(operation(OP.subscribe, OPERATIONS, 1 + i), operation(OP.list, OPERATIONS + 1, 1));
      stream.socket.send(Buffer.concat(mentions));
      await new Promise((resolve) => setTimeout(resolve, i));
      stream.raw.destroy();
    }
    await victim.fault('LOAD_DELAY_MS', 0);
    await nothingIsLeft();
    let sum = 0;
    for (let user = 1; user <= 100; user++) {
      sum += (await victim.call('GET', `/v1/users/${user}/badge`)).body.mention_count as number;
    }
    expect(sum).toBeLessThanOrEqual(CONNECTIONS * OPERATIONS);
    expect(sum).toBeGreaterThan(0);
    // All of them again, as a client would that got no answer: each counts once in the end.
    const stream = await Stream.open(victim.streamUrl, 'bin');
    const busy = 5;
    for (let first = 0; first < CONNECTIONS * OPERATIONS; first += OPERATIONS) {
      for (let again = true; again; ) {
        stream.frames = [];
        const mentions = Array.from({ length: OPERATIONS }, (_, id) =>
          operation(OP.mention, id, 1 + (id % 100), 6, 1 + first + id),
        );
        stream.socket.send(Buffer.concat(mentions));
        await until(() => stream.replies.length === OPERATIONS, 'all are answered');
        again = stream.replies.some(({ status }) => status === busy);
      }
    }
    stream.raw.destroy();
    for (let user = 1; user <= 100; user += 33) {
      const { body } = await victim.call('GET', `/v1/users/${user}/read-states/6`);
      expect(body.mention_count).toBe((CONNECTIONS * OPERATIONS) / 100);
    }
  }, 60_000);

  it('in the middle of a list, or before the answer, leave nothing', async () => {
    const filler = await Stream.open(victim.streamUrl, 'bin');
    filler.socket.send(
      Buffer.concat(Array.from({ length: 6000 }, (_, i) => operation(OP.ack, i, 900, i + 1, 1))),
    );
    await until(() => filler.replies.length === 6000, 'the list is long');
    filler.raw.destroy();
    await victim.fault('LOAD_DELAY_MS', 20);
    for (let i = 0; i < 150; i++) {
      const socket = await RawSocket.open(victim.port);
      const path = i % 2 === 0 ? '/v1/users/900/read-states' : `/v1/users/${10_000 + i}/badge`;
      socket.send(`GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
      if (i % 4 === 0) await until(() => socket.received.length > 0 || socket.closed, 'some has come');
      socket.destroy();
      const stream = await Stream.open(victim.streamUrl, i % 2 === 0 ? 'json' : 'bin');
      if (i % 2 === 0) {
        stream.socket.send(
          JSON.stringify([
            { id: 1, op: 'list', user_id: '900' },
            { id: 2, op: 'subscribe', user_ids: ['1', '2'] },
          ]),
        );
      } else {
        stream.socket.send(Buffer.concat([operation(OP.list, 1, 900), operation(OP.subscribe, 2, 3)]));
      }
      if (i % 3 === 0) await new Promise((resolve) => setTimeout(resolve, 2));
      stream.raw.destroy();
    }
    await victim.fault('LOAD_DELAY_MS', 0);
    await nothingIsLeft();
  }, 60_000);

  it('10,000 times leave nothing, in gauges or in memory', async () => {
    const AT_ONCE = 50;
    const UPGRADE =
      'GET /v1/stream HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: tidemark.v1.bin\r\n\r\n';
    const subscribe = operation(OP.subscribe, 1, 4, 0, 0);
    const frame = Buffer.concat([Buffer.from([0x82, 0x80 | subscribe.length, 0, 0, 0, 0]), subscribe]);
    const churn = async (rounds: number): Promise<void> => {
      for (let round = 0; round < rounds; round++) {
        const sockets = await Promise.all(Array.from({ length: AT_ONCE }, () => RawSocket.open(victim.port)));
        await Promise.all(
          sockets.map(async (socket, i) => {
            if (i % 5 === 0) return; // says nothing
            socket.send(UPGRADE);
            if (i % 5 === 1) return; // does not wait
            await until(() => socket.received.includes('\r\n\r\n') || socket.closed, 'it is upgraded');
            socket.send(frame);
          }),
        );
        for (const [i, socket] of sockets.entries()) {
          if (i % 2 === 0) socket.destroy();
          else socket.socket.resetAndDestroy();
        }
      }
    };
    await churn(20);
    await nothingIsLeft();
    const before = await victim.memory();
    await churn(180);
    await nothingIsLeft();
    const after = await victim.memory();
    expect(await victim.metric('tidemark_ws_connections_opened_total')).toBeGreaterThan(5000);
    expect(after.heap - before.heap).toBeLessThan(4 * MIB);
    expect(after.rss - before.rss).toBeLessThan(48 * MIB);
  }, 90_000);
});
