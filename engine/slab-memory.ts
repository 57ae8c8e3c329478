/**
 * The memory of slab partitions: where their regions lie in a SharedArrayBuffer, and the slots in them. Partitions of the
 * same sizes lie one after another; their user slots come after all of them, in stripes, and then who is watched:
 *
 *     | header | records | user buckets | record buckets | mention window |  of each partition
 *     | users 0 to 1023 of each partition | users 1024 to 2047 of each partition | ...
 *     | watched users |  of each partition
 *
 * There are user slots for users of a few records, and most are never used. Those that are lie together, for a huge page
 * is 2 MB: with a region of its own in each partition, 8 bytes a record were backed for nothing. Nor is anybody watched
 * in a service whose clients do not subscribe: 2 bytes a record.
 *
 * Owner: the shard of the partition; nobody else reads or writes while it is attached.
 *
 * I1  Slots from FRESH on were never used; a used slot is live or in its free list, never both.
 * I2  A free record has USER_SLOT 0, a free user has 0 in all words but its link. The other words of a free record mean
 *     nothing.
 * I3  RECORD_COUNT and USER_COUNT count the live slots, detached users and their records included.
 * I4  The first partition of a buffer begins at less than the size of one; nothing comes after the last watched users.
 */
import { assert, LAYOUT_VERSION, LINE_WORDS, layout, RECORD, USER } from './layout.js';
import { MentionWindow } from './mention-window.js';
import type { PartitionOptions, RecordSlot, UserSlot } from './partition.js';
import { RETRY_QUEUES } from './retry.js';
import type { StoredWords, UndoLog, Words } from './undo-log.js';
import { WatchSet } from './watch-set.js';

/** The head of a partition's memory. */
export const HEADER = layout({
  LAYOUT_VERSION: 1,
  RECORDS_MAX: 1,
  USERS_MAX: 1,
  WATCHED_MAX: 1,
  RECORD_COUNT: 1,
  RECORD_FREE: 1, // head of the free list
  RECORD_FRESH: 1, // first slot never used
  USER_COUNT: 1,
  USER_FREE: 1,
  USER_FRESH: 1,
  ACTIVE_NEWEST: 1, // LRU of active users
  ACTIVE_OLDEST: 1,
  PASSIVE_NEWEST: 1, // LRU of passive users
  PASSIVE_OLDEST: 1,
  PASSIVE_RECORDS: 1, // records of passive users
  DIRTY_HEAD: 1, // users in order of their first change
  DIRTY_TAIL: 1,
  DETACHED: 1, // users whose records are to be freed
  CLOCK_LO: 1, // of the last flush, microseconds
  CLOCK_HI: 1,
  EPOCH: 1, // parity of the journal's epoch: 0 or 1
  UNSAVED_0: 1, // users with USER_UNSAVED whose oldest unsaved change is of an even epoch
  UNSAVED_1: 1, // the same of an odd epoch
  DETACHED_IN_FLIGHT: 1, // detached users with writes on their way
  EVICTED_USERS: 1, // counter, wraps
  RETRYING: 1, // users in a retry queue
  RETRY_HEADS: RETRY_QUEUES, // users whose last flush failed, by `retryQueueOf`
  RETRY_TAILS: RETRY_QUEUES,
  RESERVED: 14, // to a whole number of cache lines
});
assert(HEADER.WORDS === 160, `the header has ${HEADER.WORDS} words, not 160`);

/**
 * What was loaded only to have it in a cache: read by nobody, but stored, so that the loads are not removed as dead. Several
 * are mixed by XOR: a sum leaves the 32 bits, which deoptimises loops.
 */
export const loadedAhead = new Int32Array(1);

/** Slots are in the low bits of an index bucket; this many bits leave at least 4 for the tag. */
const SLOTS_MAX = (1 << 25) - 1;

/** Largest distance from its home that a bucket of a record tells; all ones. */
export const DISTANCE_MAX = 7;
const DISTANCE_BITS = 3;

/** Five buckets for four users: there are slots for users of a few records, and most are never used. */
function userBucketsFor(users: number): number {
  return aligned(Math.ceil((users * 5) / 4));
}

/**
 * Two buckets a record. With 5 for 3, or 3 for 2, they would take 1.3 or 2 bytes a record less, and each operation 4 or 8% more
 * time: where probes are longer, the processor guesses wrong more often when they end.
 */
function recordBucketsFor(records: number): number {
  return aligned(records * 2);
}

/** All ones, as wide as the largest slot. */
function slotMaskFor(slots: number): number {
  let mask = 1;
  while (mask < slots) mask = (mask << 1) | 1;
  return mask;
}

