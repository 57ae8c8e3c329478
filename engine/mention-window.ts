/**
 * The last applied mentions of one partition, so that a repeated one is not counted twice.
 *
 * A ring of 64-bit keys (hashes of user, channel, type and message id), oldest overwritten first, and an
 * open-addressing index over it. Owner: the partition's shard. Lives in words that the caller gives, all 0 at first.
 * Two different mentions with the same key would be taken for one: 2^-51 for a mention that meets a full window.
 *
 *     | COUNT | NEXT | keys: lo hi, 4096 times | buckets: 0 empty, else tag:4 home:14 (ring place + 1):14 |
 *
 * A bucket names its home bucket, so that forgetting a mention moves its neighbours without a look at their keys.
 *
 * I1  Every place below COUNT has exactly one bucket, reachable from its home without crossing an empty one.
 * I2  At most half of the buckets are used, so every probe ends.
 */
import { mix } from './hash.js';
import { assert, broken, layout } from './layout.js';
import type { StoredWords, Words } from './undo-log.js';

/** Mentions remembered. */
export const MENTION_WINDOW = 4096;
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

/**
 * One round of a hash. Injective in `word` for a given `state`, and in `state` for a given `word`.
 *
 * A difference in the one bit that is turned to the top passes the multiplication alone, and a difference in the
 * next word's top bit would undo it. The two halves of a key turn by different counts, so never both are undone.
 */
function lowRound(state: number, word: number): number {
  state ^= word;
  return Math.imul((state << 13) | (state >>> 19), 0xcc9e2d51);
}

function highRound(state: number, word: number): number {
  state ^= word;
  return Math.imul((state << 18) | (state >>> 14), 0x9e3779b1);
}

