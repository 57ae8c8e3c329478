/** Calls about one user take effect in the order in which they are made, also when some are tried again. */
import { describe, expect, test } from 'vitest';
import { Random } from '../../bench/random.js';
import { OP_ACK, OP_GET, STATUS_BUSY, STATUS_STORE_UNAVAILABLE } from '../../engine/messages.js';
import type { ListResult, ReadState, TidemarkClient } from '../../gateway/client/index.js';
import { stage } from './client-stage.js';
import { TestServer } from './client-test-server.js';

const tests = stage();
const { connect } = tests;

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Connected, and the next operation is refused. */
async function refusedOnce(status = STATUS_BUSY): Promise<TidemarkClient> {
  const client = connect();
  await client.ping();
  tests.server.refuse = { count: 1, status };
  return client;
}

/** Until the refusal has come, and the call rests. */
async function refused(client: TidemarkClient): Promise<void> {
  while (tests.server.refuse.count > 0) await sleep(1);
  await client.ping();
}

describe('a call that was refused', () => {
  test.each([
    ['delete', (client: TidemarkClient) => client.delete('7', '1')],
    ['deleteUser', (client: TidemarkClient) => client.deleteUser('7')],
    ['a manual ack', (client: TidemarkClient) => client.ack('7', '1', '3', { manual: true })],
    ['a mention', (client: TidemarkClient) => client.mention('1', ['7'], { messageId: '9' })],
  ])('fails when %s has been sent behind it', async (_name, later) => {
    const client = await refusedOnce();
    const [first, second] = await Promise.allSettled([client.ack('7', '1', '5'), later(client)]);
    expect(first).toMatchObject({ reason: { code: 'busy', retryAfterMs: 100 } });
    expect(second.status).toBe('fulfilled');
    expect(tests.server.operations.filter(({ op }) => op === OP_ACK).length).toBeLessThanOrEqual(2);
    expect((await client.get('7', '1'))?.lastMessageId).not.toBe('5');
  });

  test.each([
    ['ack', (client: TidemarkClient) => client.ack('7', '1', '5')],
    ['ackBulk', (client: TidemarkClient) => client.ackBulk('7', [{ channelId: '1', messageId: '5' }])],
    ['pinAck', (client: TidemarkClient) => client.pinAck('7', '1', 99)],
    ['mention', (client: TidemarkClient) => client.mention('1', ['7'], { messageId: '5' })],
  ])('%s: a delete that is made while it rests waits for it', async (_name, first) => {
    const client = await refusedOnce();
    const done: string[] = [];
    const calls = [first(client).then(() => done.push('first'))];
    await refused(client);
    calls.push(client.delete('7', '1').then(() => done.push('delete')));
    calls.push(client.list('7').then(({ entries }) => done.push(`list of ${entries.length}`)));
    await Promise.all(calls);
    expect(done).toEqual(['first', 'delete', 'list of 0']);
  });

  test('is seen by reads that were sent behind it', async () => {
    const client = await refusedOnce();
    const [entry, seen, list] = await Promise.all([
      client.ack('7', '1', '5'),
      client.get('7', '1'),
      client.list('7'),
    ]);
    expect(seen).toEqual(entry);
    expect(list.entries).toEqual([entry]);
  });

  test('a read: later writes do not wait for it, and it may see them', async () => {
    const client = await refusedOnce(STATUS_STORE_UNAVAILABLE);
    const list = client.list('7');
    await refused(client);
    const entry = await client.ack('7', '1', '5');
    expect((await list).entries).toEqual([entry]);
  });

  test('holds up no other user, and no other entry', async () => {
    const client = await refusedOnce(STATUS_STORE_UNAVAILABLE);
    let isDone = false;
    const first = client.ack('7', '1', '5').finally(() => {
      isDone = true;
    });
    await refused(client);
    await Promise.all([client.delete('8', '1'), client.ack('7', '2', '5'), client.get('7', '1', 5)]);
    expect(isDone).toBe(false);
    await first;
  });

  test('what waits for a call that waits keeps its place too', async () => {
    const client = await refusedOnce();
    const calls: Promise<unknown>[] = [client.ack('7', '1', '5')];
    await refused(client);
    calls.push(client.delete('7', '1'), client.deleteUser('7'), client.ack('7', '2', '5'));
    await Promise.all(calls);
    expect((await client.list('7')).entries.map(({ channelId }) => channelId)).toEqual(['2']);
  });

  test('lets the others go when it has failed for good', async () => {
    const client = connect({ triesMax: 2 });
    await client.ping();
    tests.server.refuseIf = (op) => (op === OP_ACK ? STATUS_BUSY : undefined);
    const ack = client.ack('7', '1', '5');
    await sleep(20);
    const deleted = client.delete('7', '1');
    await expect(ack).rejects.toMatchObject({ code: 'busy' });
    await deleted;
  });

  test('and its followers end with the client', async () => {
    const client = await refusedOnce();
    const ack = client.ack('7', '1', '5');
    await refused(client);
    const deleted = client.delete('7', '1');
    client.close();
    await expect(ack).rejects.toMatchObject({ code: 'closed' });
    await expect(deleted).rejects.toMatchObject({ code: 'closed' });
  });
});

