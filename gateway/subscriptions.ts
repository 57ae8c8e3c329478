/**
 * Who is subscribed to which user, and the way of an event to them.
 *
 * I1  A user has a watch exactly while at least one connection is subscribed, or while the shard still has to be
 *     told that none is (its ring was full): then the watch is empty and on the list of leftovers.
 * I2  Each subscribe goes to the shard, also the second of a user: the answer then says that the shard watches. It
 *     passes by operations that wait for the store; what they change is announced. Only the last unsubscribe goes there.
 * I3  Both go through the same ring, so the shard's last word is the table's.
 * I4  A connection keeps a watch while a subscribe of it succeeded or is on its way: one that fails takes back only what
 *     no other has asked for.
 */
import { EVENT, OP_UNSUBSCRIBE, REQUEST } from '../engine/messages.js';
import type { Connection } from './connections.js';
import { hashId } from './id-hash.js';
import { EVENT_JSON_BYTES_MAX, writeEvent } from './json-event.js';
import type { Submitter } from './submitter.js';

/** One user with subscribers. */
export interface Watch {
  readonly lo: number;
  readonly hi: number;
  readonly connections: Connection[];
  /** Another user with the same hash. */
  next: Watch | null;
}

/** Subscribes of one connection to one user that the shard has not answered. */
export interface PendingSubscribe {
  count: number;
  /** One has succeeded. */
  confirmed: boolean;
}

const RETRY_MS = 20;

export class Subscriptions {
  readonly #submitter: Submitter;
  /** A route whose answers nobody waits for. */
  readonly #route: number;
  /** By the hash of the user. */
  readonly #watches = new Map<number, Watch>();
  readonly #leftovers = new Set<Watch>();
  readonly #request = new Int32Array(REQUEST.WORDS);
  readonly #json = new Uint8Array(EVENT_JSON_BYTES_MAX);
  #timer: NodeJS.Timeout | null = null;
  /** Pairs of connection and user. */
  count = 0;
  eventsReceived = 0;
  eventsDelivered = 0;

  constructor(submitter: Submitter, route: number) {
    this.#submitter = submitter;
    this.#route = route;
    this.#request[REQUEST.HEAD] = OP_UNSUBSCRIBE;
  }

  #find(lo: number, hi: number): Watch | null {
    let watch = this.#watches.get(hashId(lo, hi)) ?? null;
    while (watch !== null && (watch.lo !== lo || watch.hi !== hi)) watch = watch.next;
    return watch;
  }

  has(connection: Connection, lo: number, hi: number): boolean {
    const watch = this.#find(lo, hi);
    return watch !== null && connection.watches.has(watch);
  }

  /** From now on the connection gets the events of the user. @returns what `settle` wants when the shard has answered */
  add(connection: Connection, lo: number, hi: number): PendingSubscribe {
    let watch = this.#find(lo, hi);
    if (watch === null) {
      const hash = hashId(lo, hi);
      watch = { lo, hi, connections: [], next: this.#watches.get(hash) ?? null };
      this.#watches.set(hash, watch);
    }
    const subscribed = connection.watches.get(watch);
    const pending = subscribed ?? { count: 0, confirmed: subscribed === null };
    pending.count++;
    connection.watches.set(watch, pending);
    if (subscribed === undefined) {
      this.#leftovers.delete(watch);
      watch.connections.push(connection);
      this.count++;
    }
    return pending;
  }

  /** The shard has answered a subscribe, or it could not be sent (I4). */
  settle(
    connection: Connection,
    lo: number,
    hi: number,
    pending: PendingSubscribe,
    succeeded: boolean,
  ): void {
    pending.count--;
    const watch = this.#find(lo, hi);
    if (watch === null || connection.watches.get(watch) !== pending) return; // unsubscribed, or closed, meanwhile
    if (succeeded) pending.confirmed = true;
    if (pending.count > 0) return;
    if (pending.confirmed) connection.watches.set(watch, null);
    else this.remove(connection, lo, hi);
  }

  remove(connection: Connection, lo: number, hi: number): void {
    const watch = this.#find(lo, hi);
    if (watch !== null && connection.watches.delete(watch)) this.#leave(watch, connection);
  }

  /** A connection is closed. */
  removeAll(connection: Connection): void {
    for (const watch of connection.watches.keys()) this.#leave(watch, connection);
    connection.watches.clear();
  }

  #leave(watch: Watch, connection: Connection): void {
    const { connections } = watch;
    const last = connections.pop()!;
    if (last !== connection) connections[connections.indexOf(connection)] = last;
    this.count--;
    if (connections.length === 0) this.#unsubscribe(watch);
  }

  /** Tells the shard that nobody is subscribed; when its ring is full, a little later. */
  #unsubscribe(watch: Watch): void {
    this.#request[REQUEST.USER_LO] = watch.lo;
    this.#request[REQUEST.USER_HI] = watch.hi;
    if (this.#submitter.submit(this.#route, this.#request, 0, REQUEST.WORDS)) {
      this.#submitter.publishSoon();
      this.#leftovers.delete(watch);
      this.#forget(watch);
      return;
    }
    this.#leftovers.add(watch);
    this.#timer ??= setTimeout(() => {
      this.#timer = null;
      for (const leftover of this.#leftovers) this.#unsubscribe(leftover);
    }, RETRY_MS).unref();
  }

  #forget(watch: Watch): void {
    const hash = hashId(watch.lo, watch.hi);
    const first = this.#watches.get(hash)!;
    if (first === watch) {
      if (watch.next === null) this.#watches.delete(hash);
      else this.#watches.set(hash, watch.next);
      return;
    }
    let before = first;
    while (before.next !== watch) before = before.next!;
    before.next = watch.next;
  }

  /** EVENT words (and an ENTRY) at `words[at]` to all who are subscribed to the user; JSON is made once for all. */
  deliver(words: Int32Array, at: number, length: number): void {
    this.eventsReceived++;
    const watch = this.#find(words[at + EVENT.USER_LO]!, words[at + EVENT.USER_HI]!);
    if (watch === null) return;
    let json: Uint8Array | null = null;
    const makeJson = (): Uint8Array =>
      (json ??= this.#json.subarray(0, writeEvent(this.#json, 0, words, at)));
    const { connections } = watch;
    // From the end: a connection that is closed for being slow leaves, and the last one takes its place.
    for (let i = connections.length - 1; i >= 0; i--) {
      connections[i]!.event(words, at, length, makeJson);
      this.eventsDelivered++;
    }
  }
}
