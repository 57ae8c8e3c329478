/**
 * Whom an answer is for: numbered slots for connections and for waiting requests, and the ROUTE word that names one.
 *
 *     ROUTE   pending:1 generation:15 slot:16
 *
 * I1  Slots start at 1, so a route is never 0, which means event.
 * I2  A slot gets a new generation when it is freed: an answer that comes for the earlier holder finds nobody.
 * I3  Slots are reused first in, first out, so that a generation comes round again as late as it can: with S free
 *     slots after 32,768 x S requests, long after the last answer for its holder.
 */
import { assert } from '../engine/layout.js';

const SLOT_MASK = 0xffff;
const GENERATION_SHIFT = 16;
const GENERATION_MASK = 0x7fff;
export const SLOTS_MAX = 0xffff;

/** The bit of a route that says which of the two tables it belongs to. */
export const ROUTE_TO_CONNECTION = 0;
export const ROUTE_TO_CALL = 1 << 31;

export class SlotTable<T> {
  readonly #kind: number;
  readonly #items: (T | null)[];
  readonly #generations: Uint16Array;
  readonly #free: Uint16Array;
  #freeFirst = 0;
  #freeCount: number;

  /** @param max  slots, 1 to SLOTS_MAX */
  constructor(kind: typeof ROUTE_TO_CONNECTION | typeof ROUTE_TO_CALL, max: number) {
    assert(max >= 1 && max <= SLOTS_MAX, `${max} slots are not 1 to ${SLOTS_MAX}`);
    this.#kind = kind;
    this.#items = new Array<T | null>(max + 1).fill(null);
    this.#generations = new Uint16Array(max + 1);
    this.#free = Uint16Array.from({ length: max }, (_, index) => index + 1);
    this.#freeCount = max;
  }

  get count(): number {
    return this.#free.length - this.#freeCount;
  }

  get full(): boolean {
    return this.#freeCount === 0;
  }

  /** @returns the route of the slot that `item` now holds, or 0 when none is free */
  take(item: T): number {
    if (this.#freeCount === 0) return 0;
    const slot = this.#free[this.#freeFirst]!;
    this.#freeFirst = (this.#freeFirst + 1) % this.#free.length;
    this.#freeCount--;
    this.#items[slot] = item;
    return this.#kind | (this.#generations[slot]! << GENERATION_SHIFT) | slot;
  }

  /** Who holds this route, or null when that one is gone (I2). */
  get(route: number): T | null {
    const slot = route & SLOT_MASK;
    if (this.#generations[slot] !== ((route >>> GENERATION_SHIFT) & GENERATION_MASK)) return null;
    return this.#items[slot] ?? null;
  }

  release(route: number): void {
    const slot = route & SLOT_MASK;
    assert(this.get(route) !== null, `route ${route} is released twice`);
    this.#items[slot] = null;
    this.#generations[slot] = (this.#generations[slot]! + 1) & GENERATION_MASK;
    this.#free[(this.#freeFirst + this.#freeCount) % this.#free.length] = slot;
    this.#freeCount++;
  }

  /** All holders, for closing down. */
  *[Symbol.iterator](): IterableIterator<T> {
    for (const item of this.#items) if (item !== null) yield item;
  }
}
