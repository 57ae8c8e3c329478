/**
 * Keeps the journal's files: spares for the shards, the epochs, and what may go. Owner: the main thread; nothing in it
 * blocks, and one step runs at a time.
 *
 * I1  The epoch E moves on only when every shard has adopted E and no user is unsaved since E - 1. So users are unsaved
 *     since E or E - 1, and a parity tells which.
 * I2  A segment goes when its epoch is older than that of every unsaved change. live.json says so first: a crash in
 *     between leaves files that do not count, never a gap that looks like damage.
 * I3  The files together are within the limit, but for the first spares of a run.
 */
import { mkdir, open, readdir, rename, rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { JOURNAL_STATS } from '../stats.js';
import { syncDirectory } from '../warm/checked-file.js';
import type { WorkersLog } from '../workers.js';
import { isSpareName, poolName, segmentName, seqOfName, spareName } from './format.js';
import { LIVE_NAME, type Live, LiveFile, type LiveStore } from './live-file.js';
import type { JournalContent } from './reader.js';
import {
  createJournalWords,
  JOURNAL,
  JOURNAL_SHARD,
  REFUSE_FAILED,
  REFUSE_FULL,
  REFUSE_NONE,
  SPARE,
  SPARE_EMPTY,
  SPARE_READY,
  SPARE_TAKEN,
  SPARES,
  shardAt,
  spareAt,
} from './shared.js';

const TICK_MS = 25;
/** Epochs move at most so often while there is enough room. */
const EPOCH_MIN_MS = 1000;
const RETRY_MS = 1000;
/**
 * New files are written in pieces of this: a piece is what the system keeps as one piece of its cache, and each write into
 * one looks at all blocks of it. A write of 6.7 kB takes 2.6 us of processor time in pieces of 128 KiB, 4.3 us in those
 * of 1 MiB (ext4, Linux 6.18, 2-core AMD EPYC).
 */
const ZEROS = Buffer.alloc(128 << 10);

/** The calls to the system, so that a test can let them fail. */
export interface KeeperFiles {
  /** Makes a file of zeros; whole, and with `sync` on the disk, when it returns. */
  create(path: string, bytes: number, sync: boolean): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  remove(path: string): Promise<void>;
  syncDirectory(path: string): Promise<void>;
}

export const NODE_KEEPER_FILES: KeeperFiles = {
  async create(path, bytes, sync) {
    const file = await open(path, 'w');
    try {
      for (let done = 0; done < bytes; ) {
        const { bytesWritten } = await file.write(ZEROS, 0, Math.min(ZEROS.length, bytes - done), done);
        if (bytesWritten === 0) throw new Error(`ENOSPC: ${done} of ${bytes} bytes could be written`);
        done += bytesWritten;
      }
      if (sync) await file.sync();
    } finally {
      await file.close();
    }
  },
  rename,
  remove: (path) => rm(path, { force: true, recursive: true }),
  syncDirectory,
};

export interface KeeperOptions {
  readonly directory: string;
  readonly shards: number;
  readonly segmentBytes: number;
  /** Of all files together, in bytes. */
  readonly limitBytes: number;
  /** With more than this in segments, shards carry over what is unsaved. */
  readonly carryBytes: number;
  /** Images that they carry for each image of a change. */
  readonly carryRate: number;
  readonly flushDelayMs: number;
  /**
   * New files and what counts are synced: for --durability disk. Otherwise a write has reserved their room on the disk, which is what they
   * are filled for, and zeros that are written over soon need not get there.
   */
  readonly sync: boolean;
  /** Wakes the shards. */
  readonly ring: () => void;
  readonly log: WorkersLog;
}

interface Segment {
  readonly seq: number;
  readonly path: string;
  readonly bytes: number;
  epoch: number;
  /** -1: of an earlier run. */
  readonly shard: number;
}

export class JournalKeeper {
  /** For the shards, see shared.ts. */
  readonly words: SharedArrayBuffer;
  /** First epoch of this run. */
  readonly run: number;
  readonly stats = new Float64Array(JOURNAL_STATS.WORDS);
  readonly #options: KeeperOptions;
  readonly #files: KeeperFiles;
  readonly #shared: Int32Array;
  #live: LiveFile | null = null;
  #runs: Live['runs'];
  #store: LiveStore | undefined;
  #oldestEpoch: number;
  /** By seq. */
  readonly #segments: Segment[];
  /** Seq of the segment that each shard writes. */
  readonly #current: number[];
  /** Full-sized files without content. */
  readonly #pool: string[] = [];
  /**
   * A segment has become one of them, and the disk may not know: another segment's header in it, under the old name, would
   * look like damage after a loss of power.
   */
  #hasRenamed = false;
  #poolNumber = 0;
  #epochMovedMs = performance.now();
  #retryAtMs = 0;
  #ended = false;
  #loop: Promise<void> = Promise.resolve();
  readonly #wake = new AbortController();

  /** @param content  what was found at the start; its segments go when all that is in them is saved */
  constructor(options: KeeperOptions, content: JournalContent, files: KeeperFiles = NODE_KEEPER_FILES) {
    this.#options = options;
    this.#files = files;
    this.words = createJournalWords(options.shards);
    this.#shared = new Int32Array(this.words);
    this.run = content.lastEpoch + 1;
    this.#runs = content.live?.runs ?? [];
    this.#store = content.live?.store;
    this.#oldestEpoch = content.live?.oldestEpoch ?? (content.files.length > 0 ? 0 : this.run);
    this.#segments = content.files.map(({ path, bytes }) => ({
      seq: 0,
      path,
      bytes,
      epoch: content.lastEpoch,
      shard: -1,
    }));
    this.#current = new Array(options.shards).fill(0);
    this.#shared[JOURNAL.EPOCH] = this.run;
    this.#shared[JOURNAL.SEQ] = content.lastSeq;
  }

  /** Makes the directory and the first spares. @throws Error of the file system */
  async prepare(): Promise<void> {
    const { directory, shards, sync } = this.#options;
    await mkdir(directory, { recursive: true });
    for (const name of await readdir(directory))
      if (isSpareName(name)) await this.#files.remove(join(directory, name));
    this.#live = await LiveFile.open(directory, sync);
    await this.#writeLive(this.#oldestEpoch);
    for (let shard = 0; shard < shards; shard++)
      for (let slot = 0; slot < SPARES; slot++) await this.#makeSpare(shard, slot);
  }

  /**
   * Notes that each shard has its first segment: from then on they must be there.
   * @param store  for which the journal is; undefined: not known
   */
  async announce(store?: LiveStore): Promise<void> {
    this.#store = store;
    this.#runs = [...this.#runs, { epoch: this.run, shards: this.#options.shards }];
    await this.#writeLive(this.#oldestEpoch);
  }

  /** From here on it works by itself, until `close` or `remove`. */
  begin(): void {
    this.#loop = this.#run();
  }

  async #run(): Promise<void> {
    while (!this.#ended) {
      if (performance.now() >= this.#retryAtMs) {
        try {
          await this.step();
        } catch {
          this.#retryAtMs = performance.now() + RETRY_MS;
        }
      }
      await delay(TICK_MS, undefined, { signal: this.#wake.signal }).catch(() => {});
    }
  }

  /** Does all there is to do now. @throws Error of the file system, after it was said and shards know */
  async step(): Promise<void> {
    try {
      this.#takeTaken();
      await this.#moveEpoch();
      await this.#fillSpares();
    } catch (error) {
      this.stats[JOURNAL_STATS.FAILURES]!++;
      this.#refuse(REFUSE_FAILED, error instanceof Error ? error.message : String(error));
      throw error;
    } finally {
      this.#show();
    }
  }

  #refuse(reason: number, message: string): void {
    const before = Atomics.exchange(this.#shared, JOURNAL.REFUSE, reason);
    if (before === reason) return;
    const { log, directory, ring, limitBytes } = this.#options;
    if (reason === REFUSE_FAILED)
      log.warn(
        `The journal in ${directory} cannot go on: ${message}. Changes are refused when its segments are full.`,
      );
    else if (reason === REFUSE_FULL)
      log.warn(
        `The journal in ${directory} has reached its limit of ${limitBytes} bytes. Changes are refused until the store has taken what is in it.`,
      );
    else log.info(`The journal in ${directory} goes on.`);
    ring();
  }

  /** Notes which spares have become segments. */
  #takeTaken(): void {
    const { directory, shards, segmentBytes } = this.#options;
    const taken: Segment[] = [];
    for (let shard = 0; shard < shards; shard++) {
      for (let slot = 0; slot < SPARES; slot++) {
        const at = spareAt(shard, slot);
        if (Atomics.load(this.#shared, at + SPARE.STATE) !== SPARE_TAKEN) continue;
        const seq = this.#shared[at + SPARE.SEQ]!;
        const path = join(directory, segmentName(seq));
        taken.push({ seq, path, bytes: segmentBytes, epoch: this.#shared[at + SPARE.EPOCH]!, shard });
        this.#previousEpochs.set(seq, this.#shared[at + SPARE.PREVIOUS_EPOCH]!);
        Atomics.store(this.#shared, at + SPARE.STATE, SPARE_EMPTY);
      }
    }
    for (const segment of taken.sort((a, b) => a.seq - b.seq)) {
      const before = this.#segments.find(({ seq }) => seq !== 0 && seq === this.#current[segment.shard]);
      // It was adopted for later epochs while it was empty.
      if (before !== undefined) before.epoch = this.#previousEpochs.get(segment.seq)!;
      this.#previousEpochs.delete(segment.seq);
      this.#current[segment.shard] = segment.seq;
      this.#segments.push(segment);
    }
  }

  readonly #previousEpochs = new Map<number, number>();

  #isCurrent({ seq, shard }: Segment): boolean {
    return shard !== -1 && this.#current[shard] === seq;
  }

  async #moveEpoch(): Promise<void> {
    const { shards } = this.#options;
    const epoch = this.#shared[JOURNAL.EPOCH]!;
    let isDrained = true;
    let hasContent = false;
    for (let shard = 0; shard < shards; shard++) {
      const at = shardAt(shard);
      if (Atomics.load(this.#shared, at + JOURNAL_SHARD.ADOPTED) !== epoch) isDrained = false;
      const unsaved = (epoch & 1) === 0 ? JOURNAL_SHARD.UNSAVED_ODD : JOURNAL_SHARD.UNSAVED_EVEN;
      if (Atomics.load(this.#shared, at + unsaved) !== 0) isDrained = false;
      if (this.#shared[at + JOURNAL_SHARD.HAS_CONTENT] !== 0) hasContent = true;
    }
    if (isDrained && this.#oldestEpoch < epoch) {
      await this.#writeLive(epoch);
      this.#oldestEpoch = epoch;
    }
    await this.#recycle();
    const isPressed = this.#segmentBytes > this.#options.carryBytes;
    Atomics.store(this.#shared, JOURNAL.CARRY, isPressed && !isDrained ? this.#options.carryRate : 0);
    const full = this.#segments.some((segment) => segment.epoch === epoch && !this.#isCurrent(segment));
    if (!isDrained || !(full || hasContent)) return;
    const sinceMs = performance.now() - this.#epochMovedMs;
    const dueMs = isPressed ? 0 : Math.max(EPOCH_MIN_MS, this.#options.flushDelayMs);
    if (sinceMs < dueMs) return;
    this.#epochMovedMs = performance.now();
    Atomics.store(this.#shared, JOURNAL.EPOCH, epoch + 1);
    this.#options.ring();
  }

  /** Takes the files of segments that do not count any more. */
  async #recycle(): Promise<void> {
    const oldest = this.#oldestEpoch;
    const gone = this.#segments.filter((segment) => segment.epoch < oldest && !this.#isCurrent(segment));
    if (gone.length === 0) return;
    for (const segment of gone) {
      if (segment.bytes === this.#options.segmentBytes) {
        const path = this.#newPoolPath();
        await this.#files.rename(segment.path, path);
        this.#hasRenamed = true;
        this.#pool.push(path);
      } else {
        await this.#files.remove(segment.path);
      }
      this.#segments.splice(this.#segments.indexOf(segment), 1);
    }
    // The next epoch is likely to need as many; more would be kept for ever after one burst.
    while (this.#pool.length > gone.length) await this.#files.remove(this.#pool.pop()!);
  }

  #writeLive(oldestEpoch: number): Promise<void> {
    this.#runs = this.#runs.filter((_, i) => {
      const next = this.#runs[i + 1];
      return next === undefined || next.epoch > oldestEpoch;
    });
    return this.#live!.write(this.#liveOf(oldestEpoch));
  }

  #liveOf(oldestEpoch: number): Live {
    const store = this.#store;
    return { oldestEpoch, runs: this.#runs, ...(store === undefined ? {} : { store }) };
  }

  #newPoolPath(): string {
    return join(this.#options.directory, poolName(++this.#poolNumber));
  }

  async #fillSpares(): Promise<void> {
    const { shards, segmentBytes, limitBytes } = this.#options;
    let lacks = false;
    for (let slot = 0; slot < SPARES; slot++) {
      for (let shard = 0; shard < shards; shard++) {
        if (Atomics.load(this.#shared, spareAt(shard, slot) + SPARE.STATE) !== SPARE_EMPTY) continue;
        if (this.#pool.length === 0 && this.#bytes + segmentBytes > limitBytes) lacks = true;
        else await this.#makeSpare(shard, slot);
      }
    }
    this.#refuse(lacks ? REFUSE_FULL : REFUSE_NONE, '');
  }

  async #makeSpare(shard: number, slot: number): Promise<void> {
    const { directory, segmentBytes, sync } = this.#options;
    const path = join(directory, spareName(shard, slot));
    if (this.#pool.length === 0) {
      const made = this.#newPoolPath();
      try {
        await this.#files.create(made, segmentBytes, sync);
      } catch (error) {
        await this.#files.remove(made).catch(() => {});
        throw error;
      }
      this.#pool.push(made);
    }
    if (sync && this.#hasRenamed) {
      await this.#files.syncDirectory(directory);
      this.#hasRenamed = false;
    }
    await this.#files.rename(this.#pool.at(-1)!, path);
    this.#pool.pop();
    Atomics.store(this.#shared, spareAt(shard, slot) + SPARE.STATE, SPARE_READY);
    this.#options.ring();
  }

  get #spareCount(): number {
    let count = 0;
    for (let shard = 0; shard < this.#options.shards; shard++)
      for (let slot = 0; slot < SPARES; slot++)
        if (this.#shared[spareAt(shard, slot) + SPARE.STATE] !== SPARE_EMPTY) count++;
    return count;
  }

  get #segmentBytes(): number {
    return this.#segments.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /** Of all files. */
  get #bytes(): number {
    return this.#segmentBytes + (this.#spareCount + this.#pool.length) * this.#options.segmentBytes;
  }

  #show(): void {
    const { stats } = this;
    stats[JOURNAL_STATS.BYTES] = this.#bytes;
    stats[JOURNAL_STATS.SEGMENT_BYTES] = this.#segmentBytes;
    stats[JOURNAL_STATS.SEGMENTS] = this.#segments.length;
    stats[JOURNAL_STATS.LIMIT_BYTES] = this.#options.limitBytes;
    stats[JOURNAL_STATS.EPOCH] = this.#shared[JOURNAL.EPOCH]!;
    stats[JOURNAL_STATS.OLDEST_EPOCH] = this.#oldestEpoch;
    stats[JOURNAL_STATS.REFUSES] = Atomics.load(this.#shared, JOURNAL.REFUSE);
  }

  /** Ends; the files stay as they are. */
  async close(): Promise<void> {
    this.#ended = true;
    this.#wake.abort();
    await this.#loop;
    await this.#live?.close();
    this.#live = null;
  }

  /** Ends, and removes the journal: everything is saved, and the shards have ended. */
  async remove(): Promise<void> {
    const live = this.#live!;
    this.#live = null;
    await this.close();
    await live.write({ oldestEpoch: this.#shared[JOURNAL.EPOCH]! + 1, runs: [] });
    await live.close();
    await removeJournal(this.#options.directory);
  }
}

/** Removes the files of a journal in which nothing counts, live.json last. */
export async function removeJournal(directory: string): Promise<void> {
  const names = await readdir(directory);
  const own = names.filter((name) => isSpareName(name) || seqOfName(name) !== 0);
  for (const name of own) await rm(join(directory, name), { force: true, recursive: true });
  await rm(join(directory, LIVE_NAME), { force: true });
  if (names.length <= own.length + 1) await rmdir(directory).catch(() => {});
}
