/**
 * Counts latencies in buckets of at most 0.1% of their value: what an HDR histogram does, in a few instructions, since
 * a load generator does it for every operation (hdr-histogram-js took 20% of one that made 4 M operations/s). The
 * counts are poured into a histogram when somebody asks for percentiles.
 *
 * Bucket of a value v of microseconds: v itself below 2048; above, 1024 buckets for each power of two.
 */
import type { Histogram } from 'hdr-histogram-js';

const EXACT = 2048;
const PER_POWER_BITS = 10;
const VALUE_MAX = 0x7fffffff;
const BUCKETS = EXACT + (31 - 11) * 1024;

export class LatencyCounts {
  readonly #counts = new Float64Array(BUCKETS);
  #largest = 0;
  total = 0;

  /** @param us  microseconds, up to 35 minutes; more counts as that */
  record(us: number): void {
    const value = us > VALUE_MAX ? VALUE_MAX : us < 1 ? 1 : (us + 0.5) | 0;
    if (value > this.#largest) this.#largest = value;
    this.total++;
    this.#counts[bucketOf(value)]!++;
  }

  reset(): void {
    this.#counts.fill(0);
    this.#largest = 0;
    this.total = 0;
  }

  /** Adds what was counted to a histogram of microseconds. */
  pourInto(histogram: Histogram): void {
    this.#counts.forEach((count, bucket) => {
      if (count > 0) histogram.recordValueWithCount(Math.min(largestOf(bucket), this.#largest), count);
    });
  }
}

function bucketOf(value: number): number {
  if (value < EXACT) return value;
  const shift = 31 - Math.clz32(value) - PER_POWER_BITS; // 1 and more
  return EXACT + (shift - 1) * 1024 + ((value >>> shift) - 1024);
}

/** The largest value that counts in a bucket: percentiles are never told too low. */
function largestOf(bucket: number): number {
  if (bucket < EXACT) return bucket;
  const shift = ((bucket - EXACT) >>> PER_POWER_BITS) + 1;
  return (((bucket - EXACT) & 1023) + 1025) * 2 ** shift - 1;
}
