/**
 * How many requests may be on their way to a store at once: as many as it answers without getting slow.
 * More when all places were taken and the answers came in time; fewer when they got slow; half when one failed.
 *
 * Latencies are looked at in windows of at least `limit` answers, so that a decision is felt before the next one.
 * "Slow" is a mean of more than SLOW_FACTOR times the quiet latency, which is that of the quickest answer seen (a mean
 * would be that of a queue, when the first thing that is seen is a burst), and more than `slowMs`: below that nobody
 * minds, and a store that answers in 1 ms may take 5 ms when it is used well. When it is slow although only `min` are on
 * their way, it is not for their number: that latency is the quiet one then.
 */
import { assert } from '../../engine/layout.js';

export interface LimitOptions {
  readonly first: number;
  readonly min: number;
  readonly max: number;
  /** A mean latency up to here is not slow, whatever the quiet one is. */
  readonly slowMs: number;
}

const WINDOW_ANSWERS_MIN = 16;
/** Beyond so many times the quiet latency it is a queue that takes the time. */
export const SLOW_FACTOR = 4;
const GROWTH = 1 / 8;
const SLOW_CUT = 0.8;
const FAILURE_CUT = 0.5;

export class AdaptiveLimit {
  readonly #options: LimitOptions;
  readonly #now: () => number;
  #limit: number;
  #inWork = 0;
  #peak = 0;
  #answers = 0;
  #latencySumMs = 0;
  #quietMs = Number.POSITIVE_INFINITY;
  /** What was begun before the latest cut tells nothing about the limit after it. */
  #cutMs = Number.NEGATIVE_INFINITY;

  /** @param now  a clock in ms that never goes back */
  constructor(options: LimitOptions, now: () => number = () => performance.now()) {
    const { first, min, max } = options;
    assert(min >= 1 && min <= first && first <= max, `limits of ${min}, ${first} and ${max}`);
    this.#options = options;
    this.#now = now;
    this.#limit = first;
  }

  /** Requests that may be in work at once. */
  get limit(): number {
    return Math.floor(this.#limit);
  }

  /** See above; infinite before the first answer. */
  get quietMs(): number {
    return this.#quietMs;
  }

  /** Requests that are on their way. */
  get inWork(): number {
    return this.#inWork;
  }

  /** A request is sent. @returns what `end` wants to know */
  begin(): number {
    this.#inWork++;
    if (this.#inWork > this.#peak) this.#peak = this.#inWork;
    return this.#now();
  }

  /**
   * It was answered, or failed.
   * @param startedMs  what `begin` gave
   * @param well       false: it failed in a way that says that there is too much to do, or nobody there
   * @returns how long it took, ms
   */
  end(startedMs: number, well: boolean): number {
    this.leave();
    const tookMs = this.#now() - startedMs;
    if (well) this.#quietMs = Math.min(this.#quietMs, tookMs);
    if (startedMs < this.#cutMs) return tookMs;
    if (!well) {
      this.#cut(FAILURE_CUT);
      return tookMs;
    }
    this.#answers++;
    this.#latencySumMs += tookMs;
    if (this.#answers >= Math.max(this.#limit, WINDOW_ANSWERS_MIN)) {
      this.#decide(this.#latencySumMs / this.#answers);
    }
    return tookMs;
  }

  /** As `end`, for a request that takes long for what it brings, and so says nothing of the store. */
  leave(): void {
    this.#inWork--;
    assert(this.#inWork >= 0, 'more ends than begins');
  }

  /**
   * Fewer requests from now on, for others that wait behind them.
   * @param sinceMs  when those began to wait: what was cut since then is to be felt first
   */
  makeWay(sinceMs: number): void {
    if (sinceMs >= this.#cutMs) this.#cut(SLOW_CUT);
  }

  #decide(meanMs: number): void {
    const { min, max, slowMs } = this.#options;
    if (this.limit <= min) this.#quietMs = meanMs;
    if (meanMs > Math.max(slowMs, SLOW_FACTOR * this.#quietMs)) {
      this.#cut(SLOW_CUT);
      return;
    }
    if (this.#peak >= this.limit) {
      this.#limit = Math.min(max, this.#limit + Math.max(1, this.#limit * GROWTH));
    }
    this.#newWindow();
  }

  #cut(factor: number): void {
    this.#limit = Math.max(this.#options.min, this.#limit * factor);
    this.#cutMs = this.#now();
    this.#newWindow();
  }

  #newWindow(): void {
    this.#answers = 0;
    this.#latencySumMs = 0;
    this.#peak = this.#inWork;
  }
}
