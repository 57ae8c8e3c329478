/**
 * A bounded set of user ids in shared memory: those whose changes are announced.
 *
 *     | count | lo hi | lo hi | ...     both words 0 = empty bucket
 *
 * I1  Every member is reachable from its home bucket without crossing an empty one.
 * I2  At most half of the buckets are used, so every probe ends.
 */
import { hashUser } from './hash.js';
import { assert } from './layout.js';
import type { StoredWords, Words } from './undo-log.js';

const COUNT = 0;
const BUCKETS = 1;
const BUCKET_WORDS = 2;

export class WatchSet {
  readonly #words: Words;
  readonly #store: StoredWords;
  readonly #base: number;
  readonly #max: number;
  readonly #mask: number;

  static #buckets(max: number): number {
    let buckets = 2;
    while (buckets < max * 2) buckets *= 2;
    return buckets;
  }

  /** Words of memory for a set of up to `max` users. */
  static words(max: number): number {
    return BUCKETS + WatchSet.#buckets(max) * BUCKET_WORDS;
  }

  /** @param store  `WatchSet.words(max)` from `base` on are the set's: zeroed, or what an earlier owner left */
  constructor(store: StoredWords, base: number, max: number) {
    const left = store.words.length - base;
    assert(left >= WatchSet.words(max), `watch set of ${left} words for ${max} users`);
    this.#words = store.words;
    this.#store = store;
    this.#base = base;
    this.#max = max;
    this.#mask = WatchSet.#buckets(max) - 1;
  }

  /** Whether I1 and I2 hold: of a set whose partition is broken. */
  get isWhole(): boolean {
    let count = 0;
    for (let bucket = 0; bucket <= this.#mask; bucket++) {
      const at = this.#bucketAt(bucket);
      const [lo, hi] = [this.#words[at]!, this.#words[at + 1]!];
      if ((lo | hi) === 0) continue;
      if (++count > this.#max) return false;
    }
    if (count !== this.size) return false;
    for (let bucket = 0; bucket <= this.#mask; bucket++) {
      const at = this.#bucketAt(bucket);
      const [lo, hi] = [this.#words[at]!, this.#words[at + 1]!];
      if ((lo | hi) !== 0 && this.#probe(lo, hi) !== at) return false;
    }
    return true;
  }

  get size(): number {
    return this.#words[this.#base + COUNT]!;
  }

  #bucketAt(bucket: number): number {
    return this.#base + BUCKETS + bucket * BUCKET_WORDS;
  }

  /** Position of the member, or of the empty bucket that ends its probe. */
  #probe(lo: number, hi: number): number {
    const words = this.#words;
    for (let bucket = hashUser(lo, hi) & this.#mask; ; bucket = (bucket + 1) & this.#mask) {
      const at = this.#bucketAt(bucket);
      if ((words[at]! | words[at + 1]!) === 0) return at;
      if (words[at] === lo && words[at + 1] === hi) return at;
    }
  }

  has(lo: number, hi: number): boolean {
    if (this.size === 0) return false;
    const at = this.#probe(lo, hi);
    return (this.#words[at]! | this.#words[at + 1]!) !== 0;
  }

  /** False if the set is full. */
  add(lo: number, hi: number): boolean {
    const words = this.#words;
    const at = this.#probe(lo, hi);
    if ((words[at]! | words[at + 1]!) !== 0) return true;
    if (this.size >= this.#max) return false;
    this.#store.put(at, lo);
    this.#store.put(at + 1, hi);
    this.#store.put(this.#base + COUNT, this.size + 1);
    return true;
  }

  delete(lo: number, hi: number): void {
    const words = this.#words;
    const at = this.#probe(lo, hi);
    if ((words[at]! | words[at + 1]!) === 0) return;
    // Backward shift: whoever probed past the hole moves into it, so that I1 holds without tombstones.
    let hole = (at - this.#bucketAt(0)) / BUCKET_WORDS;
    for (let bucket = (hole + 1) & this.#mask; ; bucket = (bucket + 1) & this.#mask) {
      const from = this.#bucketAt(bucket);
      if ((words[from]! | words[from + 1]!) === 0) break;
      const home = hashUser(words[from]!, words[from + 1]!) & this.#mask;
      if (((bucket - home) & this.#mask) < ((bucket - hole) & this.#mask)) continue;
      this.#store.put(this.#bucketAt(hole), words[from]!);
      this.#store.put(this.#bucketAt(hole) + 1, words[from + 1]!);
      hole = bucket;
    }
    this.#store.put(this.#bucketAt(hole), 0);
    this.#store.put(this.#bucketAt(hole) + 1, 0);
    this.#store.put(this.#base + COUNT, this.size - 1);
  }
}
