/**
 * The clocks of the writes to the store never go back, also when a start is cold and the wall clock was set back: a file
 * keeps a time that no clock has passed, and the partitions of the next process begin above it.
 *
 * I1  FILE > LIMIT. Partitions follow the wall clock up to LIMIT, and are beyond it only by what they flush
 *     (a microsecond a group), which MARGIN_MS allows for until LIMIT is renewed. So no clock reaches FILE.
 *     Where the wall clock is behind the floor, LIMIT is what clocks can have flushed, without AHEAD_MS: else each of many
 *     starts in a row would add that, and the clocks be hours ahead after a night of crashes.
 * I2  FILE is on the disk before LIMIT is raised. When it cannot be written LIMIT stays: the clocks then lag behind the wall
 *     clock, and grow all the same. Only if it never could be is there no LIMIT.
 * I3  A partition whose memory is lost while the process lives may have been beyond LIMIT. It goes on at half of the margin,
 *     or at what it had reached if that was more: so it is above its earlier writes, and FILE is still above it.
 */
import { join } from 'node:path';
import type { WorkersLog } from '../workers.js';
import { readChecked, writeChecked } from './checked-file.js';

const KIND = 'clock';
const RENEW_MS = 5000;
/** From the wall clock to LIMIT: two renewals. */
const AHEAD_MS = 2 * RENEW_MS;
/** From LIMIT to FILE. */
const MARGIN_MS = 1000;
/** I3. @param foundUs  what the lost memory says of its clock, which may be anything */
export function clockAfterLoss(limitUs: number, foundUs: number): number {
  const marginUs = MARGIN_MS * 1000;
  return Math.max(foundUs < limitUs + marginUs ? foundUs : 0, limitUs + marginUs / 2);
}

/** FILE is ahead of the wall clock by some seconds; each of many starts in a row adds MARGIN_MS less what it took. */
const SET_BACK_S = 60;

export class FlushClock {
  /** A Float64: LIMIT in microseconds since 1970. */
  readonly shared = new SharedArrayBuffer(Float64Array.BYTES_PER_ELEMENT);
  /** Where the clocks of this process begin, microseconds since 1970. */
  readonly floorUs: number;
  readonly #path: string;
  readonly #log: WorkersLog;
  readonly #limit = new Float64Array(this.shared);
  readonly #startedMs = performance.now();
  #limitUs: number;
  #failing = false;
  #renewal: Promise<void> | null = null;
  #timer: NodeJS.Timeout | null = null;

  private constructor(directory: string, log: WorkersLog) {
    this.#path = join(directory, KIND);
    this.#log = log;
    this.floorUs = this.#read();
    this.#limitUs = this.floorUs;
    this.#limit[0] = Number.POSITIVE_INFINITY;
  }

  /** @param directory  exists */
  static async open(directory: string, log: WorkersLog): Promise<FlushClock> {
    const clock = new FlushClock(directory, log);
    await clock.#renew();
    clock.#timer = setInterval(() => void clock.#renew(), RENEW_MS);
    clock.#timer.unref();
    return clock;
  }

  #read(): number {
    try {
      const us = Number(readChecked(this.#path, KIND)?.toString() ?? 0);
      const aheadS = Math.round(us / 1e6 - Date.now() / 1000);
      if (aheadS > SET_BACK_S) {
        this.#log.warn(
          `The wall clock is ${aheadS} s behind that of the last writes: it was set back, or starts followed each other very fast. Writes go on from the later time.`,
        );
      }
      return us;
    } catch (error) {
      this.#log.warn(
        `${(error as Error).message}. If the wall clock was set back since the last start, writes may lose against older ones.`,
      );
      return 0;
    }
  }

  /** One at a time. */
  #renew(): Promise<void> {
    this.#renewal ??= this.#write().finally(() => {
      this.#renewal = null;
    });
    return this.#renewal;
  }

  async #write(): Promise<void> {
    // Where the wall clock is behind the floor, a clock grows by a microsecond a group: slower than time passes.
    const flushedUs = this.floorUs + (performance.now() - this.#startedMs) * 1000;
    this.#limitUs = Math.max(this.#limitUs, (Date.now() + AHEAD_MS) * 1000, Math.ceil(flushedUs));
    const limitUs = this.#limitUs;
    try {
      await writeChecked(this.#path, KIND, Buffer.from(String(limitUs + MARGIN_MS * 1000)));
      this.#limit[0] = limitUs;
      this.#failing = false;
    } catch (error) {
      if (!this.#failing) this.#log.warn(`${this.#path} cannot be written: ${(error as Error).message}`);
      this.#failing = true;
    }
  }

  async stop(): Promise<void> {
    if (this.#timer !== null) clearInterval(this.#timer);
    await this.#renewal;
  }
}
