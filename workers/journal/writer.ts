/**
 * A shard's end of the journal: gathers the images of a turn and writes them as one frame before anything of the turn
 * leaves the shard. Owner: the shard's thread. All calls to the system are synchronous.
 *
 * I1  Images are taken only while READY: then the frame, however large, fits into the segment, with END behind it.
 * I2  A frame that could not be written stays in the buffer, and nothing more is taken, until it is written: to another
 *     segment, or, where none can be had, again to its place in this one. So the journal misses nothing that came
 *     before what it has.
 * I3  A new epoch is adopted between turns, and images go only to segments of the adopted epoch or a later one.
 *     Where no other segment can be had, the rest of this one is given up for it, or a full journal could never shrink.
 * I4  The frame at hand and where it goes are in shared memory: another thread that attaches the shard goes on with both.
 *     Of a segment that is about to be begun BEGUN tells, so that a thread's end in between leaves no file without an owner.
 */
import { join } from 'node:path';
import { assert } from '../../engine/layout.js';
import { BULK_ITEMS_MAX, IMAGE } from '../../engine/messages.js';
import { OwnWords, type StoredWords, type UndoLog } from '../../engine/undo-log.js';
import type { Clock } from '../clock.js';
import {
  END_WORDS,
  FRAME,
  FRAME_END,
  FRAME_IMAGES_MAX,
  FRAME_WORDS_MAX,
  frameChecksum,
  SEGMENT,
  segmentName,
  spareName,
  writeSegmentHeader,
} from './format.js';
import {
  JOURNAL,
  JOURNAL_SHARD,
  REFUSE_NONE,
  SPARE,
  SPARE_READY,
  SPARE_TAKEN,
  SPARES,
  shardAt,
  spareAt,
} from './shared.js';
import type { WriterFiles } from './writer-files.js';

/** What a shard needs to write its part of the journal. */
export interface JournalWriterOptions {
  readonly directory: string;
  readonly shard: number;
  /** First epoch of this run of the service. */
  readonly run: number;
  readonly segmentBytes: number;
  /** Each commit is on the disk when it returns, not only in the page cache. */
  readonly sync: boolean;
  /** See shared.ts. */
  readonly words: SharedArrayBuffer;
  /** FRAME_BYTES: the frame at hand. */
  readonly frame: SharedArrayBuffer;
}

/** The largest frame, and the zeros behind it. */
export const FRAME_BYTES = (FRAME_WORDS_MAX + FRAME.WORDS) * 4;

/** Images are taken. */
export const WRITER_READY = 0;
/** There is no segment to write to for a moment: nothing may be executed. */
export const WRITER_WAITING = 1;
/** The journal cannot be written: what would change something is to be refused. */
export const WRITER_REFUSING = 2;

/** After a failure the next attempt is made so much later. */
export const RETRY_MS = 1000;

const NONE = -1;

/** A segment as its successor names it: its seq, its epoch, the words of it that were written. */
interface Segment {
  readonly fd: number;
  readonly seq: number;
  readonly epoch: number;
  readonly end: number;
}

export class JournalWriter {
  /** The frame at hand. */
  readonly words: Int32Array;
  state = WRITER_WAITING;
  commits = 0;
  images = 0;
  bytes = 0;
  failures = 0;
  writeSeconds = 0;
  syncSeconds = 0;
  /** Told what could not be written; at most once a second. */
  onFailure: (error: Error) => void = () => {};
  readonly #options: JournalWriterOptions;
  readonly #files: WriterFiles;
  readonly #shared: Int32Array;
  readonly #stored: StoredWords;
  readonly #clock: Clock;
  readonly #undo: UndoLog | undefined;
  readonly #at: number;
  readonly #segmentWords: number;
  readonly #bytes: Uint8Array;
  /** The bytes of a frame that its checksum covers, by images: made once each, so that a commit allocates nothing. */
  readonly #covered: Uint8Array[] = [];
  readonly #header = new Int32Array(SEGMENT.WORDS + FRAME.WORDS);
  readonly #headerBytes = new Uint8Array(this.#header.buffer);
  #fd = NONE;
  /** What the thread before has left is open and finished (I4). */
  #hasResumed = false;
  /** The name of the segment is on the disk; looked at with `sync` only. */
  #directoryIsSynced = false;
  #retryAtMs = 0;

