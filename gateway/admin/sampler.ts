/**
 * Looks at all counters once a second: keeps the last ten seconds whole, for rates and percentiles of a window, and
 * a quarter of an hour as a few columns, for charts.
 */
import { getHeapStatistics } from 'node:v8';
import { OP_MAX } from '../../engine/messages.js';
import { observeGc } from '../../workers/gc-observer.js';
import {
  countsOf,
  LATENCIES,
  LATENCY_BUCKETS,
  percentileUs,
} from '../../workers/introspection/latency-histogram.js';
import { type LoopDelay, LoopDelays } from '../../workers/introspection/loop-delays.js';
import { LANE_STATS, PARTITION_STATS, PERSISTER_STATS, THREAD_STATS } from '../../workers/stats.js';
import { RING_NAMES, type ShardTotals, type ShardView, type Workers } from '../../workers/workers.js';
import type { Counters } from '../counters.js';
import { type AdminHistory, HISTORY_COLUMNS, type HistoryColumn } from './status-types.js';

const INTERVAL_MS = 1000;
const WINDOW = 10;
const HISTORY_SECONDS = 900;

/** All counters at one moment. */
export interface Snapshot {
  /** Monotonic milliseconds. */
  readonly atMs: number;
  /** LANE_STATS of each lane. */
  readonly lanes: readonly Float64Array[];
  readonly shards: readonly ShardView[];
  readonly pastShards: readonly ShardTotals[];
  readonly persister: Float64Array;
  /** LATENCIES of all shards together; null without introspection. */
  readonly latencies: Float64Array | null;
  readonly frontGcMs: number;
  /** Operations that the front answered busy. */
  readonly frontBusy: number;
}

/** Of the front's own thread. */
class FrontThread {
  gcCount = 0;
  gcPauseSumMs = 0;
  gcPauseMaxMs = 0;
  loopDelay: LoopDelay = { p99Ms: 0, maxMs: 0 };

  get heapUsedBytes(): number {
    return getHeapStatistics().used_heap_size;
  }
}

export class Sampler {
  readonly frontThread = new FrontThread();
  readonly #workers: Workers;
  readonly #counters: Counters;
  readonly #window: Snapshot[] = [];
  readonly #timer: NodeJS.Timeout;
  readonly #delays = new LoopDelays();
  readonly #endGc: () => void;
  readonly #times = new Float64Array(HISTORY_SECONDS);
  readonly #history: Record<HistoryColumn, Float64Array>;
  #historyCount = 0;

