/**
 * The slab engine: a partition of read states in typed arrays over one SharedArrayBuffer.
 *
 * Nothing here allocates, throws (but for broken invariants) or waits; see partition.ts for what each call means,
 * slab-memory.ts for the regions, slab-index.ts, slab-lists.ts, slab-records.ts, slab-space.ts and slab-flush.ts for
 * the structures in them, slab-check.ts for their invariants in one walk.
 */
import { hashRecord } from './hash.js';
import { assert, broken, META_TYPE_MASK, RECORD, USER, USER_KNOWN, USER_WATCHED } from './layout.js';
import {
  BULK_ITEM,
  ENTRY,
  OP_ACK,
  OP_ACK_BULK,
  OP_BADGE,
  OP_DELETE,
  OP_DELETE_USER,
  OP_GET,
  OP_LIST,
  OP_MENTION,
  OP_PIN_ACK,
  OP_SUBSCRIBE,
  OP_UNSUBSCRIBE,
  REPLY,
  REPLY_CHANGED,
  REPLY_ENTRY,
  REQUEST,
  REQUEST_WITH_ENTRY,
  STATUS_BUSY,
  STATUS_OK,
  STATUS_UNKNOWN,
} from './messages.js';
import {
  type Cursor,
  type Engine,
  OUTCOME_CURSOR,
  OUTCOME_DONE,
  OUTCOME_HELD,
  OUTCOME_NEEDS_ROWS,
  OUTCOME_NEEDS_SPACE,
  OUTCOME_NEEDS_USER,
  type Outcome,
  type Partition,
  type PartitionOptions,
  type RecordSlot,
  type UserSlot,
} from './partition.js';
import { checkAround, checkSlab } from './slab-check.js';
import { SlabCursor } from './slab-cursor.js';
import { boundClock, FlushWalk, failFlights, flushed, flushNext, hurry, nextDue } from './slab-flush.js';
import { checkHead } from './slab-head.js';
import { afterRestart, hottestUsers } from './slab-image.js';
import { findRecord, findUser, isRecordOf } from './slab-index.js';
import { carryUnsaved, JournalState, restoreImage, writeImage, writeWipeImage } from './slab-journal.js';
import { lruTouch } from './slab-lists.js';
import { HEADER, SlabMemory, slabBytes } from './slab-memory.js';
import {
  ackRecord,
  BULK_NEEDS_ROWS,
  bulkMissing,
  deleteRecord,
  deleteUser,
  isComplete,
  isEmpty,
  mentionRecord,
  mentionStatus,
  pinRecord,
  replyHead,
  replyWithRecord,
  reviveRecord,
} from './slab-operations.js';
import { isDeleted, writeEntry } from './slab-records.js';
import { makeRoom, sweep } from './slab-space.js';
import { touch } from './slab-touch.js';
import { admitUser, applyUserRow, dropIfEmpty, insertRow, markComplete, watchUser } from './slab-users.js';
import { noUndo, type UndoLog } from './undo-log.js';

class SlabPartition implements Partition {
  readonly memory: SlabMemory;
  readonly changed = new Int32Array(128);
  changedCount = 0;
  changedUser: UserSlot = 0;
  tick = 0;
  readonly #walk = new FlushWalk();
  readonly #journal = new JournalState();

  constructor(
    readonly options: PartitionOptions,
    memory: SharedArrayBuffer,
    byteOffset: number,
    undo: Pick<UndoLog, 'of'>,
  ) {
    this.memory = new SlabMemory(options, memory, byteOffset, undo);
    checkHead(this.memory);
  }

  get recordCount(): number {
    return this.memory.header[HEADER.RECORD_COUNT]!;
  }
  get userCount(): number {
    return this.memory.header[HEADER.USER_COUNT]!;
  }
  get dirtyUserCount(): number {
    const { header } = this.memory;
    return header[HEADER.UNSAVED_0]! + header[HEADER.UNSAVED_1]! + header[HEADER.DETACHED_IN_FLIGHT]!;
  }
  get evictedUserCount(): number {
    return this.memory.header[HEADER.EVICTED_USERS]! >>> 0;
  }
  get freeRecordCount(): number {
    return this.memory.freeRecords;
  }

