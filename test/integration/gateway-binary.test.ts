import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  ACK_EXTRA,
  BULK_ITEM,
  CAUSE_ACK,
  ENTRY,
  EVENT,
  FIELD_CHANNEL,
  FIELD_ITEMS,
  FIELD_LENGTH,
  FIELD_MESSAGE,
  FIELD_OP,
  FIELD_SINCE,
  FIELD_TYPE,
  FIELD_USER,
  FIELD_VIEWED,
  OP_ACK,
  OP_ACK_BULK,
  OP_BADGE,
  OP_DELETE_USER,
  OP_EVENT,
  OP_GET,
  OP_LIST,
  OP_MENTION,
  OP_PING,
  OP_SUBSCRIBE,
  OP_UNSUBSCRIBE,
  OP_USER_DELETED,
  REPLY,
  REPLY_ENTRY,
  REPLY_MORE,
  REQUEST,
  REQUEST_HAS_VIEWED,
  REQUEST_SINCE,
  REQUEST_WITH_ENTRY,
  STATUS_BUSY,
  STATUS_INVALID,
  STATUS_OK,
  STATUS_STORE_UNAVAILABLE,
  STATUS_SUPPRESSED,
} from '../../engine/messages.js';
import { Client, type Gateway, startGateway, until } from './gateway-support.js';

const PROTOCOL = 'tidemark.v1.bin';
let gateway: Gateway;
beforeAll(async () => {
  gateway = await startGateway({ maxInFlight: '1000', maxFrame: '64kib', maxSubscriptions: '5' });
});
afterAll(() => gateway.close());
afterEach(() => {
  gateway.port.ringFull = false;
  gateway.port.roomFor = Number.POSITIVE_INFINITY;
  gateway.port.status = null;
});

interface Operation {
  op: number;
  id?: number;
  user?: number;
  userHi?: number;
  channel?: number;
  argument?: number;
  argumentHi?: number;
  type?: number;
  flags?: number;
  more?: number[];
}

function words(operation: Operation): number[] {
  const out = new Array<number>(REQUEST.WORDS).fill(0);
  out[REQUEST.HEAD] = operation.op | ((operation.type ?? 0) << 8) | (operation.flags ?? 0);
  out[REQUEST.REQUEST_ID] = operation.id ?? 0;
  out[REQUEST.USER_LO] = operation.user ?? 0;
  out[REQUEST.USER_HI] = operation.userHi ?? 0;
  out[REQUEST.CHANNEL_LO] = operation.channel ?? 0;
  out[REQUEST.ARGUMENT_LO] = operation.argument ?? 0;
  out[REQUEST.ARGUMENT_HI] = operation.argumentHi ?? 0;
  return [...out, ...(operation.more ?? [])];
}

function frame(...operations: Operation[]): Buffer {
  return Buffer.from(Int32Array.from(operations.flatMap(words)).buffer);
}

interface Reply {
  op: number;
  status: number;
  more: boolean;
  id: number;
  count: number;
  version: number;
  entries: Int32Array[];
}

/** The answers among what came; events apart. */
function replies(client: Client): Reply[] {
  const out: Reply[] = [];
  const all = client.words;
  for (let at = 0; at < all.length; ) {
    const head = all[at]!;
    const op = head & 0xff;
    if (op === OP_EVENT || op === OP_USER_DELETED) {
      at += EVENT.WORDS + (op === OP_EVENT ? ENTRY.WORDS : 0);
      continue;
    }
    const count = all[at + REPLY.MENTION_COUNT]!;
    const entryCount = (head & REPLY_ENTRY) === 0 ? 0 : op === OP_LIST || op === OP_ACK_BULK ? count : 1;
    const entries: Int32Array[] = [];
    for (let i = 0; i < entryCount; i++) {
      const from = at + REPLY.WORDS + i * ENTRY.WORDS;
      entries.push(all.slice(from, from + ENTRY.WORDS));
    }
    out.push({
      op,
      status: (head >>> 8) & 0xff,
      more: (head & REPLY_MORE) !== 0,
      id: all[at + REPLY.REQUEST_ID]!,
      count,
      version: all[at + REPLY.VERSION]!,
      entries,
    });
    at += REPLY.WORDS + entryCount * ENTRY.WORDS;
  }
  return out;
}

async function ask(client: Client, data: Buffer, count: number): Promise<Reply[]> {
  const from = replies(client).length;
  client.socket.send(data);
  await until(() => replies(client).length - from >= count, `${count} answers came`);
  return replies(client).slice(from);
}

