import { describe, expect, it } from 'vitest';
import { NO_DUE } from '../../engine/partition.js';
import { UnsavedAges } from '../../workers/introspection/partition-gauges.js';
import { createLaneMemory, LaneMemory } from '../../workers/lane-memory.js';

const DELAY = 300;
const TICK_MS = 100;

function agesOf(partitions: number): UnsavedAges {
  const sizes = { partitions, holdsMax: 1, blocksMax: 1 };
  return new UnsavedAges(new LaneMemory(createLaneMemory(sizes), sizes), DELAY, TICK_MS);
}

/** A partition whose queue has a change of each of these ticks. */
function partitionOf(queued: readonly number[], out = 0): { dirtyUserCount: number; nextDue: () => number } {
  return {
    dirtyUserCount: queued.length + out,
    nextDue: () => (queued.length === 0 ? NO_DUE : Math.min(...queued) + DELAY),
  };
}

describe('the age of the oldest unsaved change', () => {
  it('is that of the queue when nothing is on its way', () => {
    const ages = agesOf(2);
    expect(ages.age(1, partitionOf([]), 50)).toBe(0);
    expect(ages.age(1, partitionOf([40, 45]), 50)).toBe(10);
    expect(ages.age(1, partitionOf([50]), 50)).toBe(1);
  });

  it('counts what is on its way until it is answered', () => {
    const ages = agesOf(1);
    ages.sent(0, 10 + DELAY);
    ages.sent(0, 20 + DELAY);
    ages.sent(0, 30 + DELAY);
    expect(ages.age(0, partitionOf([400], 3), 500)).toBe(490);
    ages.answered(0, true, 500);
    expect(ages.age(0, partitionOf([400], 2), 500)).toBe(480);
    ages.answered(0, true, 500);
    ages.answered(0, true, 500);
    expect(ages.age(0, partitionOf([400]), 500)).toBe(100);
  });

  it('keeps growing while writes fail, and goes when they succeed', () => {
    const ages = agesOf(1);
    ages.sent(0, 10 + DELAY);
    ages.answered(0, false, 400);
    // In the queue of retries it is due in future, and so seems to be young.
    for (let tick = 400; tick < 2000; tick += 100) {
      expect(ages.age(0, partitionOf([tick], 0), tick)).toBe(tick - 10);
      ages.sent(0, tick + DELAY);
      ages.answered(0, false, tick);
    }
    expect(ages.age(0, partitionOf([]), 2000)).toBe(0);
    expect(ages.age(0, partitionOf([2000]), 2010)).toBe(10);
  });

  it('forgets a failure when all who failed must have been tried again', () => {
    const ages = agesOf(1);
    ages.sent(0, 10 + DELAY);
    ages.answered(0, false, 400);
    expect(ages.age(0, partitionOf([700]), 720)).toBe(710);
    expect(ages.age(0, partitionOf([700]), 850)).toBe(150);
  });
});
