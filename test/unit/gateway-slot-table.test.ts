import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ROUTE_TO_CALL, ROUTE_TO_CONNECTION, SLOTS_MAX, SlotTable } from '../../gateway/slot-table.js';

describe('slots', () => {
  it('find their holder by route, and nobody by the route of an earlier one', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 4 }),
        fc.array(fc.boolean(), { maxLength: 200 }),
        (max, steps) => {
          const table = new SlotTable<object>(ROUTE_TO_CALL, max);
          const held = new Map<number, object>();
          const gone: number[] = [];
          for (const take of steps) {
            if (take) {
              const item = {};
              const route = table.take(item);
              expect(route === 0).toBe(held.size === max);
              if (route !== 0) {
                expect(route).toBeLessThan(0);
                expect(held.has(route)).toBe(false);
                held.set(route, item);
              }
            } else if (held.size > 0) {
              const route = held.keys().next().value!;
              table.release(route);
              held.delete(route);
              gone.push(route);
            }
            for (const [route, item] of held) expect(table.get(route)).toBe(item);
            for (const route of gone) expect(table.get(route)).toBeNull();
            expect(table.count).toBe(held.size);
            expect([...table]).toHaveLength(held.size);
          }
        },
      ),
    );
  });

  it('have routes that are never 0 and tell the two tables apart', () => {
    const connections = new SlotTable<number>(ROUTE_TO_CONNECTION, SLOTS_MAX);
    const calls = new SlotTable<number>(ROUTE_TO_CALL, SLOTS_MAX);
    const routes = Array.from({ length: SLOTS_MAX }, (_, i) => [connections.take(i), calls.take(i)] as const);
    expect(routes.every(([connection, call]) => connection > 0 && call < 0)).toBe(true);
    expect(connections.take(0)).toBe(0);
  });

  it('come round to the same route only after all generations of all slots', () => {
    const table = new SlotTable<number>(ROUTE_TO_CONNECTION, 2);
    const first = table.take(0);
    table.release(first);
    let turns = 0;
    for (let route = 0; route !== first; turns++) {
      route = table.take(0);
      table.release(route);
    }
    expect(turns).toBe(2 * 32_768);
  });

  it('assert that nothing is released twice', () => {
    const table = new SlotTable<number>(ROUTE_TO_CALL, 2);
    const route = table.take(1);
    table.release(route);
    expect(() => table.release(route)).toThrow('released twice');
  });
});
