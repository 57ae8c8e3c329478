/**
 * The operations on read states, on slab memory. Each runs whole or changes nothing: what it lacks it finds out
 * before its first store.
 */
import { fingerprint, hashRecord } from './hash.js';
import { compareIds } from './ids.js';
import {
  COUNT_MAX,
  META_DELETED,
  META_FLAGS_BITS,
  META_TYPE_MASK,
  META_VIEWED_BITS,
  RECORD,
  USER,
  USER_ACTIVE,
  USER_COMPLETE,
  USER_KNOWN,
  USER_LIVE,
  USER_WATCHED,
  USER_WIPE,
} from './layout.js';
import { mentionKey, setMentionKey } from './mention-window.js';
import {
  ACK_EXTRA,
  BULK_ITEM,
  REPLY,
  REPLY_ENTRY,
  REQUEST,
  REQUEST_HAS_COUNT,
  REQUEST_HAS_EXTRA,
  REQUEST_HAS_FLAGS,
  REQUEST_HAS_VIEWED,
  REQUEST_MANUAL,
  REQUEST_WITH_ENTRY,
  STATUS_DUPLICATE,
  STATUS_OK,
  STATUS_SUPPRESSED,
} from './messages.js';
import type { RecordSlot, UserSlot } from './partition.js';
import { findRecord, insertUser } from './slab-index.js';
import { detachUser, dirtyAppend, lruInsert } from './slab-lists.js';
import type { SlabMemory } from './slab-memory.js';
import { clearRecord, createRecord, isDeleted, recordChanged, writeEntry } from './slab-records.js';

/** First word of an answer: the operation and status, and flags. */
export function replyHead(head: number, status: number, flags: number): number {
  return (head & 0xff) | (status << 8) | flags;
}

/** An answer with the record's count and version, and its entry if asked. */
export function replyWithRecord(
  memory: SlabMemory,
  record: RecordSlot,
  head: number,
  requestId: number,
  status: number,
  flags: number,
  out: Int32Array,
  outAt: number,
): void {
  const at = memory.recordAt(record);
  if ((head & REQUEST_WITH_ENTRY) !== 0) {
    flags |= REPLY_ENTRY;
    writeEntry(memory, record, out, outAt + REPLY.WORDS);
  }
  out[outAt + REPLY.HEAD] = replyHead(head, status, flags);
  out[outAt + REPLY.REQUEST_ID] = requestId;
  out[outAt + REPLY.MENTION_COUNT] = memory.records[at + RECORD.MENTION_COUNT]!;
  out[outAt + REPLY.VERSION] = memory.records[at + RECORD.VERSION]!;
}

/**
 * The record of the key, made alive: found, a tombstone revived, or created (the caller has seen to the room).
 * @param hash  `hashUser` of the user
 */
export function reviveRecord(
  memory: SlabMemory,
  record: RecordSlot,
  hash: number,
  user: UserSlot,
  channelLo: number,
  channelHi: number,
  type: number,
): RecordSlot {
  if (record === 0) {
    const recordHash = hashRecord(hash, channelLo, channelHi, type);
    return createRecord(memory, recordHash, user, channelLo, channelHi, type);
  }
  const meta = memory.recordAt(record) + RECORD.META;
  memory.put(meta, memory.records[meta]! & ~META_DELETED);
  return record;
}

/**
 * Moves the mark of a live record. `fresh`: it was just made, so that any mark is new.
 * @returns whether anything changed
 */
