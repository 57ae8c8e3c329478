/** What the engine benchmark makes of its raw figures. */

/** What a shard's counters said at one moment. */
export interface GcSample {
  readonly gcCount: number;
  readonly gcSumMs: number;
  /** The longest since the thread started. */
  readonly gcMaxMs: number;
}

export interface PauseBounds {
  readonly count: number;
  readonly sumMs: number;
  /** The longest pause was at least and at most this. */
  readonly leastMs: number;
  readonly mostMs: number;
}

/**
 * The longest pause between the first and the last sample. It is exact when it was the longest of the thread's life;
 * otherwise it is no longer than that one, nor than all pauses between two samples together.
 */
export function longestPause(samples: readonly GcSample[]): PauseBounds {
  const [first, last] = [samples[0]!, samples[samples.length - 1]!];
  let leastMs = 0;
  let mostMs = 0;
  for (let i = 1; i < samples.length; i++) {
    const count = samples[i]!.gcCount - samples[i - 1]!.gcCount;
    const sumMs = samples[i]!.gcSumMs - samples[i - 1]!.gcSumMs;
    if (count === 0) continue;
    leastMs = Math.max(leastMs, sumMs / count);
    mostMs = Math.max(mostMs, sumMs);
  }
  if (last.gcMaxMs > first.gcMaxMs) leastMs = last.gcMaxMs;
  return {
    count: last.gcCount - first.gcCount,
    sumMs: last.gcSumMs - first.gcSumMs,
    leastMs,
    mostMs: Math.max(leastMs, Math.min(mostMs, last.gcMaxMs)),
  };
}

export interface HeapSample {
  readonly operations: number;
  readonly heapBytes: number;
  readonly gcCount: number;
}

export interface HeapGrowth {
  readonly collections: number;
  /** Bytes for each operation, seen where no collection came between two samples. */
  readonly allocatedPerOperation: number;
  /** How far the heap after a collection has grown, in 10 M operations; with few collections all that was allocated. */
  readonly bytesPer10M: number;
}

/** Collections without which the teeth of the saw cannot be told from growth. */
const COLLECTIONS_LEAST = 4;

/**
 * What the heap does under the teeth of its saw: the least that was seen after a collection in the second half of the
 * collections, against the first half. Halves lie half a run apart.
 */
export function heapGrowth(samples: readonly HeapSample[]): HeapGrowth {
  const lows: HeapSample[] = [];
  let [allocated, between] = [0, 0];
  for (let i = 1; i < samples.length; i++) {
    const [before, now] = [samples[i - 1]!, samples[i]!];
    if (now.gcCount > before.gcCount) {
      lows.push(now);
    } else {
      allocated += now.heapBytes - before.heapBytes;
      between += now.operations - before.operations;
    }
  }
  const [first, last] = [samples[0]!, samples[samples.length - 1]!];
  const collections = last.gcCount - first.gcCount;
  const allocatedPerOperation = between === 0 ? 0 : allocated / between;
  if (lows.length < COLLECTIONS_LEAST)
    return { collections, allocatedPerOperation, bytesPer10M: allocatedPerOperation * 1e7 };
  const half = lows.length >> 1;
  const least = (some: readonly HeapSample[]): number => Math.min(...some.map(({ heapBytes }) => heapBytes));
  const bytes = least(lows.slice(half)) - least(lows.slice(0, half));
  const operations = (last.operations - first.operations) / 2;
  return { collections, allocatedPerOperation, bytesPer10M: (bytes / operations) * 1e7 };
}

/** One line of the table. `value` is judged against `floor` unless either is null. */
export interface Row {
  readonly name: string;
  readonly value: number | null;
  readonly shown: string;
  readonly spread: string;
  readonly floor: number | null;
  readonly atLeast: boolean;
  readonly floorShown: string;
}

export function verdictOf({ value, floor, atLeast }: Row): 'held' | 'MISSED' | '' {
  if (value === null || floor === null) return '';
  return (atLeast ? value >= floor : value <= floor) ? 'held' : 'MISSED';
}
