/**
 * The slowest operations of the last minutes of one shard, with what each of them waited for, in shared memory.
 *
 * I1  An entry's SEQUENCE is odd while it is written: a reader that sees it odd, or changed, reads again later.
 */
import { layout } from '../../engine/layout.js';

/** Times in microseconds. */
const ENTRY = layout({
  SEQUENCE: 1,
  OP: 1,
  USER_LO: 1,
  USER_HI: 1,
  CHANNEL_LO: 1, // 0: the operation names none
  CHANNEL_HI: 1,
  ENDED_S: 1, // seconds since 1970
  TOTAL: 1,
  RING: 1,
  LOAD: 1,
  ROOM: 1,
  CURSOR: 1,
});
/** Operations that are kept of each shard. */
const ENTRIES = 32;
export const SLOW_LOG_BYTES = ENTRIES * ENTRY.WORDS * 4;

/** How long a slow operation is kept. */
const KEPT_S = 300;
/** What was faster is not kept, however quiet the service is. */
const SLOW_US = 1000;

/** What one operation waited for, in microseconds; what is left of the total, it waited behind others. */
export const WAIT = layout({ SEEN: 1, LOAD: 1, ROOM: 1, CURSOR: 1 }); // SEEN: when the shard took it, on the shared clock

export interface SlowOperation {
  readonly op: number;
  readonly userLo: number;
  readonly userHi: number;
  readonly channelLo: number;
  readonly channelHi: number;
  readonly endedMs: number;
  readonly totalUs: number;
  readonly ringUs: number;
  readonly loadUs: number;
  readonly roomUs: number;
  readonly cursorUs: number;
}

export class SlowLog {
  readonly #words: Int32Array;
  /** Faster operations are not among the slowest. */
  thresholdUs = SLOW_US;

  constructor(memory: SharedArrayBuffer) {
    this.#words = new Int32Array(memory);
  }

  /**
   * Keeps an operation of at least `thresholdUs`, in the place of the fastest; of one user the slowest of a second,
   * or all places would be taken by those that waited behind the same load.
   * @param words  the operation's words at `at`: OP, user and channel, as in ENTRY from OP on
   * @param waits  WAIT words
   */
  add(
    words: Int32Array,
    at: number,
    stampUs: number,
    totalUs: number,
    waits: Int32Array,
    waitsAt: number,
  ): void {
    const log = this.#words;
    const endedS = Math.floor(Date.now() / 1000);
    const userLo = words[at + ENTRY.USER_LO - ENTRY.OP]!;
    const userHi = words[at + ENTRY.USER_HI - ENTRY.OP]!;
    let place = 0;
    for (let entry = 0; entry < log.length; entry += ENTRY.WORDS) {
      if (log[entry + ENTRY.TOTAL]! < log[place + ENTRY.TOTAL]!) place = entry;
      if (log[entry + ENTRY.USER_LO] !== userLo || log[entry + ENTRY.USER_HI] !== userHi) continue;
      if (log[entry + ENTRY.ENDED_S] !== endedS || log[entry + ENTRY.TOTAL] === 0) continue;
      if (log[entry + ENTRY.TOTAL]! >= totalUs) return;
      place = entry;
      break;
    }
    const sequence = log[place + ENTRY.SEQUENCE]!;
    Atomics.store(log, place + ENTRY.SEQUENCE, sequence + 1);
    for (let word = 0; word < ENTRY.ENDED_S - ENTRY.OP; word++)
      log[place + ENTRY.OP + word] = words[at + word]!;
    log[place + ENTRY.ENDED_S] = endedS;
    log[place + ENTRY.TOTAL] = totalUs;
    log[place + ENTRY.RING] = Math.max(0, (waits[waitsAt + WAIT.SEEN]! - stampUs) | 0);
    log[place + ENTRY.LOAD] = waits[waitsAt + WAIT.LOAD]!;
    log[place + ENTRY.ROOM] = waits[waitsAt + WAIT.ROOM]!;
    log[place + ENTRY.CURSOR] = waits[waitsAt + WAIT.CURSOR]!;
    Atomics.store(log, place + ENTRY.SEQUENCE, sequence + 2);
    this.#setThreshold();
  }

  /** Drops what is too old. To be called now and then. */
  expire(): void {
    const log = this.#words;
    const oldest = Date.now() / 1000 - KEPT_S;
    let dropped = false;
    for (let entry = 0; entry < log.length; entry += ENTRY.WORDS) {
      if (log[entry + ENTRY.TOTAL] === 0 || log[entry + ENTRY.ENDED_S]! >= oldest) continue;
      log[entry + ENTRY.TOTAL] = 0;
      dropped = true;
    }
    if (dropped) this.#setThreshold();
  }

  #setThreshold(): void {
    const log = this.#words;
    let least = 0x7fffffff;
    for (let entry = 0; entry < log.length; entry += ENTRY.WORDS)
      least = Math.min(least, log[entry + ENTRY.TOTAL]!);
    this.thresholdUs = Math.max(SLOW_US, least + 1);
  }

  /** What is kept, in no order; an entry that is being written is left out. */
  read(): SlowOperation[] {
    const log = this.#words;
    const found: SlowOperation[] = [];
    for (let entry = 0; entry < log.length; entry += ENTRY.WORDS) {
      const sequence = Atomics.load(log, entry + ENTRY.SEQUENCE);
      if (log[entry + ENTRY.TOTAL] === 0 || (sequence & 1) !== 0) continue;
      const operation = {
        op: log[entry + ENTRY.OP]!,
        userLo: log[entry + ENTRY.USER_LO]!,
        userHi: log[entry + ENTRY.USER_HI]!,
        channelLo: log[entry + ENTRY.CHANNEL_LO]!,
        channelHi: log[entry + ENTRY.CHANNEL_HI]!,
        endedMs: log[entry + ENTRY.ENDED_S]! * 1000,
        totalUs: log[entry + ENTRY.TOTAL]!,
        ringUs: log[entry + ENTRY.RING]!,
        loadUs: log[entry + ENTRY.LOAD]!,
        roomUs: log[entry + ENTRY.ROOM]!,
        cursorUs: log[entry + ENTRY.CURSOR]!,
      };
      if (Atomics.load(log, entry + ENTRY.SEQUENCE) === sequence) found.push(operation);
    }
    return found;
  }
}
