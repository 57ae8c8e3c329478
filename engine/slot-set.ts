/** A set of slots, a bit each: one of all records of a large partition is more than a Set can hold. */
import { assert } from './layout.js';

export class SlotSet {
  readonly #bits: Int32Array;
  readonly #max: number;
  #size = 0;

  /** @param max  the largest slot */
  constructor(max: number) {
    this.#max = max;
    this.#bits = new Int32Array((max >>> 5) + 1);
  }

  get size(): number {
    return this.#size;
  }

  has(slot: number): boolean {
    return (this.#bits[slot >>> 5]! & (1 << (slot & 31))) !== 0;
  }

  /** @throws Error if there is no such slot */
  add(slot: number): void {
    assert(slot >= 1 && slot <= this.#max, `slot ${slot} is not 1 to ${this.#max}`);
    if (this.has(slot)) return;
    this.#bits[slot >>> 5]! |= 1 << (slot & 31);
    this.#size++;
  }
}
