/**
 * The heap engine: a partition as a Map of users with Maps of records, all plain linked objects. It does exactly
 * what the slab engine does, to compare with: the same answers, flushes and evictions, and all of it in the
 * garbage collector's sight.
 *
 * I1  A user is in one LRU list. A dirty user is in one dirty queue, or has groups in flight whose answers queue it.
 * I2  A record that is dirty and not in flight is in its user's list of dirty records, once; no other record is.
 * I3  A record in flight keeps its slot until it is answered, whatever happens to it.
 * I4  While a wipe is on its way nothing else of that user is sent.
 */
import { hashUser } from './hash.js';
import { checkHeap } from './heap-check.js';
import { HeapCursor } from './heap-cursor.js';
import { HeapJournal } from './heap-journal.js';
import type { HeapUser, UserList } from './heap-objects.js';
import { splitHigh, splitLow } from './ids.js';
import { broken, META_STORED } from './layout.js';
import { ENTRY, FLUSH, FLUSH_ROW, FLUSH_ROWS_MAX, FLUSH_WIPE, FLUSHED, KIND_FLUSH } from './messages.js';
import {
  CANDIDATES_MAX,
  type Cursor,
  type Engine,
  NO_DUE,
  PASSIVE_SHARE_SHIFT,
  type Partition,
  type RecordSlot,
  type UserSlot,
} from './partition.js';
import { ATTEMPTS_MAX, retryQueueOf, retryTicks } from './retry.js';

class HeapPartition extends HeapJournal implements Partition {
  #clock = 0;
  #clockLimitUs = Number.POSITIVE_INFINITY;

  boundClock(floorUs: number, limitUs: number): void {
    this.#clock = Math.max(this.#clock, floorUs);
    this.#clockLimitUs = limitUs;
  }

  /** Passive users go first for a mention, and otherwise while they hold more than their share. */
  makeRoom(records: number, forMention: boolean): boolean {
    if (records > this.options.recordsMax) return false;
    if (this.#hasRoom(records)) return true;
    const share = this.options.recordsMax >>> PASSIVE_SHARE_SHIFT;
    const { passive, active } = this;
    const passiveFirst = forMention || passive.recordCount > share || active.oldest === null;
    const [first, second] = passiveFirst ? [passive, active] : [active, passive];
    const left = this.#evictFrom(first, records, CANDIDATES_MAX);
    // A mention takes from those who are there only when nobody else is left to take from.
    if (left > 0 && !(forMention && first.oldest !== null)) this.#evictFrom(second, records, left);
    return this.#hasRoom(records);
  }

  #hasRoom(records: number): boolean {
    return this.freeRecordCount >= records && this.hasFreeUser;
  }

  /** Evicts from the oldest end until enough is free; the candidates that are left to look at. */
  #evictFrom(list: UserList, records: number, candidates: number): number {
    for (let user = list.oldest; user !== null && candidates > 0; candidates--) {
      const { newer } = user;
      if (user.hold === 0 && !user.dirty) {
        this.#evict(user);
        if (this.#hasRoom(records)) return 0;
      } else if (user.hold !== 0 || this.#waitsToRetry(user)) {
        // Nobody knows when it can go: out of the way, or the users behind it would never be looked at.
        list.remove(user);
        list.append(user);
      } else this.#makeUrgent(user); // it stays where it is, and is clean when room is needed again
      user = newer;
    }
    return candidates;
  }

