import { expect, test } from 'vitest';
import { type CountedModule, countTests, summaryLine } from '../summary-reporter.js';

function module(states: string[], errorCount = 0, hookErrorCount = 0): CountedModule {
  const errors = (count: number) => Array.from({ length: count }, () => ({ message: 'did not work' }));
  return {
    errors: () => errors(errorCount),
    children: {
      allTests: () => states.map((state) => ({ result: () => ({ state }) })),
      allSuites: () => [{ errors: () => errors(0) }, { errors: () => errors(hookErrorCount) }],
    },
  };
}

test('counts each state of each module', () => {
  const modules = [module(['passed', 'passed', 'failed']), module(['skipped', 'passed'])];
  expect(countTests(modules, 0)).toEqual({ passed: 3, failed: 1, skipped: 1 });
});

test('counts as failed: a module that did not load, an unhandled error, a test that never ended', () => {
  expect(countTests([module([], 1), module(['passed', 'pending'])], 1)).toEqual({
    passed: 1,
    failed: 3,
    skipped: 0,
  });
});

test('counts as failed: a hook of a suite, though all its tests passed or were skipped', () => {
  expect(countTests([module(['passed'], 0, 1), module(['skipped'], 0, 1)], 0)).toEqual({
    passed: 1,
    failed: 2,
    skipped: 1,
  });
});

test('names skipped tests only when there are any', () => {
  expect(summaryLine({ passed: 7, failed: 0, skipped: 0 })).toBe('7 passed, 0 failed');
  expect(summaryLine({ passed: 7, failed: 1, skipped: 2 })).toBe('7 passed, 1 failed, 2 skipped');
});
