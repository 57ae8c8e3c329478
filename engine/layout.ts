/**
 * Memory layouts as tables: every offset of every shared structure comes from here.
 *
 * A layout is a list of fields with their widths in 32-bit words. `layout()` turns the widths into
 * offsets and adds the total as `WORDS`. `docs/layout.md` is generated from these tables.
 */

/**
 * Throws when a condition that must hold does not: a failed assertion is a bug of Tidemark.
 *
 * On a hot path the message must be a plain string, or the check an `if` around `broken`: a template is put together
 * also when the condition holds, and 64 bytes of garbage an operation showed as 24 collections a second in a shard.
 */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) broken(message);
}

/**
 * What `assert` does when its condition does not hold. The number is told here and not by the caller, in a template: where V8
 * inlines two callers that look at the same number, it turns that into a string ahead of both, whether or not anything is broken.
 */
export function broken(message: string, about?: number): never {
  throw new Error(`assertion failed: ${message}${about === undefined ? '' : `: ${about}`}`);
}

export type Layout<T extends Record<string, number>> = Readonly<
  { [K in keyof T]: number } & { WORDS: number }
>;

/** Offsets in words, in the order of the fields, and `WORDS`, the size of the whole. */
export function layout<const T extends Record<string, number>>(widths: T): Layout<T> {
  const offsets: Record<string, number> = {};
  let offset = 0;
  for (const [field, words] of Object.entries(widths)) {
    assert(
      Number.isInteger(words) && words > 0,
      `width of ${field} is ${words}, not a positive whole number of words`,
    );
    offsets[field] = offset;
    offset += words;
  }
  offsets.WORDS = offset;
  return Object.freeze(offsets) as Layout<T>;
}

/** Of a cache line. */
export const LINE_WORDS = 16;
/**
 * Words of a cache line that lie before a large shared buffer: glibc's header of a block that it maps for itself. Were
 * it otherwise, what is laid out by lines would straddle them: slower, and no less right.
 */
const BUFFER_LEAD_WORDS = 4;

/** The cache line of a buffer's word. */
export function lineOf(word: number): number {
  return (word + BUFFER_LEAD_WORDS) >>> 4;
}

/** First word of a buffer at which a cache line begins. */
export const FIRST_LINE_WORD = LINE_WORDS - BUFFER_LEAD_WORDS;

/** Grows when a saved partition of an older build could no longer be read. */
export const LAYOUT_VERSION = 6;

/**
 * One read state: 48 bytes. Written only by the shard that owns the partition. Slot 0 is never used.
 * The first eight words are what an ack touches: with 48-byte records on 64-byte lines, they lie in one line in
 * three cases of four.
 */
export const RECORD = layout({
  CHANNEL_LO: 1, // immutable while indexed
  CHANNEL_HI: 1,
  MESSAGE_LO: 1, // the tide mark: last message read; both words 0 = null
  MESSAGE_HI: 1,
  USER_SLOT: 1, // 0 = the slot is free
  META: 1, // see META_*
  MENTION_COUNT: 1, // 0 to 2^31-1, saturates
  VERSION: 1, // of the user when this record last changed
  FINGERPRINT: 1, // of the latest mention's message id; 0 = none
  NEXT_OF_USER: 1, // next record of the same user, 0 ends the chain; in a free slot: next free slot
  PIN_LO: 1, // last pin, ms since 1970; both words 0 = null
  PIN_HI: 1,
});
assert(RECORD.WORDS === 12, `a record has ${RECORD.WORDS} words, not 12`);

/** Mentions saturate. */
export const COUNT_MAX = 0x7fffffff;

/**
 * META of a record, and of an entry on the wire, to the bit:
 * `type:3 flags:8 viewed:16 state:5`. `viewed` is last_viewed + 1, so that 0 means null.
 */
