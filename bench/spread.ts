/** Rounds of a measurement: the middle one, and how far the others are from it. */

export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

export function spreadOf(values: readonly number[]): Spread {
  if (values.length === 0) throw new Error('the spread of no values');
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
  return { median, min: sorted[0]!, max: sorted[sorted.length - 1]! };
}

/** Of two sides that ran in turn: how many times as much the first did, round by round. */
export function ratioOf(rates: readonly number[], peerRates: readonly number[]): Spread {
  if (rates.length !== peerRates.length)
    throw new Error(`${rates.length} rounds against ${peerRates.length}`);
  return spreadOf(rates.map((rate, round) => rate / peerRates[round]!));
}

export function median(values: readonly number[]): number {
  return spreadOf(values).median;
}
