/**
 * Limits on the operations of one user, or of one channel. Nothing is counted for each key: a key is watched when the
 * hot keys show it near the limit, and from then on a bucket of tokens counts its operations exactly. A service
 * without hot keys pays one comparison an operation.
 *
 * I1  A bucket holds at most a second's operations, but always one, and gets as many a second. Who finds less than one is refused.
 * I2  Slots 1 to `count` are watched; each is in the chain of its hash, from HEADS on by NEXT, where 0 ends it.
 * I3  Who is over its limit keeps its slot: when all are taken, one with the better part of its bucket left gives way to a
 *     newcomer. If there is none, the newcomer is not limited, and what is beyond its limit is counted in UNLIMITED.
 */
import { assert } from '../../engine/layout.js';
import { OP_UNSUBSCRIBE, REQUEST, ROUTED } from '../../engine/messages.js';
import { LANE_STATS } from '../stats.js';
import { type HotTable, WINDOW_S } from './hot-keys.js';
import { hashChannel, namesChannel } from './lane-introspection.js';

/** Keys watched at once, some 23 bytes each: four times as many as there are hot keys at any moment. */
export const WATCHED_MAX = 4096;
/** A key is watched from this part of the limit on: its rate is estimated from samples. */
const WATCHED_FROM = 0.5;
const BUCKETS = WATCHED_MAX * 2;
/** The low bits of a user's hash are its partition. */
const BUCKET_SHIFT = 8;

/** Of a watched key, since the last tick began. */
const MARK_NONE = 0;
const MARK_HOT = 1;
const MARK_NEW = 2;

export class KeyLimiter {
  readonly #heads = new Uint16Array(BUCKETS);
  readonly #next: Uint16Array;
  readonly #los: Int32Array;
  readonly #his: Int32Array;
  readonly #tokens: Float64Array;
  readonly #marks: Uint8Array;
  count = 0;
  /** Of a bucket: a lane's part of a limit can be less than one a second. */
  readonly #room: number;
  /** The slot that was looked at last for one that gives way, and how many may still be: each once a tick. */
  #hand = 0;
  #handLeft = 0;
  #seconds = 0;
  #passed = 0;

  /** @param perS  operations a second of one key */
  constructor(
    readonly perS: number,
    readonly hashOf: (lo: number, hi: number) => number,
    readonly watchedMax = WATCHED_MAX,
  ) {
    this.#room = Math.max(1, perS);
    const slots = watchedMax + 1;
    this.#next = new Uint16Array(slots);
    this.#los = new Int32Array(slots);
    this.#his = new Int32Array(slots);
    this.#tokens = new Float64Array(slots);
    this.#marks = new Uint8Array(slots);
  }

  /** Takes a token of the key's bucket. @returns true when the key is over its limit */
  refuses(hash: number, lo: number, hi: number): boolean {
    const slot = this.#find(hash, lo, hi);
    if (slot === 0) return false;
    const tokens = this.#tokens[slot]!;
    if (tokens < 1) return true;
    this.#tokens[slot] = tokens - 1;
    return false;
  }

