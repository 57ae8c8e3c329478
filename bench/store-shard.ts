/** The persister on its thread, and this thread as its one shard: what a flush and a miss are to a real one. */
import { createDoorbell, Doorbell } from '../engine/doorbell.js';
import { createLaneControl, seatDoorbell } from '../engine/lane-control.js';
import {
  ENTRY,
  FLUSH,
  FLUSH_ROW,
  KIND_FLUSH,
  KIND_FLUSHED,
  KIND_LOAD_ROWS,
  KIND_LOAD_USER,
  LOAD,
  LOAD_KEY,
  LOADED,
  LOADED_LAST,
  ROW,
  STATUS_OK,
} from '../engine/messages.js';
import { createRing, RingReader, RingWriter } from '../engine/ring.js';
import { ringSizes } from '../workers/lane-options.js';
import type { PersisterOptions, PersisterOrder, PersisterReport } from '../workers/persister.js';
import { createStats, PERSISTER_STATS } from '../workers/stats.js';
import { TaskThread } from '../workers/task-thread.js';
import { ThreadGate } from '../workers/thread-gate.js';

const ANSWER_TIMEOUT_MS = 10_000;

/** `count` rows of channels from 1, for a user; all words are small numbers. */
export interface BenchGroup {
  readonly user: number;
  readonly count: number;
  /** Goes into each row, so that no two rounds write the same. */
  readonly message: number;
}

export class StoreShard {
  readonly #loads: RingWriter;
  readonly #flushes: RingWriter;
  readonly #answers: RingReader;
  readonly #own: Doorbell;
  readonly #persister: Doorbell;
  readonly #end: () => Promise<void>;
  readonly stats: Float64Array;
  #clock = Date.now() * 1000;
  #tag = 0;
  #confirmed = 0;
  #failed = 0;

  private constructor(
    rings: { loads: SharedArrayBuffer; flushes: SharedArrayBuffer; answers: SharedArrayBuffer },
    own: Doorbell,
    persister: Doorbell,
    stats: SharedArrayBuffer,
    end: () => Promise<void>,
  ) {
    this.#loads = new RingWriter(rings.loads);
    this.#flushes = new RingWriter(rings.flushes);
    this.#answers = new RingReader(rings.answers);
    this.#own = own;
    this.#persister = persister;
    this.stats = new Float64Array(stats);
    this.#end = end;
  }

  /** @param execArgv  of the persister's thread */
  static async start(store: string, execArgv: readonly string[]): Promise<StoreShard> {
    const sizes = ringSizes(1, 1);
    const rings = {
      loads: createRing(sizes.loads),
      flushes: createRing(sizes.flushes),
      answers: createRing(sizes.storeAnswers),
    };
    const lanes = createLaneControl(1, 1);
    const doorbell = createDoorbell();
    const stats = createStats(PERSISTER_STATS);
    const options: Omit<PersisterOptions, 'port'> = {
      store,
      shards: [{ ...rings, control: lanes, lane: 0 }],
      number: 0,
      marksStore: false,
      doorbell,
      gate: ThreadGate.create(),
      stats,
    };
    const file = new URL('../workers/persister-thread.cjs', import.meta.url).href;
    let receive = (_report: PersisterReport): void => {};
    const opened = new Promise<void>((resolve, reject) => {
      receive = (report) => {
        if ('error' in report) reject(new Error(report.error));
        else if ('warning' in report) console.error(`persister: ${report.warning}`);
        else resolve();
      };
    });
    const thread = new TaskThread<number | null, PersisterReport>(file, options, { execArgv }, (report) =>
      receive(report),
    );
    await Promise.race([opened, thread.done]).catch(async (error: unknown) => {
      await thread.end();
      throw error;
    });
    return new StoreShard(rings, seatDoorbell(lanes, 0), new Doorbell(doorbell), stats, async () => {
      thread.post({ stop: true } satisfies PersisterOrder);
      await thread.done;
      await thread.end();
    });
  }

