/** The operations of a heap partition. Each runs whole or changes nothing. */
import { fingerprint, hashRecord } from './hash.js';
import type { HeapRecord, HeapUser } from './heap-objects.js';
import { HeapSpace } from './heap-space.js';
import { compareIds } from './ids.js';
import { assert, COUNT_MAX, META_FLAGS_BITS, META_TYPE_MASK, META_VIEWED_BITS } from './layout.js';
import { MentionWindow, mentionKey, setMentionKey } from './mention-window.js';
import {
  ACK_EXTRA,
  BULK_ITEM,
  BULK_ITEMS_MAX,
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
  REQUEST_HAS_COUNT,
  REQUEST_HAS_FLAGS,
  REQUEST_HAS_VIEWED,
  REQUEST_MANUAL,
  REQUEST_WITH_ENTRY,
  STATUS_BUSY,
  STATUS_DUPLICATE,
  STATUS_OK,
  STATUS_SUPPRESSED,
  STATUS_UNKNOWN,
} from './messages.js';
import {
  OUTCOME_CURSOR,
  OUTCOME_DONE,
  OUTCOME_HELD,
  OUTCOME_NEEDS_ROWS,
  OUTCOME_NEEDS_SPACE,
  OUTCOME_NEEDS_USER,
  type Outcome,
  type UserSlot,
} from './partition.js';
import { OwnWords } from './undo-log.js';

export abstract class HeapOperations extends HeapSpace {
  readonly changed = new Int32Array(BULK_ITEMS_MAX);
  changedCount = 0;
  changedUser: UserSlot = 0;
  readonly mentions = new MentionWindow(new OwnWords(new Int32Array(MentionWindow.WORDS)));

  execute(
    hash: number,
    words: Int32Array,
    at: number,
    out: Int32Array,
    outAt: number,
    rowsKnown: boolean,
  ): Outcome {
    const op = words[at + REQUEST.HEAD]! & 0xff;
    const userLo = words[at + REQUEST.USER_LO]!;
    const userHi = words[at + REQUEST.USER_HI]!;
    const user = this.find(hash, userLo, userHi);
    this.changedCount = 0;
    this.changedUser = user?.slot ?? 0;
    out[outAt + REPLY.REQUEST_ID] = words[at + REQUEST.REQUEST_ID]!;
    // Passes by whoever waits: what is announced begins with the next change.
    if (op === OP_SUBSCRIBE || op === OP_UNSUBSCRIBE)
      return this.#watchUser(op, user, userLo, userHi, out, outAt);
    const needsAll = op === OP_LIST || op === OP_BADGE;
    if (user === null) return needsAll ? OUTCOME_NEEDS_USER : OUTCOME_NEEDS_ROWS;
    if (user.hold !== 0) return OUTCOME_HELD;
    if (!user.known) {
      assert(!rowsKnown, `the rows of user ${user.slot} are loaded, but not its version`);
      return needsAll ? OUTCOME_NEEDS_USER : OUTCOME_NEEDS_ROWS;
    }
    if (needsAll) {
      if (!user.complete) return OUTCOME_NEEDS_USER;
      this.touchUser(user);
      return OUTCOME_CURSOR;
    }
    const absentIsKnown = rowsKnown || user.complete;
    if (op === OP_ACK_BULK) return this.#ackBulk(user, words, at, out, outAt, absentIsKnown);
    if (op === OP_DELETE_USER) return this.#deleteUser(user, out, outAt);
    return this.#executeOnRecord(op, user, words, at, out, outAt, absentIsKnown);
  }

