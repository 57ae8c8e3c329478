/**
 * Records of a slab partition: made, changed, written out.
 *
 * I1  Each live record is in its user's chain once, and the user's RECORD_COUNT counts the chain.
 * I2  The user's DIRTY_COUNT counts the records of the chain with META_DIRTY; a user with any is in a dirty queue,
 *     or all its dirty records are also on their way (META_FLUSHING), and it is queued when they are answered.
 */
import {
  META_DELETED,
  META_DIRTY,
  META_ENTRY_MASK,
  META_TYPE_MASK,
  RECORD,
  USER,
  USER_ACTIVE,
  USER_QUEUED,
} from './layout.js';
import { ENTRY, ROW } from './messages.js';
import type { RecordSlot, UserSlot } from './partition.js';
import { insertRecord } from './slab-index.js';
import { dirtyAppend } from './slab-lists.js';
import { HEADER, type SlabMemory } from './slab-memory.js';

/** An empty record at the head of the user's chain, indexed; 0 when no slot is free. */
export function createRecord(
  memory: SlabMemory,
  hash: number,
  user: UserSlot,
  channelLo: number,
  channelHi: number,
  type: number,
): RecordSlot {
  const slot = memory.allocateRecord(user);
  if (slot === 0) return 0;
  const { users } = memory;
  const at = memory.recordAt(slot);
  const userAt = memory.userAt(user);
  memory.put(at + RECORD.CHANNEL_LO, channelLo);
  memory.put(at + RECORD.CHANNEL_HI, channelHi);
  memory.put(at + RECORD.MESSAGE_LO, 0);
  memory.put(at + RECORD.MESSAGE_HI, 0);
  memory.put(at + RECORD.META, type);
  memory.put(at + RECORD.MENTION_COUNT, 0);
  memory.put(at + RECORD.VERSION, 0);
  memory.put(at + RECORD.FINGERPRINT, 0);
  memory.put(at + RECORD.PIN_LO, 0);
  memory.put(at + RECORD.PIN_HI, 0);
  memory.put(at + RECORD.NEXT_OF_USER, users[userAt + USER.FIRST_RECORD]!);
  memory.put(userAt + USER.FIRST_RECORD, slot);
  memory.put(userAt + USER.RECORD_COUNT, users[userAt + USER.RECORD_COUNT]! + 1);
  countPassive(memory, user, 1);
  insertRecord(memory, hash, slot);
  return slot;
}

/** The user's chain has grown by so many records: PASSIVE_RECORDS counts those of passive users. */
export function countPassive(memory: SlabMemory, user: UserSlot, by: number): void {
  const { users, header } = memory;
  if ((users[memory.userAt(user) + USER.STATE]! & USER_ACTIVE) !== 0) return;
  memory.putHeader(HEADER.PASSIVE_RECORDS, header[HEADER.PASSIVE_RECORDS]! + by);
}

/** Everything that a reader can see of a record, but its key and version. */
export function clearRecord(memory: SlabMemory, at: number): void {
  const { records } = memory;
  memory.put(at + RECORD.MESSAGE_LO, 0);
  memory.put(at + RECORD.MESSAGE_HI, 0);
  memory.put(at + RECORD.MENTION_COUNT, 0);
  memory.put(at + RECORD.FINGERPRINT, 0);
  memory.put(at + RECORD.PIN_LO, 0);
  memory.put(at + RECORD.PIN_HI, 0);
  memory.put(at + RECORD.META, records[at + RECORD.META]! & ~(META_ENTRY_MASK & ~META_TYPE_MASK));
}

/** The record was changed: gives it the user's next version and sees that it will be written. */
export function recordChanged(memory: SlabMemory, slot: RecordSlot, tick: number): void {
  const { records, users } = memory;
  const at = memory.recordAt(slot);
  const userAt = memory.userAt(records[at + RECORD.USER_SLOT]!);
  const version = (users[userAt + USER.VERSION]! + 1) | 0;
  memory.put(userAt + USER.VERSION, version);
  memory.put(at + RECORD.VERSION, version);
  markDirty(memory, slot, tick);
}

