/** The batched touch of slab partitions: what a batch will need is loaded before the first of it runs. */
import { hashRecord } from './hash.js';
import { broken, META_TYPE_MASK, RECORD } from './layout.js';
import { mentionKey } from './mention-window.js';
import { OP_MENTION, REQUEST } from './messages.js';
import { TOUCH_MAX } from './partition.js';
import { homeBucket } from './slab-index.js';
import type { SlabMemory } from './slab-memory.js';
import { setKeyOfMention } from './slab-operations.js';

const batchHashes = new Int32Array(TOUCH_MAX);
const batchRecords = new Int32Array(TOUCH_MAX);

/**
 * What was touched, mixed up; read by nobody, but stored so that the loads are not removed as dead. Mixed by XOR: a sum
 * leaves the 32 bits, which deoptimises the loops.
 */
const touched = new Int32Array(1);

/**
 * Loads what a batch will need in three rounds: buckets, records, users. Within a round the loads do not depend on
 * each other, so the processor has many cache misses under way at once instead of one after the other.
 */
export function touch(
  partitions: readonly { readonly memory: SlabMemory }[],
  hashes: Int32Array,
  words: Int32Array,
  ats: Int32Array,
  count: number,
): void {
  if (count > TOUCH_MAX) broken(`touch of ${count} operations, at most ${TOUCH_MAX}`);
  let sum = 0;
  for (let i = 0; i < count; i++) {
    const at = ats[i]!;
    const { recordBuckets, recordBucketsBase, recordBucketCount } = partitions[i]!.memory;
    const type = (words[at + REQUEST.HEAD]! >>> 8) & META_TYPE_MASK;
    const hash = hashRecord(
      hashes[i]!,
      words[at + REQUEST.CHANNEL_LO]!,
      words[at + REQUEST.CHANNEL_HI]!,
      type,
    );
    batchHashes[i] = hash;
    sum ^= recordBuckets[recordBucketsBase + homeBucket(hash, recordBucketCount)]!;
  }
  for (let i = 0; i < count; i++) {
    const { memory } = partitions[i]!;
    const { recordBuckets, recordBucketsBase, recordBucketCount: size, records, recordSlotMask } = memory;
    const hash = batchHashes[i]!;
    const tag = Math.imul(hash, recordSlotMask + 1);
    let bucket = homeBucket(hash, size);
    let word = recordBuckets[recordBucketsBase + bucket]!;
    while (word !== 0 && ((word ^ tag) & ~recordSlotMask) !== 0) {
      bucket = bucket + 1 === size ? 0 : bucket + 1;
      word = recordBuckets[recordBucketsBase + bucket]!;
    }
    const slot = word & recordSlotMask;
    const recordAt = memory.recordAt(slot);
    batchRecords[i] = recordAt;
    sum ^= records[recordAt]! ^ records[recordAt + RECORD.VERSION]!;
  }
  for (let i = 0; i < count; i++) {
    const { memory } = partitions[i]!;
    const at = ats[i]!;
    if ((words[at + REQUEST.HEAD]! & 0xff) === OP_MENTION) {
      setKeyOfMention(words, at);
      sum ^= memory.mentions.touch(mentionKey.lo);
    }
    sum ^= memory.users[memory.userAt(memory.records[batchRecords[i]! + RECORD.USER_SLOT]!)]!;
  }
  touched[0] = sum;
}
