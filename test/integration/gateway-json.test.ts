import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { STATUS_BUSY } from '../../engine/messages.js';
import { Client, type Gateway, startGateway, until } from './gateway-support.js';

const PROTOCOL = 'tidemark.v1.json';
let gateway: Gateway;
beforeAll(async () => {
  gateway = await startGateway({ maxInFlight: '100', maxSubscriptions: '10', maxFrame: '512kib' });
});
afterAll(() => gateway.close());
afterEach(() => {
  gateway.port.ringFull = false;
  gateway.port.status = null;
});

const open = (): Promise<Client> => Client.open(gateway.streamUrl, PROTOCOL);
let lastUser = 9000;
const newUser = (): string => String(++lastUser);
const M1 = '1323802873036800001';

describe('JSON requests', () => {
  it('do every operation', async () => {
    const client = await open();
    const user_id = newUser();
    const one = async (request: object): Promise<unknown> =>
      (await client.ask({ id: 1, user_id, ...request }))[0]!.ok;
    const entry = {
      id: '7',
      read_state_type: 3,
      last_message_id: M1,
      mention_count: 2,
      last_pin_timestamp: null,
      flags: 0,
      last_viewed: null,
      version: 1,
    };
    const key = { channel_id: '7', read_state_type: 3 };
    expect(await one({ op: 'ack', ...key, message_id: M1, mention_count: 2 })).toEqual(entry);
    expect(await one({ op: 'get', ...key })).toEqual(entry);
    expect(await one({ op: 'list' })).toEqual({ entries: [entry], partial: false, version: 1 });
    expect(await one({ op: 'list', since: 1 })).toEqual({ entries: [], partial: true, version: 1 });
    expect(await one({ op: 'badge' })).toEqual({ mention_count: 2, unread_mention_channels: 1 });
    expect(await one({ op: 'pin_ack', ...key, last_pin_timestamp: 1000 })).toMatchObject({
      last_pin_timestamp: '1970-01-01T00:00:01.000Z',
    });
    expect(await one({ op: 'ack_bulk', read_states: [{ channel_id: 8, message_id: 1 }] })).toMatchObject({
      entries: [{ id: '8' }],
    });
    expect(await one({ op: 'mention', channel_id: '8', user_ids: [user_id] })).toEqual({
      applied: 1,
      suppressed: 0,
      duplicates: 0,
      failed: [],
    });
    expect(await one({ op: 'delete', ...key })).toEqual({});
    expect(await one({ op: 'delete_user' })).toEqual({});
    expect(await one({ op: 'ping' })).toEqual({});
    expect((await client.ask({ id: 'a"é', op: 'get', user_id, ...key }))[0]).toMatchObject({
      id: 'a"é',
      error: { code: 'unknown_read_state' },
    });
    client.socket.close();
  });

  it('come one or many to a frame, and each is answered by its id', async () => {
    const client = await open();
    const users = Array.from({ length: 50 }, newUser);
    const answers = await client.ask(
      ...users.map((user_id, id) => ({ id, op: 'ack', user_id, channel_id: id + 1, message_id: '5' })),
    );
    for (const answer of answers) expect(answer.ok).toMatchObject({ id: String((answer.id as number) + 1) });
    expect(new Set(answers.map(({ id }) => id)).size).toBe(50);
    client.socket.close();
  });

  it.each([
    ['not JSON', '{', null, ''],
    ['no object', '3', null, ''],
    ['an empty array', '[]', null, ''],
    ['an id that cannot be told back', '{"id":{},"op":"ping"}', null, 'id'],
    ['a number that cannot be told back', '{"id":1e400,"op":"ping"}', null, 'id'],
    ['no id', '{"op":"ping"}', null, 'id'],
    ['an array of too many', `[${'0,'.repeat(16_384)}0]`, null, ''],
    ['an unknown op', '{"id":4,"op":"constructor"}', 4, 'op'],
    ['wrong fields', '{"id":4,"op":"get","user_id":1,"channel_id":0}', 4, 'channel_id'],
    [
      'too many subscriptions',
      '{"id":4,"op":"subscribe","user_ids":[1,2,3,4,5,6,7,8,9,10,11]}',
      4,
      'user_ids',
    ],
  ])('%s is an error of that request', async (_, text, id, path) => {
    const client = await open();
    client.socket.send(text);
    await until(() => client.received.length > 0, 'the answer came');
    expect(JSON.parse(client.received[0]!.toString())).toMatchObject({
      id,
      error: { code: 'invalid_request', errors: [{ path }] },
    });
    expect(await client.ask({ id: 5, op: 'ping' })).toEqual([{ id: 5, ok: {} }]);
    expect(client.received).toHaveLength(2);
    client.socket.close();
  });

  it('binary frames are refused with 1003, and too large ones with 1009', async () => {
    const binary = await open();
    binary.socket.send(Buffer.from('{}'));
    expect((await binary.closed).code).toBe(1003);
    const large = await open();
    large.socket.send(' '.repeat(512 * 1024 + 1));
    expect((await large.closed).code).toBe(1009);
  });

  it('are busy beyond those in flight, and when the ring is full', async () => {
    const client = await open();
    const user_id = newUser();
    gateway.port.hold();
    client.socket.send(
      JSON.stringify(Array.from({ length: 110 }, (_, id) => ({ id, op: 'badge', user_id }))),
    );
    await until(() => gateway.port.heldCount === 100 && client.received.length === 10, '10 are refused');
    gateway.port.release();
    await until(() => client.received.length === 110, 'all are answered');
    gateway.port.ringFull = true;
    expect(await client.ask({ id: 1, op: 'badge', user_id })).toMatchObject([
      { id: 1, error: { code: 'busy' } },
    ]);
    client.socket.close();
  });

  it('ping is answered at once, also behind a mention of so many that the rest has to wait', async () => {
    const client = await open();
    const user_ids = Array.from({ length: 1000 }, (_, i) => String(3_000_000 + i));
    gateway.port.hold();
    client.socket.send(JSON.stringify({ id: 1, op: 'mention', channel_id: '7', user_ids }));
    client.socket.send(JSON.stringify({ id: 2, op: 'badge', user_id: user_ids[0] }));
    expect(await client.ask({ id: 3, op: 'ping' })).toEqual([{ id: 3, ok: {} }]);
    gateway.port.release();
    await until(() => client.received.length === 3, 'the others are answered');
    client.socket.close();
  });

  it('take effect in order, also behind a mention of very many', async () => {
    const client = await open();
    const user_ids = Array.from({ length: 10_000 }, (_, i) => String(2_000_000 + i));
    const last = user_ids.at(-1);
    const answers = await client.ask(
      { id: 1, op: 'mention', channel_id: '7', user_ids },
      { id: 2, op: 'ack', user_id: last, channel_id: '7', message_id: '5' },
      { id: 3, op: 'mention', channel_id: '7', user_ids },
      { id: 4, op: 'badge', user_id: last },
      { id: 5, op: 'delete_user', user_id: last },
    );
    const byId = new Map(answers.map((answer) => [answer.id, answer.ok]));
    expect(byId.get(1)).toMatchObject({ applied: 10_000 });
    expect(byId.get(2)).toMatchObject({ mention_count: 0 });
    expect(byId.get(3)).toMatchObject({ applied: 10_000 });
    expect(byId.get(4)).toEqual({ mention_count: 1, unread_mention_channels: 1 });
    client.socket.close();
  });
});

