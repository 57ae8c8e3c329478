/**
 * What a heap partition is made of: users, their records, and the lists through them. Plain linked objects.
 *
 * Maps are keyed by the 32-bit hash that the operation carries anyway, and objects with equal hashes are chained.
 * Measured on Node 20 with 500,000 users of 4 records and ids made like snowflakes, two lookups an operation:
 * hash 870 ns; id as a double 1,200; nested Maps of both words 1,550; BigInt 1,900; string 2,000; and the low word
 * of the id 2,150, because it has few values (10 bits of the time, worker, counter) and the chains grow.
 */
import { META_DELETED, META_ENTRY_MASK, META_TYPE_MASK } from './layout.js';
import { ENTRY, ROW } from './messages.js';

export class HeapRecord {
  readonly slot: number;
  readonly user: HeapUser;
  readonly hash: number;
  readonly lo: number;
  readonly hi: number;
  /** Next record of the user with the same hash. */
  chained: HeapRecord | null = null;
  messageLo = 0;
  messageHi = 0;
  mentionCount = 0;
  /** META of the entry: type, flags, viewed. */
  meta: number;
  fingerprint = 0;
  version = 0;
  pinLo = 0;
  pinHi = 0;
  /** A tombstone: kept until the store has confirmed the deletion. */
  deleted = false;
  /** Changed since its last write was sent. */
  dirty = false;
  /** A write is on its way to the store. */
  inFlight = false;
  /** The store may have a row of it. */
  stored = false;
  /** Next in the user's list of records that can be sent (dirty and not in flight). */
  nextDirty: HeapRecord | null = null;

  constructor(slot: number, user: HeapUser, hash: number, lo: number, hi: number, type: number) {
    this.slot = slot;
    this.user = user;
    this.hash = hash;
    this.lo = lo;
    this.hi = hi;
    this.meta = type;
  }

  /** Back to an entry that nobody has changed. */
  clear(): void {
    this.messageLo = 0;
    this.messageHi = 0;
    this.mentionCount = 0;
    this.meta &= META_TYPE_MASK;
    this.fingerprint = 0;
    this.pinLo = 0;
    this.pinHi = 0;
  }

  writeEntry(out: Int32Array, at: number): void {
    out[at + ENTRY.CHANNEL_LO] = this.lo;
    out[at + ENTRY.CHANNEL_HI] = this.hi;
    out[at + ENTRY.MESSAGE_LO] = this.messageLo;
    out[at + ENTRY.MESSAGE_HI] = this.messageHi;
    out[at + ENTRY.MENTION_COUNT] = this.mentionCount;
    out[at + ENTRY.META] = this.meta;
    out[at + ENTRY.VERSION] = this.version;
    out[at + ENTRY.PIN_LO] = this.pinLo;
    out[at + ENTRY.PIN_HI] = this.pinHi;
  }

  /** As a ROW, with META_DELETED of a tombstone. */
  writeRow(out: Int32Array, at: number): void {
    this.writeEntry(out, at + ROW.ENTRY);
    if (this.deleted) out[at + ROW.ENTRY + ENTRY.META]! |= META_DELETED;
    out[at + ROW.FINGERPRINT] = this.fingerprint;
  }

  readRow(words: Int32Array, at: number): void {
    const entry = at + ROW.ENTRY;
    this.messageLo = words[entry + ENTRY.MESSAGE_LO]!;
    this.messageHi = words[entry + ENTRY.MESSAGE_HI]!;
    this.mentionCount = words[entry + ENTRY.MENTION_COUNT]!;
    this.meta = words[entry + ENTRY.META]! & META_ENTRY_MASK;
    this.version = words[entry + ENTRY.VERSION]!;
    this.pinLo = words[entry + ENTRY.PIN_LO]!;
    this.pinHi = words[entry + ENTRY.PIN_HI]!;
    this.fingerprint = words[at + ROW.FINGERPRINT]!;
  }
}

export class HeapUser {
  readonly slot: number;
  readonly hash: number;
  readonly lo: number;
  readonly hi: number;
  /** Next user of the partition with the same hash. */
  chained: HeapUser | null = null;
  readonly records = new Map<number, HeapRecord>();
  /** Records, tombstones included, and those that are entries. */
  recordCount = 0;
  liveCount = 0;
  version = 0;
  deletedVersion = 0;
  /** Version and deleted version are known. */
  known = false;
  complete = false;
  watched = false;
  hold = 0;

  /** Its LRU list and the neighbours there. */
  list: UserList;
  newer: HeapUser | null = null;
  older: HeapUser | null = null;
  touched = 0;

