/** What a shard shows of its partitions, each tick. */
import { NO_DUE, type Partition } from '../../engine/partition.js';
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
  readonly #olderCount: Int32Array;
  readonly #olderSince: Int32Array;
  readonly #youngerCount: Int32Array;
  readonly #youngerSince: Int32Array;
  /** The tick of the oldest change among those whose writes failed; only while `#failed` is 1. */
  readonly #failedSince: Int32Array;
  readonly #failedTick: Int32Array;
  readonly #failed: Uint8Array;
  readonly #retriedTicks: number;

  constructor(
    partitions: number,
    readonly flushDelayTicks: number,
    tickMs: number,
  ) {
    this.#olderCount = new Int32Array(partitions);
    this.#olderSince = new Int32Array(partitions);
    this.#youngerCount = new Int32Array(partitions);
    this.#youngerSince = new Int32Array(partitions);
    this.#failedSince = new Int32Array(partitions);
    this.#failedTick = new Int32Array(partitions);
    this.#failed = new Uint8Array(partitions);
    this.#retriedTicks = Math.ceil(RETRIED_WITHIN_MS / tickMs);
  }

  /** A group of the partition went to the store. @param due  tick at which it was due */
  sent(index: number, due: number): void {
    const since = (due - this.flushDelayTicks) | 0;
    if (this.#olderCount[index] === 0) {
      this.#olderCount[index] = 1;
      this.#olderSince[index] = since;
      return;
    }
    if (this.#youngerCount[index] === 0) this.#youngerSince[index] = since;
    this.#youngerCount[index]!++;
  }

  /** A group came back. */
  answered(index: number, ok: boolean, tick: number): void {
    const since = this.#olderSince[index]!;
    if (--this.#olderCount[index]! <= 0) {
      this.#olderCount[index] = this.#youngerCount[index]!;
      this.#olderSince[index] = this.#youngerSince[index]!;
      this.#youngerCount[index] = 0;
    }
    if (ok) return;
    this.#failedTick[index] = tick;
    if (this.#failed[index] !== 0) return;
    this.#failed[index] = 1;
    this.#failedSince[index] = since;
  }

  /** Ticks since the oldest unsaved change; 0 = there is none. An upper bound while writes fail. */
  age(index: number, partition: Pick<Partition, 'dirtyUserCount' | 'nextDue'>, tick: number): number {
    if (partition.dirtyUserCount === 0) {
      this.#failed[index] = 0;
      return 0;
    }
    const due = partition.nextDue();
    let age = 1;
    if (due !== NO_DUE) age = Math.max(age, (tick - ((due - this.flushDelayTicks) | 0)) | 0);
    if (this.#olderCount[index]! > 0) age = Math.max(age, (tick - this.#olderSince[index]!) | 0);
    if (this.#failed[index] === 0) return age;
    if (((tick - this.#failedTick[index]!) | 0) > this.#retriedTicks) {
      this.#failed[index] = 0;
      return age;
    }
    return Math.max(age, (tick - this.#failedSince[index]!) | 0);
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
