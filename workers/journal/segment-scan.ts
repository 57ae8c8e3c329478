/**
 * Reads one segment: where its frames are, and what is wrong with it. It judges nothing: whether an end is torn or
 * damaged depends on the other segments (reader.ts).
 */
import {
  FRAME,
  FRAME_END,
  frameChecksum,
  headerChecksum,
  isFrameSize,
  JOURNAL_FORMAT,
  readSegmentHeader,
  SEGMENT,
  SEGMENT_MAGIC,
  type SegmentHeader,
} from './format.js';

/** Frames that follow each other, from word `from` to word `to` of the file. */
export interface FrameRun {
  readonly from: number;
  readonly to: number;
}

export interface SegmentScan {
  /** Null: the words are no header of a segment of this seq. */
  readonly header: SegmentHeader | null;
  /** The header is of this format; 0 when it is none at all. */
  readonly format: number;
  /** Runs of frames; the first begins behind the header if there is a frame at all. More than one: damage between. */
  readonly runs: readonly FrameRun[];
  /** Word at which the frames from the header on end. */
  readonly end: number;
  readonly images: number;
  /** Zeros follow at `end`: the last write was whole. */
  readonly isClean: boolean;
  /** Seq of the successor; 0 = there is no END behind the frames. */
  readonly next: number;
}

/** @param bytes  the whole file; its byteOffset is a multiple of 4. @param seq  by its name */
export function scanSegment(bytes: Uint8Array, seq: number): SegmentScan {
  const words = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength >>> 2);
  const hasHeader =
    words.length >= SEGMENT.WORDS &&
    words[SEGMENT.MAGIC] === SEGMENT_MAGIC &&
    words[SEGMENT.CHECKSUM] === headerChecksum(words);
  const format = hasHeader ? words[SEGMENT.FORMAT]! : 0;
  const isOwn = format === JOURNAL_FORMAT && words[SEGMENT.SEQ] === seq;
  const runs: FrameRun[] = [];
  let images = 0;
  let next = 0;
  let end = SEGMENT.WORDS;
  for (let at = SEGMENT.WORDS; at < words.length; ) {
    const from = at;
    while (isFrame(bytes, words, at, seq)) {
      if (words[at + FRAME.IMAGES] === FRAME_END) {
        next = words[at + FRAME.WORDS]!;
        break;
      }
      images += words[at + FRAME.IMAGES]!;
      at += words[at + FRAME.LENGTH]!;
    }
    if (at > from) runs.push({ from, to: at });
    if (from === SEGMENT.WORDS) end = at;
    if (next !== 0) break;
    at++;
    // Most of what is left are zeros: a look at the length is enough there.
    while (at < words.length && (words[at + FRAME.LENGTH]! === 0 || !isFrame(bytes, words, at, seq))) at++;
  }
  const isClean = words.subarray(end, end + FRAME.WORDS).every((word) => word === 0);
  return { header: isOwn ? readSegmentHeader(words) : null, format, runs, end, images, isClean, next };
}

function isFrame(bytes: Uint8Array, words: Int32Array, at: number, seq: number): boolean {
  if (at + FRAME.WORDS > words.length) return false;
  const length = words[at + FRAME.LENGTH]!;
  if (!isFrameSize(length, words[at + FRAME.IMAGES]!, words.length - at)) return false;
  return frameChecksum(bytes.subarray((at + 1) * 4, (at + length) * 4), seq) === words[at + FRAME.CHECKSUM];
}
