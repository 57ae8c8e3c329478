/** Making room in a slab partition: which users are evicted, and how what they leave is freed. */
import { hashRecord } from './hash.js';
import {
  META_FLUSHING,
  META_TYPE_MASK,
  RECORD,
  USER,
  USER_QUEUED,
  USER_RETRYING,
  USER_WIPE,
  USER_WIPING,
} from './layout.js';
import { CANDIDATES_MAX, PASSIVE_SHARE_SHIFT, type RecordSlot, type UserSlot } from './partition.js';
import { homeBucket, removeRecord, userHashOf } from './slab-index.js';
import { detachUser, dirtyToFront, lruInsert, lruRemove } from './slab-lists.js';
import { HEADER, loadedAhead, type SlabMemory } from './slab-memory.js';

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
      memory.putHeader(HEADER.EVICTED_USERS, header[HEADER.EVICTED_USERS]! + 1);
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

/**
 * See `Partition.makeRoom`. The largest unit of work: CANDIDATES_MAX users, and with each `records + CANDIDATES_MAX` of
 * their records, 3 to 4 stores a record, more where buckets are crowded: for the rows of one answer of the store, up to 50,000
 * stores. So a unit makes room once at most.
 */
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

/** Records of one chain that are freed together. */
const CHUNK_RECORDS = 32;
const chunkSlots = new Int32Array(CHUNK_RECORDS);
const chunkHashes = new Int32Array(CHUNK_RECORDS);

/**
 * Looks at up to `max` records of a chain from `first` on, and loads the buckets that name them: all at once, where
 * removals one after the other would wait for each. @returns how many are in `chunkSlots`
 */
function gatherChunk(memory: SlabMemory, user: UserSlot, first: RecordSlot, max: number): number {
  const { records, recordBuckets, recordBucketsBase: base, recordBucketCount: size } = memory;
  const userHash = userHashOf(memory, user);
  let count = 0;
  for (let record = first; record !== 0 && count < max; count++) {
    const at = memory.recordAt(record);
    chunkSlots[count] = record;
    chunkHashes[count] = hashRecord(
      userHash,
      records[at + RECORD.CHANNEL_LO]!,
      records[at + RECORD.CHANNEL_HI]!,
      records[at + RECORD.META]! & META_TYPE_MASK,
    );
    record = records[at + RECORD.NEXT_OF_USER]!;
  }
  let mixed = 0;
  for (let i = 0; i < count; i++) mixed ^= recordBuckets[base + homeBucket(chunkHashes[i]!, size)]!;
  loadedAhead[0] = mixed;
  return count;
}

/** See `Partition.sweep`. A record on its way to the store keeps its slot until the answer names it. */
export function sweep(memory: SlabMemory, steps: number): boolean {
  const { users, header } = memory;
  let previous = 0;
  let user = header[HEADER.DETACHED]!;
  while (user !== 0 && steps > 0) {
    const at = memory.userAt(user);
    while (steps > 0 && renewChain(memory, at)) {
      const count = gatherChunk(memory, user, users[at + USER.FIRST_RECORD]!, Math.min(steps, CHUNK_RECORDS));
      freeChunk(memory, at, count);
      steps -= count;
    }
    if (renewChain(memory, at)) return true;
    const next = users[at + USER.LRU_NEWER]!;
    if (users[at + USER.RECORD_COUNT] === 0 && users[at + USER.IN_FLIGHT] === 0) {
      if (previous === 0) memory.putHeader(HEADER.DETACHED, next);
      else memory.put(memory.userAt(previous) + USER.LRU_NEWER, next);
      memory.freeUser(user);
    } else {
      previous = user;
    }
    steps--;
    user = next;
  }
  return user !== 0;
}

/**
 * Puts the records that had to stay into the chain of a detached user when that has ended, and none is on its way any more.
 * @returns whether there are records to look at
 */
function renewChain(memory: SlabMemory, userAt: number): boolean {
  const { users } = memory;
  if (users[userAt + USER.FIRST_RECORD] !== 0) return true;
  const stayed = users[userAt + USER.LRU_OLDER]!;
  if (stayed === 0 || users[userAt + USER.IN_FLIGHT] !== 0) return false;
  memory.put(userAt + USER.FIRST_RECORD, stayed);
  memory.put(userAt + USER.LRU_OLDER, 0);
  return true;
}

/** Frees the gathered records, the first of the user's chain, but for those on their way to the store. */
function freeChunk(memory: SlabMemory, userAt: number, count: number): void {
  const { users, records } = memory;
  let rest = 0;
  let first = 0;
  let last = 0;
  let freed = 0;
  for (let i = 0; i < count; i++) {
    const record = chunkSlots[i]!;
    const recordAt = memory.recordAt(record);
    rest = records[recordAt + RECORD.NEXT_OF_USER]!;
    if ((records[recordAt + RECORD.META]! & META_FLUSHING) !== 0) {
      memory.put(recordAt + RECORD.NEXT_OF_USER, users[userAt + USER.LRU_OLDER]!);
      memory.put(userAt + USER.LRU_OLDER, record);
      continue;
    }
    removeRecord(memory, chunkHashes[i]!, record);
    memory.put(recordAt + RECORD.USER_SLOT, 0);
    if (first === 0) first = record;
    else if (last !== chunkSlots[i - 1]!) memory.put(memory.recordAt(last) + RECORD.NEXT_OF_USER, record);
    last = record;
    freed++;
  }
  memory.put(userAt + USER.FIRST_RECORD, rest);
  if (freed === 0) return;
  memory.freeChain(first, last, freed);
  memory.put(userAt + USER.RECORD_COUNT, users[userAt + USER.RECORD_COUNT]! - freed);
}