describe('a call whose connection was lost', () => {
  test('is not repeated when a delete was sent behind it: that may have been done', async () => {
    const client = connect();
    await client.ping();
    tests.server.cutAfter = 1;
    const results = await Promise.allSettled([client.ack('7', '1', '5'), client.delete('7', '1')]);
    for (const result of results) expect(result).toMatchObject({ reason: { code: 'disconnected' } });
    expect(await client.get('7', '1')).toBeNull();
  });

  test('an ack is not repeated behind a later mention, which it would clear', async () => {
    const client = connect();
    await client.ping();
    tests.server.cutAfter = 1;
    const [ack, mention] = await Promise.allSettled([
      client.ack('7', '1', '5'),
      client.mention('1', ['7'], { messageId: '6' }),
    ]);
    expect(ack).toMatchObject({ reason: { code: 'disconnected' } });
    expect(mention).toMatchObject({ value: { duplicates: 1 } });
    expect(await client.badge('7')).toEqual({ mentionCount: 1, unreadMentionChannels: 1 });
  });

  test('is repeated with the reads behind it', async () => {
    const client = connect();
    await client.ping();
    tests.server.cutAfter = 1;
    const [entry, seen] = await Promise.all([client.ack('7', '1', '5'), client.get('7', '1')]);
    expect(seen).toEqual(entry);
  });

  test('keeps its place before what was refused', async () => {
    const client = connect();
    await client.ping();
    tests.server.unanswered = (op) => op === OP_GET;
    const get = client.get('7', '1');
    tests.server.refuseIf = (op) => (op === OP_ACK ? STATUS_BUSY : undefined);
    const ack = client.ack('7', '1', '5');
    await client.ping();
    tests.server.handshakes = 'cut';
    tests.server.cutAll();
    await sleep(200);
    tests.server.unanswered = undefined;
    tests.server.refuseIf = undefined;
    tests.server.handshakes = 'accept';
    expect(await get).toBeNull();
    await ack;
  });
});

interface Made {
  name: string;
  make: (client: TidemarkClient) => Promise<unknown>;
  /** The user, of a read. */
  reads?: string;
}

/**
 * One call about one of two users and three channels. Forward acks have rising messages: two that change places then leave
 * no mark that was not there otherwise.
 */
function randomCall(random: Random, message: number): Made {
  const user = String(7 + random.below(2));
  const channel = String(1 + random.below(3));
  const id = String(message);
  const old = String(1 + random.below(message));
  switch (random.below(10)) {
    case 0:
      return { name: `delete ${user} ${channel}`, make: (client) => client.delete(user, channel) };
    case 1:
      return { name: `delete ${user}`, make: (client) => client.deleteUser(user) };
    case 2: {
      const options = { manual: true, mentionCount: 3 };
      return {
        name: `set ${user} ${channel} ${old}`,
        make: (client) => client.ack(user, channel, old, options),
      };
    }
    case 3: {
      const options = { flags: message & 0xff };
      return {
        name: `flag ${user} ${channel} ${id}`,
        make: (client) => client.ack(user, channel, id, options),
      };
    }
    case 4: {
      const items = [
        { channelId: channel, messageId: id },
        { channelId: '3', messageId: id },
      ];
      return {
        name: `bulk ${user} ${channel} ${id} 3 ${id}`,
        make: (client) => client.ackBulk(user, items),
      };
    }
    case 5:
      return { name: `pin ${user} ${channel}`, make: (client) => client.pinAck(user, channel, message) };
    case 6:
      return { name: `get ${user} ${channel}`, make: (client) => client.get(user, channel), reads: user };
    case 7:
      return { name: `list ${user}`, make: (client) => client.list(user), reads: user };
    case 8:
      return {
        name: `mention ${user} ${channel} ${id}`,
        make: (client) => client.mention(channel, [user], { messageId: id }),
      };
    default:
      return { name: `ack ${user} ${channel} ${id}`, make: (client) => client.ack(user, channel, id) };
  }
}

