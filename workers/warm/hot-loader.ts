/**
 * A lane's part of warming up after a cold start: loads the users who were active last, whole, the newest first,
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
import { sendUserLoad } from '../lane-loads.js';
import { HOLD, LANE } from '../lane-memory.js';
import { TICK_MS } from '../lane-options.js';
import type { LaneState } from '../lane-state.js';
import { resume } from '../lane-waiting.js';
import { LANE_STATS } from '../stats.js';

/** Loads of its own on their way. */
const LOADS_MAX = 8;
/** With more holds of real requests than this it waits: half of what the persister takes of a lane at once. */
const REAL_HOLDS_MAX = 32;
/** Users looked at in a turn: of those who are there already there may be very many. */
const USERS_A_TURN = 256;
/** After a failed load. */
const PAUSE_MS = 1000;
/** A partition with less than this share of its records or users free (1/16) takes no more. */
const FREE_SHARE_SHIFT = 4;

export class HotLoader {
  /** Ids, the newest first. */
  readonly #ids: Int32Array;
  readonly #perTick: number;
  #credit = 0;
  #failures = 0;
  #pausedUntil: number;

  /** @param ids  two words a user, all of this lane's partitions; @param perSecond  users at most, more than 0 */
  constructor(
    readonly lane: LaneState,
    ids: SharedArrayBuffer,
    perSecond: number,
  ) {
    this.#ids = new Int32Array(ids);
    this.#perTick = (perSecond * TICK_MS) / 1000;
    this.#pausedUntil = lane.tick;
    this.#showLeft();
  }

  /** Words of `#ids` that are done: a thread that goes on with the lane goes on there. */
  get #next(): number {
    return this.lane.memory.get(LANE.WARMED);
  }

  /** All have been loaded or skipped. */
  get finished(): boolean {
    return this.#next === this.#ids.length && this.lane.holds.warmingCount === 0;
  }

  /** To be called each turn. @param ticks  that have passed since the last */
  turn(ticks: number): void {
    const { lane } = this;
    if (lane.stopping) {
      this.lane.memory.put(LANE.WARMED, this.#ids.length);
    } else {
      // What was not used is lost: after a pause the rate is what it was, not more.
      if (ticks > 0) this.#credit = Math.min(this.#credit, 1) + this.#perTick;
      this.#pauseAfterFailures();
      for (let left = USERS_A_TURN; left > 0 && this.#next < this.#ids.length && this.#mayLoad(); left--) {
        this.#loadNext();
        lane.done();
      }
    }
    this.#showLeft();
  }

  #showLeft(): void {
    this.lane.stats[LANE_STATS.HOT_USERS_LEFT] =
      (this.#ids.length - this.#next) / 2 + this.lane.holds.warmingCount;
  }

  #pauseAfterFailures(): void {
    const { lane } = this;
    if (lane.warmingFailures === this.#failures) return;
    lane.count(LANE_STATS.HOT_USERS_SKIPPED, lane.warmingFailures - this.#failures);
    this.#failures = lane.warmingFailures;
    this.#pausedUntil = lane.tickAfter(PAUSE_MS);
  }

  #mayLoad(): boolean {
    const { lane } = this;
    const { holds } = lane;
    const own = holds.warmingCount;
    // After a failure one at a time, until one has succeeded.
    const most = lane.warmingFailed ? 1 : LOADS_MAX;
    return (
      this.#credit >= 1 &&
      own < most &&
      holds.count - own <= REAL_HOLDS_MAX &&
      lane.lobbyCount === 0 &&
      ((lane.tick - this.#pausedUntil) | 0) >= 0
    );
  }

  #loadNext(): void {
    const { lane } = this;
    const lo = this.#ids[this.#next]!;
    const hi = this.#ids[this.#next + 1]!;
    const hash = hashUser(lo, hi);
    const index = lane.partitionOf(hash);
    const partition = lane.partition(index);
    const resident = partition.findUser(hash, lo, hi);
    const isThere = resident !== 0 && (partition.isComplete(resident) || partition.holdOf(resident) !== 0);
    if (isThere || !hasRoom(partition)) {
      this.lane.memory.add(LANE.WARMED, 2);
      lane.count(LANE_STATS.HOT_USERS_SKIPPED);
      return;
    }
    const user = partition.admitUser(hash, lo, hi);
    const hold = user === 0 ? 0 : lane.holds.take(index, user);
    if (hold !== 0 && sendUserLoad(lane, hold, lo, hi)) {
      lane.holds.setWarming(hold);
      partition.setHold(user, hold);
      this.lane.memory.add(LANE.WARMED, 2);
      this.#credit--;
      return;
    }
    // No hold, or no room in the ring: later.
    if (hold !== 0) lane.holds.release(hold);
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
  lane: LaneState,
  partition: Partition,
  hold: number,
  words: Int32Array,
  at: number,
  last: boolean,
): void {
  const { holds } = lane;
  const user = holds.get(hold, HOLD.USER);
  const count = words[at + LOADED.COUNT]!;
  for (let i = 0; i < count && holds.get(hold, HOLD.OVERFLOWED) === 0; i++) {
    if (!partition.insertRow(user, words, at + LOADED.WORDS + i * ROW.WORDS))
      holds.set(hold, HOLD.OVERFLOWED, 1);
  }
  if (!last) return;
  lane.warmingFailed = false;
  partition.applyUserRow(user, words[at + LOADED.VERSION]!, words[at + LOADED.DELETED_VERSION]!);
  const fits = holds.get(hold, HOLD.OVERFLOWED) === 0;
  if (fits) partition.markComplete(user);
  lane.count(fits ? LANE_STATS.HOT_USERS_LOADED : LANE_STATS.HOT_USERS_SKIPPED);
  holds.endWarming(hold);
  resume(lane, hold, false);
}