  /** I2. @returns 0: it is not watched */
  #find(hash: number, lo: number, hi: number): number {
    let slot = this.#heads[bucketOf(hash)]!;
    while (slot !== 0 && (this.#los[slot] !== lo || this.#his[slot] !== hi)) slot = this.#next[slot]!;
    return slot;
  }

  /**
   * Fills the buckets, and watches those keys of the table that are near the limit.
   * @returns operations beyond the limit that were not refused since the last time, for want of a slot: an estimate
   */
  tick(seconds: number, table: HotTable): number {
    for (let slot = 1; slot <= this.count; slot++) {
      this.#tokens[slot] = Math.min(this.#room, this.#tokens[slot]! + this.perS * seconds);
      this.#marks[slot] = MARK_NONE;
    }
    this.#handLeft = this.watchedMax;
    this.#seconds = seconds;
    this.#passed = 0;
    table.each(this.perS * WATCHED_FROM * WINDOW_S, this.#watch);
    for (let slot = this.count; slot >= 1; slot--) {
      // A bucket that is not full yet has been used in the last second.
      if (this.#marks[slot] === MARK_NONE && this.#tokens[slot]! >= this.#room) this.#forget(slot);
    }
    return this.#passed;
  }

  readonly #watch = (lo: number, hi: number, count: number): void => {
    const hash = this.hashOf(lo, hi);
    const known = this.#find(hash, lo, hi);
    if (known !== 0) {
      this.#marks[known] = MARK_HOT;
      return;
    }
    const slot = this.count < this.watchedMax ? ++this.count : this.#giveWay();
    if (slot === 0) {
      this.#passed += Math.max(0, count / WINDOW_S - this.perS) * this.#seconds;
      return;
    }
    const bucket = bucketOf(hash);
    this.#los[slot] = lo;
    this.#his[slot] = hi;
    this.#tokens[slot] = this.#room;
    this.#marks[slot] = MARK_NEW;
    this.#next[slot] = this.#heads[bucket]!;
    this.#heads[bucket] = slot;
  };

  /** I3: who is over its limit has next to nothing left, right after a tick a tenth of its bucket. @returns 0: all are */
  #giveWay(): number {
    const least = (this.#room + 1) / 2;
    for (; this.#handLeft > 0; this.#handLeft--) {
      this.#hand = (this.#hand % this.watchedMax) + 1;
      if (this.#tokens[this.#hand]! < least || this.#marks[this.#hand] === MARK_NEW) continue;
      this.#relink(this.#hand, this.#next[this.#hand]!);
      return this.#hand;
    }
    return 0;
  }

  /** The last takes its slot. */
  #forget(slot: number): void {
    this.#relink(slot, this.#next[slot]!);
    const last = this.count--;
    if (slot === last) return;
    this.#relink(last, slot);
    this.#next[slot] = this.#next[last]!;
    this.#los[slot] = this.#los[last]!;
    this.#his[slot] = this.#his[last]!;
    this.#tokens[slot] = this.#tokens[last]!;
    this.#marks[slot] = this.#marks[last]!;
  }

  /** In the chain of a slot, another one (0: none) stands in its place. */
  #relink(slot: number, other: number): void {
    const bucket = bucketOf(this.hashOf(this.#los[slot]!, this.#his[slot]!));
    let before = 0;
    for (let at = this.#heads[bucket]!; at !== slot; at = this.#next[at]!) {
      assert(at !== 0, 'I2: a watched key is not in the chain of its hash');
      before = at;
    }
    if (before === 0) this.#heads[bucket] = other;
    else this.#next[before] = other;
  }
}

function bucketOf(hash: number): number {
  return (hash >>> BUCKET_SHIFT) & (BUCKETS - 1);
}

/** Operations a second; 0 = no limit. */
export interface RateLimits {
  readonly userPerS: number;
  /** Of the whole service: each lane grants its part. */
  readonly channelPerS: number;
}

export class Limiter {
  readonly #users: KeyLimiter | null;
  readonly #channels: KeyLimiter | null;
  readonly #stats: Float64Array;
  /** Some key is watched: `refuses` is to be asked. */
  active = false;

  /** @param stats  LANE_STATS */
  constructor(
    limits: RateLimits,
    lanes: number,
    hashUser: (lo: number, hi: number) => number,
    stats: Float64Array,
  ) {
    const { userPerS, channelPerS } = limits;
    this.#users = userPerS === 0 ? null : new KeyLimiter(userPerS, hashUser);
    this.#channels = channelPerS === 0 ? null : new KeyLimiter(channelPerS / lanes, hashChannel);
    this.#stats = stats;
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
    const passed = (this.#users?.tick(seconds, users) ?? 0) + (this.#channels?.tick(seconds, channels) ?? 0);
    this.#stats[LANE_STATS.UNLIMITED]! += passed;
    this.active = (this.#users?.count ?? 0) + (this.#channels?.count ?? 0) > 0;
  }
}
