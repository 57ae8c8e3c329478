/**
 * Zipf-distributed ranks with exponent 0.99 that come out the same in every language: as YCSB makes them (J. Gray et
 * al., "Quickly generating billion-record synthetic databases", 1994). With this exponent, the power in the inverse is
 * 1 / (1 - 0.99) = 100, a whole number, so a rank takes products and sums of doubles only, which IEEE 754 defines to
 * the bit; logarithms and powers, which it does not, are in the constants. Ranks 0 and 1 are exact, the others are of
 * the integral.
 */
const EXPONENT = 0.99;

export interface ZipfConstants {
  readonly zetaN: number;
  readonly eta: number;
  /** Of the first two ranks. */
  readonly zeta2: number;
}

export function zipfConstants(count: number): ZipfConstants {
  let zetaN = 0;
  for (let rank = 1; rank <= count; rank++) zetaN += rank ** -EXPONENT;
  const zeta2 = 1 + 2 ** -EXPONENT;
  return { zetaN, zeta2, eta: (1 - (2 / count) ** (1 - EXPONENT)) / (1 - zeta2 / zetaN) };
}

/** A rank from 0 to count - 1. @param u  0 to 1, without 1 */
export function zipfRank({ zetaN, eta, zeta2 }: ZipfConstants, count: number, u: number): number {
  const uz = u * zetaN;
  if (uz < 1) return 0;
  if (uz < zeta2) return 1;
  const t = eta * u - eta + 1;
  const t2 = t * t;
  const t4 = t2 * t2;
  const t8 = t4 * t4;
  const t16 = t8 * t8;
  const t32 = t16 * t16;
  const t64 = t32 * t32;
  return Math.min(Math.floor(count * (t64 * t32 * t4)), count - 1);
}
