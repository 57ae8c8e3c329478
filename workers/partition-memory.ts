/**
 * Shared memory for partitions, many in one buffer: a huge page backs a buffer only from its first 2 MB boundary to
 * its last, and with a buffer for each of 32 partitions a fifth of the memory was left with small pages.
 */
import { FIRST_LINE_WORD } from '../engine/layout.js';
import type { PartitionOptions } from '../engine/partition.js';
import { slabBytes, slabStrideBytes } from '../engine/slab-memory.js';

export interface PartitionPlace {
  readonly memory: SharedArrayBuffer;
  readonly byteOffset: number;
}

/** Room for the unevenness of the hash: partitions fill up when the fullest does. */
export const UNEVENNESS = 1.03;

/**
 * Users that fit in: one for each 4 records. Chat users have some tens of channels, but those who are only mentioned
 * have one record or two; slots that are never used cost address space, not memory.
 */
const RECORDS_A_USER = 4;

/** Records that each of the partitions has room for. */
export function recordsOfPartition(capacity: number, partitions: number): number {
  return Math.ceil((capacity / partitions) * (partitions > 1 ? UNEVENNESS : 1));
}

/** Users that a partition with room for so many records has room for. */
export function usersOfPartition(recordsMax: number): number {
  return Math.ceil(recordsMax / RECORDS_A_USER);
}

/** The least capacity with which each of the partitions has room for `records`. */
export function capacityFor(records: number, partitions: number): number {
  let capacity = Math.ceil(((records - 1) * partitions) / UNEVENNESS);
  while (recordsOfPartition(capacity, partitions) < records) capacity++;
  return capacity;
}

/** A buffer holds as many partitions as fit into this, at least one. Saved partitions of other buffers could not be read (LAYOUT_VERSION). */
const BUFFER_BYTES_MAX = 1 << 30;

const FIRST_LINE_BYTE = FIRST_LINE_WORD * Int32Array.BYTES_PER_ELEMENT;

/** Places for `count` partitions, zeroed; each begins at a cache line. */
export function allocatePartitions(count: number, options: PartitionOptions): PartitionPlace[] {
  const places: PartitionPlace[] = [];
  const bytes = slabBytes(options);
  const stride = slabStrideBytes(options);
  const perBuffer = Math.max(1, Math.floor(BUFFER_BYTES_MAX / bytes));
  while (places.length < count) {
    const here = Math.min(perBuffer, count - places.length);
    const memory = new SharedArrayBuffer(FIRST_LINE_BYTE + here * bytes);
    for (let i = 0; i < here; i++) places.push({ memory, byteOffset: FIRST_LINE_BYTE + i * stride });
  }
  return places;
}