  #watchUser(
    op: number,
    user: HeapUser | null,
    lo: number,
    hi: number,
    out: Int32Array,
    outAt: number,
  ): Outcome {
    let status = STATUS_OK;
    if (op === OP_UNSUBSCRIBE) this.unwatch(lo, hi);
    else if (!this.watch(lo, hi)) status = STATUS_BUSY;
    if (user !== null && status === STATUS_OK) user.watched = op === OP_SUBSCRIBE;
    return this.#reply(op, status, 0, null, 0, out, outAt);
  }

  /** `record` null: nothing to show, and `version` is the answer's. */
  #reply(
    op: number,
    status: number,
    flags: number,
    record: HeapRecord | null,
    version: number,
    out: Int32Array,
    outAt: number,
  ): Outcome {
    out[outAt + REPLY.HEAD] = op | (status << 8) | flags;
    out[outAt + REPLY.MENTION_COUNT] = record === null ? 0 : record.mentionCount;
    out[outAt + REPLY.VERSION] = record === null ? version : record.version;
    if ((flags & REPLY_ENTRY) !== 0) record!.writeEntry(out, outAt + REPLY.WORDS);
    return OUTCOME_DONE;
  }

  #executeOnRecord(
    op: number,
    user: HeapUser,
    words: Int32Array,
    at: number,
    out: Int32Array,
    outAt: number,
    absentIsKnown: boolean,
  ): Outcome {
    const head = words[at + REQUEST.HEAD]!;
    const type = (head >>> 8) & META_TYPE_MASK;
    const lo = words[at + REQUEST.CHANNEL_LO]!;
    const hi = words[at + REQUEST.CHANNEL_HI]!;
    const hash = hashRecord(user.hash, lo, hi, type);
    const found = user.find(hash, lo, hi, type);
    if (found === null && !absentIsKnown) return OUTCOME_NEEDS_ROWS;
    const live = found === null || found.deleted ? null : found;

    if (op === OP_GET) {
      this.touchUser(user);
      return live === null
        ? this.#reply(op, STATUS_UNKNOWN, 0, null, 0, out, outAt)
        : this.#reply(op, STATUS_OK, REPLY_ENTRY, live, 0, out, outAt);
    }
    if (op === OP_DELETE) {
      this.touchUser(user);
      if (live !== null) this.#deleteRecord(user, live);
      return this.#reply(op, STATUS_OK, live === null ? 0 : REPLY_CHANGED, null, user.version, out, outAt);
    }

    const withEntry = (head & REQUEST_WITH_ENTRY) !== 0 ? REPLY_ENTRY : 0;
    const argumentLo = words[at + REQUEST.ARGUMENT_LO]!;
    const argumentHi = words[at + REQUEST.ARGUMENT_HI]!;
    if (op === OP_MENTION) {
      const status = this.#mentionStatus(user, live, lo, hi, type, argumentLo, argumentHi);
      if (status !== STATUS_OK) {
        return this.#reply(op, status, live === null ? 0 : withEntry, live, 0, out, outAt);
      }
    }
    if (found === null && this.freeRecordCount === 0) return OUTCOME_NEEDS_SPACE;
    if (op !== OP_MENTION) this.touchUser(user);
    const record = live ?? this.#revive(user, found, hash, lo, hi, type);
    const fresh = live === null;
    let isChanged = true;
    if (op === OP_ACK)
      isChanged = this.#ack(record, fresh, argumentLo, argumentHi, head, words, at + REQUEST.WORDS);
    else if (op === OP_MENTION) this.#mention(record, argumentLo, argumentHi);
    else if (op === OP_PIN_ACK) isChanged = this.#pinAck(record, fresh, argumentLo, argumentHi);
    else throw new Error(`assertion failed: operation ${op} reached a partition`);
    if (isChanged) this.#noteChange(user, record);
    return this.#reply(op, STATUS_OK, withEntry | (isChanged ? REPLY_CHANGED : 0), record, 0, out, outAt);
  }

  /** A new record, or the tombstone made an entry again. */
  #revive(
    user: HeapUser,
    found: HeapRecord | null,
    hash: number,
    lo: number,
    hi: number,
    type: number,
  ): HeapRecord {
    const record = found ?? this.createRecord(user, hash, lo, hi, type);
    record.deleted = false;
    user.liveCount++;
    return record;
  }

  #noteChange(user: HeapUser, record: HeapRecord): void {
    this.recordChanged(user, record);
    this.changed[this.changedCount++] = record.slot;
  }

  #ack(
    record: HeapRecord,
    fresh: boolean,
    messageLo: number,
    messageHi: number,
    head: number,
    words: Int32Array,
    extraAt: number,
  ): boolean {
    const exact = (head & REQUEST_MANUAL) !== 0 || this.options.lastWrite;
    if (!exact && compareIds(messageLo, messageHi, record.messageLo, record.messageHi) < 0) return false;
    const count = (head & REQUEST_HAS_COUNT) !== 0 ? words[extraAt + ACK_EXTRA.MENTION_COUNT]! : 0;
    const given =
      ((head & REQUEST_HAS_FLAGS) !== 0 ? META_FLAGS_BITS : 0) |
      ((head & REQUEST_HAS_VIEWED) !== 0 ? META_VIEWED_BITS : 0);
    const meta =
      given === 0 ? record.meta : (record.meta & ~given) | (words[extraAt + ACK_EXTRA.ENTRY_META]! & given);
    if (
      !fresh &&
      record.messageLo === messageLo &&
      record.messageHi === messageHi &&
      record.mentionCount === count &&
      record.meta === meta
    ) {
      return false;
    }
    record.messageLo = messageLo;
    record.messageHi = messageHi;
    record.mentionCount = count;
    record.meta = meta;
    return true;
  }

  #pinAck(record: HeapRecord, fresh: boolean, lo: number, hi: number): boolean {
    const order = compareIds(lo, hi, record.pinLo, record.pinHi);
    if (!fresh && (order === 0 || (order < 0 && !this.options.lastWrite))) return false;
    record.pinLo = lo;
    record.pinHi = hi;
    return true;
  }

  /** Whether a mention counts; if so and it has a message, its key is left in `mentionKey`. */
  #mentionStatus(
    user: HeapUser,
    live: HeapRecord | null,
    lo: number,
    hi: number,
    type: number,
    messageLo: number,
    messageHi: number,
  ): number {
    if ((messageLo | messageHi) === 0) return STATUS_OK;
    if (live !== null) {
      if (compareIds(live.messageLo, live.messageHi, messageLo, messageHi) >= 0) return STATUS_SUPPRESSED;
      if (live.fingerprint === fingerprint(messageLo, messageHi)) return STATUS_DUPLICATE;
    }
    setMentionKey(user.lo, user.hi, lo, hi, type, messageLo, messageHi);
    return this.mentions.has(mentionKey.lo, mentionKey.hi) ? STATUS_DUPLICATE : STATUS_OK;
  }

  #mention(record: HeapRecord, messageLo: number, messageHi: number): void {
    if (record.mentionCount < COUNT_MAX) record.mentionCount++;
    if ((messageLo | messageHi) === 0) return;
    record.fingerprint = fingerprint(messageLo, messageHi);
    this.mentions.add(mentionKey.lo, mentionKey.hi);
  }

  #deleteRecord(user: HeapUser, record: HeapRecord): void {
    record.clear();
    record.deleted = true;
    user.liveCount--;
    this.#noteChange(user, record);
    user.deletedVersion = user.version;
  }

  /** What is on its way keeps its slot as a tombstone; all else goes at once, and the store is told to wipe. */
  #deleteUser(user: HeapUser, out: Int32Array, outAt: number): Outcome {
    this.touchUser(user);
    if (user.complete && user.liveCount === 0) {
      return this.#reply(OP_DELETE_USER, STATUS_OK, 0, null, user.version, out, outAt);
    }
    while (user.shiftDirty() !== null);
    user.forEach((record) => {
      record.dirty = false;
      if (!record.inFlight) {
        this.freeRecord(record);
        return;
      }
      record.clear();
      record.deleted = true;
    });
    user.liveCount = 0;
    user.dirtyCount = 0;
    user.keptTombstones = 0;
    user.complete = true;
    user.wipe = true;
    user.version = (user.version + 1) | 0;
    user.deletedVersion = user.version;
    user.wipeVersion = user.version;
    this.userChanged(user);
    return this.#reply(OP_DELETE_USER, STATUS_OK, REPLY_CHANGED, null, user.version, out, outAt);
  }

  #ackBulk(
    user: HeapUser,
    words: Int32Array,
    at: number,
    out: Int32Array,
    outAt: number,
    absentIsKnown: boolean,
  ): Outcome {
    const count = words[at + REQUEST.CHANNEL_LO]!;
    let missing = 0;
    for (let i = 0; i < count; i++) {
      if (this.#findItem(user, words, at + REQUEST.WORDS + i * BULK_ITEM.WORDS) !== null) continue;
      if (!absentIsKnown) return OUTCOME_NEEDS_ROWS;
      missing++;
    }
    if (missing > this.freeRecordCount && this.#distinctMissing(user, words, at) > this.freeRecordCount) {
      return OUTCOME_NEEDS_SPACE;
    }
    this.touchUser(user);
    for (let i = 0; i < count; i++) {
      this.#ackItem(
        user,
        words,
        at + REQUEST.WORDS + i * BULK_ITEM.WORDS,
        out,
        outAt + REPLY.WORDS + i * ENTRY.WORDS,
      );
    }
    out[outAt + REPLY.HEAD] =
      OP_ACK_BULK | (STATUS_OK << 8) | REPLY_ENTRY | (this.changedCount > 0 ? REPLY_CHANGED : 0);
    out[outAt + REPLY.MENTION_COUNT] = count;
    out[outAt + REPLY.VERSION] = user.version;
    return OUTCOME_DONE;
  }

  /** Records that the items need: one that is named twice is needed once. */
  #distinctMissing(user: HeapUser, words: Int32Array, at: number): number {
    const keys = new Set<string>();
    for (let i = 0; i < words[at + REQUEST.CHANNEL_LO]!; i++) {
      const item = at + REQUEST.WORDS + i * BULK_ITEM.WORDS;
      if (this.#findItem(user, words, item) !== null) continue;
      const lo = words[item + BULK_ITEM.CHANNEL_LO]!;
      const hi = words[item + BULK_ITEM.CHANNEL_HI]!;
      keys.add(`${lo} ${hi} ${words[item + BULK_ITEM.TYPE]!}`);
    }
    return keys.size;
  }

  #findItem(user: HeapUser, words: Int32Array, item: number): HeapRecord | null {
    const lo = words[item + BULK_ITEM.CHANNEL_LO]!;
    const hi = words[item + BULK_ITEM.CHANNEL_HI]!;
    const type = words[item + BULK_ITEM.TYPE]!;
    return user.find(hashRecord(user.hash, lo, hi, type), lo, hi, type);
  }

  #ackItem(user: HeapUser, words: Int32Array, item: number, out: Int32Array, outAt: number): void {
    const lo = words[item + BULK_ITEM.CHANNEL_LO]!;
    const hi = words[item + BULK_ITEM.CHANNEL_HI]!;
    const type = words[item + BULK_ITEM.TYPE]!;
    const found = this.#findItem(user, words, item);
    const fresh = found === null || found.deleted;
    const record = fresh
      ? this.#revive(user, found, hashRecord(user.hash, lo, hi, type), lo, hi, type)
      : found;
    const messageLo = words[item + BULK_ITEM.MESSAGE_LO]!;
    const messageHi = words[item + BULK_ITEM.MESSAGE_HI]!;
    if (this.#ack(record, fresh, messageLo, messageHi, OP_ACK, words, 0)) {
      this.#forgetChange(record.slot);
      this.#noteChange(user, record);
    }
    record.writeEntry(out, outAt);
  }

  /** A record that an item changed before is listed once, at its last change: events go out in version order. */
  #forgetChange(slot: number): void {
    const index = this.changed.subarray(0, this.changedCount).indexOf(slot);
    if (index === -1) return;
    this.changed.copyWithin(index, index + 1, this.changedCount);
    this.changedCount--;
  }
}
