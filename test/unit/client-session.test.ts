import { describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import {
  OP_ACK,
  OP_MENTION,
  OP_UNSUBSCRIBE,
  REPLY_MORE,
  REQUEST,
  STATUS_BUSY,
  STATUS_DUPLICATE,
  STATUS_STORE_UNAVAILABLE,
  STATUS_SUPPRESSED,
  STATUS_UNKNOWN,
} from '../../engine/messages.js';
import { TidemarkClient, type TidemarkEvent, type WebSocketConstructor } from '../../gateway/client/index.js';
import { stage, take } from './client-stage.js';

const tests = stage();
const { connect } = tests;

describe('calls', () => {
  test('ack, get, mention, badge, pin, bulk, list, delete', async () => {
    const client = connect();
    expect(await client.get('7', '1')).toBeNull();
    const acked = await client.ack('7', '1', '9223372036854775807', {
      flags: 255,
      lastViewed: 0,
      mentionCount: 3,
    });
    expect(acked).toEqual({
      channelId: '1',
      type: 0,
      lastMessageId: '9223372036854775807',
      mentionCount: 3,
      lastPinTimestamp: null,
      flags: 255,
      lastViewed: 0,
      version: 1,
    });
    expect(await client.get('7', '1')).toEqual(acked);
    expect(await client.mention('2', ['7', '8', '7'], { messageId: '50' })).toEqual({
      applied: 2,
      suppressed: 0,
      duplicates: 0,
      failed: [],
    });
    expect(await client.mention('1', ['7', '8'], { messageId: '50' })).toMatchObject({
      applied: 1,
      suppressed: 1,
    });
    expect(await client.mention('2', ['7'], { messageId: '50' })).toMatchObject({ duplicates: 1 });
    expect(await client.badge('7')).toEqual({ mentionCount: 4, unreadMentionChannels: 2 });
    const pinned = await client.pinAck('7', '2', new Date('2025-01-01T00:00:00.123Z'));
    expect(pinned.lastPinTimestamp).toEqual(new Date('2025-01-01T00:00:00.123Z'));
    const bulk = await client.ackBulk('7', [
      { channelId: '2', messageId: '60' },
      { channelId: '3', messageId: '61', type: 5 },
    ]);
    expect(bulk.map(({ channelId, type, lastMessageId }) => [channelId, type, lastMessageId])).toEqual([
      ['2', 0, '60'],
      ['3', 5, '61'],
    ]);
    const list = await client.list('7');
    expect(list).toMatchObject({ partial: false, version: 5 });
    expect(list.entries.map(({ channelId }) => channelId)).toEqual(['1', '2', '3']);
    expect(await client.list('7', { since: 3 })).toMatchObject({ partial: true, entries: [{}, {}] });
    await client.delete('7', '1');
    expect(await client.get('7', '1')).toBeNull();
    await client.deleteUser('7');
    expect((await client.list('7')).entries).toEqual([]);
    await client.ping();
  });

  test('a list of many parts is put together in order', async () => {
    tests.server.partEntries = 7;
    for (let channel = 1; channel <= 100; channel++) tests.server.ack('7', BigInt(channel), 5n);
    const { entries } = await connect().list('7');
    expect(entries.map(({ channelId }) => Number(channelId))).toEqual(
      Array.from({ length: 100 }, (_, i) => i + 1),
    );
  });

  test('calls of one tick share a frame, and frames stay within their bound', async () => {
    const client = connect({ frameBytesMax: 1024 });
    await client.ping();
    tests.server.frames.length = 0;
    await Promise.all(Array.from({ length: 100 }, (_, i) => client.ack('7', String(i + 1), '5')));
    expect(tests.server.frames.map(({ length }) => length / REQUEST.WORDS)).toEqual([32, 32, 32, 4]);
  });

  test.each([
    ['0', '1', '1', {}, 'user_id'],
    ['1', '9223372036854775808', '1', {}, 'channel_id'],
    ['1', '1', '1.5', {}, 'message_id'],
    ['1', '1', '1', { mentionCount: 2 ** 31 }, 'mention_count'],
    ['1', '1', '1', { flags: 256 }, 'flags'],
    ['1', '1', '1', { lastViewed: 65535 }, 'last_viewed'],
    ['1', '1', '1', { type: 6 }, 'read_state_type'],
  ])('ack %s %s %s %j is refused here for its %4$s', async (user, channel, message, options, field) => {
    await expect(connect().ack(user, channel, message, options)).rejects.toMatchObject({
      code: 'invalid_request',
      field,
    });
    expect(tests.server.frames).toEqual([]);
  });

  test('the token is sent, and a wrong one is named', async () => {
    tests.server.token = 'secret';
    await connect({ token: 'secret' }).ping();
    await expect(connect({ token: 'wrong' }).ping()).rejects.toMatchObject({ code: 'unauthorized' });
  });

  test('a wrong one is named, too, where the WebSocket neither says why it failed nor that it is closed', async () => {
    class Terse extends WebSocket {
      override emit(name: string, ...values: unknown[]): boolean {
        if (name === 'close' && !this.#isOpen) return true;
        if (name === 'open') this.#isOpen = true;
        return super.emit(name, ...(name === 'error' ? [new Error('non-101 status code')] : values));
      }
      #isOpen = false;
    }
    tests.server.token = 'secret';
    const webSocket = Terse as unknown as WebSocketConstructor;
    await connect({ token: 'secret', webSocket }).ping();
    await expect(connect({ token: 'wrong', webSocket }).ping()).rejects.toMatchObject({
      code: 'unauthorized',
    });
    // Nobody refused this one: it is tried again, at once, until it goes well.
    tests.server.handshakes = 'cut';
    const client = connect({ token: 'secret', webSocket, reconnectMinMs: 1, reconnectMaxMs: 2 });
    const pinged = client.ping();
    await new Promise((resolve) => setTimeout(resolve, 100));
    tests.server.handshakes = 'accept';
    await pinged;
  });
});

describe('a lost connection', () => {
  test('what may be repeated is, once done or not', async () => {
    const client = connect();
    await client.ping();
    tests.server.cutAfter = 1;
    const [entry, mention, list] = await Promise.all([
      client.ack('7', '1', '5'),
      client.mention('2', ['7'], { messageId: '6' }),
      client.list('7'),
    ]);
    expect(entry.lastMessageId).toBe('5');
    expect(mention).toMatchObject({ applied: 0, duplicates: 1 }); // counted by the frame whose answer was lost
    expect(list.entries).toHaveLength(2);
    expect(tests.server.user('7').entries.get('2/0')?.mentions).toBe(1);
    expect(tests.server.connections).toBe(2);
  });

  test('what could undo or count twice is not', async () => {
    const client = connect();
    await client.ping();
    tests.server.cutAfter = 1;
    const results = await Promise.allSettled([
      client.ack('7', '1', '5', { manual: true }),
      client.mention('2', ['7']),
      client.delete('7', '3'),
      client.deleteUser('8'),
    ]);
    for (const result of results) {
      expect(result).toMatchObject({ status: 'rejected', reason: { code: 'disconnected' } });
    }
    await client.ping();
    expect(tests.server.user('7').entries.get('2/0')?.mentions).toBe(1);
  });

  test('calls made without a connection wait for it, in order', async () => {
    const client = connect();
    await client.ping();
    tests.server.cutAll();
    await new Promise((resolve) => setTimeout(resolve, 20));
    const answers = await Promise.all([
      client.ack('7', '1', '5', { manual: true }),
      client.ack('7', '1', '4'),
      client.get('7', '1'),
    ]);
    expect(answers.map((entry) => entry?.lastMessageId)).toEqual(['5', '5', '5']);
  });

  test('a service that says nothing is left for a new connection', async () => {
    const client = connect({ timeoutMs: 400 });
    await client.ping();
    tests.server.silent = true;
    await expect(client.ping()).rejects.toMatchObject({ code: 'timeout' });
    // Given up together with the call, or just before: then the call has been sent on the next connection, too.
    await expect.poll(() => !client.connected || tests.server.connections > 1).toBe(true);
    tests.server.silent = false;
    await client.ping();
    expect(tests.server.connections).toBe(2);
  });

  test("an answer that comes after its timeout is nobody's", async () => {
    const client = connect({ timeoutMs: 400 });
    await expect(client.get('7', '1').then(() => 'answered')).resolves.toBe('answered');
    tests.server.silent = true;
    await expect(client.get('7', '1')).rejects.toMatchObject({ code: 'timeout' });
  });

  test('close fails what waits', async () => {
    const client = connect();
    await client.ping();
    tests.server.silent = true;
    const waiting = client.ping();
    client.close();
    expect(client.connected).toBe(false);
    await expect(waiting).rejects.toMatchObject({ code: 'closed' });
    await expect(client.ping()).rejects.toMatchObject({ code: 'closed' });
  });
});

describe('a busy service', () => {
  test('a forward ack is tried again, a delete is not', async () => {
    const client = connect();
    await client.ping();
    tests.server.refuse = { count: 1, status: STATUS_BUSY };
    expect((await client.ack('7', '1', '5')).lastMessageId).toBe('5');
    tests.server.refuse = { count: 1, status: STATUS_STORE_UNAVAILABLE };
    await expect(client.delete('7', '1')).rejects.toMatchObject({
      code: 'store_unavailable',
      retryAfterMs: 1000,
    });
  });

  test('gives up after its tries', async () => {
    const client = connect({ triesMax: 2 });
    tests.server.refuse = { count: 1000, status: STATUS_BUSY };
    await expect(client.ping()).rejects.toMatchObject({ code: 'busy', retryAfterMs: 100 });
    expect(tests.server.refuse.count).toBe(998);
  });

  test('a mention says for whom it failed', async () => {
    const client = connect();
    await client.ping();
    tests.server.refuse = { count: 1, status: STATUS_BUSY };
    expect(await client.mention('1', ['7', '8'])).toEqual({
      applied: 1,
      suppressed: 0,
      duplicates: 0,
      failed: ['7'],
    });
  });

  test('no more calls are kept than were allowed', async () => {
    const client = connect({ callsMax: 10, inFlightMax: 4 });
    const results = await Promise.allSettled(Array.from({ length: 12 }, () => client.ping()));
    expect(results.filter(({ status }) => status === 'rejected')).toHaveLength(2);
    expect(results[11]).toMatchObject({ reason: { code: 'busy' } });
    for (const frame of tests.server.frames) expect(frame.length / REQUEST.WORDS).toBeLessThanOrEqual(4);
  });
});

describe('a status that is no answer to the call', () => {
  /** No version of the protocol has it. */
  const STRANGE = 99;
  const calls: Record<string, (client: TidemarkClient) => Promise<unknown>> = {
    ack: (client) => client.ack('7', '1', '5'),
    ackBulk: (client) => client.ackBulk('7', [{ channelId: '1', messageId: '5' }]),
    pinAck: (client) => client.pinAck('7', '1', 77),
    mention: (client) => client.mention('1', ['7'], { messageId: '5' }),
    get: (client) => client.get('7', '1'),
    list: (client) => client.list('7'),
    badge: (client) => client.badge('7'),
    delete: (client) => client.delete('7', '1'),
    deleteUser: (client) => client.deleteUser('7'),
    ping: (client) => client.ping(),
    subscribe: (client) => client.subscribe(['7']),
  };

  test.each([
    ...Object.keys(calls).map((name) => [name, STRANGE] as const),
    ['delete', STATUS_UNKNOWN] as const,
    ['mention', STATUS_UNKNOWN] as const,
    ['ackBulk', STATUS_SUPPRESSED] as const,
    ['list', STATUS_DUPLICATE] as const,
  ])('fails the call: %s, status %i', async (name, status) => {
    const client = connect();
    await client.ping();
    tests.server.frames.length = 0;
    tests.server.refuse = { count: 1, status };
    await expect(calls[name]!(client)).rejects.toMatchObject({ code: 'protocol' });
    // Whether it was done is not known: it is not repeated.
    expect(tests.server.operations.filter(({ op }) => op !== OP_UNSUBSCRIBE)).toHaveLength(1);
    expect(client.connected).toBe(true);
  });

  test('fails a list also in a part before the last', async () => {
    tests.server.refuse = { count: 1, status: STRANGE | (REPLY_MORE >>> 8) }; // the flags are next to the status
    await expect(connect().list('7')).rejects.toMatchObject({ code: 'protocol' });
  });

  test('is a failure of the one user of a mention', async () => {
    const client = connect();
    tests.server.refuseIf = (_op, userId) => (userId === '8' ? STRANGE : undefined);
    expect(await client.mention('1', ['7', '8', '9'], { messageId: '5' })).toEqual({
      applied: 2,
      suppressed: 0,
      duplicates: 0,
      failed: ['8'],
    });
  });
});

describe('events', () => {
  test('each change comes once, in order, with its cause', async () => {
    const [watcher, writer] = [connect(), connect()];
    const subscription = await watcher.subscribe(['7', '8']);
    await writer.ack('7', '1', '5', { manual: true });
    await writer.mention('1', ['7', '9'], { messageId: '6' });
    await writer.pinAck('7', '1', 77);
    await writer.delete('7', '1');
    await writer.deleteUser('8');
    const events = await take(subscription[Symbol.asyncIterator](), 5);
    expect(events.map((event) => [event.event, 'cause' in event ? event.cause : ''])).toEqual([
      ['read_state', 'ack'],
      ['read_state', 'mention'],
      ['read_state', 'pins'],
      ['read_state', 'delete'],
      ['user_deleted', ''],
    ]);
    expect(events[0]).toMatchObject({ userId: '7', manual: true, entry: { lastMessageId: '5', version: 1 } });
    expect(events[3]).toMatchObject({ entry: { lastMessageId: null, mentionCount: 0, version: 4 } });
  });

  test('after a lost connection it subscribes again and says that there is a gap', async () => {
    const watcher = connect();
    const events: TidemarkEvent[] = [];
    await watcher.subscribe(['7'], (event) => events.push(event));
    tests.server.cutAll();
    await expect.poll(() => events.length).toBe(1);
    expect(events[0]).toEqual({ event: 'gap', userIds: ['7'] });
    await connect().ack('7', '1', '5');
    await expect.poll(() => events.length).toBe(2);
  });

  test('a slow reader gets a gap instead of memory without end', async () => {
    const watcher = connect({ eventsMax: 3 });
    const subscription = await watcher.subscribe(['7']);
    for (let message = 1; message <= 5; message++) await watcher.ack('7', '1', String(message));
    await watcher.ping();
    const events = await take(subscription[Symbol.asyncIterator](), 2);
    expect(events.map(({ event }) => event)).toEqual(['gap', 'read_state']);
    expect(events[1]).toMatchObject({ entry: { lastMessageId: '5' } });
  });

  test('a user is left when its last subscription ends, and iterators end', async () => {
    const watcher = connect();
    const seen: TidemarkEvent[] = [];
    const first = await watcher.subscribe(['7']);
    const second = await watcher.subscribe(['7'], (event) => seen.push(event));
    await first.unsubscribe();
    expect(await first[Symbol.asyncIterator]().next()).toMatchObject({ done: true });
    await watcher.ack('7', '1', '5');
    await second.unsubscribe();
    await watcher.ack('7', '1', '6');
    expect(seen).toHaveLength(1);
  });
});

test('a mention of many users is one operation for each', async () => {
  const client = connect();
  const users = Array.from({ length: 5000 }, (_, i) => String(i + 1));
  expect(await client.mention('1', users, { messageId: '9' })).toMatchObject({ applied: 5000, failed: [] });
  await client.ack('1', '1', '9');
  const ops = tests.server.frames.flatMap((frame) => frame.filter((_, index) => index % REQUEST.WORDS === 0));
  expect(ops.flatMap((frame) => [...frame]).filter((head) => (head & 0xff) === OP_MENTION)).toHaveLength(
    5000,
  );
  expect(ops.flatMap((frame) => [...frame]).filter((head) => (head & 0xff) === OP_ACK)).toHaveLength(1);
});

test.skipIf(typeof globalThis.WebSocket !== 'function')(
  'the WebSocket of the platform does, with a token',
  async () => {
    tests.server.token = 'secret';
    const client = tests.own(new TidemarkClient({ url: tests.server.url, token: 'secret' }));
    expect((await client.ack('7', '1', '5')).lastMessageId).toBe('5');
  },
);

test.skipIf(typeof globalThis.WebSocket === 'function')(
  'without one of the platform, ws is loaded',
  async () => {
    const client = tests.own(new TidemarkClient({ url: tests.server.url }));
    await client.ping();
  },
);