describe('JSON subscriptions', () => {
  it('bring each change in order of version, to all who asked', async () => {
    const [a, b] = [await open(), await open()];
    const user_id = newUser();
    expect(await a.ask({ id: 1, op: 'subscribe', user_ids: [user_id, newUser()] })).toEqual([
      { id: 1, ok: {} },
    ]);
    await b.ask({ id: 1, op: 'subscribe', user_ids: [user_id, user_id] });
    expect(gateway.server.front.subscriptions.count).toBe(3);
    const key = { user_id, channel_id: '7' };
    const requests = [
      { op: 'ack', ...key, message_id: M1 },
      { op: 'mention', channel_id: '7', user_ids: [user_id] },
      { op: 'ack', ...key, message_id: '5', manual: true },
      { op: 'ack', ...key, message_id: '4' },
      { op: 'pin_ack', ...key, last_pin_timestamp: 5 },
      { op: 'delete', ...key },
      { op: 'delete_user', user_id },
    ];
    await a.ask(...requests.map((request, id) => ({ id, ...request })));
    await until(() => a.events.length === 6 && b.events.length === 6, 'all events came');
    expect(b.events).toEqual(a.events);
    expect(a.events.map(({ event, cause, manual }) => [event, cause, manual])).toEqual([
      ['read_state', 'ack', undefined],
      ['read_state', 'mention', undefined],
      ['read_state', 'ack', true],
      ['read_state', 'pins', undefined],
      ['read_state', 'delete', undefined],
      ['user_deleted', undefined, undefined],
    ]);
    expect(a.events[1]).toMatchObject({ user_id, entry: { id: '7', mention_count: 1, version: 2 } });
    expect(await b.ask({ id: 1, op: 'unsubscribe', user_ids: [user_id] })).toEqual([{ id: 1, ok: {} }]);
    await a.ask({ id: 1, op: 'ack', ...key, message_id: M1 });
    await until(() => a.events.length === 7, 'the other still has them');
    await b.ask({ id: 1, op: 'ping' });
    expect(b.events).toHaveLength(6);
    a.socket.close();
    b.socket.close();
    await until(() => gateway.server.front.subscriptions.count === 0, 'closing unsubscribes');
  });

  it('of many users fail whole, and leave what was subscribed before', async () => {
    const client = await open();
    const [kept, other] = [newUser(), newUser()];
    await client.ask({ id: 1, op: 'subscribe', user_ids: [kept] });
    gateway.port.status = STATUS_BUSY;
    expect(await client.ask({ id: 1, op: 'subscribe', user_ids: [kept, other] })).toMatchObject([
      { error: { code: 'busy' } },
    ]);
    gateway.port.status = null;
    expect(gateway.server.front.subscriptions.count).toBe(1);
    await client.ask({ id: 2, op: 'ack', user_id: kept, channel_id: 1, message_id: 1 });
    await until(() => client.events.length === 1, 'the event came');
    client.socket.close();
  });

  it('may be asked for again at the limit, and no more', async () => {
    const client = await open();
    const users = Array.from({ length: 10 }, newUser);
    const subscribe = (id: number, user_ids: string[]): Promise<object[]> =>
      client.ask({ id, op: 'subscribe', user_ids });
    expect(await subscribe(1, users)).toEqual([{ id: 1, ok: {} }]);
    expect(await subscribe(2, users)).toEqual([{ id: 2, ok: {} }]);
    expect(await subscribe(3, users.slice(3))).toEqual([{ id: 3, ok: {} }]);
    expect(await subscribe(4, [users[0]!, newUser()])).toMatchObject([
      { error: { code: 'invalid_request' } },
    ]);
    client.socket.close();
  });

  it.each(['tidemark.v1.json', 'tidemark.v1.bin'])(
    'that fail take back nothing that a later one was granted (%s)',
    async (protocol) => {
      const { port, server, streamUrl } = gateway;
      await until(() => server.front.subscriptions.count === 0, 'those before have gone');
      const [client, writer] = [await Client.open(streamUrl, protocol), await open()];
      const user_id = newUser();
      const subscribe = (id: number): void =>
        client.socket.send(
          protocol === PROTOCOL
            ? JSON.stringify({ id, op: 'subscribe', user_ids: [user_id] })
            : Buffer.from(Int32Array.of(11, id, Number(user_id), 0, 0, 0, 0, 0).buffer),
        );
      port.hold();
      port.status = STATUS_BUSY;
      subscribe(1);
      await until(() => port.heldCount === 1, 'the first is answered by the shard');
      port.status = null;
      subscribe(2);
      await until(() => port.heldCount === 2, 'the second is answered by the shard');
      port.release();
      await until(() => client.received.length > 0, 'the answers came');
      expect(server.front.subscriptions.count).toBe(1);
      const before = client.received.length;
      await writer.ask({ id: 1, op: 'ack', user_id, channel_id: 1, message_id: 1 });
      await until(() => client.received.length > before, 'the event came');
      // One that fails later does not end what there is.
      port.status = STATUS_BUSY;
      subscribe(3);
      await until(() => client.received.length > before + 1, 'it is answered');
      port.status = null;
      expect(server.front.subscriptions.count).toBe(1);
      for (const { socket } of [client, writer]) socket.close();
      await until(() => server.front.subscriptions.count === 0, 'closing unsubscribes');
    },
  );
});
