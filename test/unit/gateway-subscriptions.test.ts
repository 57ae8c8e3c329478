/** Who hears of which user, and what the shard is told of it, with a ring that may be full. */
import { beforeEach, describe, expect, it } from 'vitest';
import { EVENT, OP_UNSUBSCRIBE, REQUEST, ROUTED } from '../../engine/messages.js';
import { Connection, Outbox } from '../../gateway/connections.js';
import { hashId } from '../../gateway/id-hash.js';
import { Submitter } from '../../gateway/submitter.js';
import { Subscriptions } from '../../gateway/subscriptions.js';

/** Longer than a full ring is left alone. */
const RETRY_MS = 40;

const words = new Int32Array(1000);
/** Users of whom the shard was told that nobody is subscribed. */
let unsubscribed: number[];
let isFull: boolean;
let subscriptions: Subscriptions;

class Listener extends Connection {
  heard = 0;

  constructor() {
    super(new Outbox(1, 1, () => {}), 'binary');
  }
  override event(): void {
    this.heard++;
  }
  override flush(): void {}
}

beforeEach(() => {
  unsubscribed = [];
  isFull = false;
  const port = {
    words,
    reserve: () => (isFull ? -1 : 0),
    commit() {
      expect(words[ROUTED.WORDS + REQUEST.HEAD]).toBe(OP_UNSUBSCRIBE);
      unsubscribed.push(words[ROUTED.WORDS + REQUEST.USER_LO]!);
    },
    publish() {},
    onAnswer() {},
    onDrained() {},
  };
  subscriptions = new Subscriptions(new Submitter(port, false), 1);
});

/** Subscribes, and the shard has answered. */
function subscribe(connection: Connection, lo: number, succeeded = true, hi = 0): void {
  subscriptions.settle(connection, lo, hi, subscriptions.add(connection, lo, hi), succeeded);
}

/** @returns how many have heard of the user */
function announce(user: number, ...listeners: Listener[]): number[] {
  for (const listener of listeners) listener.heard = 0;
  const event = new Int32Array(EVENT.WORDS);
  event[EVENT.USER_LO] = user;
  subscriptions.deliver(event, 0, EVENT.WORDS);
  return listeners.map(({ heard }) => heard);
}

const delay = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

describe('subscriptions', () => {
  it('end for the shard with the last of a user', () => {
    const [a, b] = [new Listener(), new Listener()];
    subscribe(a, 7);
    subscribe(b, 7);
    subscriptions.remove(a, 7, 0);
    expect([unsubscribed, announce(7, a, b)]).toEqual([[], [0, 1]]);
    subscriptions.removeAll(b);
    expect([unsubscribed, announce(7, a, b)]).toEqual([[7], [0, 0]]);
    expect(subscriptions.count).toBe(0);
  });

  it('end for the shard when its ring has room again, each time', async () => {
    const a = new Listener();
    for (const user of [7, 8]) {
      subscribe(a, user);
      isFull = true;
      subscriptions.remove(a, user, 0);
      await delay(RETRY_MS);
      expect(unsubscribed).not.toContain(user);
      isFull = false;
      await delay(RETRY_MS);
      expect(unsubscribed).toContain(user);
    }
    expect(unsubscribed).toEqual([7, 8]);
  });

  it('go on when somebody subscribes before the shard was told of the last', async () => {
    const [a, b] = [new Listener(), new Listener()];
    subscribe(a, 7);
    isFull = true;
    subscriptions.remove(a, 7, 0);
    subscribe(b, 7);
    isFull = false;
    await delay(RETRY_MS);
    expect([unsubscribed, announce(7, a, b)]).toEqual([[], [0, 1]]);
  });

  it('stay when one more subscribe of the connection fails', () => {
    const a = new Listener();
    subscribe(a, 7);
    subscribe(a, 7, false);
    expect([unsubscribed, announce(7, a)]).toEqual([[], [1]]);
    const [first, second] = [subscriptions.add(a, 8, 0), subscriptions.add(a, 8, 0)];
    subscriptions.settle(a, 8, 0, first, false);
    expect(announce(8, a)).toEqual([1]); // the other is on its way
    subscriptions.settle(a, 8, 0, second, true);
    expect([unsubscribed, announce(8, a)]).toEqual([[], [1]]);
  });

  it('are not ended by the failure of a subscribe from before an unsubscribe', () => {
    const a = new Listener();
    const first = subscriptions.add(a, 7, 0);
    subscriptions.remove(a, 7, 0);
    subscribe(a, 7);
    subscriptions.settle(a, 7, 0, first, false);
    expect(announce(7, a)).toEqual([1]);
  });

  it('of users with the same hash are told apart', () => {
    const byHash = new Map<number, [number, number]>();
    const pairs: [number, number][][] = [];
    // Of 65,536 ids two have the same hash of 32 bits by chance, nearly as likely as not.
    for (let lo = 1; pairs.length < 3; lo++) {
      const id: [number, number] = [lo, Math.imul(lo, 0x9e3779b1) >>> 1];
      const hash = hashId(...id);
      const other = byHash.get(hash);
      if (other !== undefined) pairs.push([other, id]);
      byHash.set(hash, id);
    }
    for (const pair of pairs) {
      for (const [gone, left] of [pair, [...pair].reverse()] as [number, number][][]) {
        const a = new Listener();
        for (const [lo, hi] of pair) subscribe(a, lo, true, hi);
        subscriptions.remove(a, ...gone!);
        expect([subscriptions.has(a, ...gone!), subscriptions.has(a, ...left!)]).toEqual([false, true]);
        subscriptions.removeAll(a);
        expect([unsubscribed, subscriptions.count]).toEqual([[gone![0], left![0]], 0]);
        unsubscribed.length = 0;
      }
    }
  });
});
