/** How large the journal and its files are. */
import { IMAGE } from '../../engine/messages.js';
import { SPARES } from './shared.js';

const MIB = 2 ** 20;
const LIMIT_MIN_BYTES = 256 * MIB;
/**
 * Of what fits in memory. While all of it is unsaved, each epoch begins with a copy of it, carried over from the one
 * before: the rest of the limit is for changes, and the more there is, the smaller a part are the copies. With 5, some 2
 * capacities are changes, so that the journal writes 1.5 times what changes at most.
 */
const LIMIT_CAPACITIES = 5;
/**
 * Images carried over for each image of a change. With 8 a busy shard does little else for a while and answers wait (p99.9
 * 28 to 35 ms, with 2 it is 12 to 15: 1.1 M records, all unsaved, 1.3 M operations/s on a 2-core EPYC); with 2, and 512 in
 * each turn at the least, requests took up to 0.7 s in the first epoch of 8 M records at half load, whose files are new: three
 * times as many bytes, and as many zeros. With 1 as many changes as copies come meanwhile, which needs room.
 */
const CARRY_RATE = 1;
const CARRY_RATE_TIGHT = 8;
/** The last copy, the changes that come meanwhile with CARRY_RATE, and some waste. */
const CARRY_CAPACITIES = 2.1;
/** Of the limit: how full the journal is at least before anything is carried, also where that leaves too little for the copy. */
const CARRY_FROM_MIN = 0.4;
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
  /** Images that they carry for each image of a change. */
  readonly carryRate: number;
}

/** @param limitBytes  0 = by the capacity. @param capacity  records */
export function journalSizes(limitBytes: number, capacity: number, shards: number): JournalSizes {
  const all = capacity * IMAGE.WORDS * 4;
  const wanted = limitBytes === 0 ? Math.max(LIMIT_MIN_BYTES, LIMIT_CAPACITIES * all) : limitBytes;
  const limit = Math.max(wanted, shards * JOURNAL_LIMIT_MIN_BYTES_A_SHARD);
  const share = 2 ** Math.floor(Math.log2(limit / (shards * SEGMENTS_A_SHARD)));
  const segmentBytes = Math.min(SEGMENT_MAX_BYTES, Math.max(SEGMENT_MIN_BYTES, share));
  const spareBytes = shards * SPARES * segmentBytes;
  const carryBytes = Math.max(limit * CARRY_FROM_MIN, limit - spareBytes - CARRY_CAPACITIES * all);
  const isTight = limit - spareBytes - carryBytes < CARRY_CAPACITIES * all;
  const carryRate = isTight ? CARRY_RATE_TIGHT : CARRY_RATE;
  return { limitBytes: limit, segmentBytes, carryBytes, carryRate };
}
