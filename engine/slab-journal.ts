/**
 * A slab partition and the journal: images of changes, images carried to a newer epoch, and images applied again.
 *
 * I1  The USER_VERSION of a user's images never falls in the order in which they are written. So, wherever a replay
 *     evicts the user in between, what its last image restores has no lower version than the store may hold. The version
 *     of the row is its own, also in a carried image: an entry carries the version of its last change.
 * I2  After an image of a wipe come images of all rows that the user had then: a replay that had stored and evicted
 *     such a row before wipes it, and restores it again.
 */
import { hashRecord } from './hash.js';
import {
  META_DELETED,
  META_DIRTY,
  META_FLUSHING,
  META_STORED,
  META_TYPE_MASK,
  META_WIPE,
  RECORD,
  USER,
  USER_COMPLETE,
  USER_KNOWN,
  USER_QUEUED,
  USER_WIPE,
  USER_WIPING,
} from './layout.js';
import { ENTRY, IMAGE, ROW } from './messages.js';
import type { RecordSlot, UserSlot } from './partition.js';
import { RestoredWipes } from './restored-wipes.js';
import type { FlushWalk } from './slab-flush.js';
import { findRecord, findUser, hashOfRecord, removeRecord } from './slab-index.js';
import { dirtyAppend, isUnsavedOf, moveToEpoch, setSentEpoch } from './slab-lists.js';
import { HEADER, type SlabMemory } from './slab-memory.js';
import { countPassive, createRecord, markDirty, readRow, writeRow } from './slab-records.js';
import { admitUser } from './slab-users.js';
import { isLater, laterVersion } from './versions.js';

/**
 * What a partition remembers of carrying and restoring. Nothing is lost when an heir does not have it: carrying begins
 * with the first user, and so does a replay with its first image.
 */
export class JournalState {
  /** Where `carryUnsaved` goes on: all users in the order of their slots, round and round; 0 = at the head of the chain. */
  user: UserSlot = 1;
  record: RecordSlot = 0;
  readonly wipes = new RestoredWipes();
}

/** See `Partition.writeImage`. */
export function writeImage(memory: SlabMemory, record: RecordSlot, out: Int32Array, at: number): void {
  const { records, users } = memory;
  const userAt = memory.userAt(records[memory.recordAt(record) + RECORD.USER_SLOT]!);
  out[at + IMAGE.USER_LO] = users[userAt + USER.ID_LO]!;
  out[at + IMAGE.USER_HI] = users[userAt + USER.ID_HI]!;
  out[at + IMAGE.USER_VERSION] = users[userAt + USER.VERSION]!;
  writeRow(memory, record, META_DELETED, out, at + IMAGE.ROW);
}

/** All rows of the user with a version below this one are dropped. */
function writeWipe(memory: SlabMemory, user: UserSlot, version: number, out: Int32Array, at: number): void {
  const userAt = memory.userAt(user);
  out.fill(0, at, at + IMAGE.WORDS);
  out[at + IMAGE.USER_LO] = memory.users[userAt + USER.ID_LO]!;
  out[at + IMAGE.USER_HI] = memory.users[userAt + USER.ID_HI]!;
  out[at + IMAGE.USER_VERSION] = memory.users[userAt + USER.VERSION]!;
  out[at + IMAGE.ROW + ROW.ENTRY + ENTRY.META] = META_WIPE;
  out[at + IMAGE.ROW + ROW.ENTRY + ENTRY.VERSION] = version;
}

/** See `Partition.writeWipeImage`. */
export function writeWipeImage(memory: SlabMemory, user: UserSlot, out: Int32Array, at: number): void {
  writeWipe(memory, user, memory.users[memory.userAt(user) + USER.VERSION]!, out, at);
}

/**
 * A user whose wipe the store has not confirmed, and so none of the rows made since, which are all that it has. Their
 * versions are above that of the wipe, so that one less than the lowest is not below it.
 * @returns images written
 */