/** Regions start at whole cache lines of their partition. */
function aligned(words: number): number {
  return Math.ceil(words / LINE_WORDS) * LINE_WORDS;
}

/** Word offsets of the regions that a partition has in one piece. */
export function regionsOf(options: PartitionOptions) {
  const { recordsMax, usersMax } = options;
  assert(
    recordsMax >= 1 && recordsMax <= SLOTS_MAX,
    `${recordsMax} records in a partition, not 1 to ${SLOTS_MAX}`,
  );
  assert(usersMax >= 1 && usersMax <= SLOTS_MAX, `${usersMax} users in a partition, not 1 to ${SLOTS_MAX}`);
  const records = aligned(HEADER.WORDS);
  const userBuckets = records + aligned((recordsMax + 1) * RECORD.WORDS);
  const recordBuckets = userBuckets + userBucketsFor(usersMax);
  const mentions = recordBuckets + recordBucketsFor(recordsMax);
  const end = mentions + aligned(MentionWindow.WORDS);
  return { records, userBuckets, recordBuckets, mentions, end };
}

const STRIPE_USERS_BITS = 10;
const STRIPE_USERS_MASK = (1 << STRIPE_USERS_BITS) - 1;
const STRIPE_WORDS = USER.WORDS << STRIPE_USERS_BITS;

function stripesOf({ usersMax }: PartitionOptions): number {
  return Math.ceil((usersMax + 1) / (STRIPE_USERS_MASK + 1));
}

function watchedWords({ watchedMax }: PartitionOptions): number {
  return aligned(WatchSet.words(watchedMax));
}

function slabWords(options: PartitionOptions): number {
  return regionsOf(options).end + stripesOf(options) * STRIPE_WORDS + watchedWords(options);
}

/** What of a buffer one partition needs, if all in it are of these sizes. */
export function slabBytes(options: PartitionOptions): number {
  return slabWords(options) * 4;
}

/** What a partition has in one piece: the next one of the buffer begins so far after it. */
export function slabStrideBytes(options: PartitionOptions): number {
  return regionsOf(options).end * 4;
}

/** Words of a buffer: `from` is among them, `to` is not. */
export interface WordRange {
  readonly from: number;
  readonly to: number;
}

/** Where the user slots of a partition lie. */
export interface UserStripes {
  /** Word of the buffer at which the first stripe begins. */
  readonly base: number;
  /** Words from one to the next. */
  readonly stride: number;
  readonly count: number;
}

/** By I4, where the parts of a partition at `byteOffset` lie, in words of the buffer. */
export function placeOf(
  options: PartitionOptions,
  bytes: number,
  byteOffset: number,
): { readonly stripes: UserStripes; readonly watched: WordRange } {
  const { end } = regionsOf(options);
  const before = Math.floor(byteOffset / 4 / end);
  const first = byteOffset / 4 - before * end;
  const count = stripesOf(options);
  const each = slabWords(options);
  const partitions = Math.floor((bytes / 4 - first) / each);
  assert(
    before < partitions && first + partitions * each === bytes / 4,
    `a partition of ${slabBytes(options)} bytes at byte ${byteOffset} of ${bytes}, which holds others`,
  );
  const users = first + partitions * end;
  const watched = users + partitions * count * STRIPE_WORDS + before * watchedWords(options);
  return {
    stripes: { base: users + before * STRIPE_WORDS, stride: partitions * STRIPE_WORDS, count },
    watched: { from: watched, to: watched + watchedWords(options) },
  };
}

/** Whether a word of the buffer is one of the partition at `byteOffset`. */
export function holdsWord(
  options: PartitionOptions,
  bytes: number,
  byteOffset: number,
): (word: number) => boolean {
  const { stripes, watched } = placeOf(options, bytes, byteOffset);
  const { base, stride, count } = stripes;
  const from = byteOffset / 4;
  const to = from + regionsOf(options).end;
  const usersTo = base + count * stride;
  return (word) =>
    (word >= from && word < to) ||
    (word >= base && word < usersTo && (word - base) % stride < STRIPE_WORDS) ||
    (word >= watched.from && word < watched.to);
}

/** The words of each stripe, as far as it has slots before `slot`; left out: of whole stripes. */
export function stripeRanges(
  { base, stride, count }: UserStripes,
  slot: UserSlot = count << STRIPE_USERS_BITS,
): WordRange[] {
  const ranges: WordRange[] = [];
  for (let words = slot * USER.WORDS, from = base; words > 0; words -= STRIPE_WORDS, from += stride)
    ranges.push({ from, to: from + Math.min(words, STRIPE_WORDS) });
  return ranges;
}

/** Smaller than any page. */
const PAGE_WORDS = 1024;