export function ackRecord(
  memory: SlabMemory,
  record: RecordSlot,
  fresh: boolean,
  messageLo: number,
  messageHi: number,
  head: number,
  words: Int32Array,
  extraAt: number,
  tick: number,
): boolean {
  const { records } = memory;
  const at = memory.recordAt(record);
  const markLo = records[at + RECORD.MESSAGE_LO]!;
  const markHi = records[at + RECORD.MESSAGE_HI]!;
  const exact = (head & REQUEST_MANUAL) !== 0 || memory.options.lastWrite;
  if (!exact && compareIds(messageLo, messageHi, markLo, markHi) < 0) return false;
  let count = 0;
  const meta = records[at + RECORD.META]!;
  let newMeta = meta;
  if ((head & REQUEST_HAS_EXTRA) !== 0) {
    if ((head & REQUEST_HAS_COUNT) !== 0) count = words[extraAt + ACK_EXTRA.MENTION_COUNT]!;
    const given =
      ((head & REQUEST_HAS_FLAGS) !== 0 ? META_FLAGS_BITS : 0) |
      ((head & REQUEST_HAS_VIEWED) !== 0 ? META_VIEWED_BITS : 0);
    newMeta = (meta & ~given) | (words[extraAt + ACK_EXTRA.ENTRY_META]! & given);
  }
  if (
    !fresh &&
    markLo === messageLo &&
    markHi === messageHi &&
    records[at + RECORD.MENTION_COUNT] === count &&
    newMeta === meta
  ) {
    return false;
  }
  memory.put(at + RECORD.MESSAGE_LO, messageLo);
  if (markHi !== messageHi) memory.put(at + RECORD.MESSAGE_HI, messageHi);
  memory.put(at + RECORD.MENTION_COUNT, count);
  if (newMeta !== meta) memory.put(at + RECORD.META, newMeta);
  recordChanged(memory, record, tick);
  return true;
}

/** Moves the pin forward (or exactly, with `lastWrite`). @returns whether anything changed */
export function pinRecord(
  memory: SlabMemory,
  record: RecordSlot,
  fresh: boolean,
  lo: number,
  hi: number,
  tick: number,
): boolean {
  const { records } = memory;
  const at = memory.recordAt(record);
  const order = compareIds(lo, hi, records[at + RECORD.PIN_LO]!, records[at + RECORD.PIN_HI]!);
  if (!fresh && (order === 0 || (order < 0 && !memory.options.lastWrite))) return false;
  memory.put(at + RECORD.PIN_LO, lo);
  memory.put(at + RECORD.PIN_HI, hi);
  recordChanged(memory, record, tick);
  return true;
}

/** Sets `mentionKey` to that of the request at `words[at]`. */
export function setKeyOfMention(words: Int32Array, at: number): void {
  setMentionKey(
    words[at + REQUEST.USER_LO]!,
    words[at + REQUEST.USER_HI]!,
    words[at + REQUEST.CHANNEL_LO]!,
    words[at + REQUEST.CHANNEL_HI]!,
    (words[at + REQUEST.HEAD]! >>> 8) & META_TYPE_MASK,
    words[at + REQUEST.ARGUMENT_LO]!,
    words[at + REQUEST.ARGUMENT_HI]!,
  );
}

/**
 * What one mention would do. `record` 0 or a tombstone: the entry does not exist yet.
 * @returns STATUS_OK (counted), STATUS_SUPPRESSED or STATUS_DUPLICATE (nothing changed)
 */
export function mentionStatus(memory: SlabMemory, record: RecordSlot, words: Int32Array, at: number): number {
  const messageLo = words[at + REQUEST.ARGUMENT_LO]!;
  const messageHi = words[at + REQUEST.ARGUMENT_HI]!;
  if ((messageLo | messageHi) === 0) return STATUS_OK;
  if (record !== 0) {
    const { records } = memory;
    const recordAt = memory.recordAt(record);
    const markLo = records[recordAt + RECORD.MESSAGE_LO]!;
    const markHi = records[recordAt + RECORD.MESSAGE_HI]!;
    if ((markLo | markHi) !== 0 && compareIds(markLo, markHi, messageLo, messageHi) >= 0)
      return STATUS_SUPPRESSED;
    if (records[recordAt + RECORD.FINGERPRINT] === fingerprint(messageLo, messageHi)) return STATUS_DUPLICATE;
  }
  setKeyOfMention(words, at);
  return memory.mentions.has(mentionKey.lo, mentionKey.hi) ? STATUS_DUPLICATE : STATUS_OK;
}