function carryWiped(memory: SlabMemory, user: UserSlot, out: Int32Array, at: number): number {
  const { users, records } = memory;
  const userAt = memory.userAt(user);
  let lowest = (users[userAt + USER.VERSION]! + 1) | 0;
  let written = 1;
  let record = users[userAt + USER.FIRST_RECORD]!;
  while (record !== 0) {
    const recordAt = memory.recordAt(record);
    const version = records[recordAt + RECORD.VERSION]!;
    if (isLater(lowest, version)) lowest = version;
    writeImage(memory, record, out, at + written++ * IMAGE.WORDS);
    record = records[recordAt + RECORD.NEXT_OF_USER]!;
  }
  writeWipe(memory, user, (lowest - 1) | 0, out, at);
  return written;
}

/** See `Partition.carryUnsaved`. */
export function carryUnsaved(
  memory: SlabMemory,
  walk: JournalState,
  out: Int32Array,
  at: number,
  max: number,
  steps: number,
): number {
  const { header, users, records } = memory;
  const current = header[HEADER.EPOCH]!;
  const other = current ^ 1;
  let written = 0;
  for (; steps > 0 && written < max && header[HEADER.UNSAVED_0 + other] !== 0; steps--) {
    const { user } = walk;
    if (!isUnsavedOf(memory, user, other)) {
      toNextUser(memory, walk);
      continue;
    }
    const userAt = memory.userAt(user);
    if ((users[userAt + USER.STATE]! & (USER_WIPE | USER_WIPING)) !== 0) {
      const needed = users[userAt + USER.RECORD_COUNT]! + 1;
      if (needed > max - written) {
        if (written > 0 && needed <= max) break;
        toNextUser(memory, walk);
        continue;
      }
      written += carryWiped(memory, user, out, at + written * IMAGE.WORDS);
      steps -= needed;
      endCarry(memory, walk, current);
      continue;
    }
    const record = walk.record === 0 ? users[userAt + USER.FIRST_RECORD]! : walk.record;
    const recordAt = memory.recordAt(record);
    if ((records[recordAt + RECORD.META]! & (META_DIRTY | META_FLUSHING)) !== 0) {
      writeImage(memory, record, out, at + written++ * IMAGE.WORDS);
    }
    walk.record = records[recordAt + RECORD.NEXT_OF_USER]!;
    if (walk.record === 0) endCarry(memory, walk, current);
  }
  return written;
}

function toNextUser(memory: SlabMemory, walk: JournalState): void {
  walk.record = 0;
  walk.user = walk.user + 1 < memory.header[HEADER.USER_FRESH]! ? walk.user + 1 : 1;
}

/** The images of all that the user has not saved are in the current epoch; a flight that ends must not take that back. */
function endCarry(memory: SlabMemory, walk: JournalState, parity: number): void {
  moveToEpoch(memory, walk.user, parity);
  setSentEpoch(memory, walk.user);
  toNextUser(memory, walk);
}

/** See `Partition.restoreImage`. */
export function restoreImage(
  memory: SlabMemory,
  journal: JournalState,
  flush: FlushWalk,
  tick: number,
  hash: number,
  words: Int32Array,
  at: number,
): boolean {
  const userLo = words[at + IMAGE.USER_LO]!;
  const userHi = words[at + IMAGE.USER_HI]!;
  const entry = at + IMAGE.ROW + ROW.ENTRY;
  const meta = words[entry + ENTRY.META]!;
  const version = words[entry + ENTRY.VERSION]!;
  const userVersion = words[at + IMAGE.USER_VERSION]!;
  let user = findUser(memory, hash, userLo, userHi);
  if ((meta & META_WIPE) !== 0) {
    const isFree = user === 0 || memory.users[memory.userAt(user) + USER.IN_FLIGHT] === 0;
    if (!isFree) return false;
    if (user === 0) user = admitUser(memory, hash, userLo, userHi, tick);
    if (user === 0) return false;
    journal.wipes.add(userLo, userHi, version);
    if (flush.user === user) flush.record = 0;
    if (journal.user === user) journal.record = 0;
    return restoreWipe(memory, user, version, userVersion, tick);
  }
  if (journal.wipes.covers(userLo, userHi, version)) return true;
  const channelLo = words[entry + ENTRY.CHANNEL_LO]!;
  const channelHi = words[entry + ENTRY.CHANNEL_HI]!;
  const type = meta & META_TYPE_MASK;
  const recordHash = hashRecord(hash, channelLo, channelHi, type);
  let record = findRecord(memory, recordHash, userLo, userHi, channelLo, channelHi, type);
  if (record === 0) {
    if (memory.freeRecords === 0) return false;
    if (user === 0) user = admitUser(memory, hash, userLo, userHi, tick);
    if (user === 0) return false;
    record = createRecord(memory, recordHash, user, channelLo, channelHi, type);
  } else if (!isLater(version, memory.records[memory.recordAt(record) + RECORD.VERSION]!)) {
    if (raiseVersions(memory, user, userVersion, meta)) markDirty(memory, record, tick);
    return true;
  }
  const { records } = memory;
  const recordAt = memory.recordAt(record);
  const state = records[recordAt + RECORD.META]! & (META_DIRTY | META_FLUSHING);
  readRow(memory, record, words, at + IMAGE.ROW);
  const restored = records[recordAt + RECORD.META]! | state | META_STORED | (meta & META_DELETED);
  memory.put(recordAt + RECORD.META, restored);
  raiseVersions(memory, user, userVersion, meta);
  markDirty(memory, record, tick);
  return true;
}

