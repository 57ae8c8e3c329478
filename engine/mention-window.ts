/**
 * The last applied mentions of one partition, so that a repeated one is not counted twice.
 *
 * A ring of 64-bit keys (hashes of user, channel, type and message id), oldest overwritten first, and an
 * open-addressing index over it. Owner: the partition's shard. Lives in words that the caller gives, all 0 at first.
 * Two different mentions with the same key would be taken for one: 2^-51 for a mention that meets a full window.
 *
 *     | COUNT | NEXT | keys: lo hi, 8192 times | buckets: 0 empty, else tag:4 home:14 (ring place + 1):14 |
 *
 * A bucket names its home bucket, so that forgetting a mention moves its neighbours without a look at their keys.
 *
 * I1  Every place below COUNT has exactly one bucket, reachable from its home without crossing an empty one.
 * I2  At most half of the buckets are used, so every probe ends.
 */
import { mix } from './hash.js';
import { assert, broken, layout } from './layout.js';

/** Mentions remembered. */
export const MENTION_WINDOW = 8192;
const BUCKETS = MENTION_WINDOW * 2;
const BUCKET_MASK = BUCKETS - 1;
const PLACE_MASK = 0x3fff;
const HOME_SHIFT = 14;
const TAG_MASK = 0xf << 28;

export const WINDOW = layout({ COUNT: 1, NEXT: 1, KEYS: MENTION_WINDOW * 2, BUCKETS });
assert(MENTION_WINDOW < PLACE_MASK, `a bucket has no room for ${MENTION_WINDOW} places`);
assert(BUCKETS <= 1 << 14, `a bucket has no room for ${BUCKETS} homes`);

/** What a bucket says of a key: all but the place. */
function labelOf(keyLo: number, keyHi: number): number {
  return ((keyLo & BUCKET_MASK) << HOME_SHIFT) | (keyHi & TAG_MASK);
}

/** The key of a mention: `setMentionKey` writes it here, so that no object is made for each mention. */
export const mentionKey = { lo: 0, hi: 0 };

/** One round of a hash. Injective in `word` for a given `state`, and in `state` for a given `word`; factors are odd. */
function round(state: number, word: number, factor: number): number {
  state ^= word;
  return Math.imul((state << 13) | (state >>> 19), factor);
}

/**
 * Sets `mentionKey`. The user's id and not its hash: of the users of one partition, who share bits of the
 * hash, 8192 with the same message would have a pair with equal 32-bit hashes once in four windows.
 */
export function setMentionKey(
  userLo: number,
  userHi: number,
  channelLo: number,
  channelHi: number,
  type: number,
  messageLo: number,
  messageHi: number,
): void {
  let a = round(0x2545f491, userLo, 0xcc9e2d51);
  let b = round(0x3c6ef372, userLo, 0x9e3779b1);
  a = round(a, userHi, 0xcc9e2d51);
  b = round(b, userHi, 0x9e3779b1);
  a = round(a, channelLo, 0xcc9e2d51);
  b = round(b, channelLo, 0x9e3779b1);
  a = round(a, channelHi, 0xcc9e2d51);
  b = round(b, channelHi, 0x9e3779b1);
  a = round(a, messageLo, 0xcc9e2d51);
  b = round(b, messageLo, 0x9e3779b1);
  a = round(a, messageHi, 0xcc9e2d51);
  b = round(b, messageHi, 0x9e3779b1);
  mentionKey.lo = mix(round(a, type, 0xcc9e2d51));
  mentionKey.hi = mix(round(b, type, 0x9e3779b1));
}

export class MentionWindow {
  /** Words that a window needs. */
  static readonly WORDS = WINDOW.WORDS;
  readonly #state: Int32Array;
  readonly #keys: Int32Array;
  readonly #buckets: Int32Array;

  /** @param words  exactly `MentionWindow.WORDS`: zeroed, or what an earlier owner left */
  constructor(words: Int32Array) {
    assert(words.length === WINDOW.WORDS, `a mention window of ${words.length} words, not ${WINDOW.WORDS}`);
    this.#state = words.subarray(0, WINDOW.KEYS);
    this.#keys = words.subarray(WINDOW.KEYS, WINDOW.BUCKETS);
    this.#buckets = words.subarray(WINDOW.BUCKETS);
  }

  /** Mentions remembered now. */
  get count(): number {
    return this.#state[WINDOW.COUNT]!;
  }

