/** The batched touch of slab partitions: what a batch will need is loaded before the first of it runs. */
import { hashRecord } from './hash.js';
import { broken, lineOf, META_TYPE_MASK, RECORD, USER, USER_ACTIVE } from './layout.js';
import { mentionKey } from './mention-window.js';
import { OP_ACK, OP_MENTION, REQUEST, REQUEST_WITH_ENTRY } from './messages.js';
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
/** Where each operation's record begins, 0 when none was found. */
const batchRecords = new Int32Array(TOUCH_MAX);
const batchUsers = new Int32Array(TOUCH_MAX);
/** Where the key lies that a mention will have its window forget. */
const batchForgotten = new Int32Array(TOUCH_MAX);
let batches = 0;

/** Words to load next, and whose they are; a round wants up to two of an operation. */
const wanted = new Int32Array(2 * TOUCH_MAX);
const wantedBy = new Int32Array(2 * TOUCH_MAX);

/**
 * Loads what a batch will need in four rounds: buckets, records, users, neighbours in the LRU. Within a round the loads
 * do not depend on each other, so the processor has many cache misses under way at once instead of one after the other.
 *
 * Each round first works out where to look and only then loads, in a loop of its own: the processor looks some hundred
 * instructions ahead, and with the working out in between these were three loads, not ten (45 ns a load against 14).
 * For the same reason a line is wanted once, and the loop takes eight words a step.
 */
export function touch(
  partitions: readonly TouchedPartition[],
  hashes: Int32Array,
  words: Int32Array,
  ats: Int32Array,
  count: number,
  likely: Int32Array,
): void {
  if (count > TOUCH_MAX) broken('a touch of too many operations');
  batches = (batches + 1) | 0;
  const isOneBuffer = areInOneBuffer(partitions, count);
  load(partitions, isOneBuffer, findBuckets(partitions, hashes, words, ats, count));
  load(partitions, isOneBuffer, findRecords(partitions, hashes, words, ats, count, likely));
  load(partitions, isOneBuffer, findUsers(partitions, hashes, words, ats, count));
  load(partitions, isOneBuffer, findNeighbours(partitions, words, ats, count));
}

function areInOneBuffer(partitions: readonly TouchedPartition[], count: number): boolean {
  const first = partitions[0]!.memory.records;
  for (let i = 1; i < count; i++) if (partitions[i]!.memory.records !== first) return false;
  return true;
}

/** Loads the first `count` words that are wanted. */
function load(partitions: readonly TouchedPartition[], isOneBuffer: boolean, count: number): void {
  let mixed = 0;
  if (!isOneBuffer) {
    for (let i = 0; i < count; i++) mixed ^= partitions[wantedBy[i]!]!.memory.records[wanted[i]!]!;
    loadedAhead[0] = mixed;
    return;
  }
  const first = partitions[0]!.memory.records;
  let i = 0;
  for (; i + 8 <= count; i += 8) {
    mixed ^=
      first[wanted[i]!]! ^
      first[wanted[i + 1]!]! ^
      first[wanted[i + 2]!]! ^
      first[wanted[i + 3]!]! ^
      first[wanted[i + 4]!]! ^
      first[wanted[i + 5]!]! ^
      first[wanted[i + 6]!]! ^
      first[wanted[i + 7]!]!;
  }
  for (; i < count; i++) mixed ^= first[wanted[i]!]!;
  loadedAhead[0] = mixed;
}

function isMention(words: Int32Array, at: number): boolean {
  return (words[at + REQUEST.HEAD]! & 0xff) === OP_MENTION;
}

/** The buckets, and the key that a mention will have its window forget. */
function findBuckets(
  partitions: readonly TouchedPartition[],
  hashes: Int32Array,
  words: Int32Array,
  ats: Int32Array,
  count: number,
): number {
  let n = 0;
  for (let i = 0; i < count; i++) {
    const at = ats[i]!;
    const { recordBucketsBase, recordBucketCount, mentions } = partitions[i]!.memory;
    const type = (words[at + REQUEST.HEAD]! >>> 8) & META_TYPE_MASK;
    const lo = words[at + REQUEST.CHANNEL_LO]!;
    const hash = hashRecord(hashes[i]!, lo, words[at + REQUEST.CHANNEL_HI]!, type);
    batchHashes[i] = hash;
    wanted[n] = recordBucketsBase + homeBucket(hash, recordBucketCount);
    wantedBy[n++] = i;
    if (isMention(words, at)) {
      const forgotten = mentions.forgottenLater(batches);
      batchForgotten[i] = forgotten;
      wanted[n] = forgotten;
      wantedBy[n++] = i;
    }
  }
  return n;
}

/** What the operation will look at of a record, which may lie in two lines; of an absent record the user's bucket. */
function findRecords(
  partitions: readonly TouchedPartition[],
  hashes: Int32Array,
  words: Int32Array,
  ats: Int32Array,
  count: number,
  likely: Int32Array,
): number {
  let n = 0;
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
    const record = word & memory.recordSlotMask;
    const recordAt = record === 0 ? 0 : memory.recordAt(record);
    likely[i] = record;
    batchRecords[i] = recordAt;
    if (recordAt === 0) {
      wanted[n] = userBucketOf(memory, hashes[i]!);
      wantedBy[n++] = i;
      continue;
    }
    wanted[n] = recordAt;
    wantedBy[n++] = i;
    const isAck = (words[ats[i]! + REQUEST.HEAD]! & (0xff | REQUEST_WITH_ENTRY)) === OP_ACK;
    const last = recordAt + (isAck ? RECORD.VERSION : RECORD.PIN_HI);
    if (lineOf(recordAt) !== lineOf(last)) {
      wanted[n] = last;
      wantedBy[n++] = i;
    }
  }
  return n;
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
): number {
  let n = 0;
  for (let i = 0; i < count; i++) {
    const { memory } = partitions[i]!;
    const recordAt = batchRecords[i]!;
    const user =
      recordAt === 0 ? likelyUser(memory, hashes[i]!) : memory.records[recordAt + RECORD.USER_SLOT]!;
    const userAt = memory.userAt(user);
    batchUsers[i] = userAt;
    wanted[n] = userAt;
    wantedBy[n++] = i;
    const at = ats[i]!;
    if (!isMention(words, at)) continue;
    setKeyOfMention(words, at);
    wanted[n] = memory.mentions.bucketAt(mentionKey.lo);
    wantedBy[n++] = i;
  }
  return n;
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

/** The neighbours of the users that will move in the LRU; mentions move none, but have their window forget. */
function findNeighbours(
  partitions: readonly TouchedPartition[],
  words: Int32Array,
  ats: Int32Array,
  count: number,
): number {
  let n = 0;
  for (let i = 0; i < count; i++) {
    const { memory, tick } = partitions[i]!;
    const { users } = memory;
    if (isMention(words, ats[i]!)) {
      wanted[n] = memory.mentions.bucketAt(memory.records[batchForgotten[i]!]!);
      wantedBy[n++] = i;
      continue;
    }
    const userAt = batchUsers[i]!;
    const stays =
      (users[userAt + USER.STATE]! & USER_ACTIVE) !== 0 &&
      ((tick - users[userAt + USER.TOUCHED]!) | 0) < memory.options.touchTicks;
    if (stays) continue;
    wanted[n] = memory.userAt(users[userAt + USER.LRU_NEWER]!);
    wantedBy[n++] = i;
    wanted[n] = memory.userAt(users[userAt + USER.LRU_OLDER]!);
    wantedBy[n++] = i;
  }
  return n;
}