/**
 * Sets `mentionKey`. The user's id and not its hash: of the users of one partition, who share bits of the
 * hash, 4096 with the same message would have a pair with equal 32-bit hashes once in sixteen windows.
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
  let low = lowRound(0x2545f491, userLo);
  let high = highRound(0x3c6ef372, userLo);
  low = lowRound(low, userHi);
  high = highRound(high, userHi);
  low = lowRound(low, channelLo);
  high = highRound(high, channelLo);
  low = lowRound(low, channelHi);
  high = highRound(high, channelHi);
  low = lowRound(low, messageLo);
  high = highRound(high, messageLo);
  low = lowRound(low, messageHi);
  high = highRound(high, messageHi);
  mentionKey.lo = mix(lowRound(low, type));
  mentionKey.hi = mix(highRound(high, type));
}

export class MentionWindow {
  /** Words that a window needs. */
  static readonly WORDS = WINDOW.WORDS;
  readonly #words: Words;
  readonly #store: StoredWords;
  readonly #base: number;
  /** The batch that has looked for what it will have forgotten, and how often. */
  #batch = 0;
  #batchLooks = 0;

  /** @param store  `MentionWindow.WORDS` from `base` on are the window's: zeroed, or what an earlier owner left */
  constructor(store: StoredWords, base = 0) {
    const left = store.words.length - base;
    assert(left >= WINDOW.WORDS, `a mention window of ${left} words, not ${WINDOW.WORDS}`);
    this.#words = store.words;
    this.#store = store;
    this.#base = base;
  }

  /** Mentions remembered now. */
  get count(): number {
    return this.#words[this.#base + WINDOW.COUNT]!;
  }

  has(keyLo: number, keyHi: number): boolean {
    const words = this.#words;
    const keys = this.#base + WINDOW.KEYS;
    const buckets = this.#base + WINDOW.BUCKETS;
    const label = labelOf(keyLo, keyHi);
    for (let bucket = keyLo & BUCKET_MASK; ; bucket = (bucket + 1) & BUCKET_MASK) {
      const word = words[buckets + bucket]!;
      if (word === 0) return false;
      if ((word & ~PLACE_MASK) !== label) continue;
      const at = keys + ((word & PLACE_MASK) - 1) * 2;
      if (words[at] === keyLo && words[at + 1] === keyHi) return true;
    }
  }

  /** Where in the words the home bucket of a key lies, which `has` and `add` look at first. */
  bucketAt(keyLo: number): number {
    return this.#base + WINDOW.BUCKETS + (keyLo & BUCKET_MASK);
  }

  /** Remembers a mention and, when the window is full, forgets the oldest. Both words are signed (`| 0`). */
  add(keyLo: number, keyHi: number): void {
    const words = this.#words;
    const base = this.#base;
    const place = words[base + WINDOW.NEXT]!;
    if (words[base + WINDOW.COUNT] === MENTION_WINDOW) this.#unlink(place);
    else this.#store.put(base + WINDOW.COUNT, place + 1);
    this.#store.put(base + WINDOW.KEYS + place * 2, keyLo);
    this.#store.put(base + WINDOW.KEYS + place * 2 + 1, keyHi);
    this.#link(place);
    this.#store.put(base + WINDOW.NEXT, (place + 1) % MENTION_WINDOW);
  }

  /**
   * Where in the words the key (low word first) lies that one of the next mentions will have forgotten: the first when a
   * batch asks for the first time, then one after the other. What `add` looks for is the bucket of that key.
   * @param batch  its number, to know the first time
   */
  forgottenLater(batch: number): number {
    if (batch !== this.#batch) {
      this.#batch = batch;
      this.#batchLooks = 0;
    }
    const place = (this.#words[this.#base + WINDOW.NEXT]! + this.#batchLooks++) % MENTION_WINDOW;
    return this.#base + WINDOW.KEYS + place * 2;
  }

  #keyLo(place: number): number {
    return this.#words[this.#base + WINDOW.KEYS + place * 2]!;
  }

  #keyHi(place: number): number {
    return this.#words[this.#base + WINDOW.KEYS + place * 2 + 1]!;
  }

  #link(place: number): void {
    const words = this.#words;
    const buckets = this.#base + WINDOW.BUCKETS;
    const keyLo = this.#keyLo(place);
    let bucket = keyLo & BUCKET_MASK;
    while (words[buckets + bucket] !== 0) bucket = (bucket + 1) & BUCKET_MASK;
    this.#store.put(buckets + bucket, labelOf(keyLo, this.#keyHi(place)) | (place + 1));
  }

  /** Empties the bucket of a place, and moves back the ones behind it that would no longer be reached (I1). */
  #unlink(place: number): void {
    const words = this.#words;
    const buckets = this.#base + WINDOW.BUCKETS;
    let hole = this.#keyLo(place) & BUCKET_MASK;
    while ((words[buckets + hole]! & PLACE_MASK) !== place + 1) {
      if (words[buckets + hole] === 0) broken('a mention is not in the index', place);
      hole = (hole + 1) & BUCKET_MASK;
    }
    for (let bucket = (hole + 1) & BUCKET_MASK; ; bucket = (bucket + 1) & BUCKET_MASK) {
      const word = words[buckets + bucket]!;
      if (word === 0) break;
      const home = (word >>> HOME_SHIFT) & BUCKET_MASK;
      if (((bucket - home) & BUCKET_MASK) < ((bucket - hole) & BUCKET_MASK)) continue;
      this.#store.put(buckets + hole, word);
      hole = bucket;
    }
    this.#store.put(buckets + hole, 0);
  }

  /** Throws on the first broken invariant. */
  check(): void {
    const { count } = this;
    const next = this.#words[this.#base + WINDOW.NEXT]!;
    assert(count >= 0 && count <= MENTION_WINDOW, `a mention window with ${count} mentions`);
    assert(
      count === MENTION_WINDOW ? next >= 0 && next < MENTION_WINDOW : next === count,
      `mention window: next ${next} of ${count}`,
    );
    const from = this.#base + WINDOW.BUCKETS;
    const buckets = this.#words.subarray(from, from + BUCKETS);
    let used = 0;
    for (let bucket = 0; bucket < BUCKETS; bucket++) if (buckets[bucket] !== 0) used++;
    assert(used === count, `mention window: ${used} buckets for ${count} mentions`);
    for (let place = 0; place < count; place++) {
      const word = labelOf(this.#keyLo(place), this.#keyHi(place)) | (place + 1);
      let bucket = this.#keyLo(place) & BUCKET_MASK;
      while (buckets[bucket] !== word) {
        assert(buckets[bucket] !== 0, `mention window: place ${place} is not reachable from its home bucket`);
        bucket = (bucket + 1) & BUCKET_MASK;
      }
    }
  }
}
