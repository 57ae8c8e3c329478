/**
 * Reads a journal at a start: which segments count, which of their frames are whole, and what is missing or damaged.
 *
 * Torn: the last segment of a shard ends in the middle of a frame and nothing whole lies behind. That is what a killed
 * process leaves; nobody had an answer to what was in that frame. It is cut.
 * Damaged: anything else that does not fit. What was answered may be lost, so it is for the operator to decide.
 */
import { readdirSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { JOURNAL_FORMAT, segmentName, seqOfName } from './format.js';
import { FormatError, LIVE_NAME, type Live, readLive } from './live-file.js';
import { type FrameRun, type SegmentScan, scanSegment } from './segment-scan.js';

/** One segment to be replayed. */
export interface ReplaySegment {
  readonly path: string;
  readonly runs: readonly FrameRun[];
  readonly images: number;
}

export interface JournalContent {
  /** In the order in which they are to be replayed. */
  readonly segments: readonly ReplaySegment[];
  readonly images: number;
  /** Files of segments, also of those that do not count any more. */
  readonly files: readonly { readonly path: string; readonly bytes: number }[];
  /** Seq and epoch of a new journal are above these. */
  readonly lastSeq: number;
  readonly lastEpoch: number;
  readonly live: Live | null;
  /** What is as a kill leaves it, for the log. */
  readonly notes: readonly string[];
  /** What must not be: each a sentence with the file, the byte and what is wrong. */
  readonly damages: readonly string[];
}

interface Found {
  readonly seq: number;
  readonly path: string;
  readonly bytes: number;
  readonly scan: SegmentScan;
}

/**
 * @param directory  of the journal; it need not exist
 * @param grows      it is being written meanwhile
 * @throws FormatError, and errors of the file system
 */
export async function readJournal(directory: string, grows = false): Promise<JournalContent> {
  const names = listDirectory(directory).filter((name) => seqOfName(name) !== 0);
  const live = readLive(directory);
  const all: Found[] = [];
  for (const name of names.sort()) {
    const path = join(directory, name);
    const bytes = alignedCopy(await readFile(path));
    const scan = scanSegment(bytes, seqOfName(name));
    if (scan.format !== 0 && scan.format !== JOURNAL_FORMAT) throw new FormatError(path, scan.format);
    all.push({ seq: seqOfName(name), path, bytes: bytes.byteLength, scan });
  }
  const oldest = live?.oldestEpoch ?? 0;
  const found = all.filter(({ scan }) => scan.header === null || scan.header.epoch >= oldest);
  const notes: string[] = [];
  const damages: string[] = [];
  if (live === null && all.length > 0)
    damages.push(`${join(directory, LIVE_NAME)} is missing or cannot be read, and there are segments.`);
  checkSegments(found, directory, oldest, grows, notes, damages);
  if (live !== null) checkShards(all, directory, live, damages);
  return {
    segments: found.map(({ path, scan: { runs, images } }) => ({ path, runs, images })),
    images: found.reduce((sum, { scan }) => sum + scan.images, 0),
    files: all.map(({ path, bytes }) => ({ path, bytes })),
    lastSeq: Math.max(0, ...all.map(({ seq }) => seq)),
    lastEpoch: Math.max(oldest, ...all.map(({ scan }) => scan.header?.epoch ?? 0)),
    live,
    notes,
    damages,
  };
}

function listDirectory(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

/** Small files share a buffer, at any byte; words need a multiple of 4. */
function alignedCopy(buffer: Buffer): Uint8Array {
  return buffer.byteOffset % 4 === 0 ? buffer : new Uint8Array(buffer);
}

function checkSegments(
  found: readonly Found[],
  directory: string,
  oldest: number,
  grows: boolean,
  notes: string[],
  damages: string[],
): void {
  const bySeq = new Map(found.map((each) => [each.seq, each]));
  const newest = Math.max(0, ...bySeq.keys());
  /** Words that the successor says were written, by seq. */
  const written = new Map<number, number>();
  for (const { seq, scan } of found) {
    const { header, next } = scan;
    if (header !== null && header.previous !== 0) {
      written.set(header.previous, header.previousEnd);
      if (header.previousEpoch >= oldest && !bySeq.has(header.previous))
        damages.push(missing(directory, header.previous, `${segmentName(seq)} follows it`));
    }
    // Its successor is from after the directory was listed.
    const isLater = grows && next > newest;
    if (next !== 0 && !bySeq.has(next) && !isLater)
      damages.push(missing(directory, next, `${segmentName(seq)} ends with a reference to it`));
  }
  for (const { seq, path, bytes, scan } of found) {
    const { header, end, runs, next } = scan;
    const cut = runs.find(({ from }) => from > end);
    const last = written.get(seq);
    if (header === null) {
      damages.push(`${path}: byte 0: this is no header of segment ${seq}.`);
    } else if (bytes !== header.bytes) {
      damages.push(`${path}: has ${bytes} bytes, and should have ${header.bytes}.`);
    } else if (cut !== undefined) {
      damages.push(
        `${path}: byte ${end * 4}: not a whole frame, but there is one behind it, at byte ${cut.from * 4}.`,
      );
    } else if (last !== undefined && end < last) {
      damages.push(
        `${path}: byte ${end * 4}: not a whole frame, and the segment was written to byte ${last * 4}.`,
      );
    } else if (next === 0 && last === undefined && !scan.isClean) {
      notes.push(
        `${path}: byte ${end * 4}: the last write was cut short, and is left out; nobody was answered.`,
      );
    } else if (next === 0 && last !== undefined) {
      notes.push(`${path}: byte ${end * 4}: has no end, but its successor says that it is complete.`);
    }
  }
}

function missing(directory: string, seq: number, why: string): string {
  return `${join(directory, segmentName(seq))} is missing: ${why}.`;
}

/** A shard has at least one segment, of which nobody can tell that it is missing when it is the only one. */
function checkShards(all: readonly Found[], directory: string, live: Live, damages: string[]): void {
  for (const { epoch, shards } of live.runs) {
    for (let shard = 0; shard < shards; shard++) {
      if (all.some(({ scan: { header } }) => header?.run === epoch && header.shard === shard)) continue;
      if (damages.length > 0) continue; // likely the one whose header is not readable
      damages.push(
        `${directory}: all segments of shard ${shard} of the run that began with epoch ${epoch} are missing.`,
      );
    }
  }
}
