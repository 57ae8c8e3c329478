/** A short torture of the real service; `make torture` is the full one. And proof that the torture finds what it looks for. */
import { rmSync } from 'node:fs';
import { expect, it } from 'vitest';
import { expectWork, SEED, tortureOptions } from './short.js';
import { report, Torture } from './torture.js';

const SLAB_AND_HEAP = ['slab', 'heap'];

it.each(SLAB_AND_HEAP)('loses nothing when it is killed, engine %s', { timeout: 180_000 }, async (engine) => {
  const given = tortureOptions(
    {},
    { engine: [engine], durability: ['process'], shards: ['1', '2'], 'flush-delay': ['100ms', '30s'] },
  );
  const result = await new Torture(given).run();
  expect(result.checker.violations, report(result, given)).toEqual([]);
  expect(result.kills).toBe(5);
  expectWork(result);
});

it('loses nothing when it is killed while lanes go from thread to thread', { timeout: 180_000 }, async () => {
  const given = tortureOptions(
    { lifeMs: 3000, operates: true },
    { durability: ['process'], shards: ['1', '2'], 'flush-delay': ['100ms', '30s'] },
  );
  const result = await new Torture(given).run();
  expect(result.checker.violations, report(result, given)).toEqual([]);
  expect(result.kills).toBe(5);
  expect(result.orders).toBeGreaterThan(0); // on a busy machine each takes as long as a life
  expectWork(result);
});

it('loses nothing at an orderly stop, also without a journal', { timeout: 120_000 }, async () => {
  const given = tortureOptions(
    { kills: 0, lives: 3 },
    { durability: ['none'], shards: ['1', '2'], 'flush-delay': ['100ms', '30s'] },
  );
  const result = await new Torture(given).run();
  expect(result.checker.violations, report(result, given)).toEqual([]);
  expectWork(result);
});

it('finds the losses of a killed service without a journal', { timeout: 120_000 }, async () => {
  const given = tortureOptions({ kills: 5, stopShare: 0 }, { durability: ['none'], 'flush-delay': ['30s'] });
  const result = await new Torture(given).run();
  expect(result.checker.violations.length).toBeGreaterThan(0);
  const text = report(result, given);
  expect(text).toContain(`seed ${SEED}`);
  expect(text).toMatch(/user \d+: .*expected/);
  expect(text).toContain('-- killed');
  rmSync(result.directory, { recursive: true });
});
