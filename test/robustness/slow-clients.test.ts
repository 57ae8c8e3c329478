/** Clients that send or read slowly, or not at all: each is cut off, the others do not notice, memory stays bounded. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { OP, operation, Stream } from './frames.js';
import { RawSocket } from './raw-http.js';
import { pause, until, Victim } from './victim.js';

const MIB = 2 ** 20;
const ENTRIES = 4000;
const LARGER_THAN_SOCKET_BUFFERS = 80_000;
const CLOSE_TOO_SLOW = 1013;

let victim: Victim;
beforeAll(async () => {
  // All slow clients list the same user, whose lane must let all their lists wait.
  const waiting = { maxParked: '64k', capacity: '500k' };
  victim = await Victim.start({ maxBackpressure: '1mib', maxBackpressureTotal: '4mib', ...waiting });
  const stream = await Stream.open(victim.streamUrl, 'bin');
  const fill = async (user: number, entries: number): Promise<void> => {
    for (let from = 0; from < entries; from += 4000) {
      const acks = Array.from({ length: 4000 }, (_, i) => operation(OP.ack, i, user, from + i + 1, 9));
      stream.frames = [];
      stream.socket.send(Buffer.concat(acks));
      await until(() => stream.replies.length === acks.length, 'the entries are there');
    }
  };
  await fill(7, ENTRIES);
  await fill(8, LARGER_THAN_SOCKET_BUFFERS);
  stream.raw.destroy();
}, 120_000);
afterAll(async () => {
  expect(await victim.stop(), victim.log).toEqual({ code: 0, signal: null });
  expect(victim.log).not.toContain('bug');
});

const LISTS = Buffer.concat(Array.from({ length: 200 }, (_, i) => operation(OP.list, i, 7)));

describe('slow clients', () => {
  it('that send a head or a body byte by byte, or nothing, or do not read, are closed', async () => {
    const ack =
      'POST /v1/users/1/read-states/2/ack HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n';
    const starts: [string, string][] = [
      ['', ''],
      ['GET /healthz HTTP/1.1\r\nX: ', 'a'],
      [`${ack}Content-Length: 1000\r\n\r\n`, ''],
      [`${ack}Content-Length: 1000\r\n\r\n`, ' '],
      [`${ack}Transfer-Encoding: chunked\r\n\r\n`, '1\r\n \r\n'],
    ];
    const sockets = await Promise.all(starts.map(() => RawSocket.open(victim.port)));
    const readers = await Promise.all(Array.from({ length: 5 }, () => RawSocket.open(victim.port)));
    sockets.forEach((socket, i) => {
      socket.send(starts[i]![0]);
    });
    for (const reader of readers) {
      reader.socket.pause();
      reader.send('GET /v1/users/8/read-states HTTP/1.1\r\nHost: localhost\r\n\r\n');
    }
    const drip = setInterval(() => {
      sockets.forEach((socket, i) => {
        if (!socket.closed && starts[i]![1] !== '') socket.send(starts[i]![1]);
      });
    }, 500);
    await until(
      async () => (await victim.metric('tidemark_list_bytes')) > 0,
      'lists wait for who does not read',
    );
    await until(() => sockets.every(({ closed }) => closed), 'all are closed');
    clearInterval(drip);
    expect(sockets.map(({ received }) => received)).toEqual(starts.map(() => ''));
    await until(async () => (await victim.metric('tidemark_list_bytes')) === 0, 'no list waits any more');
    for (const reader of readers) reader.destroy();
  }, 60_000);

  it('that pipeline on a WebSocket and never read are cut off, and wait for little together', async () => {
    const before = await victim.memory();
    const bystander = await Stream.open(victim.streamUrl, 'bin');
    const slow: Stream[] = [];
    let most = 0;
    const open = async (protocol: 'bin' | 'json', requests: Buffer | string): Promise<Stream> => {
      const stream = await Stream.open(victim.streamUrl, protocol);
      stream.raw.pause();
      stream.socket.send(requests);
      most = Math.max(most, await victim.metric('tidemark_ws_backpressure_bytes'));
      return stream;
    };
    for (let i = 0; i < 30; i++) slow.push(await open('bin', LISTS));
    await until(
      async () => (await victim.metric('tidemark_ws_slow_closes_total')) >= slow.length,
      'all are cut off',
    );
    // Of long JSON lists, those that do not fit are refused instead.
    const lists = JSON.stringify(Array.from({ length: 40 }, (_, id) => ({ id, op: 'list', user_id: '7' })));
    const json: Stream[] = [];
    for (let i = 0; i < 10; i++) json.push(await open('json', lists));
    most = Math.max(most, await victim.metric('tidemark_ws_backpressure_bytes'));
    // The total, and for each its least share and one answer; without the total it would be 40 MiB.
    expect(most).toBeLessThan(24 * MIB);
    expect((await victim.memory()).rss - before.rss).toBeLessThan(160 * MIB);
    for (const stream of json) stream.raw.destroy();
    await until(
      async () => (await victim.metric('tidemark_ws_connections{protocol="json"}')) === 0,
      'they have gone',
    );

    bystander.socket.send(operation(OP.ping, 1, 0));
    await until(() => bystander.replies.length === 1, 'others are answered');
    // Who reads after all gets what waited, and learns why.
    const late = await Stream.open(victim.streamUrl, 'bin');
    const closes = await victim.metric('tidemark_ws_slow_closes_total');
    late.raw.pause();
    late.socket.send(LISTS);
    await until(async () => (await victim.metric('tidemark_ws_slow_closes_total')) > closes, 'it is cut off');
    late.raw.resume();
    expect(await late.whenClosed).toBe(CLOSE_TOO_SLOW);
    expect(late.replies.length).toBeGreaterThan(0);
    await until(
      async () => (await victim.metric('tidemark_ws_connections')) === 1,
      'the others are closed, too',
    );
    expect(await victim.metric('tidemark_ws_backpressure_bytes')).toBe(0);
    // Closed is closed: what had waited for it is gone, and the code with it.
    slow[0]!.raw.resume();
    expect(await slow[0]!.whenClosed).toBe(1006);
    for (const stream of [bystander, ...slow]) stream.raw.destroy();
  }, 60_000);

  it('that do not read long JSON lists leave others without, not the service without memory', async () => {
    const [slow, other] = [
      await Stream.open(victim.streamUrl, 'json'),
      await Stream.open(victim.streamUrl, 'json'),
    ];
    const list = (id: number, user: number): string =>
      JSON.stringify({ id, op: 'list', user_id: String(user) });
    const answers = (): string[] => other.frames.map((frame) => frame.subarray(0, 50).toString());
    slow.raw.pause();
    slow.socket.send(list(1, 8));
    await until(
      async () => (await victim.metric('tidemark_ws_backpressure_bytes')) > 4 * MIB,
      'a list waits for who does not read',
    );
    expect(await victim.metric('tidemark_list_bytes')).toBeGreaterThan(4 * MIB);
    const waits = await victim.metric('tidemark_ws_backpressure_bytes');
    other.socket.send(list(2, 8));
    await until(() => other.frames.length === 1, 'the other one is answered');
    expect(answers()[0]).toContain('{"id":2,"error":{"code":"busy"');
    expect(await victim.metric('tidemark_ws_backpressure_bytes')).toBe(waits);
    // What is not long is answered all the time.
    other.socket.send(JSON.stringify({ id: 3, op: 'badge', user_id: '8' }));
    await until(() => other.frames.length === 2, 'the other one is answered');
    expect(answers()[1]).toContain('{"id":3,"ok"');
    const listBytes = (): Promise<number> => victim.metric('tidemark_list_bytes');
    await until(async () => (await listBytes()) === 0, 'who does not read is cut off', 40_000);
    slow.raw.resume();
    expect(await slow.whenClosed).toBe(1006);
    other.socket.send(list(4, 8));
    await until(() => other.frames.length === 3, 'the other one is answered');
    expect(answers()[2]).toContain('{"id":4,"ok":{"entries":[');
    await until(async () => (await listBytes()) === 0, 'all has gone out');
    other.raw.destroy();
  }, 60_000);

  it('that ping and never read are cut off', async () => {
    const stream = await Stream.open(victim.streamUrl, 'bin');
    const closes = await victim.metric('tidemark_ws_slow_closes_total');
    stream.raw.pause();
    const payload = Buffer.alloc(125);
    for (let round = 0; (await victim.metric('tidemark_ws_slow_closes_total')) === closes; round++) {
      expect(round).toBeLessThan(200);
      for (let i = 0; i < 2000 && stream.socket.readyState === 1; i++) stream.socket.ping(payload);
      await pause(1);
    }
    stream.raw.destroy();
  });
});
