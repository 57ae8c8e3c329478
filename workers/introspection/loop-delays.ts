/** How late the event loop of the calling thread is, from one look to the next. */
import { monitorEventLoopDelay } from 'node:perf_hooks';

/** A timer of this interval is what is found late. */
const RESOLUTION_MS = 10;

export interface LoopDelay {
  readonly p99Ms: number;
  readonly maxMs: number;
}

export class LoopDelays {
  readonly #histogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS });

  constructor() {
    this.#histogram.enable();
  }

  /** Since the last call, beyond the timer's own interval. */
  take(): LoopDelay {
    const histogram = this.#histogram;
    const late = (ns: number): number => Math.max(0, ns / 1e6 - RESOLUTION_MS);
    const delay =
      histogram.count === 0
        ? { p99Ms: 0, maxMs: 0 }
        : { p99Ms: late(histogram.percentile(99)), maxMs: late(histogram.max) };
    histogram.reset();
    return delay;
  }

  end(): void {
    this.#histogram.disable();
  }
}
