/** How large the journal and its files are. */
import { IMAGE } from '../../engine/messages.js';

const MIB = 2 ** 20;
const LIMIT_MIN_BYTES = 256 * MIB;
/**
 * While the store is away and everything in memory is unsaved, an epoch holds all of it once, and the next one while it
 * is carried over: two capacities, and a half for the changes that come meanwhile before the next carry begins.
 */
const LIMIT_CAPACITIES = 3;
const SEGMENT_MIN_BYTES = MIB;
const SEGMENT_MAX_BYTES = 16 * MIB;
/** Of each shard, so that epochs are a small part of the journal. */
const SEGMENTS_A_SHARD = 16;
/** The smallest limit: the segment at hand, two spares and the epoch before, twice. */
export const JOURNAL_LIMIT_MIN_BYTES_A_SHARD = 8 * MIB;

/** Sizes of the files together, and of one. @param limitBytes  0 = by the capacity, in records */
export function journalSizes(
  limitBytes: number,
  capacity: number,
  shards: number,
): { limitBytes: number; segmentBytes: number } {
  const limit =
    limitBytes === 0 ? Math.max(LIMIT_MIN_BYTES, LIMIT_CAPACITIES * capacity * IMAGE.WORDS * 4) : limitBytes;
  const share = 2 ** Math.floor(Math.log2(limit / (shards * SEGMENTS_A_SHARD)));
  const segmentBytes = Math.min(SEGMENT_MAX_BYTES, Math.max(SEGMENT_MIN_BYTES, share));
  return { limitBytes: Math.max(limit, shards * JOURNAL_LIMIT_MIN_BYTES_A_SHARD), segmentBytes };
}