  /**
   * @param clock  for how long writes take
   * @param undo   of the units of work that fill frames; left out, none is taken back
   */
  constructor(options: JournalWriterOptions, files: WriterFiles, clock: Clock, undo?: UndoLog) {
    this.#options = options;
    this.#files = files;
    this.#shared = new Int32Array(options.words);
    this.#clock = clock;
    this.#undo = undo;
    this.#stored = undo?.of(options.words) ?? new OwnWords(this.#shared);
    this.#at = shardAt(options.shard);
    this.words = new Int32Array(options.frame);
    this.#bytes = new Uint8Array(options.frame);
    this.#segmentWords = options.segmentBytes / 4;
    assert(
      this.#segmentWords >= SEGMENT.WORDS + FRAME_WORDS_MAX + END_WORDS,
      `a segment of ${options.segmentBytes} bytes does not hold the largest frame`,
    );
    try {
      this.#resume();
    } catch (error) {
      this.#fail(error, Number.NEGATIVE_INFINITY); // the first turn tries again: a thread that ended here would be followed by the next
    }
  }

  /** I4; a file is closed with the thread that opened it. */
  #resume(): void {
    try {
      if (this.#seq !== 0 && this.#fd === NONE) this.#reopen();
    } catch (error) {
      this.#failed = true; // another segment will do
      this.#report(error);
    }
    this.#finishBegun();
    this.#hasResumed = true;
  }

