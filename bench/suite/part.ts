/** What `make bench` is made of: parts that can run alone, each with a result of its own (bench/bench.ts). */

export const PART_NAMES = [
  'engine',
  'sawtooth',
  'pauses',
  'redis',
  'scale',
  'latency',
  'cold-start',
] as const;
export type PartName = (typeof PART_NAMES)[number];

export interface PartContext {
  /** Everything small, so that all parts together take at most five minutes. */
  readonly quick: boolean;
  /** Of load on each side of the sawtooth. */
  readonly minutes: number;
  /** Operations a second of the parts with an open loop at one rate. */
  readonly rate: number;
  readonly rounds: number;
  readonly seed: number;
  /** Sizes in millions of records, instead of those of the part. */
  readonly sizes: readonly number[] | undefined;
  /** Of the engine comparison, beside the slab; undefined = all. */
  readonly sides: readonly string[] | undefined;
  log(text: string): void;
}

/** Something that is judged, or that is said without a floor. */
export interface Finding {
  readonly what: string;
  readonly floor: string;
  readonly measured: string;
  /** null = there is no floor, or it was not judged. */
  readonly met: boolean | null;
}

export interface PartResult<T = unknown> {
  readonly findings: readonly Finding[];
  /** What was not run, and why. */
  readonly skipped: readonly string[];
  /** How each side was set. */
  readonly settings: Readonly<Record<string, string>>;
  readonly data: T;
}

export interface Part {
  readonly name: PartName;
  readonly title: string;
  run(context: PartContext): Promise<PartResult>;
  /** Sizes of an earlier run of the same commit, and those of this one; left out: this run's result stands alone. */
  merge?(before: unknown, now: unknown): unknown;
  /** What only several sizes together can say. */
  findingsOf?(data: unknown, quick: boolean): readonly Finding[];
}

/** What an earlier run has and this one has not, then this one. @param key  what makes two the same */
export function mergeBy<T>(before: readonly T[], now: readonly T[], key: (item: T) => string | number): T[] {
  const keys = new Set(now.map(key));
  return [...before.filter((item) => !keys.has(key(item))), ...now];
}

/** A finding with a floor that is a number. @param judged  false: too small a run to judge by */
export function judge(
  what: string,
  value: number,
  { atLeast, atMost, show }: { atLeast?: number; atMost?: number; show: (value: number) => string },
  judged: boolean,
  spread = '',
): Finding {
  const floor =
    atLeast !== undefined
      ? `at least ${show(atLeast)}`
      : atMost !== undefined
        ? `at most ${show(atMost)}`
        : '';
  const met = value >= (atLeast ?? Number.NEGATIVE_INFINITY) && value <= (atMost ?? Number.POSITIVE_INFINITY);
  return { what, floor, measured: `${show(value)}${spread}`, met: judged && floor !== '' ? met : null };
}

export function times(value: number): string {
  return `${value.toFixed(2)} times`;
}
