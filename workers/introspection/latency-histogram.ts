/**
 * Log-linear histograms of latencies in shared memory: one for each operation, 16 buckets to each power of two, so
 * that a bucket is at most 1/16 wide of what is in it. Below 32 us each microsecond has its own.
 *
 * Written by one thread with plain stores; a reader may see one count a little ahead of another. Counts only grow.
 */
import { layout } from '../../engine/layout.js';
import { OP_MAX } from '../../engine/messages.js';

const SUB_BITS = 4;
const SUB_BUCKETS = 1 << SUB_BITS;
/** 2^31 us, 35 minutes, is what the shared clock can tell apart. */
const OCTAVES = 31 - SUB_BITS;
export const LATENCY_BUCKETS = (OCTAVES + 1) * SUB_BUCKETS;

/** Of one shard, in Float64s. */
export const LATENCIES = layout({
  COUNTS: (OP_MAX + 1) * LATENCY_BUCKETS, // by OP_*, then by bucket
  SUM_US: OP_MAX + 1,
  MAX_US: OP_MAX + 1,
});

/** @param us  0 to 2^31-1 */
export function bucketOf(us: number): number {
  if (us < SUB_BUCKETS) return us;
  const shift = 31 - SUB_BITS - Math.clz32(us);
  return (shift << SUB_BITS) + (us >>> shift);
}

/** The smallest latency that is not in the bucket any more: a power of two for each 16th. */
export function bucketEndUs(bucket: number): number {
  if (bucket < SUB_BUCKETS * 2) return bucket + 1;
  const shift = (bucket >>> SUB_BITS) - 1;
  return ((bucket & (SUB_BUCKETS - 1)) + SUB_BUCKETS + 1) * 2 ** shift;
}

/** Adds `count` operations that took so long. */
export function addLatency(block: Float64Array, op: number, us: number, count: number): void {
  const at = LATENCIES.COUNTS + op * LATENCY_BUCKETS + bucketOf(us);
  block[at] = block[at]! + count;
  block[LATENCIES.SUM_US + op] = block[LATENCIES.SUM_US + op]! + us * count;
  if (us > block[LATENCIES.MAX_US + op]!) block[LATENCIES.MAX_US + op] = us;
}

/** The counts of one operation. */
export function countsOf(block: Float64Array, op: number): Float64Array {
  const from = LATENCIES.COUNTS + op * LATENCY_BUCKETS;
  return block.subarray(from, from + LATENCY_BUCKETS);
}

/** How many of the counted took less. @param us  a power of two, from 16: a bucket ends there */
export function countBelow(counts: Float64Array, us: number): number {
  const end = bucketOf(us);
  let total = 0;
  for (let bucket = 0; bucket < end; bucket++) total += counts[bucket]!;
  return total;
}

/**
 * The latency that the given part of all operations did not exceed, as the middle of its bucket.
 * @param counts  by bucket; the sum of them is `total`
 * @param part    0 to 1
 * @returns microseconds, or null when there is nothing
 */
export function percentileUs(counts: Float64Array, total: number, part: number): number | null {
  if (total <= 0) return null;
  let left = Math.max(1, Math.ceil(total * part));
  for (let bucket = 0; bucket < counts.length; bucket++) {
    left -= counts[bucket]!;
    if (left <= 0) return (bucketStartUs(bucket) + bucketEndUs(bucket)) / 2;
  }
  return bucketEndUs(counts.length - 1);
}

function bucketStartUs(bucket: number): number {
  return bucket === 0 ? 0 : bucketEndUs(bucket - 1);
}
