/** The limit against stores that are made of a formula: time is stepped. */
import { describe, expect, it } from 'vitest';
import { AdaptiveLimit } from '../../workers/stores/adaptive-limit.js';

const OPTIONS = { first: 16, min: 2, max: 100, slowMs: 20 };

/** Keeps all places taken for `rounds` rounds; each request of a round takes what `latencyMs` says of their number. */
class Load {
  nowMs = 0;
  readonly limit = new AdaptiveLimit(OPTIONS, () => this.nowMs);

  run(
    rounds: number,
    latencyMs: (inWork: number) => number,
    fails = false,
    wanted = Number.POSITIVE_INFINITY,
  ): void {
    for (let round = 0; round < rounds; round++) {
      const count = Math.min(wanted, this.limit.limit);
      const begun = Array.from({ length: count }, () => this.limit.begin());
      this.nowMs += latencyMs(count);
      for (const startedMs of begun) this.limit.end(startedMs, !fails);
    }
  }
}

describe('AdaptiveLimit', () => {
  it('grows to the most while a store is quick, and not when nobody needs it', () => {
    const load = new Load();
    load.run(100, () => 1, false, 8);
    expect(load.limit.limit).toBe(16);
    load.run(100, () => 1);
    expect(load.limit.limit).toBe(100);
  });

  it('settles where a store of so many places at once is busy and not slow', () => {
    const load = new Load();
    // 10 at once take 2 ms; more queue up.
    const busy = (inWork: number): number => 2 * Math.max(1, inWork / 2);
    load.run(20, () => 1);
    load.run(300, busy);
    const settled = load.limit.limit;
    expect(busy(settled)).toBeLessThan(40);
    expect(settled).toBeGreaterThan(8);
  });

  it('takes a store that has become slow for good as it is, in time', () => {
    const load = new Load();
    load.run(50, () => 2);
    load.run(20, () => 50);
    expect(load.limit.limit).toBeLessThan(20);
    load.run(300, () => 50);
    expect(load.limit.limit).toBe(100);
  });

  it('halves once for what fails together, and stays above the least', () => {
    const load = new Load();
    load.run(100, () => 1);
    load.run(1, () => 5, true);
    expect(load.limit.limit).toBe(50);
    load.run(20, () => 5, true);
    expect(load.limit.limit).toBe(2);
    load.run(200, () => 1);
    expect(load.limit.limit).toBe(100);
  });

  it('does not take the queue of its own burst for a quiet store', () => {
    let nowMs = 0;
    const limit = new AdaptiveLimit(OPTIONS, () => nowMs);
    for (let round = 0; round < 200; round++) {
      const begun = Array.from({ length: limit.limit }, () => limit.begin());
      for (const startedMs of begun) {
        nowMs += 4; // one after the other
        limit.end(startedMs, true);
      }
    }
    expect(limit.limit).toBeGreaterThanOrEqual(4);
    expect(limit.limit).toBeLessThanOrEqual(12);
  });

  it('makes way once for all that waited at the same time', () => {
    const load = new Load();
    load.run(100, () => 1);
    const { limit, nowMs: sinceMs } = load;
    load.nowMs += 30;
    limit.makeWay(sinceMs);
    limit.makeWay(sinceMs);
    expect(limit.limit).toBe(80);
    limit.makeWay(load.nowMs);
    expect(limit.limit).toBe(64);
  });
});
