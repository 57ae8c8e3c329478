/**
 * Open-addressing indexes of a slab partition: user id -> user slot, (user id, channel, type) -> record slot.
 * Owner: the partition's shard. One word a bucket, linear probing:
 *
 *     0 = empty, else | tag: low bits of the hash | distance: 3 | slot: as many bits as the largest slot needs |
 *
 * Only buckets of records have the distance: how far behind its home bucket the slot lies, 7 = 7 or farther. So a
 * removal knows which of its neighbours may move back without loading their keys, which are three cache misses each.
 *
 * The home bucket is the hash scaled to the size of the table, so it comes from the high bits, and the size need
 * not be a power of two: just two buckets a record, not up to four. The key of a record holds the user's id, not its slot, so that a
 * hit needs no look into the user index: bucket, record, user are three cache misses, not four.
 *
 * I1  Every live slot is reachable from its home bucket without crossing an empty one. Records of a detached user
 *     stay indexed until they are freed, but match no key: the user's id reads 0.
 * I2  The load never exceeds 4/5, for records 1/2 (the memory sizes the tables for all slots), so every probe ends.
 * I3  Deletion shifts back, there are no tombstones in the tables.
 * I4  The distance of a record's bucket is that from its home, or 7 when that is 7 or more.
 */
import { hashRecord, hashUser, mix } from './hash.js';
import { broken, META_TYPE_MASK, RECORD, USER } from './layout.js';
import type { RecordSlot, UserSlot } from './partition.js';
import { DISTANCE_MAX, type SlabMemory } from './slab-memory.js';

/** All users of a partition share the low bits of their hash, so the index mixes it again. */
export function userIndexHash(hash: number): number {
  return mix(hash);
}

const TWO_TO_MINUS_32 = 2 ** -32;

/** Home bucket of a hash in a table of `size` buckets. */
export function homeBucket(hash: number, size: number): number {
  return ((hash >>> 0) * size * TWO_TO_MINUS_32) | 0;
}

/** The tag bits of a record's bucket. @param tagMask  all ones above slot and distance */
export function recordTag(hash: number, tagMask: number): number {
  return Math.imul(hash, -tagMask);
}

/** Slot of the user, or 0. @param hash  `hashUser` of the id */
export function findUser(memory: SlabMemory, hash: number, lo: number, hi: number): UserSlot {
  const { userBuckets: buckets, users, userSlotMask: slotMask } = memory;
  const { userBucketsBase: base, userBucketCount: size } = memory;
  const wanted = userIndexHash(hash);
  const tag = Math.imul(wanted, slotMask + 1);
  for (let bucket = homeBucket(wanted, size); ; bucket = bucket + 1 === size ? 0 : bucket + 1) {
    const word = buckets[base + bucket]!;
    if (word === 0) return 0;
    if (((word ^ tag) & ~slotMask) !== 0) continue;
    const at = memory.userAt(word & slotMask);
    if (users[at + USER.ID_LO] === lo && users[at + USER.ID_HI] === hi) return word & slotMask;
  }
}

/** Slot of the record (tombstones too), or 0. @param hash  `hashRecord` of the key */
export function findRecord(
  memory: SlabMemory,
  hash: number,
  userLo: number,
  userHi: number,
  lo: number,
  hi: number,
  type: number,
): RecordSlot {
  const { recordBuckets: buckets, recordSlotMask: slotMask } = memory;
  const { recordBucketsBase: base, recordBucketCount: size, recordTagMask: tagMask } = memory;
  const tag = recordTag(hash, tagMask);
  for (let bucket = homeBucket(hash, size); ; bucket = bucket + 1 === size ? 0 : bucket + 1) {
    const word = buckets[base + bucket]!;
    if (word === 0) return 0;
    if (((word ^ tag) & tagMask) !== 0) continue;
    if (isRecordOf(memory, word & slotMask, userLo, userHi, lo, hi, type)) return word & slotMask;
  }
}

/** Whether a slot, free or in use, holds the record of the key. A free one does not: its user is 0, whose id reads 0. */
export function isRecordOf(
  memory: SlabMemory,
  slot: RecordSlot,
  userLo: number,
  userHi: number,
  lo: number,
  hi: number,
  type: number,
): boolean {
  const { records, users } = memory;
  const at = memory.recordAt(slot);
  if (records[at + RECORD.CHANNEL_LO] !== lo || records[at + RECORD.CHANNEL_HI] !== hi) return false;
  if ((records[at + RECORD.META]! & META_TYPE_MASK) !== type) return false;
  const user = memory.userAt(records[at + RECORD.USER_SLOT]!);
  return users[user + USER.ID_LO] === userLo && users[user + USER.ID_HI] === userHi;
}

/** Whether what is at `bucket` with this home may not move back to `hole`: its probe begins behind the hole. */
function staysBehind(hole: number, bucket: number, home: number): boolean {
  return hole < bucket ? home > hole && home <= bucket : home > hole || home <= bucket;
}

