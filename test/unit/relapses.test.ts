import { expect, it } from 'vitest';
import { Relapses } from '../../workers/relapses.js';

it('replaces at once, then later and later while ends come in a row, and at once again after a while', () => {
  const relapses = new Relapses();
  const waits = Array.from({ length: 24 }, (_, i) => relapses.note(i * 50));
  expect(waits).toEqual([...new Array(20).fill(0), 200, 400, 800, 1600]);
  expect(relapses.areMany).toBe(true);
  expect(relapses.note(60_000)).toBe(0);
  expect(relapses.areMany).toBe(false);
});
