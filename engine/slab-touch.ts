/** The batched touch of slab partitions: what a batch will need is loaded before the first of it runs. */
import { hashRecord } from './hash.js';
import { broken, META_TYPE_MASK, RECORD, USER, USER_ACTIVE } from './layout.js';
import { mentionKey } from './mention-window.js';
import { OP_MENTION, REQUEST } from './messages.js';
import { TOUCH_MAX } from './partition.js';
import { homeBucket, recordTag, userIndexHash } from './slab-index.js';
import { loadedAhead, type SlabMemory } from './slab-memory.js';
import { setKeyOfMention } from './slab-operations.js';

/** What a touch needs of a partition. */
export interface TouchedPartition {
  readonly memory: SlabMemory;
  readonly tick: number;
}

const batchHashes = new Int32Array(TOUCH_MAX);
/** Words to load next; a round may want two of an operation. */
const wanted = new Int32Array(2 * TOUCH_MAX);
/** Where each operation's record begins, 0 when none was found. */
const batchRecords = new Int32Array(TOUCH_MAX);
const batchUsers = new Int32Array(TOUCH_MAX);

/**
 * Loads what a batch will need in four rounds: buckets, records, users, neighbours in the LRU. Within a round the loads
 * do not depend on each other, so the processor has many cache misses under way at once instead of one after the other.
 *
 * Each round first works out where to look and only then loads, in a loop of its own: the processor looks some hundred
 * instructions ahead, and with the working out in between these were three loads, not ten (45 ns a load against 14).
 */
export function touch(
  partitions: readonly TouchedPartition[],
  hashes: Int32Array,
  words: Int32Array,
  ats: Int32Array,
  count: number,
): void {
  if (count > TOUCH_MAX) broken('a touch of too many operations');
  const isOneBuffer = areInOneBuffer(partitions, count);
  findBuckets(partitions, hashes, words, ats, count);
  load(partitions, isOneBuffer, count, 1);
  findRecords(partitions, hashes, count);
  load(partitions, isOneBuffer, count, 2);
  findUsers(partitions, hashes, words, ats, count);
  load(partitions, isOneBuffer, count, 2);
  findNeighbours(partitions, count);
  load(partitions, isOneBuffer, count, 2);
}

function areInOneBuffer(partitions: readonly TouchedPartition[], count: number): boolean {
  const first = partitions[0]!.memory.records;
  for (let i = 1; i < count; i++) if (partitions[i]!.memory.records !== first) return false;
  return true;
}

/** Loads the first `count * perOperation` words that are wanted. */
function load(
  partitions: readonly TouchedPartition[],
  isOneBuffer: boolean,
  count: number,
  perOperation: 1 | 2,
): void {
  const first = partitions[0]!.memory.records;
  const shift = perOperation - 1;
  let mixed = 0;
  if (isOneBuffer) {
    for (let i = 0; i < count << shift; i++) mixed ^= first[wanted[i]!]!;
  } else {
    for (let i = 0; i < count << shift; i++) mixed ^= partitions[i >> shift]!.memory.records[wanted[i]!]!;
  }
  loadedAhead[0] = mixed;
}

function findBuckets(
  partitions: readonly TouchedPartition[],
  hashes: Int32Array,
  words: Int32Array,
  ats: Int32Array,
  count: number,
): void {
  for (let i = 0; i < count; i++) {
    const at = ats[i]!;
    const { recordBucketsBase, recordBucketCount } = partitions[i]!.memory;
    const type = (words[at + REQUEST.HEAD]! >>> 8) & META_TYPE_MASK;
    const lo = words[at + REQUEST.CHANNEL_LO]!;
    const hash = hashRecord(hashes[i]!, lo, words[at + REQUEST.CHANNEL_HI]!, type);
    batchHashes[i] = hash;
    wanted[i] = recordBucketsBase + homeBucket(hash, recordBucketCount);
  }
}

/** Both ends of the records' keys and counts, which may lie in two lines; of an absent record the user's bucket. */
function findRecords(partitions: readonly TouchedPartition[], hashes: Int32Array, count: number): void {
  for (let i = 0; i < count; i++) {
    const { memory } = partitions[i]!;
    const { recordBuckets, recordBucketsBase: base, recordBucketCount: size, recordTagMask } = memory;
    const hash = batchHashes[i]!;
    const tag = recordTag(hash, recordTagMask);
    let bucket = homeBucket(hash, size);
    let word = recordBuckets[base + bucket]!;
    while (word !== 0 && ((word ^ tag) & recordTagMask) !== 0) {
      bucket = bucket + 1 === size ? 0 : bucket + 1;
      word = recordBuckets[base + bucket]!;
    }
    const recordAt = word === 0 ? 0 : memory.recordAt(word & memory.recordSlotMask);
    const at = recordAt === 0 ? userBucketOf(memory, hashes[i]!) : recordAt;
    batchRecords[i] = recordAt;
    wanted[2 * i] = at;
    wanted[2 * i + 1] = at + RECORD.VERSION;
  }
}

/** Where the home bucket of a user lies. */
function userBucketOf(memory: SlabMemory, hash: number): number {
  return memory.userBucketsBase + homeBucket(userIndexHash(hash), memory.userBucketCount);
}

/** The users, and what the mention window will look at. */
function findUsers(
  partitions: readonly TouchedPartition[],
  hashes: Int32Array,
  words: Int32Array,
  ats: Int32Array,
  count: number,
): void {
  for (let i = 0; i < count; i++) {
    const { memory } = partitions[i]!;
    const recordAt = batchRecords[i]!;
    const user =
      recordAt === 0 ? likelyUser(memory, hashes[i]!) : memory.records[recordAt + RECORD.USER_SLOT]!;
    const userAt = memory.userAt(user);
    batchUsers[i] = userAt;
    wanted[2 * i] = userAt;
    const at = ats[i]!;
    let mentionAt = userAt;
    if ((words[at + REQUEST.HEAD]! & 0xff) === OP_MENTION) {
      setKeyOfMention(words, at);
      mentionAt = memory.mentions.bucketAt(mentionKey.lo);
    }
    wanted[2 * i + 1] = mentionAt;
  }
}

/** The first user in the index whose tag is that of the hash, or 0; not compared, since that would wait for its line. */
function likelyUser(memory: SlabMemory, hash: number): number {
  const { userBuckets, userBucketsBase: base, userBucketCount: size, userSlotMask: slotMask } = memory;
  const wantedHash = userIndexHash(hash);
  const tag = Math.imul(wantedHash, slotMask + 1);
  let bucket = homeBucket(wantedHash, size);
  for (;;) {
    const word = userBuckets[base + bucket]!;
    if (word === 0 || ((word ^ tag) & ~slotMask) === 0) return word & slotMask;
    bucket = bucket + 1 === size ? 0 : bucket + 1;
  }
}

/** The neighbours of the users that may move in the LRU. */
function findNeighbours(partitions: readonly TouchedPartition[], count: number): void {
  for (let i = 0; i < count; i++) {
    const { memory, tick } = partitions[i]!;
    const { users } = memory;
    const userAt = batchUsers[i]!;
    const stays =
      (users[userAt + USER.STATE]! & USER_ACTIVE) !== 0 &&
      ((tick - users[userAt + USER.TOUCHED]!) | 0) < memory.options.touchTicks;
    wanted[2 * i] = stays ? userAt : memory.userAt(users[userAt + USER.LRU_NEWER]!);
    wanted[2 * i + 1] = stays ? userAt : memory.userAt(users[userAt + USER.LRU_OLDER]!);
  }
}
