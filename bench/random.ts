/** Seeded random numbers: the same seed gives the same run. */

/** Whole numbers and fractions from one 32-bit state (mulberry32). */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed | 0;
  }

  /** 0 to 2^32-1. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (t ^ (t >>> 14)) >>> 0;
  }

  /** 0 to 1, without 1. */
  fraction(): number {
    return this.next() / 4294967296;
  }

  /** 0 to limit - 1. */
  below(limit: number): number {
    return Math.floor(this.fraction() * limit);
  }
}
