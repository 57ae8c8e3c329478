/**
 * Processor time that the host of a virtual machine has given to others, while this machine had work for it: *steal* of
 * `/proc/stat`. A request that waited for it was not held up by a service.
 */
import { readFileSync } from 'node:fs';
import { nowUs } from './clock.js';

const SAMPLE_MS = 10;
/** A unit of `/proc/stat` (USER_HZ, the same on all of Linux). */
const TICK_MS = 10;
const STEAL_FIELD = 8;

/** Of all processors since the system started, in milliseconds; 0 where it cannot be known. */
function stolenMs(): number {
  try {
    const [cpu] = readFileSync('/proc/stat', 'utf8').split('\n', 1);
    return Number(cpu!.split(/\s+/)[STEAL_FIELD] ?? 0) * TICK_MS;
  } catch {
    return 0;
  }
}

export class StolenTime {
  readonly #atUs: number[] = [];
  readonly #stolenMs: number[] = [];
  readonly #timer: NodeJS.Timeout;
  readonly #read: () => number;

  /** @param read  milliseconds since the system started; for tests */
  constructor(read: () => number = stolenMs) {
    this.#read = read;
    this.#sample();
    this.#timer = setInterval(() => this.#sample(), SAMPLE_MS).unref();
  }

  #sample(): void {
    this.#atUs.push(nowUs());
    this.#stolenMs.push(this.#read());
  }

  /** Milliseconds of all processors together, from the sample before `fromUs` to the one after `toUs` (of `nowUs`). */
  between(fromUs: number, toUs: number): number {
    this.#sample();
    const from = this.#atUs.findLastIndex((us) => us <= fromUs);
    const to = this.#atUs.findIndex((us) => us >= toUs);
    return this.#stolenMs[to]! - this.#stolenMs[Math.max(from, 0)]!;
  }

  end(): void {
    clearInterval(this.#timer);
  }
}