/** I1, of both versions of a user: a deletion counts as of the image's USER_VERSION, as that of the store may be later. */
function raiseVersions(memory: SlabMemory, user: UserSlot, userVersion: number, meta: number): boolean {
  const { users } = memory;
  const userAt = memory.userAt(user);
  const isDeletion = (meta & (META_DELETED | META_WIPE)) !== 0;
  const raised =
    isLater(userVersion, users[userAt + USER.VERSION]!) ||
    (isDeletion && isLater(userVersion, users[userAt + USER.DELETED_VERSION]!));
  if (!raised) return false;
  memory.put(userAt + USER.VERSION, laterVersion(users[userAt + USER.VERSION]!, userVersion));
  if (isDeletion) memory.put(userAt + USER.DELETED_VERSION, userVersion);
  return true;
}

/** Records that a wipe changes in one call, so that it fits into the undo log. */
const WIPE_RECORDS = 4096;

/**
 * The user as `deleteUser` leaves it, but for what is newer: that is all to be written again, behind the wipe. O(records).
 * @returns false when there is more to do; what was done is right by itself, as the wipe will be
 */
function restoreWipe(
  memory: SlabMemory,
  user: UserSlot,
  version: number,
  userVersion: number,
  tick: number,
): boolean {
  const { users, records } = memory;
  const userAt = memory.userAt(user);
  let left = WIPE_RECORDS;
  let link = userAt + USER.FIRST_RECORD;
  let record = users[link]!;
  while (record !== 0 && left > 0) {
    const at = memory.recordAt(record);
    const next = records[at + RECORD.NEXT_OF_USER]!;
    if (isLater(version, records[at + RECORD.VERSION]!)) {
      if ((records[at + RECORD.META]! & META_DIRTY) !== 0) {
        memory.put(userAt + USER.DIRTY_COUNT, users[userAt + USER.DIRTY_COUNT]! - 1);
      }
      removeRecord(memory, hashOfRecord(memory, record), record);
      memory.freeRecord(record);
      memory.put(userAt + USER.RECORD_COUNT, users[userAt + USER.RECORD_COUNT]! - 1);
      countPassive(memory, user, -1);
      left--;
    } else {
      if (users[link] !== record) memory.put(link, record);
      link = at + RECORD.NEXT_OF_USER;
      if ((records[at + RECORD.META]! & META_DIRTY) === 0) left--;
      markDirty(memory, record, tick);
    }
    record = next;
  }
  if (users[link] !== record) memory.put(link, record);
  if (record !== 0) return false;
  raiseVersions(memory, user, userVersion, META_WIPE);
  memory.put(userAt + USER.STATE, users[userAt + USER.STATE]! | USER_KNOWN | USER_COMPLETE | USER_WIPE);
  if ((users[userAt + USER.STATE]! & USER_QUEUED) === 0) {
    dirtyAppend(memory, user, (tick + memory.options.flushDelayTicks) | 0);
  }
  return true;
}
