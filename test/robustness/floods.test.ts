/** Far more than fits: what is refused is told so, what is answered is right, and afterwards all is as before. */
import { afterEach, describe, expect, it } from 'vitest';
import { OP, operation, STATUS, Stream } from './frames.js';
import { RawSocket } from './raw-http.js';
import { pause, until, Victim } from './victim.js';

const MIB = 2 ** 20;

let victim: Victim;
afterEach(async () => {
  expect(await victim.metric('tidemark_requests_waiting')).toBe(0);
  expect(await victim.stop(), victim.log).toEqual({ code: 0, signal: null });
  expect(victim.log).not.toContain('bug');
});

function tally(streams: readonly Stream[]): number[] {
  const counts = new Array<number>(7).fill(0);
  for (const stream of streams) for (const { status } of stream.replies) counts[status]!++;
  return counts;
}

const bytesOf = (stream: Stream): number => stream.frames.reduce((sum, { length }) => sum + length, 0);

describe('a flood', () => {
  it('of bodies that never end is refused beyond 64 MiB, and forgotten with its connections', async () => {
    victim = await Victim.start();
    const head =
      'POST /v1/users/1/read-states/2/ack HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n';
    const start = Buffer.from(`${head}Content-Length: ${MIB}\r\n\r\n`);
    const bytes = Buffer.concat([start, Buffer.alloc(MIB - 1, ' ')]);
    const sockets = await Promise.all(Array.from({ length: 80 }, () => RawSocket.open(victim.port)));
    const before = await victim.memory();
    for (const socket of sockets) socket.send(bytes);
    const refused = (): RawSocket[] => sockets.filter(({ received }) => received !== '');
    await until(() => refused().length >= 15, 'some are refused');
    expect((await victim.memory()).rssMax - before.rss).toBeLessThan(200 * MIB);
    for (const { received } of refused()) {
      expect(received).toMatch(/^HTTP\/1\.1 503 [\s\S]*Retry-After: 1\r\n[\s\S]*"code":"busy"/);
    }
    expect(await victim.metric('tidemark_front_busy_total{reason="body_memory"}')).toBe(refused().length);
    // What comes in one piece needs no room; what was refused can be sent again on the same connection.
    expect(await victim.call('POST', '/v1/users/1/read-states/2/ack', { message_id: '1' })).toMatchObject({
      status: 200,
    });
    const [again, ...others] = refused();
    for (const socket of sockets) if (socket !== again) socket.destroy();
    expect(others.length).toBeGreaterThan(0);
    again!.send(' ');
    await pause(200);
    again!.send(`${start}{"message_id":"2"}${' '.repeat(MIB - 18)}`);
    expect((await again!.wait(2)).map(({ status }) => status)).toEqual([503, 200]);
    again!.destroy();
  }, 60_000);

  it('of operations beyond what a connection may have in flight: each is answered once, and those that were not busy were counted', async () => {
    victim = await Victim.start();
    const CONNECTIONS = 24;
    const FRAMES = 20;
    const OPERATIONS = 2000;
    const USERS = 50;
    const streams = await Promise.all(
      Array.from({ length: CONNECTIONS }, () => Stream.open(victim.streamUrl, 'bin')),
    );
    const before = await victim.memory();
    streams.forEach((stream, connection) => {
      for (let frame = 0; frame < FRAMES; frame++) {
        const mentions = Array.from({ length: OPERATIONS }, (_, i) =>
          operation(OP.mention, frame * OPERATIONS + i, 1 + (i % USERS), connection + 1),
        );
        stream.socket.send(Buffer.concat(mentions));
      }
    });
    const all = FRAMES * OPERATIONS;
    const answered = (stream: Stream): boolean => stream.closeCode !== 0 || bytesOf(stream) >= all * 16;
    await until(() => streams.every(answered), 'all are answered');
    for (const stream of streams) {
      expect(stream.closeCode).toBe(0);
      const ids = stream.replies.map(({ requestId }) => requestId);
      expect(ids).toHaveLength(all);
      expect(new Set(ids).size).toBe(all);
    }
    const counts = tally(streams);
    expect(counts[STATUS.ok]! + counts[STATUS.busy]!).toBe(CONNECTIONS * all);
    expect(counts[STATUS.busy]).toBeGreaterThan(0);
    let sum = 0;
    for (let user = 1; user <= USERS; user++) {
      sum += (await victim.call('GET', `/v1/users/${user}/badge`)).body.mention_count as number;
    }
    expect(sum).toBe(counts[STATUS.ok]);
    expect((await victim.memory()).rssMax - before.rss).toBeLessThan(150 * MIB);

    const [first] = streams;
    first!.frames = [];
    first!.socket.send(operation(OP.badge, 1, 1));
    await until(() => first!.frames.length > 0, 'it goes on');
    expect(first!.replies[0]!.status).toBe(STATUS.ok);
    for (const stream of streams) stream.raw.destroy();
  }, 60_000);

  it('of bulk acks fills the ring to a shard: what was answered is what there is', async () => {
    victim = await Victim.start({ maxBackpressure: '512mib', maxInFlight: '1m' });
    const CONNECTIONS = 6;
    const FRAMES = 8;
    const OPERATIONS = 500;
    const ITEMS = 100;
    /** All channels of a user get the same message. */
    const bulk = (requestId: number, user: number, message: number): Buffer => {
      const items = Buffer.alloc(ITEMS * 20);
      for (let i = 0; i < ITEMS; i++) {
        items.writeUInt32LE(i + 1, i * 20);
        items.writeUInt32LE(message, i * 20 + 8);
      }
      return Buffer.concat([operation(OP.ackBulk, requestId, user, ITEMS), items]);
    };
    const streams = await Promise.all(
      Array.from({ length: CONNECTIONS }, () => Stream.open(victim.streamUrl, 'bin')),
    );
    streams.forEach((stream, connection) => {
      for (let frame = 0; frame < FRAMES; frame++) {
        const first = frame * OPERATIONS + 1;
        const bulks = Array.from({ length: OPERATIONS }, (_, i) =>
          bulk(first + i, connection + 1, first + i),
        );
        stream.socket.send(Buffer.concat(bulks));
      }
    });
    const all = FRAMES * OPERATIONS;
    const ended = (stream: Stream): number => stream.replies.filter(({ more }) => !more).length;
    await until(() => streams.every((stream) => ended(stream) >= all), 'all are answered');
    let busy = 0;
    for (const [connection, stream] of streams.entries()) {
      const done = stream.replies.filter(({ status }) => status === STATUS.ok);
      const refused = stream.replies.filter(({ status }) => status === STATUS.busy);
      expect(done.length + refused.length).toBe(all);
      expect(new Set(stream.replies.map(({ requestId }) => requestId)).size).toBe(all);
      busy += refused.length;
      const last = Math.max(...done.map(({ requestId }) => requestId));
      const { body } = await victim.call('GET', `/v1/users/${connection + 1}/read-states`);
      const marks = (body.entries as { last_message_id: string }[]).map((entry) => entry.last_message_id);
      expect(marks).toEqual(new Array(ITEMS).fill(String(last)));
      stream.raw.destroy();
    }
    expect(busy).toBeGreaterThan(0);
  }, 60_000);

  it('of subscriptions ends at the limits, of one connection and of all', async () => {
    victim = await Victim.start({ maxSubscriptions: '1000', maxWatched: '1200', partitions: '1' });
    const [one, two, json] = await Promise.all([
      Stream.open(victim.streamUrl, 'bin'),
      Stream.open(victim.streamUrl, 'bin'),
      Stream.open(victim.streamUrl, 'json'),
    ]);
    const subscribe = (stream: Stream, from: number, count: number): void => {
      const operations = Array.from({ length: count }, (_, i) => operation(OP.subscribe, i, from + i));
      stream.socket.send(Buffer.concat(operations));
    };
    subscribe(one, 1, 3000);
    await until(() => one.replies.length === 3000, 'all are answered');
    expect(tally([one])).toMatchObject({ [STATUS.ok]: 1000, [STATUS.busy]: 2000 });
    subscribe(two, 10_001, 900);
    await until(() => two.replies.length === 900, 'all are answered');
    expect(tally([two])).toMatchObject({ [STATUS.ok]: 200, [STATUS.busy]: 700 });
    const user_ids = Array.from({ length: 100 }, (_, i) => String(20_001 + i));
    json.socket.send(JSON.stringify({ id: 1, op: 'subscribe', user_ids }));
    await until(() => json.frames.length === 1, 'it is answered');
    expect(json.texts).toMatchObject([{ id: 1, error: { code: 'busy' } }]);
    expect(await victim.metric('tidemark_subscriptions')).toBe(1200);

    one.raw.destroy();
    await until(async () => (await victim.metric('tidemark_subscriptions')) === 200, 'room is free again');
    json.socket.send(JSON.stringify({ id: 2, op: 'subscribe', user_ids }));
    await until(() => json.frames.length === 2, 'it is answered');
    expect(json.texts[1]).toMatchObject({ id: 2, ok: {} });
    for (const stream of [two, json]) stream.raw.destroy();
    await until(async () => (await victim.metric('tidemark_subscriptions')) === 0, 'nothing is left');
  });

  it('of requests beyond what may wait is refused with Retry-After, and those that wait are answered', async () => {
    victim = await Victim.start({ maxPending: '50', loadTimeout: '20s' });
    await victim.fault('LOAD_HANG', 1);
    const requests = Array.from({ length: 200 }, (_, i) => fetch(`${victim.url}/v1/users/${i + 1}/badge`));
    let refused = 0;
    for (const request of requests) {
      void request.then(({ status, headers }) => {
        if (status === 503 && headers.get('retry-after') === '1') refused++;
      });
    }
    await until(() => refused === 150, 'the rest is refused');
    expect((await victim.call('GET', '/healthz')).status).toBe(200);
    await victim.fault('LOAD_HANG', 0);
    const statuses = (await Promise.all(requests)).map(({ status }) => status);
    expect(statuses.filter((status) => status === 200)).toHaveLength(50);
  });

  it('ends with a SIGTERM: what was answered is in the store, and the exit is clean', async () => {
    victim = await Victim.start({ flushDelay: '1h' });
    const streams = await Promise.all(Array.from({ length: 8 }, () => Stream.open(victim.streamUrl, 'bin')));
    const SENT = 20_000;
    for (const stream of streams) {
      for (let from = 0; from < SENT; from += 1000) {
        const mentions = Array.from({ length: 1000 }, (_, i) =>
          operation(OP.mention, from + i, 1 + (i % 50), 1),
        );
        stream.socket.send(Buffer.concat(mentions));
      }
    }
    await until(() => streams.some((stream) => stream.frames.length > 0), 'it is under way');
    const ended = victim.stop();
    const codes = await Promise.all(streams.map((stream) => stream.whenClosed));
    expect(new Set(codes)).toEqual(new Set([1001]));
    for (const stream of streams) {
      const ids = stream.replies.map(({ requestId }) => requestId);
      expect(new Set(ids).size).toBe(ids.length);
    }
    expect(await ended).toEqual({ code: 0, signal: null });
    expect(victim.log).toContain('"msg":"stopped"');
    victim = await Victim.start();
  });
});
