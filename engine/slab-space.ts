/** Making room in a slab partition: which users are evicted, and how what they leave is freed. */
import {
  META_FLUSHING,
  RECORD,
  USER,
  USER_LIVE,
  USER_QUEUED,
  USER_RETRYING,
  USER_WIPE,
  USER_WIPING,
} from './layout.js';
import type { UserSlot } from './partition.js';
import { removeRecord } from './slab-index.js';
import { detachUser, dirtyToFront, lruInsert, lruRemove } from './slab-lists.js';
import { HEADER, type SlabMemory } from './slab-memory.js';

/** Users looked at in one call: more would make the caller's batch wait. */
const CANDIDATES_MAX = 64;
/** Passive users keep this share of the records (1/16) before active ones go. */
const PASSIVE_SHARE_SHIFT = 4;

/** Nothing of the user is unsaved, and nobody waits for it. */
function isEvictable(memory: SlabMemory, at: number): boolean {
  const { users } = memory;
  return (
    users[at + USER.HOLD] === 0 &&
    users[at + USER.DIRTY_COUNT] === 0 &&
    users[at + USER.IN_FLIGHT] === 0 &&
    (users[at + USER.STATE]! & (USER_WIPE | USER_WIPING)) === 0
  );
}

/** Evicts from the oldest end of one LRU list until enough is free; the candidates that are left to look at. */
function evictFrom(
  memory: SlabMemory,
  oldest: UserSlot,
  records: number,
  tick: number,
  candidates: number,
): number {
  const { users, header } = memory;
  for (let user = oldest; user !== 0 && candidates > 0; candidates--) {
    const at = memory.userAt(user);
    const newer = users[at + USER.LRU_NEWER]!;
    if (isEvictable(memory, at)) {
      detachUser(memory, user);
      header[HEADER.EVICTED_USERS] = header[HEADER.EVICTED_USERS]! + 1;
      sweep(memory, records + CANDIDATES_MAX);
      if (hasRoom(memory, records)) return 0;
    } else if (users[at + USER.HOLD] !== 0 || (users[at + USER.STATE]! & USER_RETRYING) !== 0) {
      // Nobody knows when it can go: out of the way, or the users behind it would never be looked at.
      lruRemove(memory, user);
      lruInsert(memory, user, users[at + USER.TOUCHED]!);
    } else if ((users[at + USER.STATE]! & USER_QUEUED) !== 0) {
      dirtyToFront(memory, user, tick);
    }
    user = newer;
  }
  return candidates;
}

function hasRoom(memory: SlabMemory, records: number): boolean {
  return memory.freeRecords >= records && memory.freeUsers >= 1;
}

/** See `Partition.makeRoom`. */
export function makeRoom(memory: SlabMemory, records: number, forMention: boolean, tick: number): boolean {
  const { header } = memory;
  if (hasRoom(memory, records)) return true;
  // Large users are freed in pieces; what is needed now is at most one batch's worth.
  sweep(memory, records + CANDIDATES_MAX);
  if (hasRoom(memory, records)) return true;
  const share = memory.options.recordsMax >>> PASSIVE_SHARE_SHIFT;
  const passiveFirst =
    forMention || header[HEADER.PASSIVE_RECORDS]! > share || header[HEADER.ACTIVE_OLDEST] === 0;
  const first = passiveFirst ? HEADER.PASSIVE_OLDEST : HEADER.ACTIVE_OLDEST;
  const second = passiveFirst ? HEADER.ACTIVE_OLDEST : HEADER.PASSIVE_OLDEST;
  const left = evictFrom(memory, header[first]!, records, tick, CANDIDATES_MAX);
  // A mention takes from those who are there only when nobody else is left to take from.
  if (left > 0 && !(forMention && header[first] !== 0))
    evictFrom(memory, header[second]!, records, tick, left);
  return hasRoom(memory, records);
}

/** See `Partition.sweep`. A record on its way to the store keeps its slot until the answer names it. */
export function sweep(memory: SlabMemory, steps: number): boolean {
  const { users, records, header } = memory;
  let previous = 0;
  let user = header[HEADER.DETACHED]!;
  while (user !== 0 && steps > 0) {
    const at = memory.userAt(user);
    let record = users[at + USER.FIRST_RECORD]!;
    for (; record !== 0 && steps > 0; steps--) {
      const recordAt = memory.recordAt(record);
      const next = records[recordAt + RECORD.NEXT_OF_USER]!;
      if ((records[recordAt + RECORD.META]! & META_FLUSHING) !== 0) {
        records[recordAt + RECORD.NEXT_OF_USER] = users[at + USER.LRU_OLDER]!;
        users[at + USER.LRU_OLDER] = record;
      } else {
        removeRecord(memory, record);
        memory.freeRecord(record);
        users[at + USER.RECORD_COUNT] = users[at + USER.RECORD_COUNT]! - 1;
      }
      record = next;
    }
    users[at + USER.FIRST_RECORD] = record;
    if (record !== 0) return true;
    const next = users[at + USER.LRU_NEWER]!;
    if (users[at + USER.RECORD_COUNT] === 0 && users[at + USER.IN_FLIGHT] === 0) {
      if (previous === 0) header[HEADER.DETACHED] = next;
      else users[memory.userAt(previous) + USER.LRU_NEWER] = next;
      memory.freeUser(user);
    } else {
      previous = user;
    }
    steps--;
    user = next;
  }
  return user !== 0;
}

/** The records that had to stay are looked at again: an answer came for the detached user. */
export function resweep(memory: SlabMemory, user: UserSlot): void {
  const { users } = memory;
  const at = memory.userAt(user);
  if ((users[at + USER.STATE]! & USER_LIVE) === 0 || users[at + USER.IN_FLIGHT] !== 0) return;
  // None is on its way any more, so the whole rest can be freed: join it to what was not looked at yet.
  let record = users[at + USER.LRU_OLDER]!;
  while (record !== 0) {
    const next = memory.records[memory.recordAt(record) + RECORD.NEXT_OF_USER]!;
    memory.records[memory.recordAt(record) + RECORD.NEXT_OF_USER] = users[at + USER.FIRST_RECORD]!;
    users[at + USER.FIRST_RECORD] = record;
    record = next;
  }
  users[at + USER.LRU_OLDER] = 0;
}
