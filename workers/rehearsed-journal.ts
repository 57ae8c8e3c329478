/**
 * The journal of a rehearsal, and its keeper: a directory of its own in which each file is a link to /dev/null, so that the
 * calls are those of a journal and nothing is written anywhere.
 */
import { mkdirSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { segmentName, spareName } from './journal/format.js';
import {
  createJournalWords,
  JOURNAL,
  JOURNAL_SHARD,
  SPARE,
  SPARE_EMPTY,
  SPARE_READY,
  SPARE_TAKEN,
  SPARES,
  shardAt,
  spareAt,
} from './journal/shared.js';
import { FRAME_BYTES, type JournalWriterOptions } from './journal/writer.js';

const NOTHING = '/dev/null';
/** A frame of the largest turn fits, and there are many segments in a rehearsal. */
const SEGMENT_BYTES = 1 << 20;
const RUN = 1;
const CARRY_RATE = 1;
/** Between two epochs, at least: some of what changes is carried over, and most of it is not. */
const STEPS_AN_EPOCH = 100;

export class RehearsedJournal {
  readonly #directory: string;
  readonly #lanes: number;
  readonly #words: SharedArrayBuffer;
  readonly #shared: Int32Array;
  /** Segment that each lane writes. */
  readonly #current: number[];
  #steps = 0;

  /**
   * @param directory  is made; what another left of it goes first
   * @throws Error of the file system
   */
  constructor(directory: string, lanes: number) {
    this.#directory = directory;
    this.#lanes = lanes;
    this.#words = createJournalWords(lanes);
    this.#shared = new Int32Array(this.#words);
    this.#shared[JOURNAL.EPOCH] = RUN;
    this.#current = new Array(lanes).fill(0);
    this.close();
    mkdirSync(directory);
    this.#fillSpares();
  }

  writerOptions(lane: number): JournalWriterOptions {
    return {
      directory: this.#directory,
      shard: lane,
      run: RUN,
      segmentBytes: SEGMENT_BYTES,
      sync: false,
      words: this.#words,
      frame: new SharedArrayBuffer(FRAME_BYTES),
    };
  }

  /** What the keeper does from time to time, between turns. */
  step(): void {
    this.#fillSpares();
    const epoch = this.#shared[JOURNAL.EPOCH]!;
    const unsaved = (epoch & 1) === 0 ? JOURNAL_SHARD.UNSAVED_ODD : JOURNAL_SHARD.UNSAVED_EVEN;
    let isDrained = true;
    for (let lane = 0; lane < this.#lanes; lane++) {
      const at = shardAt(lane);
      const hasAdopted = this.#shared[at + JOURNAL_SHARD.ADOPTED] === epoch;
      if (!hasAdopted || this.#shared[at + unsaved] !== 0) isDrained = false;
    }
    this.#shared[JOURNAL.CARRY] = isDrained ? 0 : CARRY_RATE;
    if (++this.#steps < STEPS_AN_EPOCH || !isDrained) return;
    this.#steps = 0;
    this.#shared[JOURNAL.EPOCH] = epoch + 1;
  }

  #fillSpares(): void {
    for (let lane = 0; lane < this.#lanes; lane++) {
      for (let slot = 0; slot < SPARES; slot++) {
        const at = spareAt(lane, slot);
        if (this.#shared[at + SPARE.STATE] === SPARE_READY) continue;
        if (this.#shared[at + SPARE.STATE] === SPARE_TAKEN) {
          this.#forget(this.#current[lane]!);
          this.#current[lane] = this.#shared[at + SPARE.SEQ]!;
          this.#shared[at + SPARE.STATE] = SPARE_EMPTY;
        }
        if (!this.#makeFile(spareName(lane, slot))) return; // lanes that have no spare wait, until the rehearsal is over
        this.#shared[at + SPARE.STATE] = SPARE_READY;
      }
    }
  }

  #makeFile(name: string): boolean {
    try {
      symlinkSync(NOTHING, join(this.#directory, name));
      return true;
    } catch {
      return false;
    }
  }

  #forget(seq: number): void {
    if (seq !== 0) rmSync(join(this.#directory, segmentName(seq)), { force: true });
  }

  close(): void {
    rmSync(this.#directory, { recursive: true, force: true });
  }
}