const open = (): Promise<Client> => Client.open(gateway.streamUrl, PROTOCOL);
let lastUser = 5000;
const newUser = (): number => ++lastUser;

describe('binary frames', () => {
  it('carry many operations, and the answers come back together', async () => {
    const client = await open();
    const user = newUser();
    const answers = await ask(
      client,
      frame(
        { op: OP_PING, id: 1 },
        { op: OP_ACK, id: 2, user, channel: 7, argument: 100, flags: REQUEST_WITH_ENTRY },
        { op: OP_MENTION, id: 3, user, channel: 7, argument: 99 },
        { op: OP_MENTION, id: 4, user, channel: 7, argument: 101 },
        {
          op: OP_ACK,
          id: 5,
          user,
          channel: 8,
          argument: 1,
          flags: REQUEST_HAS_VIEWED | REQUEST_WITH_ENTRY,
          more: [0, 3651 << 11],
        },
        { op: OP_BADGE, id: 6, user },
        { op: OP_LIST, id: 7, user },
        { op: OP_GET, id: 8, user, channel: 7, flags: REQUEST_WITH_ENTRY },
        {
          op: OP_ACK_BULK,
          id: 9,
          user,
          channel: 2,
          more: [9, 0, 5, 0, 0, 10, 0, 6, 0, 1],
          flags: REQUEST_WITH_ENTRY,
        },
      ),
      9,
    );
    const byId = new Map(answers.map((answer) => [answer.id, answer]));
    expect(byId.get(1)).toMatchObject({ op: OP_PING, status: STATUS_OK });
    expect(byId.get(2)!.entries[0]![ENTRY.MESSAGE_LO]).toBe(100);
    expect(byId.get(3)!.status).toBe(STATUS_SUPPRESSED);
    expect(byId.get(4)!.status).toBe(STATUS_OK);
    expect(byId.get(5)!.entries[0]![ENTRY.META]! >>> 11).toBe(3651);
    expect(byId.get(6)).toMatchObject({ count: 1, version: 1 });
    expect(byId.get(7)!.entries).toHaveLength(2);
    expect(byId.get(8)!.entries[0]![ENTRY.MENTION_COUNT]).toBe(1);
    expect(byId.get(9)!.entries.map((entry) => entry[ENTRY.CHANNEL_LO])).toEqual([9, 10]);
    client.socket.close();
  });

  it('answer an invalid operation with its field, and go on with the others', async () => {
    const client = await open();
    const user = newUser();
    const good = { op: OP_ACK, user, channel: 7, argument: 1 };
    const wrong: [Operation, number][] = [
      [{ ...good, user: 0 }, FIELD_USER],
      [{ ...good, userHi: -1 }, FIELD_USER],
      [{ ...good, channel: 0 }, FIELD_CHANNEL],
      [{ ...good, argument: 0 }, FIELD_MESSAGE],
      [{ ...good, argumentHi: -1 }, FIELD_MESSAGE],
      [{ ...good, type: 6 }, FIELD_TYPE],
      [{ ...good, flags: 1 << 25 }, FIELD_OP],
      [{ ...good, flags: REQUEST_HAS_VIEWED, more: new Array(ACK_EXTRA.WORDS).fill(0) }, FIELD_VIEWED],
      [{ op: OP_LIST, user, flags: REQUEST_SINCE, argumentHi: 1 }, FIELD_SINCE],
      [{ op: OP_ACK_BULK, user, channel: 0 }, FIELD_ITEMS],
      [{ op: OP_ACK_BULK, user, channel: 101, more: new Array(101 * BULK_ITEM.WORDS).fill(1) }, FIELD_ITEMS],
      [{ op: OP_ACK_BULK, user, channel: 1, more: [1, 0, 0, 0, 0] }, FIELD_MESSAGE],
      [{ op: OP_ACK_BULK, user, channel: 1, more: [1, 0, 1, 0, 6] }, FIELD_TYPE],
    ];
    const operations = wrong.flatMap(([operation], i) => [
      { ...operation, id: i },
      { op: OP_PING, id: 1000 + i },
    ]);
    const answers = await ask(
      client,
      frame(...operations, { op: OP_LIST, user, id: 5000 }),
      operations.length + 1,
    );
    wrong.forEach(([, field], i) => {
      expect(
        answers.find((answer) => answer.id === i),
        `operation ${i}`,
      ).toMatchObject({ status: STATUS_INVALID, count: field });
    });
    expect(answers.filter((answer) => answer.op === OP_PING && answer.status === STATUS_OK)).toHaveLength(
      wrong.length,
    );
    expect(answers.find((answer) => answer.id === 5000)!.count).toBe(0);
    client.socket.close();
  });

  it.each([
    ['an unknown operation', Buffer.from(Int32Array.of(99, 5, 0, 0, 0, 0, 0, 0).buffer), FIELD_OP],
    ['no operation', Buffer.alloc(REQUEST.WORDS * 4), FIELD_OP],
    ['half an operation', frame({ op: OP_GET, id: 5, user: 1, channel: 1 }).subarray(0, 20), FIELD_LENGTH],
    [
      'an ack without its extra words',
      frame({ op: OP_ACK, id: 5, user: 1, channel: 1, argument: 1, flags: REQUEST_HAS_VIEWED }),
      FIELD_LENGTH,
    ],
    ['more items than there are', frame({ op: OP_ACK_BULK, id: 5, user: 1, channel: -1 }), FIELD_LENGTH],
    ['three bytes too many', Buffer.concat([frame({ op: OP_PING, id: 5 }), Buffer.alloc(3)]), FIELD_LENGTH],
  ])('%s is answered and ends the connection', async (_, data, field) => {
    const client = await open();
    client.socket.send(Buffer.concat([frame({ op: OP_PING, id: 1 }), data]));
    expect((await client.closed).code).toBe(1007);
    const answers = replies(client);
    expect(answers[0]).toMatchObject({ op: OP_PING, id: 1, status: STATUS_OK });
    expect(answers.at(-1)).toMatchObject({ status: STATUS_INVALID, count: field });
  });

  it('text is refused with 1003, and too large a frame with 1009', async () => {
    const text = await open();
    text.socket.send('{}');
    expect((await text.closed).code).toBe(1003);
    const large = await open();
    large.socket.send(Buffer.alloc(64 * 1024 + 1));
    expect((await large.closed).code).toBe(1009);
    const enormous = await open();
    enormous.socket.send(Buffer.alloc(1024 * 1024));
    expect((await enormous.closed).code).toBe(1006);
  });
});

