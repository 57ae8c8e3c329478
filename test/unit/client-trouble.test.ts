/** The client, and a service or network that fails it. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, expect, test } from 'vitest';
import { rawWebSocket } from '../../bench/raw-web-socket.js';
import { OP_GET, OP_PING } from '../../engine/messages.js';
import type { TidemarkEvent } from '../../gateway/client/index.js';
import { ROOT } from '../../scripts/repository.js';
import { stage } from './client-stage.js';

const tests = stage();
const { connect } = tests;

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

describe('an outage', () => {
  test('longer than the timeout is over when the service is back, also if that answers slowly', async () => {
    const client = connect({ timeoutMs: 500, reconnectMaxMs: 20 });
    await client.ping();
    tests.server.handshakes = 'cut';
    tests.server.cutAll();
    let answered = 0;
    const caller = setInterval(() => {
      client.ping().then(
        () => answered++,
        () => {},
      );
    }, 10);
    try {
      await sleep(800);
      tests.server.answerDelayMs = 80;
      tests.server.handshakes = 'accept';
      await expect.poll(() => answered, { timeout: 2000 }).toBeGreaterThan(10);
      expect(tests.server.connections).toBe(2);
    } finally {
      clearInterval(caller);
    }
  });

  test('of which nothing is heard is noticed without a call, and told as a gap', async () => {
    const client = connect({ timeoutMs: 1000, keepAliveMs: 300 });
    const events: TidemarkEvent[] = [];
    await client.subscribe(['7'], (event) => events.push(event));
    tests.server.vanish();
    const beganMs = performance.now();
    await expect
      .poll(() => events, { timeout: 2000, interval: 10 })
      .toEqual([{ event: 'gap', userIds: ['7'] }]);
    expect(performance.now() - beganMs).toBeGreaterThan(300);
    expect(tests.server.connections).toBe(2);
    await connect().ack('7', '1', '5');
    await expect.poll(() => events.length).toBe(2);
  });

  test('is noticed, too, where calls have no time limit: they go on over the next connection', async () => {
    const client = connect({ timeoutMs: Number.POSITIVE_INFINITY, keepAliveMs: 300 });
    await client.ping();
    tests.server.vanish();
    await client.ping();
    expect(tests.server.connections).toBeGreaterThan(1);
  });

  test('is not what a quiet connection has: it is asked, and kept', async () => {
    const client = connect({ timeoutMs: 2000, keepAliveMs: 300 });
    await client.subscribe(['7'], () => {});
    await sleep(2100);
    expect(client.connected).toBe(true);
    expect(tests.server.connections).toBe(1);
    const pings = tests.server.operations.filter(({ op }) => op === OP_PING).length;
    expect(pings).toBeGreaterThanOrEqual(3);
    expect(pings).toBeLessThanOrEqual(7);
  });

  test('is not what one call has that takes too long: the connection stays', async () => {
    const client = connect({ timeoutMs: 800 });
    await client.ping();
    tests.server.unanswered = (op) => op === OP_GET;
    await expect(client.get('7', '1')).rejects.toMatchObject({ code: 'timeout' });
    await sleep(200);
    expect(client.connected).toBe(true);
    expect(tests.server.connections).toBe(1);
  });
});

describe('connecting', () => {
  test('a handshake without an answer is given up, and another tried', async () => {
    tests.server.handshakes = 'ignore';
    const client = connect({ connectTimeoutMs: 100 });
    const called = client.ping();
    await sleep(150);
    tests.server.handshakes = 'accept';
    await called;
    expect(tests.server.connections).toBe(1);
  });

  test('the error of a call says so, whichever WebSocket it is', async () => {
    tests.server.handshakes = 'ignore';
    const client = connect({ connectTimeoutMs: 50, timeoutMs: 1000, webSocket: rawWebSocket });
    await expect(client.ping()).rejects.toThrow('the handshake had no answer within 50 ms');
  });

  test.skipIf(typeof globalThis.WebSocket === 'function')(
    'calls while ws is being loaded share one connection, and nothing outlives close()',
    async () => {
      // A process of its own, in which nobody has loaded ws yet.
      const client = pathToFileURL(join(ROOT, 'dist/gateway/client/index.js')).href;
      const code = `
        import { TidemarkClient } from ${JSON.stringify(client)};
        const client = new TidemarkClient({ url: ${JSON.stringify(tests.server.url)} });
        const calls = [];
        for (let i = 0; i < 50; i++) {
          calls.push(client.ping());
          await new Promise((resolve) => setTimeout(resolve, 1));
        }
        await Promise.all(calls);
        client.close();`;
      const child = spawn(process.execPath, ['--input-type=module', '-e', code], {
        cwd: ROOT,
        stdio: ['ignore', 'inherit', 'inherit'],
      });
      const watchdog = setTimeout(() => child.kill(), 10_000);
      const ended = await once(child, 'exit');
      clearTimeout(watchdog);
      expect(ended).toEqual([0, null]);
      expect(tests.server.connections).toBe(1);
    },
  );
});

test('a listener that throws loses nobody anything, and its error is the uncaught one', async () => {
  const client = connect();
  const heard: TidemarkEvent[] = [];
  await client.subscribe(['7'], () => {
    throw new Error('of the listener');
  });
  await client.subscribe(['7'], (event) => heard.push(event));
  const handlers = process.listeners('uncaughtException');
  process.removeAllListeners('uncaughtException');
  const uncaught: Error[] = [];
  process.on('uncaughtException', (error) => uncaught.push(error));
  try {
    // Both events and both answers travel in one frame.
    await Promise.all([client.ack('7', '1', '5'), client.ack('7', '2', '5')]);
    await sleep(20);
  } finally {
    process.removeAllListeners('uncaughtException');
    for (const handler of handlers) process.on('uncaughtException', handler);
  }
  expect(heard).toHaveLength(2);
  expect(uncaught.map(({ message }) => message)).toEqual(['of the listener', 'of the listener']);
  expect(client.connected).toBe(true);
});
