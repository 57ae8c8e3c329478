/** What a lane shows of its partitions, each tick. */
import { NO_DUE, type Partition } from '../../engine/partition.js';
import { LANE_PARTITION, type LaneMemory } from '../lane-memory.js';
import { PARTITION_STATS } from '../stats.js';

/**
 * A user whose write failed is tried again at least this often: when none has failed for so long, no change is older
 * than the flush delay and the write itself.
 */
const RETRIED_WITHIN_MS = 40_000;

/**
 * The age of each partition's oldest change that the store does not have, in ticks. A partition's queue knows the
 * oldest change that waits; what is on its way or has failed is not in it, and a user's entry has no room for the time.
 *
 * What is on its way is counted in two generations: answers come about in the order of the groups, so when as many
 * have come as the older one had groups, nothing of it is out any more, and the younger one becomes the older.
 */
export class UnsavedAges {
  readonly #memory: LaneMemory;
  readonly #retriedTicks: number;

  constructor(
    memory: LaneMemory,
    readonly flushDelayTicks: number,
    tickMs: number,
  ) {
    this.#memory = memory;
    this.#retriedTicks = Math.ceil(RETRIED_WITHIN_MS / tickMs);
  }

  /** A group of the partition went to the store. @param due  tick at which it was due */
  sent(index: number, due: number): void {
    const memory = this.#memory;
    const at = memory.partitionAt(index);
    const since = (due - this.flushDelayTicks) | 0;
    if (memory.get(at + LANE_PARTITION.OLDER_COUNT) === 0) {
      memory.put(at + LANE_PARTITION.OLDER_COUNT, 1);
      memory.put(at + LANE_PARTITION.OLDER_SINCE, since);
      return;
    }
    if (memory.get(at + LANE_PARTITION.YOUNGER_COUNT) === 0)
      memory.put(at + LANE_PARTITION.YOUNGER_SINCE, since);
    memory.add(at + LANE_PARTITION.YOUNGER_COUNT, 1);
  }

  /** A group came back. */
  answered(index: number, ok: boolean, tick: number): void {
    const memory = this.#memory;
    const at = memory.partitionAt(index);
    const since = memory.get(at + LANE_PARTITION.OLDER_SINCE);
    const left = memory.get(at + LANE_PARTITION.OLDER_COUNT) - 1;
    if (left > 0) {
      memory.put(at + LANE_PARTITION.OLDER_COUNT, left);
    } else {
      memory.put(at + LANE_PARTITION.OLDER_COUNT, memory.get(at + LANE_PARTITION.YOUNGER_COUNT));
      memory.put(at + LANE_PARTITION.OLDER_SINCE, memory.get(at + LANE_PARTITION.YOUNGER_SINCE));
      memory.put(at + LANE_PARTITION.YOUNGER_COUNT, 0);
    }
    if (ok) return;
    memory.put(at + LANE_PARTITION.FAILED_TICK, tick);
    if (memory.get(at + LANE_PARTITION.FAILED) !== 0) return;
    memory.put(at + LANE_PARTITION.FAILED, 1);
    memory.put(at + LANE_PARTITION.FAILED_SINCE, since);
  }

  /** Nothing that is on its way will come back. */
  lost(index: number, tick: number): void {
    const memory = this.#memory;
    const at = memory.partitionAt(index);
    if (memory.get(at + LANE_PARTITION.OLDER_COUNT) === 0) return;
    memory.put(at + LANE_PARTITION.YOUNGER_COUNT, 0);
    memory.put(at + LANE_PARTITION.OLDER_COUNT, 1);
    this.answered(index, false, tick);
  }

  /** Ticks since the oldest unsaved change; 0 = there is none. An upper bound while writes fail. */
  age(index: number, partition: Pick<Partition, 'dirtyUserCount' | 'nextDue'>, tick: number): number {
    const memory = this.#memory;
    const at = memory.partitionAt(index);
    if (partition.dirtyUserCount === 0) {
      memory.put(at + LANE_PARTITION.FAILED, 0);
      return 0;
    }
    const due = partition.nextDue();
    let age = 1;
    if (due !== NO_DUE) age = Math.max(age, (tick - ((due - this.flushDelayTicks) | 0)) | 0);
    if (memory.get(at + LANE_PARTITION.OLDER_COUNT) > 0)
      age = Math.max(age, (tick - memory.get(at + LANE_PARTITION.OLDER_SINCE)) | 0);
    if (memory.get(at + LANE_PARTITION.FAILED) === 0) return age;
    if (((tick - memory.get(at + LANE_PARTITION.FAILED_TICK)) | 0) > this.#retriedTicks) {
      memory.put(at + LANE_PARTITION.FAILED, 0);
      return age;
    }
    return Math.max(age, (tick - memory.get(at + LANE_PARTITION.FAILED_SINCE)) | 0);
  }
}

/** Writes the gauges of one partition. @param lane  to which it belongs */
export function showPartition(
  stats: Float64Array,
  index: number,
  lane: number,
  partition: Partition,
  oldestDirtyMs: number,
  reloads: boolean,
): void {
  const at = index * PARTITION_STATS.WORDS;
  stats[at + PARTITION_STATS.LANE] = lane + 1;
  stats[at + PARTITION_STATS.RECORDS] = partition.recordCount;
  stats[at + PARTITION_STATS.RECORDS_MAX] = partition.options.recordsMax;
  stats[at + PARTITION_STATS.USERS] = partition.userCount;
  stats[at + PARTITION_STATS.USERS_MAX] = partition.options.usersMax;
  stats[at + PARTITION_STATS.DIRTY_USERS] = partition.dirtyUserCount;
  stats[at + PARTITION_STATS.OLDEST_DIRTY_MS] = oldestDirtyMs;
  stats[at + PARTITION_STATS.RELOADS] = reloads ? 1 : 0;
  stats[at + PARTITION_STATS.EVICTED_USERS] = partition.evictedUserCount;
}