/** Of the users, this part, one for each 32 records: the rest is used only when they have fewer records each. */
const USERS_TOUCHED = 1 / 8;

/**
 * Has the system back a partition's memory now, so that no operation waits for a page later (a huge page is 2 MB to
 * clear: 0.1 to 0.2 ms). Changes nothing.
 */
export function touchPages(options: PartitionOptions, memory: SharedArrayBuffer, byteOffset: number): void {
  const from = byteOffset / 4;
  const { stripes } = placeOf(options, memory.byteLength, byteOffset);
  const users = stripeRanges(stripes, Math.ceil(options.usersMax * USERS_TOUCHED));
  const words = new Int32Array(memory);
  for (const range of [{ from, to: from + regionsOf(options).end }, ...users])
    for (let at = range.from; at < range.to; at += PAGE_WORDS) words[at] = words[at]!;
}

/** Gives new memory, which is zeroed, the header of an empty partition. The version comes last: without it all is done again. */
function initialize(options: PartitionOptions, memory: SharedArrayBuffer, byteOffset: number): void {
  const header = new Int32Array(memory, byteOffset, HEADER.WORDS);
  if (header[HEADER.LAYOUT_VERSION] !== 0) return;
  header[HEADER.RECORDS_MAX] = options.recordsMax;
  header[HEADER.USERS_MAX] = options.usersMax;
  header[HEADER.WATCHED_MAX] = options.watchedMax;
  header[HEADER.RECORD_FRESH] = 1;
  header[HEADER.USER_FRESH] = 1;
  header[HEADER.LAYOUT_VERSION] = LAYOUT_VERSION;
}

/**
 * What every operation touches is reached through the buffer's one array and a base, not through an array of each
 * partition: an array is two cache lines of its own, and those of 32 partitions are more than a first cache holds.
 * The words are to be read; `put` is what stores to them.
 */
export class SlabMemory {
  readonly header: Words;
  /** The buffer's words; `userAt` says where a user's begin. */
  readonly users: Words;
  /** The buffer's words; `recordAt` says where a record's begin. */
  readonly records: Words;
  readonly #headerBase: number;
  readonly #usersBase: number;
  readonly #usersStride: number;
  readonly #recordsBase: number;
  /** The buffer's words; those from `userBucketsBase` are the index. */
  readonly userBuckets: Words;
  readonly userBucketsBase: number;
  readonly userBucketCount: number;
  /** The buffer's words; those from `recordBucketsBase` are the index. */
  readonly recordBuckets: Words;
  readonly recordBucketsBase: number;
  readonly recordBucketCount: number;
  readonly watched: WatchSet;
  readonly mentions: MentionWindow;
  /** Low bits of a bucket that are the slot; the others are the tag. */
  readonly userSlotMask: number;
  readonly recordSlotMask: number;
  readonly recordSlotBits: number;
  /** High bits of a record's bucket that are the tag; the distance is between it and the slot. */
  readonly recordTagMask: number;
  /** See `Partition.boundClock`: of the owner's thread, whose successor sets it again. */
  clockLimitUs = Number.POSITIVE_INFINITY;
  /** When it was asked last, and what it said; 0 = not yet. */
  readonly wallClock = { tick: 0, us: 0 };
  readonly #logged: StoredWords;

  constructor(
    readonly options: PartitionOptions,
    memory: SharedArrayBuffer,
    byteOffset: number,
    undo: Pick<UndoLog, 'of'>,
  ) {
    const regions = regionsOf(options);
    const { stripes, watched } = placeOf(options, memory.byteLength, byteOffset);
    initialize(options, memory, byteOffset);
    const logged = undo.of(memory);
    const { words } = logged;
    const base = byteOffset / 4;
    this.#logged = logged;
    this.header = words.subarray(base, base + HEADER.WORDS);
    this.users = words;
    this.records = words;
    this.userBuckets = words;
    this.recordBuckets = words;
    this.#headerBase = base;
    this.#usersBase = stripes.base;
    this.#usersStride = stripes.stride;
    this.#recordsBase = base + regions.records;
    this.userBucketsBase = base + regions.userBuckets;
    this.userBucketCount = userBucketsFor(options.usersMax);
    this.recordBucketsBase = base + regions.recordBuckets;
    this.recordBucketCount = recordBucketsFor(options.recordsMax);
    this.watched = new WatchSet(logged, watched.from, options.watchedMax);
    this.mentions = new MentionWindow(logged, base + regions.mentions);
    this.userSlotMask = slotMaskFor(options.usersMax);
    this.recordSlotMask = slotMaskFor(options.recordsMax);
    this.recordSlotBits = 32 - Math.clz32(this.recordSlotMask);
    this.recordTagMask = -1 << (this.recordSlotBits + DISTANCE_BITS);
    const found = this.header[HEADER.LAYOUT_VERSION];
    assert(found === LAYOUT_VERSION, `partition of layout version ${found}, not ${LAYOUT_VERSION}`);
  }