  /** Its dirty queue and the neighbours there. */
  queue: DueQueue | null = null;
  queueNext: HeapUser | null = null;
  queuePrevious: HeapUser | null = null;
  due = 0;
  /** Has something to flush, or on its way to the store; its oldest unsaved change is of an epoch of this parity. */
  dirty = false;
  epoch = 0;
  /** Parity when the present flight began, with nothing on its way; whether all that was dirty then was sent; and failed. */
  sentEpoch = 0;
  flightWhole = false;
  flightFailed = false;
  /** Flights in a row that failed, up to ATTEMPTS_MAX. */
  attempts = 0;
  /** It was due, but all that is dirty was on its way already: it is due when the answer comes. */
  overdue = false;
  dirtyCount = 0;
  firstDirty: HeapRecord | null = null;
  lastDirty: HeapRecord | null = null;
  /** The store must drop all rows before it takes newer ones; and: a write of that is on its way. */
  wipe = false;
  wiping = false;
  /** Version of the latest wipe: what is on its way and not newer is of before. */
  wipeVersion = 0;
  groupsInFlight = 0;
  /** Confirmed tombstones that wait for the end of the hold. */
  keptTombstones = 0;

  constructor(slot: number, hash: number, lo: number, hi: number, list: UserList) {
    this.slot = slot;
    this.hash = hash;
    this.lo = lo;
    this.hi = hi;
    this.list = list;
  }

  find(hash: number, lo: number, hi: number, type: number): HeapRecord | null {
    let record = this.records.get(hash) ?? null;
    while (
      record !== null &&
      (record.lo !== lo || record.hi !== hi || (record.meta & META_TYPE_MASK) !== type)
    ) {
      record = record.chained;
    }
    return record;
  }

  link(record: HeapRecord): void {
    record.chained = this.records.get(record.hash) ?? null;
    this.records.set(record.hash, record);
    this.recordCount++;
    this.list.recordCount++;
  }

  unlink(record: HeapRecord): void {
    const first = this.records.get(record.hash)!;
    if (first !== record) {
      let before = first;
      while (before.chained !== record) before = before.chained!;
      before.chained = record.chained;
    } else if (record.chained === null) this.records.delete(record.hash);
    else this.records.set(record.hash, record.chained);
    this.recordCount--;
    this.list.recordCount--;
  }

  /** All records, in no order; `visit` may unlink the one that it is given. */
  forEach(visit: (record: HeapRecord) => void): void {
    for (const first of this.records.values()) {
      let record: HeapRecord | null = first;
      while (record !== null) {
        const next: HeapRecord | null = record.chained;
        visit(record);
        record = next;
      }
    }
  }

  /** Appends to the records that can be sent. */
  pushDirty(record: HeapRecord): void {
    if (this.lastDirty === null) this.firstDirty = record;
    else this.lastDirty.nextDirty = record;
    this.lastDirty = record;
  }

  shiftDirty(): HeapRecord | null {
    const record = this.firstDirty;
    if (record === null) return null;
    this.firstDirty = record.nextDirty;
    if (this.firstDirty === null) this.lastDirty = null;
    record.nextDirty = null;
    return record;
  }
}

/** Users from the one touched longest ago to the one touched last. */
export class UserList {
  oldest: HeapUser | null = null;
  newest: HeapUser | null = null;
  userCount = 0;
  /** Records of these users. */
  recordCount = 0;

  append(user: HeapUser): void {
    user.list = this;
    user.older = this.newest;
    user.newer = null;
    if (this.newest === null) this.oldest = user;
    else this.newest.newer = user;
    this.newest = user;
    this.userCount++;
    this.recordCount += user.recordCount;
  }

  remove(user: HeapUser): void {
    if (user.older === null) this.oldest = user.newer;
    else user.older.newer = user.newer;
    if (user.newer === null) this.newest = user.older;
    else user.newer.older = user.older;
    this.userCount--;
    this.recordCount -= user.recordCount;
  }
}

/** Users with something to flush, the one due first in front. */
export class DueQueue {
  head: HeapUser | null = null;
  tail: HeapUser | null = null;

  /** Behind all that are due by then; looks from the end, where the new ones nearly always belong. */
  insert(user: HeapUser, due: number): void {
    let before = this.tail;
    while (before !== null && ((before.due - due) | 0) > 0) before = before.queuePrevious;
    const after = before === null ? this.head : before.queueNext;
    user.queue = this;
    user.due = due;
    user.queuePrevious = before;
    user.queueNext = after;
    if (before === null) this.head = user;
    else before.queueNext = user;
    if (after === null) this.tail = user;
    else after.queuePrevious = user;
  }

  remove(user: HeapUser): void {
    if (user.queuePrevious === null) this.head = user.queueNext;
    else user.queuePrevious.queueNext = user.queueNext;
    if (user.queueNext === null) this.tail = user.queuePrevious;
    else user.queueNext.queuePrevious = user.queuePrevious;
    user.queue = null;
    user.queuePrevious = null;
    user.queueNext = null;
  }
}
