/** What a shard shows of its partitions, each tick. */
import { NO_DUE, type Partition } from '../../engine/partition.js';
import { PARTITION_STATS } from '../stats.js';

/**
 * A user whose write failed is tried again at least this often: when none has failed for so long, no change is older
 * than the flush delay and the write itself.
 */
const RETRIED_WITHIN_MS = 40_000;

/** The age of each partition's oldest change that the store does not have, in ticks. */
export class UnsavedAges {
  /** The tick of the oldest change among those whose writes failed; only while `#failed` is 1. */
  readonly #since: Int32Array;
  readonly #failedTick: Int32Array;
  readonly #failed: Uint8Array;
  readonly #retriedTicks: number;

  constructor(
    partitions: number,
    readonly flushDelayTicks: number,
    tickMs: number,
  ) {
    this.#since = new Int32Array(partitions);
    this.#failedTick = new Int32Array(partitions);
    this.#failed = new Uint8Array(partitions);
    this.#retriedTicks = Math.ceil(RETRIED_WITHIN_MS / tickMs);
  }

  /** A write of the partition failed. */
  failed(index: number, tick: number): void {
    this.#failedTick[index] = tick;
    if (this.#failed[index] !== 0) return;
    this.#failed[index] = 1;
    this.#since[index] = tick - this.flushDelayTicks; // it was due when it was sent
  }

  /** Ticks since the oldest unsaved change; 0 = there is none. An upper bound while writes fail. */
  age(index: number, partition: Partition, tick: number): number {
    if (partition.dirtyUserCount === 0) {
      this.#failed[index] = 0;
      return 0;
    }
    const due = partition.nextDue();
    let age = due === NO_DUE ? 1 : Math.max(1, (tick - ((due - this.flushDelayTicks) | 0)) | 0);
    if (this.#failed[index] !== 0) {
      if (((tick - this.#failedTick[index]!) | 0) > this.#retriedTicks) this.#failed[index] = 0;
      else age = Math.max(age, (tick - this.#since[index]!) | 0);
    }
    return age;
  }
}

/** Writes the gauges of one partition. @param shard  its owner, from 0 */
export function showPartition(
  stats: Float64Array,
  index: number,
  shard: number,
  partition: Partition,
  oldestDirtyMs: number,
): void {
  const at = index * PARTITION_STATS.WORDS;
  stats[at + PARTITION_STATS.SHARD] = shard + 1;
  stats[at + PARTITION_STATS.RECORDS] = partition.recordCount;
  stats[at + PARTITION_STATS.RECORDS_MAX] = partition.options.recordsMax;
  stats[at + PARTITION_STATS.USERS] = partition.userCount;
  stats[at + PARTITION_STATS.USERS_MAX] = partition.options.usersMax;
  stats[at + PARTITION_STATS.DIRTY_USERS] = partition.dirtyUserCount;
  stats[at + PARTITION_STATS.OLDEST_DIRTY_MS] = oldestDirtyMs;
  stats[at + PARTITION_STATS.EVICTED_USERS] = partition.evictedUserCount;
}
