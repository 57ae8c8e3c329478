/** Users of a slab partition: admitted, known, watched, and the rows that are loaded for them. */
import { hashRecord, hashUser } from './hash.js';
import {
  META_STORED,
  META_TYPE_MASK,
  RECORD,
  USER,
  USER_COMPLETE,
  USER_KNOWN,
  USER_LIVE,
  USER_WATCHED,
} from './layout.js';
import { ENTRY } from './messages.js';
import type { UserSlot } from './partition.js';
import { findRecord, findUser, insertUser } from './slab-index.js';
import { detachUser, lruInsert } from './slab-lists.js';
import type { SlabMemory } from './slab-memory.js';
import { createRecord, readRow } from './slab-records.js';
import { sweep } from './slab-space.js';
import { laterVersion } from './versions.js';

/** See `Partition.admitUser`. */
export function admitUser(memory: SlabMemory, hash: number, lo: number, hi: number, tick: number): UserSlot {
  const found = findUser(memory, hash, lo, hi);
  if (found !== 0) return found;
  const user = memory.allocateUser();
  if (user === 0) return 0;
  const at = memory.userAt(user);
  memory.put(at + USER.ID_LO, lo);
  memory.put(at + USER.ID_HI, hi);
  memory.put(at + USER.STATE, USER_LIVE | (memory.watched.has(lo, hi) ? USER_WATCHED : 0));
  insertUser(memory, hash, user);
  lruInsert(memory, user, tick);
  return user;
}

/** See `Partition.dropIfEmpty`. */
export function dropIfEmpty(memory: SlabMemory, user: UserSlot): void {
  const { users } = memory;
  const at = memory.userAt(user);
  if (users[at + USER.RECORD_COUNT] !== 0 || (users[at + USER.STATE]! & USER_KNOWN) !== 0) return;
  detachUser(memory, user);
  sweep(memory, 1);
}

/** See `Partition.applyUserRow`. */
export function applyUserRow(
  memory: SlabMemory,
  user: UserSlot,
  version: number,
  deletedVersion: number,
): void {
  const { users } = memory;
  const at = memory.userAt(user);
  if ((users[at + USER.STATE]! & USER_KNOWN) !== 0) return;
  memory.put(at + USER.VERSION, laterVersion(users[at + USER.VERSION]!, version | 0));
  memory.put(at + USER.DELETED_VERSION, laterVersion(users[at + USER.DELETED_VERSION]!, deletedVersion | 0));
  memory.put(at + USER.STATE, users[at + USER.STATE]! | USER_KNOWN);
}

/** See `Partition.insertRow`. */
export function insertRow(memory: SlabMemory, user: UserSlot, words: Int32Array, at: number): boolean {
  const userAt = memory.userAt(user);
  const userLo = memory.users[userAt + USER.ID_LO]!;
  const userHi = memory.users[userAt + USER.ID_HI]!;
  const lo = words[at + ENTRY.CHANNEL_LO]!;
  const hi = words[at + ENTRY.CHANNEL_HI]!;
  const type = words[at + ENTRY.META]! & META_TYPE_MASK;
  const hash = hashRecord(hashUser(userLo, userHi), lo, hi, type);
  if (findRecord(memory, hash, userLo, userHi, lo, hi, type) !== 0) return true;
  const record = createRecord(memory, hash, user, lo, hi, type);
  if (record === 0) return false;
  readRow(memory, record, words, at);
  const meta = memory.recordAt(record) + RECORD.META;
  memory.put(meta, memory.records[meta]! | META_STORED);
  return true;
}

/** See `Partition.markComplete`. */
export function markComplete(memory: SlabMemory, user: UserSlot): void {
  const state = memory.userAt(user) + USER.STATE;
  memory.put(state, memory.users[state]! | USER_COMPLETE);
}

/** The user's changes are announced from now on, or no more. False if no more users can be watched. */
export function watchUser(
  memory: SlabMemory,
  hash: number,
  lo: number,
  hi: number,
  wanted: boolean,
): boolean {
  const { watched, users } = memory;
  if (wanted && !watched.add(lo, hi)) return false;
  if (!wanted) watched.delete(lo, hi);
  const user = findUser(memory, hash, lo, hi);
  if (user === 0) return true;
  const state = memory.userAt(user) + USER.STATE;
  memory.put(state, wanted ? users[state]! | USER_WATCHED : users[state]! & ~USER_WATCHED);
  return true;
}
