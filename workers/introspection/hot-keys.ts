/**
 * The keys of a stream with the most operations: fixed memory, always on. A shard samples its operations and counts
 * the samples here; the front reads.
 *
 * A table is sets of four counters. A sampled key that has none takes over the smallest of its set with probability
 * weight / (its count + weight), the weight being the operations that the sample stands for: a stream of rare keys hardly moves the counters, a frequent key soon has one (random
 * admission, Ben Basat et al. 2017). It inherits that count, so that it is not the next to go; ERROR says how much is
 * not its own. All counts decay by the same factor each tick, so that they are rates over WINDOW_S.
 *
 * One thread writes, with plain stores; a reader may see a key with its predecessor's count for a moment.
 */
import { layout } from '../../engine/layout.js';

const COUNTER = layout({ LO: 1, HI: 1, COUNT: 1, ERROR: 1 }); // COUNT and ERROR are Float32s
const WAYS = 4;
const SETS = 256;
export const HOT_TABLE_KEYS = WAYS * SETS;
export const HOT_TABLE_BYTES = HOT_TABLE_KEYS * COUNTER.WORDS * 4;

/** Counts are of about the last five seconds. */
export const WINDOW_S = 5;
/** Below, a counter is free. */
const COUNT_MIN = 0.01;

/** The low bits of a user's hash say the partition, and so are the same for many users of a shard. */
const SET_SHIFT = 8;

export class HotTable {
  readonly #words: Int32Array;
  readonly #floats: Float32Array;
  #random: number;

  /** @param memory  HOT_TABLE_BYTES from `byteOffset` are the table's */
  constructor(memory: SharedArrayBuffer, byteOffset: number, seed = 1) {
    this.#words = new Int32Array(memory, byteOffset, HOT_TABLE_KEYS * COUNTER.WORDS);
    this.#floats = new Float32Array(memory, byteOffset, HOT_TABLE_KEYS * COUNTER.WORDS);
    this.#random = seed | 1;
  }

  /** Counts one sample that stands for `weight` operations. O(1). */
  add(hash: number, lo: number, hi: number, weight: number): void {
    const words = this.#words;
    const floats = this.#floats;
    const from = ((hash >>> SET_SHIFT) & (SETS - 1)) * WAYS * COUNTER.WORDS;
    let least = from;
    for (let way = 0; way < WAYS; way++) {
      const at = from + way * COUNTER.WORDS;
      if (words[at + COUNTER.LO] === lo && words[at + COUNTER.HI] === hi) {
        floats[at + COUNTER.COUNT] = floats[at + COUNTER.COUNT]! + weight;
        return;
      }
      if (floats[at + COUNTER.COUNT]! < floats[least + COUNTER.COUNT]!) least = at;
    }
    const count = floats[least + COUNTER.COUNT]!;
    if (count > 0 && (this.#next() >>> 0) * (count + weight) > 0x1_0000_0000 * weight) return;
    words[least + COUNTER.LO] = lo;
    words[least + COUNTER.HI] = hi;
    floats[least + COUNTER.ERROR] = count;
    floats[least + COUNTER.COUNT] = count + weight;
  }

  /** @param factor  what is left of each count */
  decay(factor: number): void {
    const floats = this.#floats;
    for (let at = 0; at < floats.length; at += COUNTER.WORDS) {
      const count = floats[at + COUNTER.COUNT]!;
      if (count === 0) continue;
      const left = count * factor;
      // Smaller ones end as denormal numbers, which cost a hundred times as much.
      floats[at + COUNTER.COUNT] = left < COUNT_MIN ? 0 : left;
      floats[at + COUNTER.ERROR] = left < COUNT_MIN ? 0 : floats[at + COUNTER.ERROR]! * factor;
    }
  }

  /** Calls `visit` for each key with at least `countMin` operations of its own in the window. */
  each(countMin: number, visit: (lo: number, hi: number, count: number) => void): void {
    const words = this.#words;
    const floats = this.#floats;
    for (let at = 0; at < floats.length; at += COUNTER.WORDS) {
      const own = floats[at + COUNTER.COUNT]! - floats[at + COUNTER.ERROR]!;
      if (own >= countMin) visit(words[at + COUNTER.LO]!, words[at + COUNTER.HI]!, own);
    }
  }

  /** xorshift32: seeded, so that a run can be repeated. */
  #next(): number {
    let x = this.#random;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#random = x;
    return x;
  }
}