/** Sees that the record will be written. */
export function markDirty(memory: SlabMemory, slot: RecordSlot, tick: number): void {
  const { records, users } = memory;
  const at = memory.recordAt(slot);
  const meta = records[at + RECORD.META]!;
  if ((meta & META_DIRTY) !== 0) return;
  const user = records[at + RECORD.USER_SLOT]!;
  const userAt = memory.userAt(user);
  memory.put(at + RECORD.META, meta | META_DIRTY);
  memory.put(userAt + USER.DIRTY_COUNT, users[userAt + USER.DIRTY_COUNT]! + 1);
  if ((users[userAt + USER.STATE]! & USER_QUEUED) === 0) {
    dirtyAppend(memory, user, (tick + memory.options.flushDelayTicks) | 0);
  }
}

/** See `Partition.writeEntry`. */
export function writeEntry(memory: SlabMemory, slot: RecordSlot, out: Int32Array, at: number): void {
  const { records } = memory;
  const from = memory.recordAt(slot);
  out[at + ENTRY.CHANNEL_LO] = records[from + RECORD.CHANNEL_LO]!;
  out[at + ENTRY.CHANNEL_HI] = records[from + RECORD.CHANNEL_HI]!;
  out[at + ENTRY.MESSAGE_LO] = records[from + RECORD.MESSAGE_LO]!;
  out[at + ENTRY.MESSAGE_HI] = records[from + RECORD.MESSAGE_HI]!;
  out[at + ENTRY.MENTION_COUNT] = records[from + RECORD.MENTION_COUNT]!;
  out[at + ENTRY.META] = records[from + RECORD.META]! & META_ENTRY_MASK;
  out[at + ENTRY.VERSION] = records[from + RECORD.VERSION]!;
  out[at + ENTRY.PIN_LO] = records[from + RECORD.PIN_LO]!;
  out[at + ENTRY.PIN_HI] = records[from + RECORD.PIN_HI]!;
}

/** A record as a ROW; of the record's own state, META shows the bits of `stateMask`. */
export function writeRow(
  memory: SlabMemory,
  slot: RecordSlot,
  stateMask: number,
  out: Int32Array,
  at: number,
): void {
  const { records } = memory;
  const from = memory.recordAt(slot);
  const entry = at + ROW.ENTRY;
  writeEntry(memory, slot, out, entry);
  out[entry + ENTRY.META] = out[entry + ENTRY.META]! | (records[from + RECORD.META]! & stateMask);
  out[at + ROW.FINGERPRINT] = records[from + RECORD.FINGERPRINT]!;
}

/** The inverse, but for META: of the record's own state nothing is left. */
export function readRow(memory: SlabMemory, slot: RecordSlot, words: Int32Array, from: number): void {
  const at = memory.recordAt(slot);
  memory.put(at + RECORD.MESSAGE_LO, words[from + ENTRY.MESSAGE_LO]!);
  memory.put(at + RECORD.MESSAGE_HI, words[from + ENTRY.MESSAGE_HI]!);
  memory.put(at + RECORD.MENTION_COUNT, words[from + ENTRY.MENTION_COUNT]!);
  memory.put(at + RECORD.META, words[from + ENTRY.META]! & META_ENTRY_MASK);
  memory.put(at + RECORD.VERSION, words[from + ENTRY.VERSION]!);
  memory.put(at + RECORD.PIN_LO, words[from + ENTRY.PIN_LO]!);
  memory.put(at + RECORD.PIN_HI, words[from + ENTRY.PIN_HI]!);
  memory.put(at + RECORD.FINGERPRINT, words[from + ROW.FINGERPRINT]!);
}

export function isDeleted(memory: SlabMemory, slot: RecordSlot): boolean {
  return (memory.records[memory.recordAt(slot) + RECORD.META]! & META_DELETED) !== 0;
}
