import { describe, expect, it } from 'vitest';
import { hashUser } from '../../engine/hash.js';
import { HOT_TABLE_BYTES, HotTable, WINDOW_S } from '../../workers/introspection/hot-keys.js';
import { Random } from '../model/random.js';

const TICK_S = 0.1;
/** Operations that a sample stands for: any must give the same rates. */
const WEIGHT = 8;

function ratesOf(table: HotTable): [number, number][] {
  const rates: [number, number][] = [];
  table.each(1, (lo, _hi, count) => rates.push([lo, count / WEIGHT / WINDOW_S]));
  return rates.sort((a, b) => b[1] - a[1]);
}

/** Ticks of `perTick` samples, of which `next` names the users. */
function feed(table: HotTable, ticks: number, perTick: number, next: () => number): void {
  for (let tick = 0; tick < ticks; tick++) {
    for (let i = 0; i < perTick; i++) {
      const user = next();
      table.add(hashUser(user, 1), user, 1, WEIGHT);
    }
    table.decay(Math.exp(-TICK_S / WINDOW_S));
  }
}

describe('hot keys', () => {
  it('finds the keys with the most operations in a stream of many rare ones, with their rates', () => {
    const random = new Random(3);
    const table = new HotTable(new SharedArrayBuffer(HOT_TABLE_BYTES), 0);
    // Twenty keys with 0.5% of the samples each; the others are each seen about once.
    feed(table, 300, 2000, () =>
      random.next(10) === 0 ? 1 + random.next(20) : 1000 + random.next(0x7fff_0000),
    );
    const rates = ratesOf(table);
    const expected = 2000 / TICK_S / 10 / 20;
    expect(new Set(rates.slice(0, 20).map(([user]) => user))).toEqual(
      new Set(Array.from({ length: 20 }, (_, i) => i + 1)),
    );
    for (const [, rate] of rates.slice(0, 20)) {
      expect(rate).toBeGreaterThan(expected * 0.6);
      expect(rate).toBeLessThan(expected * 1.3);
    }
    // What is not hot does not look hot.
    expect(rates[20]?.[1] ?? 0).toBeLessThan(expected / 3);
  });

  it('forgets who has gone quiet', () => {
    const table = new HotTable(new SharedArrayBuffer(HOT_TABLE_BYTES), 0);
    feed(table, 20, 100, () => 7);
    expect(ratesOf(table)[0]![0]).toBe(7);
    feed(table, 600, 1, () => 8);
    expect(ratesOf(table).map(([user]) => user)).toEqual([8]);
  });
});
