/** WebSocket `/v1/stream`: requests and answers of the JSON protocol, and what both protocols refuse. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { Refused } from './driver.js';
import { JsonDriver } from './json-driver.js';
import { Service } from './service.js';
import { message, newId, newIds, openDriver, STREAM_PROTOCOLS } from './stage.js';

let service: Service;
beforeAll(async () => {
  service = await Service.start();
});
afterAll(() => service.stop());

/** The frames that come as answers to `frames`, parsed. */
async function exchange(frames: readonly string[], answers: number): Promise<Record<string, unknown>[]> {
  const socket = new WebSocket(service.streamUrl, 'tidemark.v1.json');
  const received: Record<string, unknown>[] = [];
  await new Promise((resolve) => socket.on('open', resolve));
  for (const frame of frames) socket.send(frame);
  await new Promise<void>((resolve, reject) => {
    socket.on('close', (code) => reject(new Error(`closed with ${code}`)));
    socket.on('message', (data) => {
      received.push(JSON.parse(data.toString()));
      if (received.length === answers) resolve();
    });
  });
  socket.terminate();
  return received;
}

describe('WebSocket, JSON', () => {
  it('"text frames, one request or an array"; "Answers {"id":1,"ok":…}", matched by id', async () => {
    const [user, channel] = [newId(), newId()];
    const one = `{"id":1,"op":"ack","user_id":"${user}","channel_id":"${channel}","message_id":"5"}`;
    const many = JSON.stringify([
      { id: 'two', op: 'get', user_id: user, channel_id: channel },
      { id: 3.5, op: 'badge', user_id: user },
      { id: 4, op: 'ping' },
    ]);
    const answers = await exchange([one, many], 4);
    const entry = {
      id: channel,
      read_state_type: 0,
      last_message_id: '5',
      mention_count: 0,
      last_pin_timestamp: null,
      flags: 0,
      last_viewed: null,
      version: 1,
    };
    const byId = new Map(answers.map((answer) => [answer.id, answer]));
    expect(byId.get(1)).toEqual({ id: 1, ok: entry });
    expect(byId.get('two')).toEqual({ id: 'two', ok: entry });
    expect(byId.get(3.5)).toEqual({ id: 3.5, ok: { mention_count: 0, unread_mention_channels: 0 } });
    expect(byId.get(4)).toEqual({ id: 4, ok: {} });
  });

  it('answers come "not necessarily in order of request ids", each exactly once', async () => {
    const driver = await JsonDriver.open(service.streamUrl);
    const answers = newIds(500).flatMap((user) => [driver.list(user), driver.ping()]);
    await Promise.all(answers);
    expect([...driver.answered].sort((a, b) => Number(a) - Number(b))).toEqual(answers.map((_, i) => i + 1));
    expect(driver.answered).not.toEqual(answers.map((_, i) => i + 1));
    driver.close();
  });

  it('"{"id":1,"error":{"code","message"}}": an error is its own request\'s, and the others are done', async () => {
    const user = newId();
    const requests = [
      { id: 1, op: 'get', user_id: user, channel_id: '1' },
      { id: 2, op: 'ack', user_id: user, channel_id: '0', message_id: '1' },
      { id: 3, op: 'nonsense' },
      { id: 4, op: 'ack', user_id: user, channel_id: '1', message_id: '1' },
      { op: 'ping' },
      7,
    ];
    const answers = await exchange([JSON.stringify(requests), '{"id":'], 7);
    const byId = new Map(answers.map((answer) => [answer.id, answer]));
    for (const [id, code] of [
      [1, 'unknown_read_state'],
      [2, 'invalid_request'],
      [3, 'invalid_request'],
    ] as const) {
      expect(byId.get(id)).toEqual({
        id,
        error: { code, message: expect.any(String), errors: expect.any(Array) },
      });
    }
    expect(byId.get(4)).toMatchObject({ ok: { last_message_id: '1' } });
    expect(answers.filter((answer) => answer.id === null)).toHaveLength(3);
  });

  it('every op there is, and its answer', async () => {
    const driver = await JsonDriver.open(service.streamUrl);
    const user = newId();
    const key = { user_id: user, channel_id: '7', read_state_type: 5 };
    const entry = expect.objectContaining({ id: '7', read_state_type: 5 });
    const user_ids = [user];
    for (const [op, fields, ok] of [
      ['ping', {}, {}],
      ['subscribe', { user_ids }, {}],
      ['ack', { ...key, message_id: 5 }, entry],
      ['ack_bulk', { user_id: user, read_states: [{ ...key, message_id: 6 }] }, { entries: [entry] }],
      ['pin_ack', { ...key, last_pin_timestamp: 1 }, entry],
      ['mention', { ...key, user_ids }, { applied: 1, suppressed: 0, duplicates: 0, failed: [] }],
      ['get', key, entry],
      ['list', { user_id: user }, { entries: [entry], partial: false, version: 4 }],
      ['list', { user_id: user, since: 4 }, { entries: [], partial: true, version: 4 }],
      ['badge', { user_id: user }, { mention_count: 1, unread_mention_channels: 1 }],
      ['delete', key, {}],
      ['delete_user', { user_id: user }, {}],
      ['unsubscribe', { user_ids }, {}],
    ] as const) {
      expect(await driver.ask(op, fields), op).toEqual(ok);
    }
    driver.close();
  });

  it('a request of several users is one to 10,000, and subscribe is all or nothing', async () => {
    const driver = await JsonDriver.open(service.streamUrl);
    const user = newId();
    for (const op of ['subscribe', 'unsubscribe', 'mention']) {
      for (const user_ids of [[], [user, '0'], newIds(10_001), undefined]) {
        await expect(driver.ask(op, { channel_id: '1', user_ids })).rejects.toMatchObject({
          code: 'invalid_request',
          paths: [expect.stringContaining('user_ids')],
        });
      }
    }
    await driver.ack(user, '1', '1');
    await driver.ping();
    expect(driver.events).toEqual([]);
    driver.close();
  });
});

