/** When the front is woken for answers. */
import { expect, it } from 'vitest';
import { createDoorbell, DOORBELL, Doorbell } from '../../engine/doorbell.js';
import { FrontBell } from '../../workers/front-bell.js';

const BATCHES_MAX = 100;

function createBell(): { bell: FrontBell; rung: () => number } {
  const memory = createDoorbell();
  const sleeper = new Doorbell(memory);
  const signals = new Int32Array(memory);
  sleeper.sleep();
  const bell = new FrontBell(new Doorbell(memory));
  const rung = (): number => {
    sleeper.sleep(); // again, if it was rung
    return signals[DOORBELL.SIGNAL]!;
  };
  return { bell, rung };
}

it('is rung when nothing is left to do, once for what was answered', () => {
  const { bell, rung } = createBell();
  bell.ringIfDue(false);
  expect(rung()).toBe(0);
  bell.owe();
  bell.owe();
  bell.ringIfDue(true);
  expect(rung()).toBe(0);
  bell.ringIfDue(false);
  expect(rung()).toBe(1);
  bell.ringIfDue(false);
  expect(rung()).toBe(1);
});

/** Turns until it rings, of as many lanes that each run a batch and answer. */
function turnsToRing(lanes: number): number {
  const { bell, rung } = createBell();
  for (let turn = 1; turn <= BATCHES_MAX; turn++) {
    for (let lane = 0; lane < lanes; lane++) {
      bell.countBatch();
      bell.owe();
    }
    bell.ringIfDue(true);
    if (rung() > 0) return turn;
  }
  throw new Error('never rung');
}

it('is rung after some batches, of however many lanes', () => {
  expect(turnsToRing(4) * 4).toBe(turnsToRing(1));
});

it('is rung after some turns without a batch', () => {
  const { bell, rung } = createBell();
  bell.owe();
  for (let turn = 0; turn < BATCHES_MAX && rung() === 0; turn++) bell.ringIfDue(true);
  expect(rung()).toBe(1);
});