export const META_TYPE_MASK = 0x7;
export const META_FLAGS_SHIFT = 3;
export const META_FLAGS_MASK = 0xff;
export const META_VIEWED_SHIFT = 11;
export const META_VIEWED_MASK = 0xffff;
export const META_FLAGS_BITS = META_FLAGS_MASK << META_FLAGS_SHIFT;
export const META_VIEWED_BITS = META_VIEWED_MASK << META_VIEWED_SHIFT;
/** What of META belongs to the entry (and is stored and sent); the rest is the record's own state. */
export const META_ENTRY_MASK = 0x07ffffff;
/** Changed since its last write to the store was sent. */
export const META_DIRTY = 1 << 27;
/** A write of this record is on its way to the store. */
export const META_FLUSHING = 1 << 28;
/** A tombstone: deleted, and kept until the store has confirmed it. */
export const META_DELETED = 1 << 29;
/** The store may have a row of this key: loaded from it, sent to it, or found in a journal. */
export const META_STORED = 1 << 30;
/** Only in an IMAGE: all rows of the user with a lower version are dropped. */
export const META_WIPE = 1 << 31;

/** One user: 64 bytes, a cache line of its own. Slot 0 is never used. */
export const USER = layout({
  ID_LO: 1, // both words 0 in a detached user: nothing finds its records any more
  ID_HI: 1,
  STATE: 1, // see USER_*; 0 = the slot is free
  HOLD: 1, // the shard's number of what this user waits for, 0 = nothing
  VERSION: 1,
  DELETED_VERSION: 1, // version of the latest deletion of any entry, 0 = never
  TOUCHED: 1, // tick of the last LRU move
  LRU_NEWER: 1, // neighbours in its LRU list, 0 ends; detached: next detached user
  LRU_OLDER: 1,
  FIRST_RECORD: 1, // head of the chain through RECORD.NEXT_OF_USER; in a free slot: next free slot
  RECORD_COUNT: 1, // records in the chain, tombstones included
  DIRTY_COUNT: 1, // records with META_DIRTY
  IN_FLIGHT: 1, // records with META_FLUSHING, plus one for a wipe on its way
  DIRTY_NEXT: 1, // neighbours in its dirty queue, 0 ends
  DIRTY_PREVIOUS: 1,
  DIRTY_DUE: 1, // tick at which its flush is due
});
assert(USER.WORDS === 16, `a user has ${USER.WORDS} words, not 16`);

/** The slot is in use. */
export const USER_LIVE = 1 << 0;
/** All records of this user are resident: an absent channel is known to be absent. */
export const USER_COMPLETE = 1 << 1;
/** VERSION and DELETED_VERSION are those of the store or newer. */
export const USER_KNOWN = 1 << 2;
/** In the list of active users (asked for something themselves); otherwise passive (only mentioned). */
export const USER_ACTIVE = 1 << 3;
/** In a dirty queue. */
export const USER_QUEUED = 1 << 4;
/** The queue it is in is one of the retries. */
export const USER_RETRYING = 1 << 5;
/** The store must drop every row of this user before it takes newer ones. */
export const USER_WIPE = 1 << 6;
/** Such a wipe is on its way; nothing else of the user is sent meanwhile. */
export const USER_WIPING = 1 << 7;
/** Changes of this user are to be announced. */
export const USER_WATCHED = 1 << 8;
/** Evicted or deleted; its records are freed bit by bit. */
export const USER_DETACHED = 1 << 9;
/** Queued, or with writes on its way: counted in HEADER.UNSAVED_0 or UNSAVED_1. Never of a detached user. */
export const USER_UNSAVED = 1 << 10;
/** Parity of the journal's epoch in which its oldest unsaved change was made. */
export const USER_EPOCH = 1 << 11;
/** Parity of the epoch in which its flight began: a walk from the head of the chain while nothing was on its way. */
export const USER_SENT_EPOCH = 1 << 12;
/** All that was dirty when the flight began has been sent. */
export const USER_FLIGHT_WHOLE = 1 << 13;
/** A write of the flight failed. */
export const USER_FLIGHT_FAILED = 1 << 14;
/** Flights in a row of which a write failed, up to ATTEMPTS_MAX: names the retry queue. */
export const USER_ATTEMPTS = 0xf << 15;
export const ATTEMPTS_SHIFT = 15;
