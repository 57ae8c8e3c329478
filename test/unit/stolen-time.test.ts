import { afterEach, expect, it, vi } from 'vitest';
import { nowUs } from '../../bench/clock.js';
import { StolenTime } from '../../bench/stolen-time.js';

afterEach(() => {
  vi.useRealTimers();
});

it('tells what was stolen between two moments, and not what was before or after', () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'performance'] });
  let total = 1000;
  const stolen = new StolenTime(() => total);
  const steal = (ms: number): number => {
    total += ms;
    vi.advanceTimersByTime(40);
    return nowUs();
  };
  const from = steal(70);
  const to = steal(30);
  steal(500);
  expect(stolen.between(from, to)).toBe(30);
  expect(stolen.between(0, nowUs())).toBe(600);
  stolen.end();
});

it('reads the system', () => {
  const stolen = new StolenTime();
  const now = nowUs();
  expect(stolen.between(now, now)).toBeGreaterThanOrEqual(0);
  stolen.end();
});