  /** Writes all groups. @returns milliseconds until the last was confirmed */
  async flush(groups: readonly BenchGroup[]): Promise<number> {
    const startedMs = performance.now();
    this.#confirmed = 0;
    this.#failed = 0;
    for (let sent = 0; this.#confirmed < groups.length; ) {
      const before = sent;
      while (sent < groups.length && this.#send(groups[sent]!)) sent++;
      if (sent > before) this.#publish(this.#flushes);
      await this.#take(() => {});
    }
    if (this.#failed > 0) throw new Error(`${this.#failed} groups were not written`);
    return performance.now() - startedMs;
  }

  #send({ user, count, message }: BenchGroup): boolean {
    const length = FLUSH.WORDS + count * FLUSH_ROW.WORDS;
    const at = this.#flushes.reserve(length);
    if (at < 0) return false;
    const { words } = this.#flushes;
    words.fill(0, at, at + length);
    words[at + FLUSH.KIND] = KIND_FLUSH;
    words[at + FLUSH.USER_LO] = user;
    words[at + FLUSH.VERSION] = message;
    this.#clock++;
    words[at + FLUSH.CLOCK_LO] = this.#clock | 0;
    words[at + FLUSH.CLOCK_HI] = Math.floor(this.#clock / 2 ** 32);
    words[at + FLUSH.COUNT] = count;
    for (let i = 0; i < count; i++) {
      const row = at + FLUSH.WORDS + i * FLUSH_ROW.WORDS + FLUSH_ROW.ROW;
      words[row + ENTRY.CHANNEL_LO] = i + 1;
      words[row + ENTRY.MESSAGE_LO] = message;
      words[row + ENTRY.MENTION_COUNT] = 1;
      words[row + ENTRY.VERSION] = message;
      words[row + ROW.FINGERPRINT] = message;
    }
    this.#flushes.commit(length);
    return true;
  }

  /**
   * Loads a user, or one of its channels.
   * @returns rows, and milliseconds from the request in the ring to the last answer, seen by a thread that waits
   */
  async load(user: number, channel: number | null): Promise<{ rows: number; ms: number; message: number }> {
    const keys = channel === null ? 0 : 1;
    const length = LOAD.WORDS + keys * LOAD_KEY.WORDS;
    const at = this.#loads.reserve(length);
    if (at < 0) throw new Error('the loads ring is full');
    const { words } = this.#loads;
    words.fill(0, at, at + length);
    words[at + LOAD.KIND] = channel === null ? KIND_LOAD_USER : KIND_LOAD_ROWS;
    words[at + LOAD.TAG] = ++this.#tag;
    words[at + LOAD.USER_LO] = user;
    words[at + LOAD.COUNT] = keys;
    if (channel !== null) words[at + LOAD.WORDS + LOAD_KEY.CHANNEL_LO] = channel;
    this.#loads.commit(length);
    const startedMs = performance.now();
    this.#publish(this.#loads);
    let rows = 0;
    let message = 0;
    let isOver = false;
    while (!isOver) {
      await this.#take((answers, from) => {
        const kind = answers[from + LOADED.KIND]!;
        if (((kind >>> 8) & 0xff) !== STATUS_OK) throw new Error('a load failed');
        rows += answers[from + LOADED.COUNT]!;
        message = answers[from + LOADED.WORDS + ENTRY.MESSAGE_LO]!;
        isOver = (kind & LOADED_LAST) !== 0;
      });
    }
    return { rows, ms: performance.now() - startedMs, message };
  }

  #publish(ring: RingWriter): void {
    ring.publish();
    this.#persister.ring();
  }

  /** Waits for answers and takes them. A ring for an answer that is taken already may come late, and is no answer. */
  async #take(onLoaded: (words: Int32Array, at: number) => void): Promise<void> {
    const ring = this.#answers;
    const endMs = performance.now() + ANSWER_TIMEOUT_MS;
    for (this.#own.sleep(); !ring.refresh(); this.#own.sleep()) {
      const leftMs = endMs - performance.now();
      if (leftMs <= 0) throw new Error(`no answer within ${ANSWER_TIMEOUT_MS} ms`);
      this.#own.wait(leftMs);
    }
    this.#own.rise();
    for (let at = ring.next(); at >= 0; at = ring.next()) {
      const kind = ring.words[at]!;
      if ((kind & 0xff) !== KIND_FLUSHED) onLoaded(ring.words, at);
      else if (((kind >>> 8) & 0xff) === STATUS_OK) this.#confirmed++;
      else {
        this.#confirmed++;
        this.#failed++;
      }
    }
    ring.release();
  }

  end(): Promise<void> {
    return this.#end();
  }
}