describe('limits of a binary connection', () => {
  it('operations beyond those in flight are busy, and none is lost', async () => {
    const client = await open();
    const user = newUser();
    gateway.port.hold();
    const operations = Array.from({ length: 1200 }, (_, id) => ({ op: OP_MENTION, id, user, channel: 7 }));
    client.socket.send(frame(...operations));
    await until(() => gateway.port.heldCount === 1000, '1,000 are in flight');
    await until(() => replies(client).length === 200, 'the others are answered');
    expect(replies(client).every((answer) => answer.status === STATUS_BUSY && answer.id >= 1000)).toBe(true);
    gateway.port.release();
    await until(() => replies(client).length === 1200, 'all are answered');
    const [badge] = await ask(client, frame({ op: OP_BADGE, id: 1, user }), 1);
    expect(badge).toMatchObject({ count: 1000 });
    client.socket.close();
  });

  it('a full ring is busy, and the connection is as free as before', async () => {
    const client = await open();
    const user = newUser();
    gateway.port.roomFor = 3;
    const operations = Array.from({ length: 5 }, (_, id) => ({ op: OP_MENTION, id, user, channel: 7 }));
    const answers = await ask(client, frame(...operations), 5);
    expect(answers.filter((answer) => answer.status === STATUS_BUSY).map((answer) => answer.id)).toEqual([
      3, 4,
    ]);
    expect(gateway.server.front.inFlightCount).toBe(0);
    client.socket.close();
  });

  it('answers for a connection that is gone are dropped', async () => {
    const [leaving, staying] = [await open(), await open()];
    gateway.port.hold();
    leaving.socket.send(frame({ op: OP_BADGE, id: 1, user: newUser() }));
    staying.socket.send(frame({ op: OP_BADGE, id: 2, user: newUser() }));
    await until(() => gateway.port.heldCount === 2, 'both are answered by the shards');
    leaving.socket.terminate();
    await until(() => gateway.server.front.connections.count === 1, 'the server sees it');
    const next = await open();
    gateway.port.release();
    await until(() => replies(staying).length === 1, 'the other has its answer');
    expect(replies(next)).toEqual([]);
    expect(gateway.server.front.inFlightCount).toBe(0);
    staying.socket.close();
    next.socket.close();
  });

  it('a list of many parts comes whole', async () => {
    const client = await open();
    const user = newUser();
    for (let i = 0; i < 5; i++) {
      const items = Array.from({ length: 100 }, (_, k) => [1 + i * 100 + k, 0, 1, 0, 0]).flat();
      await ask(client, frame({ op: OP_ACK_BULK, user, channel: 100, more: items }), 1);
    }
    client.received.length = 0;
    client.socket.send(frame({ op: OP_LIST, id: 3, user }));
    await until(() => replies(client).some((answer) => !answer.more), 'the last part came');
    const parts = replies(client);
    expect(parts.flatMap((part) => part.entries.map((entry) => entry[ENTRY.CHANNEL_LO]))).toEqual(
      Array.from({ length: 500 }, (_, i) => i + 1),
    );
    expect(gateway.server.front.inFlightCount).toBe(0);

    // More than one buffer of answers at once.
    client.received.length = 0;
    gateway.port.hold();
    client.socket.send(frame(...Array.from({ length: 9 }, (_, id) => ({ op: OP_LIST, id, user }))));
    await until(() => gateway.port.heldCount === 9 * parts.length, 'nine lists wait');
    gateway.port.release();
    await until(() => replies(client).length === 9 * parts.length, 'nine lists came');
    expect(replies(client).flatMap((part) => part.entries)).toHaveLength(9 * 500);
    client.socket.close();
  });
});

