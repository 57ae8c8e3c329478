/**
 * The shared words of shards and keeper: JOURNAL once, then one JOURNAL_SHARD for each shard.
 *
 * I1  A spare belongs to the keeper while its state is EMPTY or TAKEN and to the shard while it is READY; the store of
 *     the state hands over what was written before it.
 * I2  A shard stores ADOPTED after the counts of unsaved users that it had when it had adopted, and shows counts only
 *     while all its images are written: who sees ADOPTED sees counts that are at least as new.
 * I3  From SEQ on it is the shard's own: where it writes. So another thread can go on there.
 */
import { layout } from '../../engine/layout.js';

export const JOURNAL = layout({
  EPOCH: 1, // the current one; only the keeper moves it
  SEQ: 1, // of the segment begun last
  REFUSE: 1, // REFUSE_*: why there may be no spares
  CARRY: 1, // not 0: shards carry unsaved users over to the current epoch, so many images for each of a change
  RESERVED: 28,
  SHARDS: 1, // JOURNAL_SHARD blocks from here
});

/** Files that wait for each shard, so that it need not wait for the keeper. */
export const SPARES = 2;

export const SPARE = layout({
  STATE: 1, // SPARE_*
  SEQ: 1, // TAKEN: of the segment that it became
  EPOCH: 1, // TAKEN: of that segment
  PREVIOUS_EPOCH: 1, // TAKEN: of the segment that the shard had before
});
export const SPARE_EMPTY = 0;
export const SPARE_READY = 1;
export const SPARE_TAKEN = 2;

export const JOURNAL_SHARD = layout({
  ADOPTED: 1, // epoch in which the shard's changes are journaled
  UNSAVED_EVEN: 1, // users whose oldest unsaved change is of an even epoch
  UNSAVED_ODD: 1,
  HAS_CONTENT: 1, // that segment has a frame
  SPARES: SPARE.WORDS * SPARES,
  SEQ: 1, // of the segment that is written; 0 = none yet
  SEGMENT_EPOCH: 1,
  END: 1, // words of it that are written
  FAILED: 1, // 1: the last write failed, the segment is not written any more, unless nothing is in it
  PREVIOUS: 1, // the segment before: its seq, its epoch, the words of it that were written
  PREVIOUS_EPOCH: 1,
  PREVIOUS_END: 1,
  EPOCH: 1, // in which changes are noted; ADOPTED follows when counts have been shown
  IMAGES: 1, // in the frame that is not written yet
  BEGUN: 1, // seq of a segment that a thread is about to begin; 0 = none
  BEGUN_SLOT: 1, // of the spare that becomes it
  RESERVED: 9, // its own two cache lines
});

export const REFUSE_NONE = 0;
/** Files cannot be made or written. */
export const REFUSE_FAILED = 1;
/** The limit is reached, and what there is cannot go yet. */
export const REFUSE_FULL = 2;

export function createJournalWords(shards: number): SharedArrayBuffer {
  return new SharedArrayBuffer((JOURNAL.SHARDS + shards * JOURNAL_SHARD.WORDS) * 4);
}

/** Word at which a shard's block begins. */
export function shardAt(shard: number): number {
  return JOURNAL.SHARDS + shard * JOURNAL_SHARD.WORDS;
}

export function spareAt(shard: number, slot: number): number {
  return shardAt(shard) + JOURNAL_SHARD.SPARES + slot * SPARE.WORDS;
}
