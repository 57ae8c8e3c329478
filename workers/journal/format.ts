/**
 * The journal's files. A segment is a file of a fixed size, filled before it is used: its header, then frames, one for
 * each commit of the shard that writes it, then, when the shard has gone on to another segment, END.
 *
 *     | SEGMENT | FRAME, images | FRAME, images | ... | FRAME (END), next seq | what was there before |
 *
 * Behind the header and behind each frame of images, FRAME.WORDS zeros are written in the same call; the next frame
 * overwrites them. So a clean end is known from a torn one, also in a recycled file.
 *
 * I1  A file named SEQ.segment has the header of that seq: it is written before the file gets the name.
 * I2  The checksum of a frame begins with the segment's seq, so that a frame of a recycled file's earlier life is
 *     never taken for one of this life.
 * I3  All images of a segment were made in its epoch.
 * I4  A segment's header says how far its predecessor was written. END, which names the successor, is written when
 *     the successor has its name. So a missing segment is missed, be it the first, one between or the last.
 */
import { crc32 } from 'node:zlib';
import { layout } from '../../engine/layout.js';
import { IMAGE } from '../../engine/messages.js';

/** Grows when older journals could no longer be read. */
export const JOURNAL_FORMAT = 1;

/** "TIDE" */
export const SEGMENT_MAGIC = 0x45444954;

/** The first words of a segment. */
export const SEGMENT = layout({
  CHECKSUM: 1, // CRC-32 of the words that follow
  MAGIC: 1, // SEGMENT_MAGIC
  FORMAT: 1, // JOURNAL_FORMAT
  BYTES: 1, // size of the file
  SEQ: 1, // number of the segment, one count for the service, from 1
  EPOCH: 1, // all its images were made in this epoch
  RUN: 1, // first epoch of the run of the service that wrote it
  SHARD: 1,
  PREVIOUS: 1, // seq of the segment that this shard wrote before; 0 = its first of this run
  PREVIOUS_EPOCH: 1,
  PREVIOUS_END: 1, // words that were written of it, its header included; 0 with the first
  RESERVED: 5,
});

/** What comes before the images of a commit. */
export const FRAME = layout({
  CHECKSUM: 1, // CRC-32 of the words that follow, beginning with the seq
  LENGTH: 1, // words of the frame, with this header
  IMAGES: 1, // how many follow; FRAME_END: the seq of the next segment follows
});
export const FRAME_END = -1;
export const END_WORDS = FRAME.WORDS + 1;

/** Images in one frame at most. */
export const FRAME_IMAGES_MAX = 5000;
export const FRAME_WORDS_MAX = FRAME.WORDS + FRAME_IMAGES_MAX * IMAGE.WORDS;

/** The CRC-32 of a segment's header, and of anything else that is not in a segment. */
export function checksum(bytes: Uint8Array): number {
  return crc32(bytes) | 0;
}

/** @param bytes  of the frame, but for its first word */
export function frameChecksum(bytes: Uint8Array, seq: number): number {
  return crc32(bytes, seq) | 0;
}

/** Whether LENGTH and IMAGES can be those of a frame that lies within `roomWords`. */
export function isFrameSize(length: number, images: number, roomWords: number): boolean {
  if (length > roomWords) return false;
  if (images === FRAME_END) return length === END_WORDS;
  return images > 0 && images <= FRAME_IMAGES_MAX && length === FRAME.WORDS + images * IMAGE.WORDS;
}

const SEGMENT_NAME = /^(\d{12})\.segment$/;

export function segmentName(seq: number): string {
  return `${String(seq).padStart(12, '0')}.segment`;
}

/** The seq in the name of a segment's file; 0 = it is not one. */
export function seqOfName(name: string): number {
  return Number(SEGMENT_NAME.exec(name)?.[1] ?? 0);
}

/** A file that waits to become the shard's next segment. */
export function spareName(shard: number, slot: number): string {
  return `spare-${shard}-${slot}`;
}
/** A file that the keeper fills, or keeps for the next spare. */
export function poolName(number: number): string {
  return `pool-${number}`;
}
/** The directory in which the thread of a seat rehearses: ../rehearsed-journal.ts. */
export function rehearsalName(seat: number): string {
  return `rehearsal-${seat}`;
}
const WITHOUT_CONTENT = /^(spare-\d+-\d+|pool-\d+|rehearsal-\d+)$/;
/** A file (or a directory) without any content that counts. */
export function isSpareName(name: string): boolean {
  return WITHOUT_CONTENT.test(name);
}

/** What a shard writes at the start of a segment. */
export interface SegmentHeader {
  readonly bytes: number;
  readonly seq: number;
  readonly epoch: number;
  readonly run: number;
  readonly shard: number;
  readonly previous: number;
  readonly previousEpoch: number;
  readonly previousEnd: number;
}

/** Fills `words[0..SEGMENT.WORDS)`. */
export function writeSegmentHeader(words: Int32Array, header: SegmentHeader): void {
  words.fill(0, 0, SEGMENT.WORDS);
  words[SEGMENT.MAGIC] = SEGMENT_MAGIC;
  words[SEGMENT.FORMAT] = JOURNAL_FORMAT;
  words[SEGMENT.BYTES] = header.bytes;
  words[SEGMENT.SEQ] = header.seq;
  words[SEGMENT.EPOCH] = header.epoch;
  words[SEGMENT.RUN] = header.run;
  words[SEGMENT.SHARD] = header.shard;
  words[SEGMENT.PREVIOUS] = header.previous;
  words[SEGMENT.PREVIOUS_EPOCH] = header.previousEpoch;
  words[SEGMENT.PREVIOUS_END] = header.previousEnd;
  words[SEGMENT.CHECKSUM] = headerChecksum(words);
}

export function headerChecksum(words: Int32Array): number {
  return checksum(new Uint8Array(words.buffer, words.byteOffset + 4, (SEGMENT.WORDS - 1) * 4));
}

/** Of a header whose checksum is right. */
export function readSegmentHeader(words: Int32Array): SegmentHeader {
  return {
    bytes: words[SEGMENT.BYTES]!,
    seq: words[SEGMENT.SEQ]!,
    epoch: words[SEGMENT.EPOCH]!,
    run: words[SEGMENT.RUN]!,
    shard: words[SEGMENT.SHARD]!,
    previous: words[SEGMENT.PREVIOUS]!,
    previousEpoch: words[SEGMENT.PREVIOUS_EPOCH]!,
    previousEnd: words[SEGMENT.PREVIOUS_END]!,
  };
}
