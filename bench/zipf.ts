/**
 * Zipf-distributed ranks: rank r of 1 to n comes with probability r^-s / H(n, s).
 *
 * Rejection inversion (W. Hormann and G. Derflinger, "Rejection-inversion to generate variates from monotone discrete
 * distributions", 1996): no table, so a hundred million ranks cost no memory; about 1.1 tries for each sample.
 */
import type { Random } from './random.js';

export class Zipf {
  readonly #random: Random;
  readonly #count: number;
  readonly #exponent: number;
  readonly #integralFirst: number;
  readonly #integralLast: number;
  readonly #squeeze: number;

  /** @param exponent  0 = uniform; 1 = classic; any number from 0 to 10 */
  constructor(random: Random, count: number, exponent: number) {
    this.#random = random;
    this.#count = count;
    this.#exponent = exponent;
    this.#integralFirst = this.#integral(1.5) - 1;
    this.#integralLast = this.#integral(count + 0.5);
    this.#squeeze = 2 - this.#inverse(this.#integral(2.5) - this.#weight(2));
  }

  /** A rank, 1 the most frequent. */
  next(): number {
    if (this.#exponent === 0 || this.#count === 1) return 1 + this.#random.below(this.#count);
    for (;;) {
      const u = this.#integralLast + this.#random.fraction() * (this.#integralFirst - this.#integralLast);
      const x = this.#inverse(u);
      const rank = Math.min(Math.max(Math.round(x), 1), this.#count);
      if (rank - x <= this.#squeeze || u >= this.#integral(rank + 0.5) - this.#weight(rank)) return rank;
    }
  }

  #weight(x: number): number {
    return Math.exp(-this.#exponent * Math.log(x));
  }

  /** The integral of x^-s, in a form that stays exact around s = 1. */
  #integral(x: number): number {
    const logX = Math.log(x);
    return expm1Over((1 - this.#exponent) * logX) * logX;
  }

  #inverse(y: number): number {
    const t = Math.max(y * (1 - this.#exponent), -1);
    return Math.exp(log1pOver(t) * y);
  }
}

/** (e^x - 1) / x, 1 at 0. */
function expm1Over(x: number): number {
  return Math.abs(x) > 1e-8 ? Math.expm1(x) / x : 1 + x / 2;
}

/** log(1 + x) / x, 1 at 0. */
function log1pOver(x: number): number {
  return Math.abs(x) > 1e-8 ? Math.log1p(x) / x : 1 - x / 2;
}
