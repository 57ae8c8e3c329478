/**
 * A shard's part of warming up after a cold start: loads the users who were active last, whole, the newest first,
 * without being asked for them.
 *
 * I1  It stays below its rate, has few loads on their way, and waits while real ones queue. So what is asked for comes first.
 * I2  Nobody is evicted for it, and the users that it brings count as passive until they do something: whoever is
 *     really there is never pushed out.
 * I3  A load of its own is a hold without an operation. What is asked for about the user meanwhile waits in that hold, as
 *     behind any load.
 */
import { hashUser } from '../../engine/hash.js';
import { LOADED, ROW } from '../../engine/messages.js';
import type { Partition } from '../../engine/partition.js';
import { TICK_MS } from '../shard-options.js';
import type { ShardState } from '../shard-state.js';
import { resume, sendUserLoad } from '../shard-waiting.js';
import { SHARD_STATS } from '../stats.js';

/** Loads of its own on their way. */
const LOADS_MAX = 8;
/** With more holds of real requests than this it waits: half of what the persister takes of a shard at once. */
const REAL_HOLDS_MAX = 32;
/** After a failed load. */
const PAUSE_MS = 1000;
/** A partition with less than this share of its records or users free (1/16) takes no more. */
const FREE_SHARE_SHIFT = 4;

export class HotLoader {
  /** Ids, the newest first. */
  readonly #ids: Int32Array;
  readonly #perTick: number;
  #next = 0;
  #credit = 0;
  #failures = 0;
  #pausedUntil: number;

  /** @param ids  two words a user, all of this shard's partitions; @param perSecond  users at most, more than 0 */
  constructor(
    readonly shard: ShardState,
    ids: SharedArrayBuffer,
    perSecond: number,
  ) {
    this.#ids = new Int32Array(ids);
    this.#perTick = (perSecond * TICK_MS) / 1000;
    this.#pausedUntil = shard.tick;
    this.#showLeft();
  }

  /** All have been loaded or skipped. */
  get finished(): boolean {
    return this.#next === this.#ids.length && this.shard.holds.warmingCount === 0;
  }

  /** To be called each turn. @param ticks  that have passed since the last */
  turn(ticks: number): void {
    const { shard } = this;
    if (shard.stopping) {
      this.#next = this.#ids.length;
    } else {
      // What was not used is lost: after a pause the rate is what it was, not more.
      if (ticks > 0) this.#credit = Math.min(this.#credit, 1) + this.#perTick;
      this.#pauseAfterFailures();
      while (this.#next < this.#ids.length && this.#mayLoad()) this.#loadNext();
    }
    this.#showLeft();
  }

  #showLeft(): void {
    this.shard.stats[SHARD_STATS.HOT_USERS_LEFT] =
      (this.#ids.length - this.#next) / 2 + this.shard.holds.warmingCount;
  }

  #pauseAfterFailures(): void {
    const { shard } = this;
    if (shard.warmingFailures === this.#failures) return;
    shard.count(SHARD_STATS.HOT_USERS_SKIPPED, shard.warmingFailures - this.#failures);
    this.#failures = shard.warmingFailures;
    this.#pausedUntil = shard.tickAfter(PAUSE_MS);
  }

  #mayLoad(): boolean {
    const { shard } = this;
    const { holds } = shard;
    const own = holds.warmingCount;
    // After a failure one at a time, until one has succeeded.
    const most = shard.warmingFailed ? 1 : LOADS_MAX;
    return (
      this.#credit >= 1 &&
      own < most &&
      holds.count - own <= REAL_HOLDS_MAX &&
      shard.lobbyCount === 0 &&
      ((shard.tick - this.#pausedUntil) | 0) >= 0
    );
  }

  #loadNext(): void {
    const { shard } = this;
    const lo = this.#ids[this.#next]!;
    const hi = this.#ids[this.#next + 1]!;
    const hash = hashUser(lo, hi);
    const index = shard.partitionOf(hash);
    const partition = shard.partition(index);
    const resident = partition.findUser(hash, lo, hi);
    const isThere = resident !== 0 && (partition.isComplete(resident) || partition.holdOf(resident) !== 0);
    if (isThere || !hasRoom(partition)) {
      this.#next += 2;
      shard.count(SHARD_STATS.HOT_USERS_SKIPPED);
      return;
    }
    const user = partition.admitUser(hash, lo, hi);
    const hold = user === 0 ? 0 : shard.holds.take(index, user);
    if (hold !== 0 && sendUserLoad(shard, hold, lo, hi)) {
      shard.holds.setWarming(hold);
      partition.setHold(user, hold);
      this.#next += 2;
      this.#credit--;
      return;
    }
    // No hold, or no room in the ring: later.
    if (hold !== 0) shard.holds.release(hold);
    if (user !== 0) partition.dropIfEmpty(user);
    this.#credit = 0;
  }
}

function hasRoom(partition: Partition): boolean {
  const { recordsMax, usersMax } = partition.options;
  return (
    partition.freeRecordCount > recordsMax >>> FREE_SHARE_SHIFT &&
    usersMax - partition.userCount > usersMax >>> FREE_SHARE_SHIFT
  );
}

/** Takes a part of what a load of the loader's has brought. */
export function takeWarmed(
  shard: ShardState,
  partition: Partition,
  hold: number,
  words: Int32Array,
  at: number,
  last: boolean,
): void {
  const { holds } = shard;
  const user = holds.user[hold]!;
  const count = words[at + LOADED.COUNT]!;
  for (let i = 0; i < count && holds.overflowed[hold] === 0; i++) {
    if (!partition.insertRow(user, words, at + LOADED.WORDS + i * ROW.WORDS)) holds.overflowed[hold] = 1;
  }
  if (!last) return;
  shard.warmingFailed = false;
  partition.applyUserRow(user, words[at + LOADED.VERSION]!, words[at + LOADED.DELETED_VERSION]!);
  const fits = holds.overflowed[hold] === 0;
  if (fits) partition.markComplete(user);
  shard.count(fits ? SHARD_STATS.HOT_USERS_LOADED : SHARD_STATS.HOT_USERS_SKIPPED);
  holds.endWarming(hold);
  resume(shard, hold, false);
}