/** Versions count changes of all entries of the user: those of calls that commute may come either way. */
function withoutVersions({ entries }: ListResult): ReadState[] {
  return entries.map((entry) => ({ ...entry, version: 0 }));
}

/** What only calls that do not commute set, of each entry. */
function marks(entries: readonly ReadState[]): string[] {
  return entries.map(({ channelId, lastMessageId, flags }) => `${channelId}: ${lastMessageId} ${flags}`);
}

test('random calls, a part of them refused: as if those that were done had been made one after another', async () => {
  const seed = Number(process.env.TIDEMARK_SEED ?? Math.floor(Math.random() * 2 ** 31));
  const random = new Random(seed);
  const client = connect({ triesMax: 3, inFlightMax: 8, timeoutMs: 20_000 });
  tests.server.refuseIf = () => (random.below(4) === 0 ? STATUS_BUSY : undefined);
  const made: { call: Made; result: Promise<PromiseSettledResult<unknown>>; madeBeforeEnd: number }[] = [];
  for (let i = 0; i < 600; i++) {
    const call = randomCall(random, i + 1);
    const result = Promise.allSettled([call.make(client)]).then(([settled]) => settled!);
    const one = { call, result, madeBeforeEnd: 0 };
    void result.then(() => {
      one.madeBeforeEnd = made.length;
    });
    made.push(one);
    if (random.below(3) === 0) await sleep(random.below(12));
  }
  const results = await Promise.all(made.map(({ result }) => result));
  tests.server.refuseIf = undefined;

  const plain = new TestServer();
  await plain.start();
  try {
    const other = connect({ url: plain.url });
    const history = [`seed ${seed}`];
    /** What a read may have seen of each user after each call. */
    const seen: Record<string, string[][]> = { '7': [], '8': [] };
    let refusals = 0;
    for (const [index, { call }] of made.entries()) {
      const result = results[index]!;
      history.push(`${call.name}: ${result.status}`);
      if (result.status === 'rejected') {
        expect(result.reason, history.join('\n')).toMatchObject({ code: 'busy' });
        refusals++;
      } else await call.make(other);
      for (const user of ['7', '8']) seen[user]!.push(marks((await other.list(user)).entries));
    }
    // Most are done: a test in which all fail proves nothing.
    expect(refusals).toBeLessThan(300);
    made.forEach(({ call, madeBeforeEnd }, index) => {
      const result = results[index]!;
      if (call.reads === undefined || result.status === 'rejected' || result.value === null) return;
      const value = result.value as ListResult | ReadState;
      const possible = new Set(seen[call.reads]!.slice(index, madeBeforeEnd + 1).flat());
      for (const mark of marks('entries' in value ? value.entries : [value])) {
        // A pin or mention that was called later may have made it.
        if (!mark.endsWith(': null 0'))
          expect(possible, `${history.join('\n')}\n${index} saw ${mark}`).toContain(mark);
      }
    });
    for (const user of ['7', '8']) {
      const [left, expected] = [await client.list(user), await other.list(user)];
      expect(withoutVersions(left), history.join('\n')).toEqual(withoutVersions(expected));
    }
  } finally {
    await plain.stop();
  }
});

test('a crowd of one user is refused, and all of it done in the end', async () => {
  const client = connect({ timeoutMs: 20_000 });
  await client.ping();
  tests.server.refuse = { count: 3000, status: STATUS_BUSY };
  const channels = Array.from({ length: 3000 }, (_, i) => String(i + 1));
  const acks = channels.map((channel) => client.ack('7', channel, '5'));
  await refused(client);
  expect((await client.list('7')).entries).toHaveLength(3000);
  tests.server.refuse = { count: 1000, status: STATUS_BUSY };
  const again = channels.map((channel) => client.ack('7', channel, '6'));
  await refused(client);
  const deletes = channels.map((channel) => client.delete('7', channel));
  await Promise.all([...acks, ...again, ...deletes]);
  expect((await client.list('7')).entries).toEqual([]);
});