  setTick(tick: number): void {
    this.tick = tick;
  }

  boundClock(floorUs: number, limitUs: number): void {
    boundClock(this.memory, floorUs, limitUs);
  }

  setEpoch(parity: number): void {
    const { header } = this.memory;
    if (header[HEADER.EPOCH] === parity) return;
    if (this.unsavedUsers(parity) !== 0)
      broken('users are unsaved of an epoch gone', this.unsavedUsers(parity));
    this.memory.putHeader(HEADER.EPOCH, parity);
    this.#journal.record = 0;
    this.#journal.wipes.clear();
  }
  unsavedUsers(parity: number): number {
    return this.memory.header[HEADER.UNSAVED_0 + parity]!;
  }

  execute(
    hash: number,
    words: Int32Array,
    at: number,
    out: Int32Array,
    outAt: number,
    rowsKnown: boolean,
    likely: RecordSlot = 0,
  ): Outcome {
    const head = words[at + REQUEST.HEAD]!;
    switch (head & 0xff) {
      case OP_ACK:
      case OP_MENTION:
      case OP_GET:
      case OP_PIN_ACK:
      case OP_DELETE:
        return this.#executeOnRecord(hash, head, words, at, out, outAt, rowsKnown, likely);
      case OP_ACK_BULK:
        return this.#ackBulk(hash, words, at, out, outAt, rowsKnown);
      case OP_SUBSCRIBE:
      case OP_UNSUBSCRIBE:
        return this.#watch(hash, head, words, at, out, outAt);
      default:
        return this.#executeOnUser(hash, head, words, at, out, outAt);
    }
  }

