/**
 * A service under an open loop, second by second: latencies as the client sees them, from when an operation was due,
 * and what the service's own history (`/admin/history`) says of the same seconds, collector pauses among it. Nothing
 * is asked of the service while it is measured; the history is fetched afterwards.
 */

import { STATUS_BUSY } from '../../engine/messages.js';
import { sleep } from '../clock.js';
import { LatencyCounts } from '../latency-counts.js';
import { createHistogram, latencyMs } from '../run-stats.js';
import { httpGet, killChild, type Service, startService } from '../service-child.js';
import { checkService, prefill, withBlaster } from '../wire-session.js';
import { WireWorkload } from '../wire-workload.js';

const CHANNELS_PER_USER = 32;
const CONNECTIONS = 16;
/** Few, so that there are many frames, and with them many latencies in a second. */
const OPS_PER_FRAME = 16;
/** In flight on a connection at most: the service bounds them. */
const WINDOW = 200;
/** Room for the unevenness of the hash. */
const SLACK = 1.05;
const SECOND_MS = 1000;
/** The history has the last second when the next sample is there. */
const HISTORY_MS = 1100;

/** Of `/admin/history`: columns with a value for each second. */
interface History {
  readonly time_ms: readonly number[];
  readonly columns: Readonly<Record<string, readonly (number | null)[]>>;
}

/** One second of load. Times in milliseconds; null = not known. */
export interface TimedSecond {
  p50: number;
  p99: number;
  p999: number;
  max: number;
  operations: number;
  /** Time in collections, of the busiest shard. */
  shardGc: number | null;
  frontGc: number | null;
  hitRatio: number | null;
}

/** What keeps the journal out of the picture, and of the store all but users who come and go: there remain the engine, the rings and the front. */
export const MEMORY_ONLY = ['--flush-delay', '1h', '--durability', 'none'];

export function workloadOf(records: number): WireWorkload {
  return new WireWorkload(Math.ceil(records / CHANNELS_PER_USER), CHANNELS_PER_USER);
}

/** Three digits, and nothing below a microsecond: files stay small. */
function short(value: number): number {
  return Number(value.toPrecision(3));
}

export class TimedRun {
  readonly service: Service;
  readonly workload: WireWorkload;
  readonly seconds: TimedSecond[] = [];
  /** Of all seconds, microseconds. */
  readonly latencyUs = createHistogram();
  /** Operations may be answered `busy`: whoever says so has to say how many were. */
  mayBeBusy = false;
  refused = 0;

  private constructor(service: Service, workload: WireWorkload) {
    this.service = service;
    this.workload = workload;
  }

  /**
   * A service of one shard with room for so many records, which answers rightly.
   * @param absent  records of users who are not in memory, but in the store: a part of those in memory
   */
  static async filled(
    engine: 'slab' | 'heap',
    records: number,
    args: readonly string[],
    absent = 0,
  ): Promise<TimedRun> {
    const present = Math.ceil(records / CHANNELS_PER_USER);
    const workload = new WireWorkload(Math.ceil(present * (1 + absent)), CHANNELS_PER_USER, present);
    const capacity = String(Math.ceil(present * CHANNELS_PER_USER * SLACK));
    const service = await startService(['--engine', engine, '--capacity', capacity, ...args]);
    const run = new TimedRun(service, workload);
    try {
      await prefill(service.url, workload);
      await checkService(service.url, workload);
      return run;
    } catch (error) {
      await run.end();
      throw error;
    }
  }

  /** Of a service that is there already. */
  static of(service: Service, workload: WireWorkload): TimedRun {
    return new TimedRun(service, workload);
  }

  /** Load for some seconds, appended to those before. */
  async load(seconds: number, opsPerSecond: number, fill = this.workload.mixed): Promise<void> {
    const buckets: LatencyCounts[] = [];
    const startMs = performance.now();
    const startTime = Date.now();
    const onLatency = (latencyUs: number): void => {
      // By when it was due: a stall is seen in the seconds that waited for it.
      const second = Math.max(0, Math.floor((performance.now() - startMs - latencyUs / 1000) / SECOND_MS));
      while (buckets.length <= second) buckets.push(new LatencyCounts());
      buckets[second]!.record(latencyUs);
    };
    const { latencyUs: frames, statuses } = await withBlaster(
      this.service.url,
      CONNECTIONS,
      fill,
      (blaster) => blaster.openLoop(seconds * SECOND_MS, opsPerSecond / OPS_PER_FRAME, WINDOW),
      { opsPerFrame: OPS_PER_FRAME, onLatency, mayBeBusy: this.mayBeBusy },
    );
    this.latencyUs.add(frames);
    this.refused += statuses[STATUS_BUSY]!;
    await sleep(HISTORY_MS);
    const history = await this.#history(startTime);
    for (let second = 0; second < Math.floor(seconds); second++) {
      const counts = buckets[second] ?? new LatencyCounts();
      const histogram = createHistogram();
      counts.pourInto(histogram);
      const { p50, p99, p999, max } = latencyMs(histogram);
      // A sample of the history is of the second before it.
      const at = history.time_ms.findIndex((time) => time >= startTime + (second + 1) * SECOND_MS);
      const column = (name: string): number | null => history.columns[name]?.[at] ?? null;
      this.seconds.push({
        p50: short(p50),
        p99: short(p99),
        p999: short(p999),
        max: short(max),
        operations: counts.total * OPS_PER_FRAME,
        shardGc: column('shard_gc_ms'),
        frontGc: column('front_gc_ms'),
        hitRatio: column('hit_ratio'),
      });
    }
  }

  /** What was measured so far was a warm-up. */
  forget(): void {
    this.seconds.length = 0;
    this.latencyUs.reset();
    this.refused = 0;
  }

  async #history(afterMs: number): Promise<History> {
    const { body } = await httpGet(this.service.url, `/admin/history?after_ms=${afterMs}`);
    return JSON.parse(body) as History;
  }

  async end(): Promise<void> {
    await killChild(this.service.child);
  }
}

export interface TimedSummary {
  readonly p50: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
  /** The most time in collections within one second: no pause was longer. */
  readonly gcWorst: number;
  /** Of the time, in collections. */
  readonly gcShare: number;
  /** Operations that were answered `busy`; left out in results from before it was counted, when it was an error. */
  readonly refused?: number;
}

export function summarizeRun({ seconds, latencyUs, refused }: TimedRun): TimedSummary {
  const { p50, p99, p999, max } = latencyMs(latencyUs);
  const gc = seconds.map(({ shardGc }) => shardGc ?? 0);
  const gcShare = gc.reduce((sum, ms) => sum + ms, 0) / (seconds.length * SECOND_MS);
  return { p50, p99, p999, max, gcWorst: Math.max(...gc), gcShare, refused };
}