  /** @param counters  of the front */
  constructor(workers: Workers, counters: Counters) {
    this.#workers = workers;
    this.#counters = counters;
    this.#history = Object.fromEntries(
      HISTORY_COLUMNS.map((name) => [name, new Float64Array(HISTORY_SECONDS)]),
    ) as Record<HistoryColumn, Float64Array>;
    const { frontThread } = this;
    this.#endGc = observeGc((pauseMs) => {
      frontThread.gcCount++;
      frontThread.gcPauseSumMs += pauseMs;
      frontThread.gcPauseMaxMs = Math.max(frontThread.gcPauseMaxMs, pauseMs);
    });
    this.#window.push(this.snapshot());
    this.#timer = setInterval(() => this.#sample(), INTERVAL_MS).unref();
  }

  end(): void {
    clearInterval(this.#timer);
    this.#delays.end();
    this.#endGc();
  }

  /** What rates are counted from: the counters up to ten seconds ago. */
  get windowStart(): Snapshot {
    return this.#window[0]!;
  }

  /** The counters now. */
  snapshot(): Snapshot {
    const { laneStats, persisterStats, introspection } = this.#workers;
    let latencies: Float64Array | null = null;
    for (const memory of introspection) {
      const block = new Float64Array(memory.latencies);
      latencies ??= new Float64Array(LATENCIES.WORDS);
      for (let i = 0; i < LATENCIES.MAX_US; i++) latencies[i] = latencies[i]! + block[i]!;
      for (let i = LATENCIES.MAX_US; i < LATENCIES.WORDS; i++)
        latencies[i] = Math.max(latencies[i]!, block[i]!);
    }
    return {
      atMs: performance.now(),
      lanes: laneStats.map((stats) => stats.slice()),
      shards: this.#workers.shards(),
      pastShards: this.#workers.pastShards(),
      persister: persisterStats.slice(),
      latencies,
      frontGcMs: this.frontThread.gcPauseSumMs,
      frontBusy: this.#counters.busyTotal,
    };
  }

  #sample(): void {
    this.frontThread.loopDelay = this.#delays.take();
    const before = this.#window.at(-1)!;
    const now = this.snapshot();
    this.#window.push(now);
    if (this.#window.length > WINDOW + 1) this.#window.shift();
    this.#note(before, now);
  }

  #note(before: Snapshot, now: Snapshot): void {
    const seconds = (now.atMs - before.atMs) / 1000;
    const S = LANE_STATS;
    const T = THREAD_STATS;
    const P = PERSISTER_STATS;
    const rate = (offset: number): number => growth(before, now, offset) / seconds;
    const hits = growth(before, now, S.HITS);
    const misses = growth(before, now, S.MISSES);
    const most = (of: (view: ShardView) => number): number =>
      now.shards.reduce((most, view) => Math.max(most, of(view)), 0);
    const persister = (offset: number): number =>
      (now.persister[offset]! - before.persister[offset]!) / seconds;
    const counts = latencyGrowth(before, now, ALL_OPERATIONS);
    const percentile = (part: number): number =>
      counts === null ? Number.NaN : (percentileUs(counts.counts, counts.total, part) ?? Number.NaN) / 1000;
    const values: Record<HistoryColumn, number> = {
      operations_per_s: operations(before, now) / seconds,
      refused_per_s:
        busyGrowth(before, now) / seconds + rate(S.STORE_UNAVAILABLE) + rate(S.JOURNAL_UNAVAILABLE),
      p50_ms: percentile(0.5),
      p99_ms: percentile(0.99),
      p999_ms: percentile(0.999),
      hit_ratio: hits + misses === 0 ? Number.NaN : hits / (hits + misses),
      front_gc_ms: (now.frontGcMs - before.frontGcMs) / seconds,
      shard_gc_ms: most((view) => threadGrowth(before, view, T.GC_PAUSE_SUM_MS) / seconds),
      persister_gc_ms: persister(P.GC_PAUSE_SUM_MS),
      front_loop_delay_ms: this.frontThread.loopDelay.maxMs,
      persister_loop_delay_ms: now.persister[P.LOOP_DELAY_MAX_MS]!,
      shard_turn_ms: most(({ thread }) => thread[T.TURN_MAX_MS]!),
      records: sum(now, S.RECORDS),
      unsaved_users: sum(now, S.DIRTY_USERS),
      oldest_unsaved_ms: oldestUnsavedMs(this.#workers),
      loads_per_s: persister(P.LOADS),
      written_rows_per_s: persister(P.WRITTEN_ROWS),
      busiest_shard: most((view) => busyPart(before, view)),
      fullest_ring: this.#fullestRing(),
    };
    const at = this.#historyCount++ % HISTORY_SECONDS;
    this.#times[at] = Date.now();
    for (const name of HISTORY_COLUMNS) this.#history[name][at] = values[name];
  }

  #fullestRing(): number {
    let fullest = 0;
    for (const rings of this.#workers.ringDepths()) {
      for (const name of RING_NAMES) fullest = Math.max(fullest, rings[name].filled / rings[name].capacity);
    }
    return fullest;
  }

  /** @param afterMs  only what is younger */
  history(afterMs: number): AdminHistory {
    const first = Math.max(0, this.#historyCount - HISTORY_SECONDS);
    const places: number[] = [];
    for (let i = first; i < this.#historyCount; i++) {
      if (this.#times[i % HISTORY_SECONDS]! > afterMs) places.push(i % HISTORY_SECONDS);
    }
    return {
      time_ms: places.map((place) => this.#times[place]!),
      columns: Object.fromEntries(
        HISTORY_COLUMNS.map((name) => [name, places.map((place) => rounded(this.#history[name][place]!))]),
      ) as Record<HistoryColumn, (number | null)[]>,
    };
  }
}

/** To four digits: a chart shows no more. */
function rounded(value: number): number | null {
  return Number.isFinite(value) ? Number(value.toPrecision(4)) : null;
}

/** Of a lane's counter, all lanes together. */
export function growth(before: Snapshot, now: Snapshot, offset: number): number {
  return sum(now, offset) - sum(before, offset);
}

/** Operations answered busy in between, by shards and by the front. */
export function busyGrowth(before: Snapshot, now: Snapshot): number {
  return growth(before, now, LANE_STATS.BUSY) + now.frontBusy - before.frontBusy;
}

export function sum(now: Snapshot, offset: number): number {
  return now.lanes.reduce((total, stats) => total + stats[offset]!, 0);
}

export function operations(before: Snapshot, now: Snapshot): number {
  let total = 0;
  for (let op = 1; op <= OP_MAX; op++) total += growth(before, now, LANE_STATS.OPERATIONS + op);
  return total;
}

/** What a shard's number had counted before; undefined: it was none's yet. */
function totalsOf({ shards, pastShards }: Snapshot, shard: number): ShardTotals | undefined {
  return shards[shard] ?? pastShards[shard - shards.length];
}

/** Of a counter of LANE_STATS of one shard. */
export function shardGrowth(before: Snapshot, { shard, counts }: ShardView, offset: number): number {
  return counts[offset]! - (totalsOf(before, shard)?.counts[offset] ?? 0);
}

/** Likewise of THREAD_STATS. */
export function threadGrowth(before: Snapshot, { shard, thread }: ShardView, offset: number): number {
  return thread[offset]! - (totalsOf(before, shard)?.thread[offset] ?? 0);
}

/** The part of the time in which a shard did not sleep, 0 to 1; of one that has come since, of its own time. */
export function busyPart(before: Snapshot, view: ShardView): number {
  const servedMs = view.servedMs - (totalsOf(before, view.shard)?.servedMs ?? 0);
  if (servedMs === 0) return 0;
  const sleptMs = threadGrowth(before, view, THREAD_STATS.SLEPT_MS);
  return Math.min(1, Math.max(0, 1 - sleptMs / servedMs));
}

export function oldestUnsavedMs({ partitionStats }: Workers): number {
  let oldest = 0;
  for (let at = 0; at < partitionStats.length; at += PARTITION_STATS.WORDS)
    oldest = Math.max(oldest, partitionStats[at + PARTITION_STATS.OLDEST_DIRTY_MS]!);
  return oldest;
}

/** For `latencyGrowth`. */
export const ALL_OPERATIONS = 0;

/** Counts by bucket of what was answered in between; null without introspection. @param op  OP_* or ALL_OPERATIONS */
export function latencyGrowth(
  before: Snapshot,
  now: Snapshot,
  op: number,
): { counts: Float64Array; total: number } | null {
  if (now.latencies === null) return null;
  const counts = new Float64Array(LATENCY_BUCKETS);
  let total = 0;
  const [first, last] = op === ALL_OPERATIONS ? [1, OP_MAX] : [op, op];
  for (let each = first; each <= last; each++) {
    const then = before.latencies === null ? null : countsOf(before.latencies, each);
    countsOf(now.latencies, each).forEach((count, bucket) => {
      const grown = count - (then?.[bucket] ?? 0);
      counts[bucket] = counts[bucket]! + grown;
      total += grown;
    });
  }
  return { counts, total };
}
