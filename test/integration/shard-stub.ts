/** The shards' side of the persister's rings, for tests: asks, and collects the answers as objects. */
import type { Doorbell } from '../../engine/doorbell.js';
import { createLaneControl, seatDoorbell } from '../../engine/lane-control.js';
import {
  ENTRY,
  FLUSH,
  FLUSH_ROW,
  FLUSH_WIPE,
  FLUSHED,
  KIND_FLUSH,
  KIND_FLUSHED,
  KIND_LOAD_ROWS,
  KIND_LOAD_USER,
  KIND_LOADED,
  LOAD,
  LOAD_KEY,
  LOADED,
  LOADED_LAST,
  ROW,
} from '../../engine/messages.js';
import { createRing, RingReader, RingWriter } from '../../engine/ring.js';
import type { PersisterShard } from '../../workers/persister-ends.js';

export interface Loaded {
  readonly tag: number;
  readonly status: number;
  readonly last: boolean;
  readonly version: number;
  readonly deletedVersion: number;
  /** Channel (low word) and message (low word) of each row. */
  readonly rows: readonly (readonly [number, number])[];
}

export interface Flushed {
  readonly status: number;
  readonly wipe: boolean;
  readonly partition: number;
  readonly userSlot: number;
  readonly slots: readonly number[];
}

export interface FlushOptions {
  readonly version?: number;
  readonly wipe?: boolean;
  readonly partition?: number;
  readonly userSlot?: number;
}

export class ShardStub {
  readonly memory: PersisterShard;
  readonly loaded: Loaded[] = [];
  readonly flushed: Flushed[] = [];
  readonly doorbell: Doorbell;
  readonly #loads: RingWriter;
  readonly #flushes: RingWriter;
  readonly #answers: RingReader;
  readonly #wake: () => void;
  #clock = 0;

  /** @param wake  tells the persister that something was published */
  constructor(wake: () => void, ringWords = { loads: 8192, flushes: 65536, answers: 8192 }) {
    this.memory = {
      loads: createRing(ringWords.loads),
      flushes: createRing(ringWords.flushes),
      answers: createRing(ringWords.answers),
      control: createLaneControl(1, 1),
      lane: 0,
    };
    this.#loads = new RingWriter(this.memory.loads);
    this.#flushes = new RingWriter(this.memory.flushes);
    this.#answers = new RingReader(this.memory.answers);
    this.doorbell = seatDoorbell(this.memory.control, 0);
    this.#wake = wake;
  }

  /** False if the ring has no room. */
  load(tag: number, user: number, channels: readonly number[] | null = null): boolean {
    const count = channels?.length ?? 0;
    const length = LOAD.WORDS + count * LOAD_KEY.WORDS;
    const at = this.#loads.reserve(length);
    if (at < 0) return false;
    const { words } = this.#loads;
    words[at + LOAD.KIND] = channels === null ? KIND_LOAD_USER : KIND_LOAD_ROWS;
    words[at + LOAD.TAG] = tag;
    words[at + LOAD.USER_LO] = user;
    words[at + LOAD.USER_HI] = 0;
    words[at + LOAD.COUNT] = count;
    channels?.forEach((channel, index) => {
      words.set([channel, 0, 0], at + LOAD.WORDS + index * LOAD_KEY.WORDS);
    });
    this.#loads.commit(length);
    this.#loads.publish();
    this.#wake();
    return true;
  }

  /** Rows are [slot, channel, message]. False if the ring has no room. */
  flush(
    user: number,
    rows: readonly (readonly [number, number, number])[],
    options: FlushOptions = {},
  ): boolean {
    const length = FLUSH.WORDS + rows.length * FLUSH_ROW.WORDS;
    const at = this.#flushes.reserve(length);
    if (at < 0) return false;
    const { words } = this.#flushes;
    words[at + FLUSH.KIND] = KIND_FLUSH | (options.wipe === true ? FLUSH_WIPE : 0);
    words[at + FLUSH.PARTITION] = options.partition ?? 0;
    words[at + FLUSH.USER_SLOT] = options.userSlot ?? user;
    words[at + FLUSH.USER_LO] = user;
    words[at + FLUSH.USER_HI] = 0;
    words[at + FLUSH.VERSION] = options.version ?? 1;
    words[at + FLUSH.DELETED_VERSION] = 0;
    words[at + FLUSH.CLOCK_LO] = ++this.#clock;
    words[at + FLUSH.CLOCK_HI] = 0;
    words[at + FLUSH.COUNT] = rows.length;
    rows.forEach(([slot, channel, message], index) => {
      const rowAt = at + FLUSH.WORDS + index * FLUSH_ROW.WORDS;
      words.fill(0, rowAt, rowAt + FLUSH_ROW.WORDS);
      words[rowAt + FLUSH_ROW.SLOT] = slot;
      words[rowAt + FLUSH_ROW.ROW + ENTRY.CHANNEL_LO] = channel;
      words[rowAt + FLUSH_ROW.ROW + ENTRY.MESSAGE_LO] = message;
    });
    this.#flushes.commit(length);
    this.#flushes.publish();
    this.#wake();
    return true;
  }

  /** Words of requests that the persister has not taken. */
  get waitingWords(): { loads: number; flushes: number } {
    return { loads: this.#loads.filledWords, flushes: this.#flushes.filledWords };
  }

  /** Words of answers that were not taken. */
  get filledWords(): number {
    return this.#answers.filledWords;
  }

  /** Takes up to `max` answers from the ring. */
  take(max = Number.POSITIVE_INFINITY): void {
    this.#answers.refresh();
    for (let taken = 0; taken < max; taken++) {
      const at = this.#answers.next();
      if (at < 0) break;
      this.#takeOne(at);
    }
    this.#answers.release();
  }

  #takeOne(at: number): void {
    const { words } = this.#answers;
    const head = words[at]!;
    const status = (head >>> 8) & 0xff;
    if ((head & 0xff) === KIND_FLUSHED) {
      const count = words[at + FLUSHED.COUNT]!;
      this.flushed.push({
        status,
        wipe: (head & FLUSH_WIPE) !== 0,
        partition: words[at + FLUSHED.PARTITION]!,
        userSlot: words[at + FLUSHED.USER_SLOT]!,
        slots: [...words.subarray(at + FLUSHED.WORDS, at + FLUSHED.WORDS + count)],
      });
      return;
    }
    if ((head & 0xff) !== KIND_LOADED) throw new Error(`an answer of kind ${head & 0xff}`);
    this.loaded.push({
      tag: words[at + LOADED.TAG]!,
      status,
      last: (head & LOADED_LAST) !== 0,
      version: words[at + LOADED.VERSION]!,
      deletedVersion: words[at + LOADED.DELETED_VERSION]!,
      rows: Array.from({ length: words[at + LOADED.COUNT]! }, (_, index) => {
        const rowAt = at + LOADED.WORDS + index * ROW.WORDS;
        return [words[rowAt + ENTRY.CHANNEL_LO]!, words[rowAt + ENTRY.MESSAGE_LO]!] as const;
      }),
    });
  }

  /** Takes answers until `done`. @throws Error after `timeoutMs` */
  async until(done: (stub: this) => boolean, timeoutMs = 10_000): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      this.take();
      if (done(this)) return;
      if (performance.now() > deadline) {
        throw new Error(
          `after ${timeoutMs} ms: ${this.loaded.length} loaded, ${this.flushed.length} flushed`,
        );
      }
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }
}