  has(keyLo: number, keyHi: number): boolean {
    const keys = this.#keys;
    const buckets = this.#buckets;
    const label = labelOf(keyLo, keyHi);
    for (let bucket = keyLo & BUCKET_MASK; ; bucket = (bucket + 1) & BUCKET_MASK) {
      const word = buckets[bucket]!;
      if (word === 0) return false;
      if ((word & ~PLACE_MASK) !== label) continue;
      const at = ((word & PLACE_MASK) - 1) * 2;
      if (keys[at] === keyLo && keys[at + 1] === keyHi) return true;
    }
  }

  /** Loads what `has` and `add` will look at, so that their cache misses overlap with others; the value means nothing. */
  touch(keyLo: number): number {
    const buckets = this.#buckets;
    const oldest = this.#keys[this.#state[WINDOW.NEXT]! * 2]!;
    return buckets[keyLo & BUCKET_MASK]! ^ buckets[oldest & BUCKET_MASK]!;
  }

  /** Remembers a mention and, when the window is full, forgets the oldest. Both words are signed (`| 0`). */
  add(keyLo: number, keyHi: number): void {
    const state = this.#state;
    const place = state[WINDOW.NEXT]!;
    if (state[WINDOW.COUNT] === MENTION_WINDOW) this.#unlink(place);
    else state[WINDOW.COUNT] = place + 1;
    this.#keys[place * 2] = keyLo;
    this.#keys[place * 2 + 1] = keyHi;
    this.#link(place);
    state[WINDOW.NEXT] = (place + 1) % MENTION_WINDOW;
  }

  /** Makes the index anew from the keys: for a window whose owner died half way. */
  rebuild(): void {
    const count = this.#state[WINDOW.COUNT]!;
    assert(count >= 0 && count <= MENTION_WINDOW, `a mention window with ${count} mentions`);
    this.#state[WINDOW.NEXT] = count < MENTION_WINDOW ? count : this.#state[WINDOW.NEXT]! % MENTION_WINDOW;
    this.#buckets.fill(0);
    for (let place = 0; place < count; place++) this.#link(place);
  }

  #link(place: number): void {
    const buckets = this.#buckets;
    const keyLo = this.#keys[place * 2]!;
    let bucket = keyLo & BUCKET_MASK;
    while (buckets[bucket] !== 0) bucket = (bucket + 1) & BUCKET_MASK;
    buckets[bucket] = labelOf(keyLo, this.#keys[place * 2 + 1]!) | (place + 1);
  }

  /** Empties the bucket of a place, and moves back the ones behind it that would no longer be reached (I1). */
  #unlink(place: number): void {
    const buckets = this.#buckets;
    let hole = this.#keys[place * 2]! & BUCKET_MASK;
    while ((buckets[hole]! & PLACE_MASK) !== place + 1) {
      if (buckets[hole] === 0) broken(`mention ${place} is not in the index`);
      hole = (hole + 1) & BUCKET_MASK;
    }
    for (let bucket = (hole + 1) & BUCKET_MASK; ; bucket = (bucket + 1) & BUCKET_MASK) {
      const word = buckets[bucket]!;
      if (word === 0) break;
      const home = (word >>> HOME_SHIFT) & BUCKET_MASK;
      if (((bucket - home) & BUCKET_MASK) < ((bucket - hole) & BUCKET_MASK)) continue;
      buckets[hole] = word;
      hole = bucket;
    }
    buckets[hole] = 0;
  }

  /** Throws on the first broken invariant. */
  check(): void {
    const count = this.#state[WINDOW.COUNT]!;
    const next = this.#state[WINDOW.NEXT]!;
    assert(count >= 0 && count <= MENTION_WINDOW, `a mention window with ${count} mentions`);
    assert(
      count === MENTION_WINDOW ? next >= 0 && next < MENTION_WINDOW : next === count,
      `mention window: next ${next} of ${count}`,
    );
    const buckets = this.#buckets;
    let used = 0;
    for (let bucket = 0; bucket < BUCKETS; bucket++) if (buckets[bucket] !== 0) used++;
    assert(used === count, `mention window: ${used} buckets for ${count} mentions`);
    for (let place = 0; place < count; place++) {
      const word = labelOf(this.#keys[place * 2]!, this.#keys[place * 2 + 1]!) | (place + 1);
      let bucket = this.#keys[place * 2]! & BUCKET_MASK;
      while (buckets[bucket] !== word) {
        assert(buckets[bucket] !== 0, `mention window: place ${place} is not reachable from its home bucket`);
        bucket = (bucket + 1) & BUCKET_MASK;
      }
    }
  }
}