  /** Stores to one of the buffer's words; can be taken back until the owner's unit of work is done. */
  put(index: number, value: number): void {
    this.#logged.put(index, value);
  }

  /** As `put`, for a word of the header. */
  putHeader(field: number, value: number): void {
    this.#logged.put(this.#headerBase + field, value);
  }

  /** Where a user's words begin in `users`. */
  userAt(slot: UserSlot): number {
    return (
      this.#usersBase +
      (slot >>> STRIPE_USERS_BITS) * this.#usersStride +
      (slot & STRIPE_USERS_MASK) * USER.WORDS
    );
  }

  /** The user slot that a word of the buffer is in, if it is one of this partition's; otherwise -1. */
  userSlotWith(word: number): UserSlot {
    if (word < this.#usersBase) return -1;
    const stripe = Math.floor((word - this.#usersBase) / this.#usersStride);
    const within = (word - this.#usersBase) % this.#usersStride;
    const slot = (stripe << STRIPE_USERS_BITS) + Math.floor(within / USER.WORDS);
    return within < STRIPE_WORDS && slot <= this.options.usersMax ? slot : -1;
  }

  /** Where a record's words begin in `records`. */
  recordAt(slot: RecordSlot): number {
    return this.#recordsBase + slot * RECORD.WORDS;
  }

  get freeRecords(): number {
    return this.options.recordsMax - this.header[HEADER.RECORD_COUNT]!;
  }

  get freeUsers(): number {
    return this.options.usersMax - this.header[HEADER.USER_COUNT]!;
  }

  /** A record slot with undefined content but USER_SLOT, or 0 when all are in use. */
  allocateRecord(user: UserSlot): RecordSlot {
    const { header, records } = this;
    let slot = header[HEADER.RECORD_FREE]!;
    if (slot !== 0) {
      const next = records[this.recordAt(slot) + RECORD.NEXT_OF_USER]!;
      this.putHeader(HEADER.RECORD_FREE, next);
      // Loads the slot that the next call will take, so that it need not wait for it.
      loadedAhead[0] = records[this.recordAt(next)]!;
    } else {
      slot = header[HEADER.RECORD_FRESH]!;
      if (slot > this.options.recordsMax) return 0;
      this.putHeader(HEADER.RECORD_FRESH, slot + 1);
    }
    this.putHeader(HEADER.RECORD_COUNT, header[HEADER.RECORD_COUNT]! + 1);
    this.put(this.recordAt(slot) + RECORD.USER_SLOT, user);
    return slot;
  }

  freeRecord(slot: RecordSlot): void {
    this.put(this.recordAt(slot) + RECORD.USER_SLOT, 0);
    this.freeChain(slot, slot, 1);
  }

  /** Frees `count` records that are linked from the first to the last, and whose USER_SLOT is 0 already. */
  freeChain(first: RecordSlot, last: RecordSlot, count: number): void {
    const { header } = this;
    this.put(this.recordAt(last) + RECORD.NEXT_OF_USER, header[HEADER.RECORD_FREE]!);
    this.putHeader(HEADER.RECORD_FREE, first);
    this.putHeader(HEADER.RECORD_COUNT, header[HEADER.RECORD_COUNT]! - count);
  }

  /** A user slot, all words 0, or 0 when all are in use. The caller sets STATE. */
  allocateUser(): UserSlot {
    const { header, users } = this;
    let slot = header[HEADER.USER_FREE]!;
    if (slot !== 0) {
      const first = this.userAt(slot) + USER.FIRST_RECORD;
      this.putHeader(HEADER.USER_FREE, users[first]!);
      this.put(first, 0);
    } else {
      slot = header[HEADER.USER_FRESH]!;
      if (slot > this.options.usersMax) return 0;
      this.putHeader(HEADER.USER_FRESH, slot + 1);
    }
    this.putHeader(HEADER.USER_COUNT, header[HEADER.USER_COUNT]! + 1);
    return slot;
  }

  freeUser(slot: UserSlot): void {
    const { header, users } = this;
    const at = this.userAt(slot);
    for (let field = 0; field < USER.WORDS; field++) {
      if (users[at + field] !== 0) this.put(at + field, 0);
    }
    this.put(at + USER.FIRST_RECORD, header[HEADER.USER_FREE]!);
    this.putHeader(HEADER.USER_FREE, slot);
    this.putHeader(HEADER.USER_COUNT, header[HEADER.USER_COUNT]! - 1);
  }
}