  #reopen(): void {
    this.#fd = this.#files.open(join(this.#options.directory, segmentName(this.#seq)));
  }

  /** A thread may have ended while it went on to another segment: with the file's name, or without. */
  #finishBegun(): void {
    const seq = this.#shared[this.#at + JOURNAL_SHARD.BEGUN]!;
    if (seq === 0) return;
    const slot = this.#shared[this.#at + JOURNAL_SHARD.BEGUN_SLOT]!;
    if (seq === this.#seq) {
      this.#giveAway(slot);
      return;
    }
    const files = this.#files;
    let fd: number;
    try {
      fd = files.open(join(this.#options.directory, segmentName(seq)));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      this.#shared[this.#at + JOURNAL_SHARD.BEGUN] = 0; // it is a spare still
      return;
    }
    const epoch = Atomics.load(this.#shared, JOURNAL.EPOCH);
    const old = this.#segment;
    try {
      this.#writeHeader(fd, seq, epoch, old);
      if (this.#options.sync) files.sync(fd);
    } catch (error) {
      files.close(fd);
      throw error;
    }
    this.#goOver(fd, seq, epoch, slot, old);
  }

  /** The segment that is written. */
  get #segment(): Segment {
    return { fd: this.#fd, seq: this.#seq, epoch: this.#segmentEpoch, end: this.#end };
  }

  get #seq(): number {
    return this.#shared[this.#at + JOURNAL_SHARD.SEQ]!;
  }

  get #segmentEpoch(): number {
    return this.#shared[this.#at + JOURNAL_SHARD.SEGMENT_EPOCH]!;
  }

  /** Words of the segment that are written. */
  get #end(): number {
    return this.#shared[this.#at + JOURNAL_SHARD.END]!;
  }
  set #end(words: number) {
    this.#stored.put(this.#at + JOURNAL_SHARD.END, words);
  }

  /** The last write failed: the segment is not written any more, unless nothing is in it. */
  get #failed(): boolean {
    return this.#shared[this.#at + JOURNAL_SHARD.FAILED] !== 0;
  }
  set #failed(failed: boolean) {
    this.#stored.put(this.#at + JOURNAL_SHARD.FAILED, failed ? 1 : 0);
  }

  /** Images in the frame at hand. */
  get imageCount(): number {
    return this.#shared[this.#at + JOURNAL_SHARD.IMAGES]!;
  }
  set imageCount(images: number) {
    this.#stored.put(this.#at + JOURNAL_SHARD.IMAGES, images);
  }

  /** The adopted epoch. */
  get epoch(): number {
    return this.#shared[this.#at + JOURNAL_SHARD.EPOCH]!;
  }
  set epoch(epoch: number) {
    this.#stored.put(this.#at + JOURNAL_SHARD.EPOCH, epoch);
  }

  /** The largest operation's images fit into the frame at hand. */
  get hasRoom(): boolean {
    return this.imageCount + BULK_ITEMS_MAX <= FRAME_IMAGES_MAX;
  }

  /** Images that fit into the frame at hand. */
  get roomImages(): number {
    return FRAME_IMAGES_MAX - this.imageCount;
  }

  /** Where in `words` the next image goes. */
  get imageAt(): number {
    return FRAME.WORDS + this.imageCount * IMAGE.WORDS;
  }

  /**
   * Before a turn: sees to a segment of the current epoch with room, and sets `state`.
   * @param nowMs  a monotonic clock
   */
  begin(nowMs: number): void {
    const epoch = Atomics.load(this.#shared, JOURNAL.EPOCH);
    if (
      this.#fd !== NONE &&
      !this.#failed &&
      this.epoch === epoch &&
      this.#segmentEpoch === epoch &&
      this.#hasSpace
    ) {
      this.state = WRITER_READY;
      return;
    }
    if (this.#failed && nowMs < this.#retryAtMs) return;
    try {
      if (!this.#hasResumed) this.#resume();
      this.#prepare(epoch);
      if (this.state === WRITER_READY && this.imageCount > 0) this.#write(); // I2
    } catch (error) {
      this.#fail(error, nowMs);
    }
  }

  get #hasSpace(): boolean {
    return this.#end + FRAME_WORDS_MAX + END_WORDS <= this.#segmentWords;
  }

  #prepare(epoch: number): void {
    if (this.#fd !== NONE && this.#end === SEGMENT.WORDS) {
      if (this.#segmentEpoch !== epoch) {
        const at = this.#at;
        this.#writeHeader(this.#fd, this.#seq, epoch, {
          seq: this.#shared[at + JOURNAL_SHARD.PREVIOUS]!,
          epoch: this.#shared[at + JOURNAL_SHARD.PREVIOUS_EPOCH]!,
          end: this.#shared[at + JOURNAL_SHARD.PREVIOUS_END]!,
        });
        this.#enter(epoch);
      }
    } else if (!this.#rotate(epoch)) {
      this.#goWithout(epoch);
      return;
    }
    this.epoch = epoch;
    this.#failed = false;
    this.state = WRITER_READY;
  }

  /** There is no other segment now. */
  #goWithout(epoch: number): void {
    if (this.#failed && this.imageCount > 0) {
      if (this.#fd === NONE) this.#reopen();
      this.#write(); // I2: until it is written the keeper is shown nothing, and a full journal would stay full
      this.#failed = false;
    }
    const refuses = this.#failed || Atomics.load(this.#shared, JOURNAL.REFUSE) !== REFUSE_NONE;
    const isUsable =
      this.#fd !== NONE && !this.#failed && this.#segmentEpoch === this.epoch && this.#hasSpace;
    if (isUsable && (this.epoch === epoch || !refuses)) {
      this.state = WRITER_READY;
      return;
    }
    this.epoch = epoch; // I3
    this.state = refuses ? WRITER_REFUSING : WRITER_WAITING;
  }

  /** Goes on to a spare file. @returns false if there is none */
  #rotate(epoch: number): boolean {
    const { directory, shard, sync } = this.#options;
    let slot = 0;
    while (Atomics.load(this.#shared, spareAt(shard, slot) + SPARE.STATE) !== SPARE_READY) {
      if (++slot === SPARES) return false;
    }
    const files = this.#files;
    const seq = Atomics.add(this.#shared, JOURNAL.SEQ, 1) + 1;
    const path = join(directory, spareName(shard, slot));
    const fd = files.open(path);
    const old = this.#segment;
    this.#shared[this.#at + JOURNAL_SHARD.BEGUN_SLOT] = slot;
    this.#shared[this.#at + JOURNAL_SHARD.BEGUN] = seq; // I4
    try {
      this.#writeHeader(fd, seq, epoch, old);
      if (sync) files.sync(fd);
      files.rename(path, join(directory, segmentName(seq)));
    } catch (error) {
      this.#shared[this.#at + JOURNAL_SHARD.BEGUN] = 0;
      files.close(fd);
      throw error;
    }
    this.#goOver(fd, seq, epoch, slot, old);
    return true;
  }

  /** The file has its name: from here on it is the segment. */
  #goOver(fd: number, seq: number, epoch: number, slot: number, old: Segment): void {
    this.#fd = fd;
    this.#stored.put(this.#at + JOURNAL_SHARD.SEQ, seq);
    this.#stored.put(this.#at + JOURNAL_SHARD.PREVIOUS, old.seq);
    this.#stored.put(this.#at + JOURNAL_SHARD.PREVIOUS_EPOCH, old.epoch);
    this.#stored.put(this.#at + JOURNAL_SHARD.PREVIOUS_END, old.end);
    this.#enter(epoch);
    this.#undo?.commit();
    this.#directoryIsSynced = false;
    if (old.fd !== NONE) this.#closeSegment(old.fd, old.seq, old.end, seq);
    this.#giveAway(slot); // only now: the keeper may give the old file to another shard as soon as it knows of this one
  }

  /** Tells the keeper what became of a spare. */
  #giveAway(slot: number): void {
    const at = spareAt(this.#options.shard, slot);
    this.#shared[at + SPARE.SEQ] = this.#seq;
    this.#shared[at + SPARE.EPOCH] = this.#segmentEpoch;
    this.#shared[at + SPARE.PREVIOUS_EPOCH] = this.#shared[this.#at + JOURNAL_SHARD.PREVIOUS_EPOCH]!;
    if (Atomics.load(this.#shared, at + SPARE.STATE) === SPARE_READY)
      Atomics.store(this.#shared, at + SPARE.STATE, SPARE_TAKEN);
    this.#shared[this.#at + JOURNAL_SHARD.BEGUN] = 0;
  }

  #syncDirectory(): void {
    this.#files.syncDirectory(this.#options.directory);
    this.#directoryIsSynced = true;
  }

  #writeHeader(fd: number, seq: number, epoch: number, previous: Omit<Segment, 'fd'>): void {
    const { segmentBytes, run, shard } = this.#options;
    writeSegmentHeader(this.#header, {
      bytes: segmentBytes,
      seq,
      epoch,
      run,
      shard,
      previous: previous.seq,
      previousEpoch: previous.epoch,
      previousEnd: previous.end,
    });
    this.#writeWhole(fd, this.#headerBytes, this.#headerBytes.length, 0);
  }

  /** The segment is empty, and of this epoch. */
  #enter(epoch: number): void {
    this.#stored.put(this.#at + JOURNAL_SHARD.SEGMENT_EPOCH, epoch);
    this.#end = SEGMENT.WORDS;
    this.#stored.put(this.#at + JOURNAL_SHARD.HAS_CONTENT, 0);
  }

  /**
   * END of a segment whose successor has its name, for good. That END cannot be written does no harm: the successor
   * says the same (format.ts, I4).
   */
  #closeSegment(fd: number, seq: number, end: number, next: number): void {
    const words = new Int32Array(END_WORDS);
    const bytes = new Uint8Array(words.buffer);
    words[FRAME.LENGTH] = END_WORDS;
    words[FRAME.IMAGES] = FRAME_END;
    words[FRAME.WORDS] = next;
    words[FRAME.CHECKSUM] = frameChecksum(bytes.subarray(4), seq);
    try {
      if (this.#options.sync) this.#syncDirectory();
      if (!this.#failed) this.#writeWhole(fd, bytes, bytes.length, end * 4);
    } catch (error) {
      this.#report(error);
    }
    this.#files.close(fd);
  }

  /**
   * Writes the frame at hand. To be called in each turn after everything that executes and before anything is sent.
   * @returns false if it could not be written: it is kept, and `state` is REFUSING
   */
  commit(nowMs: number): boolean {
    if (this.imageCount === 0) return true;
    if (this.state !== WRITER_READY) return false;
    try {
      this.#write();
      return true;
    } catch (error) {
      this.#fail(error, nowMs);
      return false;
    }
  }

  #write(): void {
    const count = this.imageCount;
    const words = FRAME.WORDS + count * IMAGE.WORDS;
    this.words[FRAME.LENGTH] = words;
    this.words[FRAME.IMAGES] = count;
    this.#covered[count] ??= this.#bytes.subarray(4, words * 4);
    this.words[FRAME.CHECKSUM] = frameChecksum(this.#covered[count]!, this.#seq);
    this.words.fill(0, words, words + FRAME.WORDS);
    const clock = this.#clock;
    clock.read();
    const startedUs = clock.us;
    this.#writeWhole(this.#fd, this.#bytes, (words + FRAME.WORDS) * 4, this.#end * 4);
    clock.read();
    const writtenUs = clock.us;
    this.writeSeconds += ((writtenUs - startedUs) | 0) / 1e6;
    if (this.#options.sync) {
      if (!this.#directoryIsSynced) this.#syncDirectory();
      this.#files.sync(this.#fd);
      clock.read();
      this.syncSeconds += ((clock.us - writtenUs) | 0) / 1e6;
    }
    if (this.#end === SEGMENT.WORDS) this.#stored.put(this.#at + JOURNAL_SHARD.HAS_CONTENT, 1);
    this.#end += words;
    this.imageCount = 0;
    this.#undo?.commit(); // ended before this, the thread leaves the same frame to be written to the same place
    this.commits++;
    this.images += count;
    this.bytes += words * 4;
  }

  #writeWhole(fd: number, bytes: Uint8Array, length: number, position: number): void {
    for (let done = 0; done < length; ) {
      const count = this.#files.write(fd, bytes, done, length - done, position + done);
      if (count === 0) throw new Error(`ENOSPC: a write of ${length - done} bytes wrote nothing`);
      done += count;
    }
  }

  #fail(error: unknown, nowMs: number): void {
    this.#failed = true;
    this.#retryAtMs = nowMs + RETRY_MS;
    this.state = WRITER_REFUSING;
    this.#report(error);
  }

  #report(error: unknown): void {
    this.failures++;
    this.onFailure(error instanceof Error ? error : new Error(String(error)));
  }

  /**
   * Shows the keeper how many users have their oldest unsaved change in even and odd epochs, and what is adopted; not
   * while images wait to be written.
   */
  show(unsavedEven: number, unsavedOdd: number): void {
    if (this.imageCount > 0) return;
    const at = this.#at;
    Atomics.store(this.#shared, at + JOURNAL_SHARD.UNSAVED_EVEN, unsavedEven);
    Atomics.store(this.#shared, at + JOURNAL_SHARD.UNSAVED_ODD, unsavedOdd);
    Atomics.store(this.#shared, at + JOURNAL_SHARD.ADOPTED, this.epoch);
  }

  /** Images of unsaved users to carry over to the current epoch for each image of a change; 0: none. */
  get carryRate(): number {
    return Atomics.load(this.#shared, JOURNAL.CARRY);
  }

  close(): void {
    if (this.#fd !== NONE) this.#files.close(this.#fd);
    this.#fd = NONE;
  }
}
