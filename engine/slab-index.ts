/**
 * Open-addressing indexes of a slab partition: user id -> user slot, (user id, channel, type) -> record slot.
 * Owner: the partition's shard. One word a bucket, linear probing:
 *
 *     0 = empty, else | tag: low bits of the hash | slot: as many bits as the largest slot needs |
 *
 * The home bucket is the hash scaled to the size of the table, so it comes from the high bits, and the size need
 * not be a power of two: just two buckets a record, not up to four. The key of a record holds the user's id, not its slot, so that a
 * hit needs no look into the user index: bucket, record, user are three cache misses, not four.
 *
 * I1  Every live slot is reachable from its home bucket without crossing an empty one. Records of a detached user
 *     stay indexed until they are freed, but match no key: the user's id reads 0.
 * I2  The load never exceeds 7/10, for records 1/2 (the memory sizes the tables for all slots), so every probe ends.
 * I3  Deletion shifts back, there are no tombstones in the tables.
 */
import { hashRecord, hashUser, mix } from './hash.js';
import { broken, META_TYPE_MASK, RECORD, USER } from './layout.js';
import type { RecordSlot, UserSlot } from './partition.js';
import type { SlabMemory } from './slab-memory.js';

/** All users of a partition share the low bits of their hash, so the index mixes it again. */
export function userIndexHash(hash: number): number {
  return mix(hash);
}

const TWO_TO_MINUS_32 = 2 ** -32;

/** Home bucket of a hash in a table of `size` buckets. */
export function homeBucket(hash: number, size: number): number {
  return ((hash >>> 0) * size * TWO_TO_MINUS_32) | 0;
}

/** The bucket's word for a slot: 1 to `slotMask`, which is all ones. */
function taggedSlot(hash: number, slotMask: number, slot: number): number {
  return Math.imul(hash, slotMask + 1) | slot | 0;
}

/** Slot of the user, or 0. @param hash  `hashUser` of the id */
export function findUser(memory: SlabMemory, hash: number, lo: number, hi: number): UserSlot {
  const { userBuckets: buckets, users, userSlotMask: slotMask } = memory;
  const size = buckets.length;
  const wanted = userIndexHash(hash);
  const tag = Math.imul(wanted, slotMask + 1);
  for (let bucket = homeBucket(wanted, size); ; bucket = bucket + 1 === size ? 0 : bucket + 1) {
    const word = buckets[bucket]!;
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
  const { recordBuckets: buckets, records, users, recordSlotMask: slotMask } = memory;
  const { recordBucketsBase: base, recordBucketCount: size } = memory;
  const tag = Math.imul(hash, slotMask + 1);
  for (let bucket = homeBucket(hash, size); ; bucket = bucket + 1 === size ? 0 : bucket + 1) {
    const word = buckets[base + bucket]!;
    if (word === 0) return 0;
    if (((word ^ tag) & ~slotMask) !== 0) continue;
    const at = memory.recordAt(word & slotMask);
    if (records[at + RECORD.CHANNEL_LO] !== lo || records[at + RECORD.CHANNEL_HI] !== hi) continue;
    if ((records[at + RECORD.META]! & META_TYPE_MASK) !== type) continue;
    const user = memory.userAt(records[at + RECORD.USER_SLOT]!);
    if (users[user + USER.ID_LO] === userLo && users[user + USER.ID_HI] === userHi) return word & slotMask;
  }
}

/** Puts a slot into the first empty bucket of the table of `size` buckets from `base`. */
function insert(
  buckets: Int32Array,
  base: number,
  size: number,
  hash: number,
  slotMask: number,
  slot: number,
): void {
  let bucket = homeBucket(hash, size);
  while (buckets[base + bucket] !== 0) bucket = bucket + 1 === size ? 0 : bucket + 1;
  buckets[base + bucket] = taggedSlot(hash, slotMask, slot);
}

/** Bucket that holds the slot; it must be there (I1). */
function bucketOf(
  buckets: Int32Array,
  base: number,
  size: number,
  hash: number,
  slotMask: number,
  slot: number,
): number {
  const word = taggedSlot(hash, slotMask, slot);
  for (let bucket = homeBucket(hash, size); ; bucket = bucket + 1 === size ? 0 : bucket + 1) {
    if (buckets[base + bucket] === word) return bucket;
    if (buckets[base + bucket] === 0) broken(`slot ${slot} is not in its index`);
  }
}

/** Whether what is at `bucket` with this home may not move back to `hole`: its probe begins behind the hole. */
function staysBehind(hole: number, bucket: number, home: number): boolean {
  return hole < bucket ? home > hole && home <= bucket : home > hole || home <= bucket;
}

export function insertUser(memory: SlabMemory, hash: number, slot: UserSlot): void {
  const { userBuckets } = memory;
  insert(userBuckets, 0, userBuckets.length, userIndexHash(hash), memory.userSlotMask, slot);
}

export function insertRecord(memory: SlabMemory, hash: number, slot: RecordSlot): void {
  const { recordBuckets, recordBucketsBase, recordBucketCount, recordSlotMask } = memory;
  insert(recordBuckets, recordBucketsBase, recordBucketCount, hash, recordSlotMask, slot);
}

/** `hashUser` of a user. A detached one keeps it in TOUCHED (the LRU no longer needs it), for the homes of its records. */
export function userHashOf(memory: SlabMemory, slot: UserSlot): number {
  const at = memory.userAt(slot);
  const lo = memory.users[at + USER.ID_LO]!;
  const hi = memory.users[at + USER.ID_HI]!;
  return (lo | hi) === 0 ? memory.users[at + USER.TOUCHED]! : hashUser(lo, hi);
}

/** Home hash of an indexed record. */
function hashOfRecord(memory: SlabMemory, slot: RecordSlot): number {
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
  const size = buckets.length;
  let hole = bucketOf(buckets, 0, size, userIndexHash(userHashOf(memory, slot)), slotMask, slot);
  for (let bucket = hole; ; ) {
    bucket = bucket + 1 === size ? 0 : bucket + 1;
    const word = buckets[bucket]!;
    if (word === 0) break;
    const home = homeBucket(userIndexHash(userHashOf(memory, word & slotMask)), size);
    if (staysBehind(hole, bucket, home)) continue;
    buckets[hole] = word;
    hole = bucket;
  }
  buckets[hole] = 0;
}

export function removeRecord(memory: SlabMemory, slot: RecordSlot): void {
  const { recordBuckets: buckets, recordSlotMask: slotMask } = memory;
  const { recordBucketsBase: base, recordBucketCount: size } = memory;
  let hole = bucketOf(buckets, base, size, hashOfRecord(memory, slot), slotMask, slot);
  for (let bucket = hole; ; ) {
    bucket = bucket + 1 === size ? 0 : bucket + 1;
    const word = buckets[base + bucket]!;
    if (word === 0) break;
    const home = homeBucket(hashOfRecord(memory, word & slotMask), size);
    if (staysBehind(hole, bucket, home)) continue;
    buckets[base + hole] = word;
    hole = bucket;
  }
  buckets[base + hole] = 0;
}
