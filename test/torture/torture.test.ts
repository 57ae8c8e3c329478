/** A short torture of the real service; `make torture` is the full one. And proof that the torture finds what it looks for. */
import { rmSync } from 'node:fs';
import { expect, it } from 'vitest';
import { report, Torture, type TortureOptions } from './torture.js';

const SEED = Number(process.env.TORTURE_SEED ?? Date.now() % 1_000_000);

function options(given: Partial<TortureOptions>, serve: TortureOptions['serve']): TortureOptions {
  return {
    seed: SEED,
    kills: 5,
    lifeMs: 1000,
    stopShare: 0.1,
    log: (line) => console.log(line),
    ...given,
    serve: { capacity: ['1500'], partitions: ['4'], 'log-level': ['info'], ...serve },
  };
}

it('loses nothing at an orderly stop, also without a journal', { timeout: 120_000 }, async () => {
  const given = options(
    { kills: 0, lives: 3 },
    { durability: ['none'], shards: ['1', '2'], 'flush-delay': ['100ms', '30s'] },
  );
  const result = await new Torture(given).run();
  expect(result.checker.violations, report(result, given)).toEqual([]);
  // It has to have been work: many answers, and most of them with loads, evictions and flushes.
  expect(result.checker.answeredCount).toBeGreaterThan(2000);
  for (const [name, value] of result.counters) expect(value, name).toBeGreaterThan(100);
  expect(result.counters.size).toBe(4);
});

it('finds the losses of a killed service without a journal', { timeout: 120_000 }, async () => {
  const given = options({ kills: 5, stopShare: 0 }, { durability: ['none'], 'flush-delay': ['30s'] });
  const result = await new Torture(given).run();
  expect(result.checker.violations.length).toBeGreaterThan(0);
  const text = report(result, given);
  expect(text).toContain(`seed ${SEED}`);
  expect(text).toMatch(/user \d+: .*expected/);
  expect(text).toContain('-- killed');
  rmSync(result.directory, { recursive: true });
});