/** After `mentionStatus` said OK (it left the mention's key behind): adds one. */
export function mentionRecord(
  memory: SlabMemory,
  record: RecordSlot,
  words: Int32Array,
  at: number,
  tick: number,
): void {
  const { records } = memory;
  const recordAt = memory.recordAt(record);
  const messageLo = words[at + REQUEST.ARGUMENT_LO]!;
  const messageHi = words[at + REQUEST.ARGUMENT_HI]!;
  const count = records[recordAt + RECORD.MENTION_COUNT]!;
  memory.put(recordAt + RECORD.MENTION_COUNT, count < COUNT_MAX ? count + 1 : COUNT_MAX);
  if ((messageLo | messageHi) !== 0) {
    memory.put(recordAt + RECORD.FINGERPRINT, fingerprint(messageLo, messageHi));
    memory.mentions.add(mentionKey.lo, mentionKey.hi);
  }
  recordChanged(memory, record, tick);
}

/** Makes a live record a tombstone. */
export function deleteRecord(memory: SlabMemory, record: RecordSlot, tick: number): void {
  const { records } = memory;
  const at = memory.recordAt(record);
  clearRecord(memory, at);
  memory.put(at + RECORD.META, records[at + RECORD.META]! | META_DELETED);
  recordChanged(memory, record, tick);
  const user = memory.userAt(records[at + RECORD.USER_SLOT]!);
  memory.put(user + USER.DELETED_VERSION, records[at + RECORD.VERSION]!);
}

/**
 * Drops everything of a user in O(1): the slot with its records is detached, and the user begins anew in another
 * slot, complete and empty, with the version going on and a wipe for the store.
 * @returns the new slot, 0 = no user slot free
 */
export function deleteUser(memory: SlabMemory, hash: number, user: UserSlot, tick: number): UserSlot {
  const slot = memory.allocateUser();
  if (slot === 0) return 0;
  const { users } = memory;
  const from = memory.userAt(user);
  const at = memory.userAt(slot);
  const version = (users[from + USER.VERSION]! + 1) | 0;
  memory.put(at + USER.ID_LO, users[from + USER.ID_LO]!);
  memory.put(at + USER.ID_HI, users[from + USER.ID_HI]!);
  memory.put(at + USER.VERSION, version);
  memory.put(at + USER.DELETED_VERSION, version);
  const kept = users[from + USER.STATE]! & (USER_ACTIVE | USER_WATCHED);
  memory.put(at + USER.STATE, USER_LIVE | USER_KNOWN | USER_COMPLETE | USER_WIPE | kept);
  detachUser(memory, user);
  insertUser(memory, hash, slot);
  lruInsert(memory, slot, tick);
  dirtyAppend(memory, slot, (tick + memory.options.flushDelayTicks) | 0);
  return slot;
}

/** Whether a complete user has no live entry. O(records). */
export function isEmpty(memory: SlabMemory, user: UserSlot): boolean {
  let record = memory.users[memory.userAt(user) + USER.FIRST_RECORD]!;
  while (record !== 0) {
    if (!isDeleted(memory, record)) return false;
    record = memory.records[memory.recordAt(record) + RECORD.NEXT_OF_USER]!;
  }
  return true;
}

/** `bulkMissing`: not all of the named entries are known. */
export const BULK_NEEDS_ROWS = -1;

/**
 * Looks at all items of a bulk ack.
 * @returns records that must be created (at most: an item named twice counts twice), or BULK_NEEDS_ROWS
 */
export function bulkMissing(
  memory: SlabMemory,
  hash: number,
  words: Int32Array,
  at: number,
  absentIsKnown: boolean,
): number {
  const userLo = words[at + REQUEST.USER_LO]!;
  const userHi = words[at + REQUEST.USER_HI]!;
  const count = words[at + REQUEST.CHANNEL_LO]!;
  let missing = 0;
  for (let i = 0; i < count; i++) {
    const item = at + REQUEST.WORDS + i * BULK_ITEM.WORDS;
    const lo = words[item + BULK_ITEM.CHANNEL_LO]!;
    const hi = words[item + BULK_ITEM.CHANNEL_HI]!;
    const type = words[item + BULK_ITEM.TYPE]!;
    if (findRecord(memory, hashRecord(hash, lo, hi, type), userLo, userHi, lo, hi, type) !== 0) continue;
    if (!absentIsKnown) return BULK_NEEDS_ROWS;
    missing++;
  }
  return missing;
}

export function isComplete(memory: SlabMemory, user: UserSlot): boolean {
  return (memory.users[memory.userAt(user) + USER.STATE]! & USER_COMPLETE) !== 0;
}
