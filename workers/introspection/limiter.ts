/**
 * Limits on the operations of one user, or of one channel. Nothing is counted for each key: a key is watched when the
 * hot keys show it near the limit, and from then on a bucket of tokens counts its operations exactly. A service
 * without hot keys pays one comparison an operation.
 *
 * I1  A bucket holds at most a second's operations, but always one, and gets as many a second. Who finds less than one is refused.
 * I2  FILTER[hash] counts the watched keys of that hash; 0 says that the key is not watched.
 */
import { OP_UNSUBSCRIBE, REQUEST, ROUTED } from '../../engine/messages.js';
import type { HotTable } from './hot-keys.js';
import { WINDOW_S } from './hot-keys.js';
import { hashChannel, namesChannel } from './lane-introspection.js';

/** Keys watched at once; those who come later are not limited meanwhile. */
const WATCHED_MAX = 64;
/** A key is watched from this part of the limit on: its rate is estimated from samples. */
const WATCHED_FROM = 0.5;
const FILTER_BITS = 12;
const FILTER_MASK = (1 << FILTER_BITS) - 1;
/** The low bits of a user's hash are its partition. */
const FILTER_SHIFT = 8;

class KeyLimiter {
  readonly #filter = new Uint8Array(FILTER_MASK + 1);
  readonly #los = new Int32Array(WATCHED_MAX);
  readonly #his = new Int32Array(WATCHED_MAX);
  readonly #hashes = new Int32Array(WATCHED_MAX);
  readonly #tokens = new Float64Array(WATCHED_MAX);
  readonly #seen = new Uint8Array(WATCHED_MAX);
  count = 0;
  /** Of a bucket: a lane's part of a limit can be less than one a second. */
  readonly #room: number;

  /** @param perS  operations a second of one key */
  constructor(
    readonly perS: number,
    readonly hashOf: (lo: number, hi: number) => number,
  ) {
    this.#room = Math.max(1, perS);
  }

  /** Takes a token of the key's bucket. @returns true when the key is over its limit */
  refuses(hash: number, lo: number, hi: number): boolean {
    if (this.#filter[(hash >>> FILTER_SHIFT) & FILTER_MASK] === 0) return false;
    for (let i = 0; i < this.count; i++) {
      if (this.#los[i] !== lo || this.#his[i] !== hi) continue;
      if (this.#tokens[i]! < 1) return true;
      this.#tokens[i] = this.#tokens[i]! - 1;
      return false;
    }
    return false;
  }

  /** Fills the buckets, and watches those keys of the table that are near the limit. */
  tick(seconds: number, table: HotTable): void {
    for (let i = 0; i < this.count; i++) {
      this.#tokens[i] = Math.min(this.#room, this.#tokens[i]! + this.perS * seconds);
      this.#seen[i] = 0;
    }
    table.each(this.perS * WATCHED_FROM * WINDOW_S, this.#watch);
    for (let i = this.count - 1; i >= 0; i--) {
      // A bucket that is not full yet has been used in the last second.
      if (this.#seen[i] === 0 && this.#tokens[i]! >= this.#room) this.#forget(i);
    }
  }

  readonly #watch = (lo: number, hi: number): void => {
    for (let i = 0; i < this.count; i++) {
      if (this.#los[i] !== lo || this.#his[i] !== hi) continue;
      this.#seen[i] = 1;
      return;
    }
    if (this.count === WATCHED_MAX) return;
    const i = this.count++;
    const hash = this.hashOf(lo, hi);
    this.#los[i] = lo;
    this.#his[i] = hi;
    this.#hashes[i] = hash;
    this.#tokens[i] = this.#room;
    this.#seen[i] = 1;
    this.#filter[(hash >>> FILTER_SHIFT) & FILTER_MASK]!++;
  };

  #forget(i: number): void {
    this.#filter[(this.#hashes[i]! >>> FILTER_SHIFT) & FILTER_MASK]!--;
    const last = --this.count;
    this.#los[i] = this.#los[last]!;
    this.#his[i] = this.#his[last]!;
    this.#hashes[i] = this.#hashes[last]!;
    this.#tokens[i] = this.#tokens[last]!;
    this.#seen[i] = this.#seen[last]!;
  }
}

/** Operations a second; 0 = no limit. */
export interface RateLimits {
  readonly userPerS: number;
  /** Of the whole service: each shard grants its part. */
  readonly channelPerS: number;
}

export class Limiter {
  readonly #users: KeyLimiter | null;
  readonly #channels: KeyLimiter | null;
  /** Some key is watched: `refuses` is to be asked. */
  active = false;

  constructor(limits: RateLimits, shards: number, hashUser: (lo: number, hi: number) => number) {
    const { userPerS, channelPerS } = limits;
    this.#users = userPerS === 0 ? null : new KeyLimiter(userPerS, hashUser);
    this.#channels = channelPerS === 0 ? null : new KeyLimiter(channelPerS / shards, hashChannel);
  }

  /** Whether an operation (from ROUTED on at `words[at]`) is beyond a limit. */
  refuses(words: Int32Array, at: number): boolean {
    const opAt = at + ROUTED.WORDS;
    const op = words[opAt + REQUEST.HEAD]! & 0xff;
    if (op === OP_UNSUBSCRIBE) return false; // the front has forgotten the user already
    const users = this.#users;
    if (users !== null && users.count > 0) {
      const lo = words[opAt + REQUEST.USER_LO]!;
      const hi = words[opAt + REQUEST.USER_HI]!;
      if (users.refuses(words[at + ROUTED.USER_HASH]!, lo, hi)) return true;
    }
    const channels = this.#channels;
    if (channels === null || channels.count === 0) return false;
    if (!namesChannel(op)) return false;
    const lo = words[opAt + REQUEST.CHANNEL_LO]!;
    const hi = words[opAt + REQUEST.CHANNEL_HI]!;
    return channels.refuses(hashChannel(lo, hi), lo, hi);
  }

  /** Some times a second. @param seconds  since the last time */
  tick(seconds: number, users: HotTable, channels: HotTable): void {
    this.#users?.tick(seconds, users);
    this.#channels?.tick(seconds, channels);
    this.active = (this.#users?.count ?? 0) + (this.#channels?.count ?? 0) > 0;
  }
}
