/** Subscriptions of the client when the service refuses some of them. */
import { describe, expect, test } from 'vitest';
import { OP_SUBSCRIBE, STATUS_BUSY, STATUS_INTERNAL } from '../../engine/messages.js';
import type { TidemarkEvent } from '../../gateway/client/index.js';
import { stage } from './client-stage.js';

const tests = stage();
const { connect } = tests;

describe('a subscription that fails for some of its users', () => {
  test('leaves nobody subscribed on the service', async () => {
    const client = connect();
    await client.ping();
    let isBusy = true;
    tests.server.refuseIf = (op, userId) => {
      if (op !== OP_SUBSCRIBE) return;
      if (userId === '9') return STATUS_INTERNAL;
      // Tried again, and taken then, when the refusal for 9 has long come.
      const status = userId === '8' && isBusy ? STATUS_BUSY : undefined;
      if (userId === '8') isBusy = false;
      return status;
    };
    await expect(client.subscribe(['7', '8', '9'])).rejects.toMatchObject({ code: 'internal' });
    await new Promise((resolve) => setTimeout(resolve, 300));
    await client.ping();
    expect(tests.server.subscribed).toEqual([]);
  });

  test('takes nothing from another that has the same users', async () => {
    const client = connect();
    const events: TidemarkEvent[] = [];
    await client.subscribe(['7'], (event) => events.push(event));
    tests.server.refuseIf = (op, userId) =>
      op === OP_SUBSCRIBE && userId === '9' ? STATUS_INTERNAL : undefined;
    await expect(client.subscribe(['7', '9'])).rejects.toMatchObject({ code: 'internal' });
    await client.ack('7', '1', '5');
    await expect.poll(() => events.length).toBe(1);
  });
});

test('unsubscribe is tried again', async () => {
  const client = connect();
  const subscription = await client.subscribe(['7']);
  tests.server.refuse = { count: 1, status: STATUS_BUSY };
  await subscription.unsubscribe();
  expect(tests.server.subscribed).toEqual([]);
});

describe('a service that does not take the token any more', () => {
  test('ends what is subscribed to with an error, behind what had come; nobody connects again', async () => {
    tests.server.token = 'old';
    const client = connect({ token: 'old', reconnectMinMs: 1, reconnectMaxMs: 2 });
    const heard: TidemarkEvent[] = [];
    const listened = await client.subscribe(['7'], (event) => heard.push(event));
    const iterated = await client.subscribe(['7', '8']);
    const waiting = (await client.subscribe(['9']))[Symbol.asyncIterator]().next();
    await client.ack('7', '1', '5');
    tests.server.token = 'new';
    tests.server.cutAll();
    await expect(waiting).rejects.toMatchObject({ code: 'unauthorized' });
    const iterator = iterated[Symbol.asyncIterator]();
    expect(await iterator.next()).toMatchObject({ value: { cause: 'ack', userId: '7' } });
    await expect(iterator.next()).rejects.toMatchObject({ code: 'unauthorized' });
    expect(await iterator.next()).toMatchObject({ done: true });
    await expect(listened.ended).rejects.toMatchObject({ code: 'unauthorized' });
    expect(heard).toMatchObject([{ cause: 'ack' }]);
    tests.server.token = 'old';
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(client.connected).toBe(false);
    // A call connects, and who subscribes anew is served.
    await client.subscribe(['7'], (event) => heard.push(event));
    await client.ack('7', '1', '6');
    await expect.poll(() => heard).toMatchObject([{ cause: 'ack' }, { event: 'gap' }, { cause: 'ack' }]);
  });
});

describe('after a lost connection', () => {
  test('a user who is refused keeps nobody else waiting, and is asked for again', async () => {
    const client = connect();
    const [first, second]: [TidemarkEvent[], TidemarkEvent[]] = [[], []];
    await client.subscribe(['7', '9'], (event) => first.push(event));
    await client.subscribe(['8'], (event) => second.push(event));
    tests.server.frames.length = 0;
    tests.server.refuseIf = (op, userId) => (op === OP_SUBSCRIBE && userId === '8' ? STATUS_BUSY : undefined);
    tests.server.cutAll();
    await expect.poll(() => first).toEqual([{ event: 'gap', userIds: ['7', '9'] }]);
    expect(second).toEqual([]);
    const asked = (user: string): number =>
      tests.server.operations.filter(({ op, userId }) => op === OP_SUBSCRIBE && userId === user).length;
    await expect.poll(() => asked('8'), { timeout: 3000 }).toBe(2);
    expect(asked('7')).toBe(1);
    tests.server.refuseIf = undefined;
    await expect.poll(() => second, { timeout: 3000 }).toEqual([{ event: 'gap', userIds: ['8'] }]);
    expect(first).toHaveLength(1);
  });

  test('the gap of a user comes before the first event behind it', async () => {
    const client = connect();
    const events: TidemarkEvent[] = [];
    await client.subscribe(['7', '8'], (event) => events.push(event));
    tests.server.onSubscribed = (userId) => tests.server.ack(userId, 1n, 5n);
    tests.server.cutAll();
    await expect.poll(() => events.filter(({ event }) => event === 'read_state')).toHaveLength(2);
    for (const user of ['7', '8']) {
      const ofUser = events.filter((event) =>
        event.event === 'gap' ? event.userIds.includes(user) : event.userId === user,
      );
      expect(ofUser.map(({ event }) => event)).toEqual(['gap', 'read_state']);
    }
  });
});