describe('WebSocket, both protocols', () => {
  it.each(STREAM_PROTOCOLS)(
    '%s: thousands of calls at once are answered each for itself',
    async (protocol) => {
      const driver = await openDriver(service, protocol);
      const users = newIds(3000);
      const entries = await Promise.all(users.map((user, i) => driver.ack(user, String(i + 1), message(i))));
      entries.forEach((entry, i) => {
        expect(entry.id).toBe(String(i + 1));
        expect(entry.last_message_id).toBe(message(i));
      });
      driver.close();
    },
  );

  it.each([
    ['tidemark.v1.json', Buffer.from('{"id":1,"op":"ping"}'), true, 1003],
    ['tidemark.v1.bin', Buffer.from('{"id":1,"op":"ping"}'), false, 1003],
    ['tidemark.v1.bin', Buffer.from([99, 0, 0, 0]), true, 1007],
    ['tidemark.v1.json', Buffer.alloc(1024 * 1024 + 1, ' '), false, 1009],
    ['tidemark.v1.bin', Buffer.alloc(1024 * 1024 + 4), true, 1009],
  ] as const)(
    '%s: a frame that is none of it is closed with a code that says so',
    async (protocol, frame, binary, code) => {
      const socket = new WebSocket(service.streamUrl, protocol);
      await new Promise((resolve) => socket.on('open', resolve));
      socket.send(frame, { binary });
      expect(await new Promise((resolve) => socket.on('close', resolve))).toBe(code);
    },
  );

  it('an upgrade without one of the two protocols is refused', async () => {
    for (const protocols of [[], ['tidemark.v2.json'], ['json']]) {
      const socket = new WebSocket(service.streamUrl, protocols);
      const status = await new Promise((resolve) => {
        socket.on('unexpected-response', (_request, response) => resolve(response.statusCode));
        socket.on('open', () => resolve(101));
      });
      expect(status).toBe(400);
      socket.on('error', () => {});
      socket.terminate();
    }
  });

  it('binary: values out of range are refused by the service, naming the field, and the next operation is done', async () => {
    const socket = new WebSocket(service.streamUrl, 'tidemark.v1.bin');
    socket.binaryType = 'arraybuffer';
    const words: number[] = [];
    socket.on('message', (data: ArrayBuffer) => words.push(...new Int32Array(data)));
    await new Promise((resolve) => socket.on('open', resolve));
    const [user] = newIds(1) as [string];
    const lo = Number(BigInt.asIntN(32, BigInt(user)));
    const hi = Number(BigInt(user) >> 32n);
    // HEAD, REQUEST_ID, USER, CHANNEL, ARGUMENT of docs/protocol.md; the field that each answer names.
    const operations: [number[], number][] = [
      [[5, 1, 0, 0, 1, 0, 1, 0], 3],
      [[5, 2, lo, hi, 0, 0, 1, 0], 4],
      [[5, 3, lo, hi, 1, 0, 0, 0], 5],
      [[5, 4, lo, hi, 1, -2147483648, 1, 0], 4],
      [[5 | (6 << 8), 5, lo, hi, 1, 0, 1, 0], 2],
      [[5 | (1 << 30), 6, lo, hi, 1, 0, 1, 0], 1],
      [[7, 7, lo, hi, 1, 0, 0, 0], 9],
      [[7, 8, lo, hi, 1, 0, -1, 2_147_483_647], 9],
      [[5 | (1 << 18), 9, lo, hi, 1, 0, 1, 0, -1, 0], 6],
    ];
    const all = operations.flatMap(([operation]) => operation);
    const good = [5, 99, lo, hi, 1, 0, 1, 0];
    socket.send(Int32Array.from([...all, ...good]));
    while (words.length < (operations.length + 1) * 4) await new Promise((resolve) => setTimeout(resolve, 5));
    const answers = Array.from({ length: operations.length + 1 }, (_, i) => words.slice(i * 4, i * 4 + 4));
    for (const [i, [, field]] of operations.entries()) {
      const answer = answers.find(([, id]) => id === i + 1)!;
      expect((answer[0]! >>> 8) & 0xff, `operation ${i + 1}`).toBe(1);
      expect(answer[2], `operation ${i + 1}`).toBe(field);
    }
    const done = answers.find(([, id]) => id === 99)!;
    expect((done[0]! >>> 8) & 0xff).toBe(0);
    expect(done[3]).toBe(1);
    socket.terminate();
  });

  it('binary: an ack_bulk with one wrong item does nothing', async () => {
    const driver = await openDriver(service, 'binary WebSocket');
    const user = newId();
    const items = [
      { channel_id: '1', message_id: '1' },
      { channel_id: '0', message_id: '1' },
    ];
    await expect(driver.ackBulk(user, items)).rejects.toBeInstanceOf(Refused);
    expect(await driver.list(user)).toEqual({ entries: [], partial: false, version: 0 });
    driver.close();
  });
});
