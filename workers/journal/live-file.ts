/**
 * What of a journal counts: `live.json`, two lines of a fixed length that are written in turn, each with its own
 * checksum. So a full disk cannot stop it (nothing is allocated), and what is torn leaves the line before.
 */
import { readFileSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { checksum, JOURNAL_FORMAT } from './format.js';

export const LIVE_NAME = 'live.json';
const LINE_BYTES = 4096;

/** A run of the service: its first epoch, and how many shards wrote it. */
interface Run {
  readonly epoch: number;
  readonly shards: number;
}

export interface Live {
  /** Segments of older epochs do not count. */
  readonly oldestEpoch: number;
  /** Runs that may have segments that count, oldest first: each shard of the last has at least one. */
  readonly runs: readonly Run[];
  /** The store that lacks what counts; left out: not known. */
  readonly store?: LiveStore;
}

export interface LiveStore {
  /** See warm/store-generation.ts. */
  readonly identity: number;
  /** As in `--store`, without a password: for people. */
  readonly name: string;
}

/** Runs that a line has room for: of more, the oldest are left out, and that all their shards are there is not checked. */
const RUNS_MAX = 100;
/** Of the store's name; the rest is left out. */
const NAME_CHARACTERS_MAX = 300;

interface Line extends Live {
  readonly format: number;
  readonly turn: number;
}

/** @returns null if it does not fit */
function render(line: Line): Buffer | null {
  const text = JSON.stringify(line);
  const sum = (checksum(Buffer.from(text)) >>> 0).toString(16).padStart(8, '0');
  const bytes = Buffer.from(`{"checksum":"${sum}",${text.slice(1)}`);
  if (bytes.length >= LINE_BYTES) return null;
  const whole = Buffer.alloc(LINE_BYTES, ' ');
  bytes.copy(whole);
  whole[LINE_BYTES - 1] = 0x0a;
  return whole;
}

function parse(text: string): Line | null {
  const match = /^\{"checksum":"([0-9a-f]{8})",(.*\}) *\n?$/.exec(text);
  if (match === null) return null;
  const body = `{${match[2]!}`;
  if (checksum(Buffer.from(body)) >>> 0 !== Number.parseInt(match[1]!, 16)) return null;
  return JSON.parse(body) as Line;
}

function readLines(path: string): Line[] {
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
  return [0, LINE_BYTES]
    .map((at) => parse(bytes.subarray(at, at + LINE_BYTES).toString()))
    .filter((line) => line !== null);
}

/** @returns null if there is none, or none that can be read. @throws FormatError */
export function readLive(directory: string): Live | null {
  const path = join(directory, LIVE_NAME);
  let newest: Line | null = null;
  for (const line of readLines(path)) if (newest === null || line.turn > newest.turn) newest = line;
  if (newest !== null && newest.format !== JOURNAL_FORMAT) throw new FormatError(path, newest.format);
  return newest;
}

/** The journal was written by another version of Tidemark. */
export class FormatError extends Error {
  constructor(where: string, format: number) {
    super(
      `${where} is of journal format ${format}, and this version reads ${JOURNAL_FORMAT}. Start the version that wrote it and stop it (which empties the journal), then this one.`,
    );
  }
}

export class LiveFile {
  readonly #file: FileHandle;
  readonly #sync: boolean;
  #turn: number;

  private constructor(file: FileHandle, sync: boolean, turn: number) {
    this.#file = file;
    this.#sync = sync;
    this.#turn = turn;
  }

  /**
   * Goes on with the file, or makes it.
   * @param sync  what is written is on the disk, not only in the page cache: behind a busy journal that takes long, and
   *              spares wait for it
   * @throws Error of the file system
   */
  static async open(directory: string, sync: boolean): Promise<LiveFile> {
    const path = join(directory, LIVE_NAME);
    const turn = readLines(path).reduce((newest, line) => Math.max(newest, line.turn), 0);
    const file = await open(path, turn === 0 ? 'w' : 'r+');
    if (turn === 0) await file.write(Buffer.alloc(2 * LINE_BYTES, ' '), 0, 2 * LINE_BYTES, 0);
    return new LiveFile(file, sync, turn);
  }

  /** When it returns, the file says so. */
  async write({ oldestEpoch, runs, store }: Live): Promise<void> {
    const turn = this.#turn + 1;
    const named = store && { store: { ...store, name: store.name.slice(0, NAME_CHARACTERS_MAX) } };
    const live = { format: JOURNAL_FORMAT, turn, oldestEpoch, ...named };
    let line: Buffer | null = null;
    for (let first = Math.max(0, runs.length - RUNS_MAX); line === null; first++)
      line = render({ ...live, runs: runs.slice(first) });
    await this.#file.write(line, 0, LINE_BYTES, (turn & 1) * LINE_BYTES);
    if (this.#sync) await this.#file.datasync();
    this.#turn = turn;
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}