  #waitsToRetry({ queue }: HeapUser): boolean {
    return queue !== null && queue !== this.pending && queue !== this.urgent;
  }

  /** Unless it is on its way, urgent already, or waits for its turn to try again. */
  #makeUrgent(user: HeapUser): void {
    if (user.queue !== this.pending) return;
    this.pending.remove(user);
    this.urgent.insert(user, this.tick);
  }

  hurry(slot: UserSlot): boolean {
    const user = this.userAt(slot);
    this.#makeUrgent(user);
    return !user.dirty;
  }

  #evict(user: HeapUser): void {
    user.forEach((record) => {
      this.freeRecord(record);
    });
    this.removeUser(user);
    this.evictedUserCount++;
  }

  /** Evicted and deleted users leave nothing behind. */
  sweep(_steps: number): boolean {
    return false;
  }

  #nextQueued(): HeapUser | null {
    if (this.urgent.head !== null) return this.urgent.head;
    const pending = this.pending.head;
    const retry = this.#nextRetry();
    if (pending === null || retry === null) return pending ?? retry;
    return ((pending.due - retry.due) | 0) <= 0 ? pending : retry;
  }

  #nextRetry(): HeapUser | null {
    let first: HeapUser | null = null;
    for (const { head } of this.retries) {
      if (head !== null && (first === null || ((head.due - first.due) | 0) < 0)) first = head;
    }
    return first;
  }

  nextDue(): number {
    const user = this.#nextQueued();
    if (user === null) return NO_DUE;
    return user.due === NO_DUE ? NO_DUE - 1 : user.due;
  }

  flushNext(out: Int32Array, at: number, steps: number, force: boolean): number {
    for (; steps > 0; steps--) {
      const user = this.#nextQueued();
      if (user === null || !(force || ((user.due - this.tick) | 0) <= 0)) return 0;
      if (!user.wiping && (user.wipe || user.firstDirty !== null))
        return this.#flushGroup(user, out, at, steps);
      // All that is dirty waits for an answer, which queues the user again.
      user.queue!.remove(user);
      user.overdue = true;
    }
    return 0;
  }

  #flushGroup(user: HeapUser, out: Int32Array, at: number, steps: number): number {
    this.#clock = Math.max(Math.min(Date.now() * 1000, this.#clockLimitUs), this.#clock + 1);
    const rowsMax = Math.min(steps, FLUSH_ROWS_MAX);
    let rowAt = at + FLUSH.WORDS;
    let count = 0;
    if (user.groupsInFlight === 0) {
      user.sentEpoch = this.epoch;
      user.flightWhole = false;
      user.flightFailed = false;
    }
    while (count < rowsMax) {
      const record = user.shiftDirty();
      if (record === null) break;
      record.dirty = false;
      record.inFlight = true;
      out[rowAt + FLUSH_ROW.SLOT] = record.slot;
      record.writeRow(out, rowAt + FLUSH_ROW.ROW);
      if (record.stored) out[rowAt + FLUSH_ROW.ROW + ENTRY.META]! |= META_STORED;
      record.stored = true;
      rowAt += FLUSH_ROW.WORDS;
      count++;
    }
    out[at + FLUSH.KIND] = KIND_FLUSH | (user.wipe ? FLUSH_WIPE : 0);
    out[at + FLUSH.USER_SLOT] = user.slot;
    out[at + FLUSH.USER_LO] = user.lo;
    out[at + FLUSH.USER_HI] = user.hi;
    out[at + FLUSH.VERSION] = user.version;
    out[at + FLUSH.DELETED_VERSION] = user.deletedVersion;
    out[at + FLUSH.CLOCK_LO] = splitLow(this.#clock);
    out[at + FLUSH.CLOCK_HI] = splitHigh(this.#clock);
    out[at + FLUSH.COUNT] = count;
    user.dirtyCount -= count;
    user.groupsInFlight++;
    user.wiping = user.wipe;
    user.wipe = false;
    if (user.firstDirty === null) user.flightWhole = true;
    if (user.wiping || user.firstDirty === null) {
      user.queue!.remove(user);
      user.overdue = user.dirtyCount > 0;
    }
    return rowAt - at;
  }

  flushed(words: Int32Array, at: number, ok: boolean): void {
    const slot = words[at + FLUSHED.USER_SLOT]!;
    const user = this.users[slot] ?? null;
    if (user === null || user.groupsInFlight === 0) {
      broken('an answer to a flush of a user who has none on its way', slot);
    }
    user.groupsInFlight--;
    if ((words[at + FLUSHED.KIND]! & FLUSH_WIPE) !== 0) {
      user.wiping = false;
      user.wipe ||= !ok;
    }
    const count = words[at + FLUSHED.COUNT]!;
    for (let i = 0; i < count; i++) this.#rowFlushed(user, words[at + FLUSHED.WORDS + i]!, ok);
    if (!ok && !user.flightFailed) {
      user.flightFailed = true;
      user.attempts = Math.min(user.attempts + 1, ATTEMPTS_MAX);
    }
    if (user.dirtyCount > 0 || user.wipe) {
      // All that was dirty when the flight began is saved: what is left was changed since.
      if (user.groupsInFlight === 0 && user.flightWhole && !user.flightFailed) {
        this.moveToEpoch(user, user.sentEpoch);
        user.attempts = 0;
      }
      this.#queueAgain(user, ok);
    } else if (user.groupsInFlight === 0) {
      user.overdue = false;
      this.markSaved(user);
    }
  }

  failFlights(from: UserSlot, steps: number): UserSlot {
    const end = Math.min(from + steps, this.users.length);
    for (let slot = from; slot < end; slot++) {
      const user = this.users[slot] ?? null;
      if (user === null || user.groupsInFlight === 0) continue;
      user.groupsInFlight = 1; // one answer for all of them
      this.flushed(lostGroupsOf(user), 0, false);
    }
    return end < this.users.length ? end : 0;
  }

  #rowFlushed(user: HeapUser, slot: number, ok: boolean): void {
    const record = this.records[slot] ?? null;
    if (record?.user !== user || !record.inFlight) {
      broken('an answer to a flush of a record that is not on its way', slot);
    }
    record.inFlight = false;
    if (!ok && !record.dirty) {
      record.dirty = true;
      user.dirtyCount++;
    }
    if (record.dirty) user.pushDirty(record);
    else if (record.deleted) {
      // A load for the held user may bring the deleted row back, read before it was gone.
      if (user.hold === 0) this.freeRecord(record);
      else user.keptTombstones++;
    }
  }

  /** What failed waits for its retry, what was due and had to wait is due now; the rest keeps its time. */
  #queueAgain(user: HeapUser, ok: boolean): void {
    const isRetrying = user.queue !== null && user.queue !== this.pending && user.queue !== this.urgent;
    if (isRetrying || (ok && user.queue !== null && !user.overdue)) return;
    user.queue?.remove(user);
    user.overdue = false;
    if (ok) {
      this.urgent.insert(user, this.tick);
      return;
    }
    const queue = retryQueueOf(user.attempts, user.hash);
    this.retries[queue]!.insert(user, (this.tick + retryTicks(this.options, queue)) | 0);
  }

  hottestUsers(out: Int32Array, at: number, max: number, count: number, since: number): number {
    let user = count === 0 ? this.active.newest : this.#olderThanListed(out, at, count, since);
    let listed = count;
    for (; user !== null && listed < max; user = user.older) {
      out[at + listed * 2] = user.lo;
      out[at + listed * 2 + 1] = user.hi;
      listed++;
    }
    return listed;
  }

  #olderThanListed(out: Int32Array, at: number, count: number, since: number): HeapUser | null {
    for (let i = count - 1; i >= 0; i--) {
      const lo = out[at + i * 2]!;
      const hi = out[at + i * 2 + 1]!;
      const user = this.users[this.findUser(hashUser(lo, hi), lo, hi)];
      if (user?.list === this.active && ((user.touched - since) | 0) < 0) return user.older;
    }
    return null;
  }

  afterRestart(): void {
    broken('a partition of objects does not outlive its process');
  }

  createCursor(): Cursor {
    return new HeapCursor(this.users);
  }

  check(): void {
    checkHeap(this);
  }

  checkAround(): void {
    broken('a partition of objects has no words');
  }
}

/** All that a user has on its way, as one FLUSHED message. */
function lostGroupsOf(user: HeapUser): Int32Array {
  const slots: RecordSlot[] = [];
  user.forEach((record) => {
    if (record.inFlight) slots.push(record.slot);
  });
  const words = new Int32Array(FLUSHED.WORDS + slots.length);
  words[FLUSHED.KIND] = user.wiping ? FLUSH_WIPE : 0;
  words[FLUSHED.USER_SLOT] = user.slot;
  words[FLUSHED.COUNT] = slots.length;
  words.set(slots, FLUSHED.WORDS);
  return words;
}

export const heap: Engine = {
  name: 'heap',
  sharedBytes: () => 0,
  attach: (options) => new HeapPartition(options),
  touch: () => {}, // looking all up ahead costs more than the cache misses that it would overlap
};
