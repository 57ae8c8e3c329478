import { describe, expect, it } from 'vitest';
import { OP_ACK, OP_GET } from '../../engine/messages.js';
import {
  addLatency,
  bucketEndUs,
  bucketOf,
  countsOf,
  LATENCIES,
  LATENCY_BUCKETS,
  percentileUs,
} from '../../workers/introspection/latency-histogram.js';
import { Random } from '../model/random.js';

describe('latency histogram', () => {
  it('puts every latency into the bucket whose bounds hold it, at most a 16th wide', () => {
    const values = [0, 1, 15, 16, 31, 32, 33, 63, 64, 1000, 2 ** 20, 2 ** 30, 2 ** 31 - 1];
    for (let us = 0; us < 5000; us++) values.push(us);
    for (const us of values) {
      const bucket = bucketOf(us);
      const start = bucket === 0 ? 0 : bucketEndUs(bucket - 1);
      expect(bucket).toBeLessThan(LATENCY_BUCKETS);
      expect(start, `start of ${us}`).toBeLessThanOrEqual(us);
      expect(bucketEndUs(bucket), `end of ${us}`).toBeGreaterThan(us);
      expect(bucketEndUs(bucket) - start).toBeLessThanOrEqual(Math.max(1, start / 16));
    }
  });

  it('gives percentiles within a 32nd of those of the sorted values', () => {
    const random = new Random(7);
    const block = new Float64Array(LATENCIES.WORDS);
    const values: number[] = [];
    for (let i = 0; i < 20_000; i++) {
      const us = Math.floor(Math.exp(random.next(1_000_000) / 80_000) * 20);
      values.push(us);
      addLatency(block, OP_ACK, us, 1);
    }
    values.sort((a, b) => a - b);
    for (const part of [0.01, 0.5, 0.9, 0.99, 0.999, 1]) {
      const exact = values[Math.max(0, Math.ceil(values.length * part) - 1)]!;
      const found = percentileUs(countsOf(block, OP_ACK), values.length, part)!;
      expect(Math.abs(found - exact)).toBeLessThanOrEqual(Math.max(1, exact / 31));
    }
    expect(block[LATENCIES.MAX_US + OP_ACK]).toBe(values.at(-1));
    expect(countsOf(block, OP_GET).every((count) => count === 0)).toBe(true);
    expect(percentileUs(countsOf(block, OP_GET), 0, 0.5)).toBeNull();
  });
});