  /** The operations on one entry. */
  #executeOnRecord(
    hash: number,
    head: number,
    words: Int32Array,
    at: number,
    out: Int32Array,
    outAt: number,
    rowsKnown: boolean,
    likely: RecordSlot,
  ): Outcome {
    const memory = this.memory;
    const { records, users } = memory;
    const userLo = words[at + REQUEST.USER_LO]!;
    const userHi = words[at + REQUEST.USER_HI]!;
    const channelLo = words[at + REQUEST.CHANNEL_LO]!;
    const channelHi = words[at + REQUEST.CHANNEL_HI]!;
    const type = (head >>> 8) & META_TYPE_MASK;
    const requestId = words[at + REQUEST.REQUEST_ID]!;
    const record = isRecordOf(memory, likely, userLo, userHi, channelLo, channelHi, type)
      ? likely
      : findRecord(
          memory,
          hashRecord(hash, channelLo, channelHi, type),
          userLo,
          userHi,
          channelLo,
          channelHi,
          type,
        );
    const user =
      record !== 0
        ? records[this.memory.recordAt(record) + RECORD.USER_SLOT]!
        : findUser(memory, hash, userLo, userHi);
    if (user === 0) return OUTCOME_NEEDS_ROWS;
    const userAt = this.memory.userAt(user);
    if (users[userAt + USER.HOLD] !== 0) return OUTCOME_HELD;
    // Rows without a version are what a load left that failed half way: the next change must not begin at 1.
    if (!rowsKnown && (record === 0 || users[userAt + USER.VERSION] === 0) && !isComplete(memory, user))
      return OUTCOME_NEEDS_ROWS;
    const op = head & 0xff;
    const absent = record === 0 || isDeleted(memory, record);
    this.changedCount = 0;

    if (op === OP_MENTION) {
      const status = mentionStatus(memory, absent ? 0 : record, words, at);
      if (status !== STATUS_OK) {
        if (absent) this.#replyWithoutRecord(head, requestId, status, 0, out, outAt);
        else replyWithRecord(memory, record, head, requestId, status, 0, out, outAt);
        return OUTCOME_DONE;
      }
      if (record === 0 && memory.freeRecords === 0) return OUTCOME_NEEDS_SPACE;
      const target = absent ? reviveRecord(memory, record, hash, user, channelLo, channelHi, type) : record;
      mentionRecord(memory, target, words, at, this.tick);
      this.#noteChange(user, target);
      replyWithRecord(memory, target, head, requestId, STATUS_OK, REPLY_CHANGED, out, outAt);
      return OUTCOME_DONE;
    }

    if (op === OP_ACK || op === OP_PIN_ACK) {
      if (record === 0 && memory.freeRecords === 0) return OUTCOME_NEEDS_SPACE;
      lruTouch(memory, user, this.tick);
      const target = absent ? reviveRecord(memory, record, hash, user, channelLo, channelHi, type) : record;
      const lo = words[at + REQUEST.ARGUMENT_LO]!;
      const hi = words[at + REQUEST.ARGUMENT_HI]!;
      const changed =
        op === OP_ACK
          ? ackRecord(memory, target, absent, lo, hi, head, words, at + REQUEST.WORDS, this.tick)
          : pinRecord(memory, target, absent, lo, hi, this.tick);
      if (changed) this.#noteChange(user, target);
      replyWithRecord(memory, target, head, requestId, STATUS_OK, changed ? REPLY_CHANGED : 0, out, outAt);
      return OUTCOME_DONE;
    }

    lruTouch(memory, user, this.tick);
    if (op === OP_GET) {
      if (absent) this.#replyWithoutRecord(head, requestId, STATUS_UNKNOWN, 0, out, outAt);
      else replyWithRecord(memory, record, head | REQUEST_WITH_ENTRY, requestId, STATUS_OK, 0, out, outAt);
      return OUTCOME_DONE;
    }
    if (!absent) {
      deleteRecord(memory, record, this.tick);
      this.#noteChange(user, record);
    }
    const version = users[userAt + USER.VERSION]!;
    this.#replyWithoutRecord(head, requestId, STATUS_OK, version, out, outAt);
    if (!absent) out[outAt + REPLY.HEAD] = out[outAt + REPLY.HEAD]! | REPLY_CHANGED;
    return OUTCOME_DONE;
  }

  #replyWithoutRecord(
    head: number,
    requestId: number,
    status: number,
    version: number,
    out: Int32Array,
    outAt: number,
  ): void {
    out[outAt + REPLY.HEAD] = replyHead(head, status, 0);
    out[outAt + REPLY.REQUEST_ID] = requestId;
    out[outAt + REPLY.MENTION_COUNT] = 0;
    out[outAt + REPLY.VERSION] = version;
  }

  #noteChange(user: UserSlot, record: RecordSlot): void {
    this.changed[this.changedCount++] = record;
    this.changedUser = user;
  }

  #forgetChange(record: RecordSlot): void {
    const found = this.changed.indexOf(record);
    if (found === -1 || found >= this.changedCount) return;
    this.changed.copyWithin(found, found + 1, this.changedCount--);
  }

  /** Lists and badges are for a cursor; only the deletion of a user is done here. */
  #executeOnUser(
    hash: number,
    head: number,
    words: Int32Array,
    at: number,
    out: Int32Array,
    outAt: number,
  ): Outcome {
    const memory = this.memory;
    const op = head & 0xff;
    const user = findUser(memory, hash, words[at + REQUEST.USER_LO]!, words[at + REQUEST.USER_HI]!);
    if (user === 0) return op === OP_DELETE_USER ? OUTCOME_NEEDS_ROWS : OUTCOME_NEEDS_USER;
    if (memory.users[this.memory.userAt(user) + USER.HOLD] !== 0) return OUTCOME_HELD;
    if (op === OP_LIST || op === OP_BADGE) {
      if (!isComplete(memory, user)) return OUTCOME_NEEDS_USER;
      lruTouch(memory, user, this.tick);
      return OUTCOME_CURSOR;
    }
    // A user who was admitted and not loaded yet: its version is not known, and must not begin again.
    if ((memory.users[this.memory.userAt(user) + USER.STATE]! & USER_KNOWN) === 0) return OUTCOME_NEEDS_ROWS;
    if (op !== OP_DELETE_USER) broken('an operation that is none of a partition', op);
    this.changedCount = 0;
    let slot = user;
    let flags = 0;
    if (!isComplete(memory, user) || !isEmpty(memory, user)) {
      slot = deleteUser(memory, hash, user, this.tick);
      if (slot === 0) return OUTCOME_NEEDS_SPACE;
      if (this.#walk.user === user) this.#walk.record = 0;
      flags = REPLY_CHANGED;
      this.changedUser = slot;
    }
    lruTouch(memory, slot, this.tick);
    this.#replyWithoutRecord(
      head,
      words[at + REQUEST.REQUEST_ID]!,
      STATUS_OK,
      memory.users[this.memory.userAt(slot) + USER.VERSION]!,
      out,
      outAt,
    );
    out[outAt + REPLY.HEAD] = out[outAt + REPLY.HEAD]! | flags;
    return OUTCOME_DONE;
  }

  #ackBulk(
    hash: number,
    words: Int32Array,
    at: number,
    out: Int32Array,
    outAt: number,
    rowsKnown: boolean,
  ): Outcome {
    const memory = this.memory;
    const head = words[at + REQUEST.HEAD]!;
    const userLo = words[at + REQUEST.USER_LO]!;
    const userHi = words[at + REQUEST.USER_HI]!;
    const user = findUser(memory, hash, userLo, userHi);
    if (user === 0) return OUTCOME_NEEDS_ROWS;
    if (memory.users[this.memory.userAt(user) + USER.HOLD] !== 0) return OUTCOME_HELD;
    const absentIsKnown = rowsKnown || isComplete(memory, user);
    if (!absentIsKnown && memory.users[memory.userAt(user) + USER.VERSION] === 0) return OUTCOME_NEEDS_ROWS;
    const missing = bulkMissing(memory, hash, words, at, absentIsKnown);
    if (missing === BULK_NEEDS_ROWS) return OUTCOME_NEEDS_ROWS;
    if (missing > memory.freeRecords) return OUTCOME_NEEDS_SPACE;
    lruTouch(memory, user, this.tick);
    this.changedCount = 0;
    const count = words[at + REQUEST.CHANNEL_LO]!;
    for (let i = 0; i < count; i++) {
      const item = at + REQUEST.WORDS + i * BULK_ITEM.WORDS;
      const lo = words[item + BULK_ITEM.CHANNEL_LO]!;
      const hi = words[item + BULK_ITEM.CHANNEL_HI]!;
      const type = words[item + BULK_ITEM.TYPE]!;
      const found = findRecord(memory, hashRecord(hash, lo, hi, type), userLo, userHi, lo, hi, type);
      const absent = found === 0 || isDeleted(memory, found);
      const record = absent ? reviveRecord(memory, found, hash, user, lo, hi, type) : found;
      const messageLo = words[item + BULK_ITEM.MESSAGE_LO]!;
      const messageHi = words[item + BULK_ITEM.MESSAGE_HI]!;
      if (ackRecord(memory, record, absent, messageLo, messageHi, head & 0xff, words, 0, this.tick)) {
        this.#forgetChange(record); // named twice: one change, with the later version
        this.#noteChange(user, record);
      }
      writeEntry(memory, record, out, outAt + REPLY.WORDS + i * ENTRY.WORDS);
    }
    const flags = REPLY_ENTRY | (this.changedCount > 0 ? REPLY_CHANGED : 0);
    out[outAt + REPLY.HEAD] = replyHead(head, STATUS_OK, flags);
    out[outAt + REPLY.REQUEST_ID] = words[at + REQUEST.REQUEST_ID]!;
    out[outAt + REPLY.MENTION_COUNT] = count;
    out[outAt + REPLY.VERSION] = memory.users[this.memory.userAt(user) + USER.VERSION]!;
    return OUTCOME_DONE;
  }

  /** Needs no residency, and passes by whoever waits: what is announced begins with the next change. */
  #watch(hash: number, head: number, words: Int32Array, at: number, out: Int32Array, outAt: number): Outcome {
    const wanted = (head & 0xff) === OP_SUBSCRIBE;
    const done = watchUser(
      this.memory,
      hash,
      words[at + REQUEST.USER_LO]!,
      words[at + REQUEST.USER_HI]!,
      wanted,
    );
    const status = done ? STATUS_OK : STATUS_BUSY;
    this.#replyWithoutRecord(head, words[at + REQUEST.REQUEST_ID]!, status, 0, out, outAt);
    return OUTCOME_DONE;
  }

  findUser(hash: number, lo: number, hi: number): UserSlot {
    return findUser(this.memory, hash, lo, hi);
  }

  admitUser(hash: number, lo: number, hi: number): UserSlot {
    return admitUser(this.memory, hash, lo, hi, this.tick);
  }

  setHold(user: UserSlot, hold: number): void {
    this.memory.put(this.memory.userAt(user) + USER.HOLD, hold);
  }
  holdOf(user: UserSlot): number {
    return this.memory.users[this.memory.userAt(user) + USER.HOLD]!;
  }
  isWatched(user: UserSlot): boolean {
    return (this.memory.users[this.memory.userAt(user) + USER.STATE]! & USER_WATCHED) !== 0;
  }
  isComplete(user: UserSlot): boolean {
    return isComplete(this.memory, user);
  }

  dropIfEmpty(user: UserSlot): void {
    dropIfEmpty(this.memory, user);
  }
  applyUserRow(user: UserSlot, version: number, deletedVersion: number): void {
    applyUserRow(this.memory, user, version, deletedVersion);
  }
  versionOf(user: UserSlot): number {
    return this.memory.users[this.memory.userAt(user) + USER.VERSION]! >>> 0;
  }
  deletedVersionOf(user: UserSlot): number {
    return this.memory.users[this.memory.userAt(user) + USER.DELETED_VERSION]! >>> 0;
  }

  insertRow(user: UserSlot, words: Int32Array, at: number): boolean {
    return insertRow(this.memory, user, words, at);
  }
  markComplete(user: UserSlot): void {
    markComplete(this.memory, user);
  }

  writeEntry(record: RecordSlot, out: Int32Array, at: number): void {
    writeEntry(this.memory, record, out, at);
  }
  writeImage(record: RecordSlot, out: Int32Array, at: number): void {
    writeImage(this.memory, record, out, at);
  }
  writeWipeImage(user: UserSlot, out: Int32Array, at: number): void {
    writeWipeImage(this.memory, user, out, at);
  }
  carryUnsaved(out: Int32Array, at: number, max: number, steps: number): number {
    return carryUnsaved(this.memory, this.#journal, out, at, max, steps);
  }
  restoreImage(hash: number, words: Int32Array, at: number): boolean {
    return restoreImage(this.memory, this.#journal, this.#walk, this.tick, hash, words, at);
  }

  makeRoom(records: number, forMention: boolean): boolean {
    return makeRoom(this.memory, records, forMention, this.tick);
  }
  sweep(steps: number): boolean {
    return sweep(this.memory, steps);
  }
  flushNext(out: Int32Array, at: number, steps: number, force: boolean): number {
    return flushNext(this.memory, this.#walk, this.tick, out, at, steps, force);
  }
  nextDue(): number {
    return nextDue(this.memory);
  }
  hurry(user: UserSlot): boolean {
    return hurry(this.memory, user, this.tick);
  }
  flushed(words: Int32Array, at: number, ok: boolean): void {
    flushed(this.memory, this.#walk, this.#journal, this.tick, words, at, ok);
  }
  failFlights(from: UserSlot, steps: number): UserSlot {
    return failFlights(this.memory, this.#walk, this.#journal, this.tick, from, steps);
  }
  hottestUsers(out: Int32Array, at: number, max: number, count: number, since: number): number {
    return hottestUsers(this.memory, out, at, max, count, since);
  }
  afterRestart(): void {
    afterRestart(this.memory);
  }
  createCursor(): Cursor {
    return new SlabCursor(this.memory);
  }
  check(beat?: () => void): void {
    checkSlab(this.memory, beat);
  }
  checkAround(words: Iterable<number>, beat?: () => void): void {
    checkAround(this.memory, words, beat);
  }
}

export const slab: Engine = {
  name: 'slab',
  sharedBytes: slabBytes,
  attach(options, memory, byteOffset = 0, undo) {
    assert(memory !== null, 'a slab partition needs memory');
    return new SlabPartition(options, memory, byteOffset, undo ?? noUndo);
  },
  touch(partitions, hashes, words, ats, count, likely) {
    touch(partitions as readonly SlabPartition[], hashes, words, ats, count, likely);
  },
};
