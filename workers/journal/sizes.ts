/** How large the journal and its files are. */
import { IMAGE } from '../../engine/messages.js';
import { SPARES } from './shared.js';

const MIB = 2 ** 20;
const LIMIT_MIN_BYTES = 256 * MIB;
/**
 * Of what fits in memory. While all of it is unsaved, each epoch begins with a copy of it, carried over from the one
 * before: the rest of the limit is for changes, and the more there is, the smaller a part are the copies. With 5, 2.5
 * capacities are changes, so that the journal writes 1.4 times what changes at most.
 */
const LIMIT_CAPACITIES = 5;
/** The last copy, and an eighth of it for the changes that come meanwhile (see CARRY_STEPS_AN_IMAGE), and some waste. */
const CARRY_CAPACITIES = 1.25;
const SEGMENT_MIN_BYTES = MIB;
const SEGMENT_MAX_BYTES = 16 * MIB;
/** Of each shard, so that epochs are a small part of the journal. */
const SEGMENTS_A_SHARD = 16;
/** The smallest limit: the segment at hand, two spares and the epoch before, twice. */
export const JOURNAL_LIMIT_MIN_BYTES_A_SHARD = 8 * MIB;

/** In bytes. */
export interface JournalSizes {
  /** Of all files together. */
  readonly limitBytes: number;
  readonly segmentBytes: number;
  /** With more than this in segments, shards carry over what is unsaved. */
  readonly carryBytes: number;
}

/** @param limitBytes  0 = by the capacity. @param capacity  records */
export function journalSizes(limitBytes: number, capacity: number, shards: number): JournalSizes {
  const all = capacity * IMAGE.WORDS * 4;
  const wanted = limitBytes === 0 ? Math.max(LIMIT_MIN_BYTES, LIMIT_CAPACITIES * all) : limitBytes;
  const limit = Math.max(wanted, shards * JOURNAL_LIMIT_MIN_BYTES_A_SHARD);
  const share = 2 ** Math.floor(Math.log2(limit / (shards * SEGMENTS_A_SHARD)));
  const segmentBytes = Math.min(SEGMENT_MAX_BYTES, Math.max(SEGMENT_MIN_BYTES, share));
  const spareBytes = shards * SPARES * segmentBytes;
  const carryBytes = Math.max(limit / 2, limit - spareBytes - CARRY_CAPACITIES * all);
  return { limitBytes: limit, segmentBytes, carryBytes };
}