describe('binary subscriptions', () => {
  it('bring the changes of the user, whoever made them, until unsubscribed', async () => {
    const [watcher, writer] = [await open(), await open()];
    const user = newUser();
    expect(await ask(watcher, frame({ op: OP_SUBSCRIBE, id: 77, user }), 1)).toMatchObject([
      { op: OP_SUBSCRIBE, id: 77, status: STATUS_OK },
    ]);
    watcher.received.length = 0;
    await ask(writer, frame({ op: OP_ACK, user, channel: 7, argument: 5 }, { op: OP_DELETE_USER, user }), 2);
    await until(() => watcher.words.length >= EVENT.WORDS * 2 + ENTRY.WORDS, 'two events came');
    const event = watcher.words;
    expect(event[EVENT.HEAD]).toBe(OP_EVENT | (CAUSE_ACK << 8));
    expect(event[EVENT.USER_LO]).toBe(user);
    expect(event[EVENT.WORDS + ENTRY.MESSAGE_LO]).toBe(5);
    expect(event[EVENT.WORDS + ENTRY.WORDS]! & 0xff).toBe(OP_USER_DELETED);
    await ask(watcher, frame({ op: OP_UNSUBSCRIBE, id: 78, user }), 1);
    expect(gateway.server.front.subscriptions.count).toBe(0);
    watcher.received.length = 0;
    await ask(writer, frame({ op: OP_ACK, user, channel: 7, argument: 6 }), 1);
    await ask(watcher, frame({ op: OP_PING }), 1);
    expect(watcher.words).toHaveLength(REPLY.WORDS);
    watcher.socket.close();
    writer.socket.close();
  });

  it('are undone when the shard refuses, and bounded for each connection', async () => {
    const client = await open();
    gateway.port.status = STATUS_STORE_UNAVAILABLE;
    expect(await ask(client, frame({ op: OP_SUBSCRIBE, id: 1, user: newUser() }), 1)).toMatchObject([
      { status: STATUS_STORE_UNAVAILABLE },
    ]);
    expect(gateway.server.front.subscriptions.count).toBe(0);
    gateway.port.status = null;
    const operations = Array.from({ length: 6 }, (_, id) => ({ op: OP_SUBSCRIBE, id, user: newUser() }));
    const answers = await ask(client, frame(...operations, operations[0]!), 7);
    expect(answers.filter((answer) => answer.status === STATUS_BUSY).map((answer) => answer.id)).toEqual([5]);
    expect(gateway.server.front.subscriptions.count).toBe(5);
    client.socket.close();
    await until(() => gateway.server.front.subscriptions.count === 0, 'closing unsubscribes');
  });

  it('an unsubscribe that finds the ring full reaches the shard later', async () => {
    const [watcher, writer] = [await open(), await open()];
    const user = newUser();
    await ask(watcher, frame({ op: OP_SUBSCRIBE, user }), 1);
    gateway.port.ringFull = true;
    watcher.socket.close();
    await until(() => gateway.server.front.subscriptions.count === 0, 'the front has forgotten it');
    const { taken } = gateway.port;
    gateway.port.ringFull = false;
    await until(() => gateway.port.taken === taken + 1, 'the shard is told');
    const before = gateway.server.front.subscriptions.eventsReceived;
    await ask(writer, frame({ op: OP_ACK, user, channel: 7, argument: 6 }), 1);
    expect(gateway.server.front.subscriptions.eventsReceived).toBe(before);
    writer.socket.close();
  });
});
