/**
 * How many loads and how many writes may be on their way to Cassandra.
 *
 * I1  Neither takes the other's places (AdaptiveLimit).
 * I2  Somebody waits for a load, and nobody for a write: while small loads are late, writes give up places, until as
 *     many loads as writes are on their way. Below that it is the loads themselves that the store is busy with, and
 *     what is unsaved must not pile up for them.
 */
import { AdaptiveLimit, SLOW_FACTOR } from './adaptive-limit.js';

const LOAD_LIMIT = { first: 64, min: 4, max: 512, slowMs: 50 };
export const WRITE_LIMIT = { first: 64, min: 2, max: 256, slowMs: 100 };

/** A load that took no longer is not late, whatever the quiet latency is: a busy store has some of 10 ms. */
const LATE_MS = 20;
/** A load of more rows takes its time for them. */
const SMALL_ROWS = 100;

export class CassandraLimits {
  /** Loads end by `endLoad`. */
  readonly loads: AdaptiveLimit;
  readonly writes: AdaptiveLimit;

  /** @param now  a clock in ms that never goes back */
  constructor(now: () => number = () => performance.now()) {
    this.loads = new AdaptiveLimit(LOAD_LIMIT, now);
    this.writes = new AdaptiveLimit(WRITE_LIMIT, now);
  }

  /**
   * @param startedMs  what `loads.begin` gave
   * @param well  see AdaptiveLimit
   * @param rows  that it brought
   */
  endLoad(startedMs: number, well: boolean, rows: number): void {
    const { loads, writes } = this;
    if (rows > SMALL_ROWS) {
      loads.leave();
      return;
    }
    const isAmongWrites = writes.inWork > loads.inWork;
    const tookMs = loads.end(startedMs, well);
    if (!well || !isAmongWrites) return;
    // Of both: the first load of all may have come when writes were waiting already.
    const quietMs = Math.min(loads.quietMs, writes.quietMs);
    if (tookMs > Math.max(LATE_MS, SLOW_FACTOR * quietMs)) writes.makeWay(startedMs);
  }
}