export function insertUser(memory: SlabMemory, hash: number, slot: UserSlot): void {
  const { userBuckets: buckets, userSlotMask: slotMask } = memory;
  const { userBucketsBase: base, userBucketCount: size } = memory;
  const wanted = userIndexHash(hash);
  let bucket = homeBucket(wanted, size);
  while (buckets[base + bucket] !== 0) bucket = bucket + 1 === size ? 0 : bucket + 1;
  memory.put(base + bucket, Math.imul(wanted, slotMask + 1) | slot);
}

export function insertRecord(memory: SlabMemory, hash: number, slot: RecordSlot): void {
  const { recordBuckets: buckets, recordSlotBits: slotBits, recordTagMask: tagMask } = memory;
  const { recordBucketsBase: base, recordBucketCount: size } = memory;
  let bucket = homeBucket(hash, size);
  let distance = 0;
  while (buckets[base + bucket] !== 0) {
    bucket = bucket + 1 === size ? 0 : bucket + 1;
    distance++;
  }
  memory.put(base + bucket, recordTag(hash, tagMask) | (Math.min(distance, DISTANCE_MAX) << slotBits) | slot);
}

/** `hashUser` of a user. A detached one keeps it in TOUCHED (the LRU no longer needs it), for the homes of its records. */
export function userHashOf(memory: SlabMemory, slot: UserSlot): number {
  const at = memory.userAt(slot);
  const lo = memory.users[at + USER.ID_LO]!;
  const hi = memory.users[at + USER.ID_HI]!;
  return (lo | hi) === 0 ? memory.users[at + USER.TOUCHED]! : hashUser(lo, hi);
}

/** Home hash of an indexed record. */
export function hashOfRecord(memory: SlabMemory, slot: RecordSlot): number {
  const { records } = memory;
  const at = memory.recordAt(slot);
  return hashRecord(
    userHashOf(memory, records[at + RECORD.USER_SLOT]!),
    records[at + RECORD.CHANNEL_LO]!,
    records[at + RECORD.CHANNEL_HI]!,
    records[at + RECORD.META]! & META_TYPE_MASK,
  );
}

export function removeUser(memory: SlabMemory, slot: UserSlot): void {
  const { userBuckets: buckets, userSlotMask: slotMask } = memory;
  const { userBucketsBase: base, userBucketCount: size } = memory;
  let hole = homeBucket(userIndexHash(userHashOf(memory, slot)), size);
  while ((buckets[base + hole]! & slotMask) !== slot) {
    if (buckets[base + hole] === 0) broken('a user is not in its index', slot);
    hole = hole + 1 === size ? 0 : hole + 1;
  }
  for (let bucket = hole; ; ) {
    bucket = bucket + 1 === size ? 0 : bucket + 1;
    const word = buckets[base + bucket]!;
    if (word === 0) break;
    const home = homeBucket(userIndexHash(userHashOf(memory, word & slotMask)), size);
    if (staysBehind(hole, bucket, home)) continue;
    memory.put(base + hole, word);
    hole = bucket;
  }
  memory.put(base + hole, 0);
}

/** How far behind its home a record's bucket lies; loads its key only when the bucket does not tell. */
function distanceOf(memory: SlabMemory, bucket: number, word: number): number {
  const told = (word >>> memory.recordSlotBits) & DISTANCE_MAX;
  if (told < DISTANCE_MAX) return told;
  const size = memory.recordBucketCount;
  const distance = bucket - homeBucket(hashOfRecord(memory, word & memory.recordSlotMask), size);
  return distance < 0 ? distance + size : distance;
}

/** @param hash  `hashRecord` of the record's key */
export function removeRecord(memory: SlabMemory, hash: number, slot: RecordSlot): void {
  const { recordBuckets: buckets, recordSlotMask: slotMask, recordSlotBits: slotBits } = memory;
  const { recordBucketsBase: base, recordBucketCount: size, recordTagMask: tagMask } = memory;
  let hole = homeBucket(hash, size);
  while ((buckets[base + hole]! & slotMask) !== slot) {
    if (buckets[base + hole] === 0) broken('a record is not in its index', slot);
    hole = hole + 1 === size ? 0 : hole + 1;
  }
  let gap = 0; // from the hole to the bucket
  for (let bucket = hole; ; ) {
    bucket = bucket + 1 === size ? 0 : bucket + 1;
    gap++;
    const word = buckets[base + bucket]!;
    if (word === 0) break;
    const distance = distanceOf(memory, bucket, word);
    if (distance < gap) continue; // its probe begins behind the hole
    const told = Math.min(distance - gap, DISTANCE_MAX);
    memory.put(base + hole, (word & (tagMask | slotMask)) | (told << slotBits));
    hole = bucket;
    gap = 0;
  }
  memory.put(base + hole, 0);
}
