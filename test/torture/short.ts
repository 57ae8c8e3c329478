/** What the short tortures of `make test` have in common. TORTURE_SEED repeats one. */
import { expect } from 'vitest';
import type { TortureOptions, TortureResult } from './torture.js';

export const SEED = Number(process.env.TORTURE_SEED ?? Date.now() % 1_000_000);

/** Five kills, an orderly stop now and then. */
export function tortureOptions(
  given: Partial<TortureOptions>,
  serve: TortureOptions['serve'],
): TortureOptions {
  return {
    seed: SEED,
    kills: 5,
    lifeMs: 600,
    stopShare: 0.1,
    log: (line) => console.log(line),
    ...given,
    serve: { capacity: ['800', '500'], partitions: ['4'], 'log-level': ['info'], ...serve },
  };
}

/** It has to have been work: many answers, and many of them with loads, evictions and flushes. */
export function expectWork({ checker, counters }: TortureResult): void {
  expect(checker.answeredCount).toBeGreaterThan(1000);
  expect(counters.size).toBe(4);
  for (const [name, value] of counters) expect(value, name).toBeGreaterThan(50);
}
