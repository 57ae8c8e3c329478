/** Puts together what `GET /admin/status` says: the one place that knows where each figure comes from. */
import { formatId } from '../../engine/ids.js';
import { OP_MAX } from '../../engine/messages.js';
import { LATENCIES, percentileUs } from '../../workers/introspection/latency-histogram.js';
import { SlowLog } from '../../workers/introspection/slow-log.js';
import { REFUSE_FAILED, REFUSE_FULL } from '../../workers/journal/shared.js';
import {
  JOURNAL_STATS,
  LANE_STATS,
  PARTITION_STATS,
  PERSISTER_STATS,
  THREAD_STATS,
} from '../../workers/stats.js';
import { redactStore } from '../../workers/stores/cassandra-url.js';
import { RING_NAMES, type RingDepths, type RingName, type Workers } from '../../workers/workers.js';
import type { Config } from '../config.js';
import { OP_NAMES } from '../counters.js';
import type { Front } from '../front.js';
import type { ShardCount } from '../shard-count.js';
import { hotOf } from './hot-status.js';
import {
  ALL_OPERATIONS,
  busyGrowth,
  busyPart,
  growth,
  latencyGrowth,
  oldestUnsavedMs,
  operations,
  type Sampler,
  type Snapshot,
  shardGrowth,
  sum,
  threadGrowth,
} from './sampler.js';
import type {
  AdminStatus,
  JournalStatus,
  LaneStatus,
  LatencyStatus,
  PartitionStatus,
  RingStatus,
  ShardStatus,
  SlowStatus,
  StatusTotals,
  StoreStatus,
  ThreadStatus,
} from './status-types.js';

const SLOW_SHOWN = 32;

export interface StatusSources {
  readonly front: Front;
  readonly workers: Workers;
  readonly sampler: Sampler;
  readonly shardCount: ShardCount;
  readonly config: Config;
  readonly version: string;
}

export function readStatus(sources: StatusSources): AdminStatus {
  const { front, workers, sampler, shardCount, config, version } = sources;
  const before = sampler.windowStart;
  const now = sampler.snapshot();
  const windowS = Math.max((now.atMs - before.atMs) / 1000, 1e-3);
  return {
    time: new Date().toISOString(),
    uptime_s: round(process.uptime()),
    version,
    node: process.version,
    pid: process.pid,
    state: front.stopping ? 'stopping' : front.draining ? 'draining' : 'serving',
    window_s: round(windowS),
    settings: {
      shards: workers.shards().length,
      shards_automatic: shardCount.isAutomatic,
      lanes: workers.laneStats.length,
      partitions: config.partitions,
      capacity: config.capacity,
      engine: config.engine,
      store: redactStore(config.store),
      durability: config.durability,
      flush_delay_ms: config.flushDelay,
      ack_order: config.ackOrder,
      introspection: workers.introspection.length > 0,
    },
    totals: totalsOf(before, now, windowS, workers),
    shards: shardsOf(before, now, windowS, workers),
    lanes: lanesOf(now),
    partitions: partitionsOf(now, workers.partitionStats),
    threads: threadsOf(before, now, windowS, sampler),
    latencies: latenciesOf(before, now, windowS),
    journal: journalOf(before, now, windowS, workers),
    store: storeOf(before, now, windowS, workers),
    front: {
      requests_waiting: front.waitingCount,
      http_connections: front.openConnections.connections,
      websockets: front.connections.count,
      subscriptions: front.subscriptions.count,
      backpressure_bytes: front.outbox.backpressureBytes,
      list_bytes: front.budget.usedBytes,
      busy: { ...front.counters.busy },
    },
    hot: hotOf(workers.introspection, operations(before, now) / windowS),
    slow: slowOf(workers),
  };
}

/** To six digits: what is beyond is noise, and long to read. */
function round(value: number): number {
  return Number(value.toPrecision(6));
}

function ratioOf(hits: number, misses: number): number | null {
  return hits + misses === 0 ? null : round(hits / (hits + misses));
}

function totalsOf(before: Snapshot, now: Snapshot, windowS: number, workers: Workers): StatusTotals {
  const S = LANE_STATS;
  const rate = (offset: number): number => round(growth(before, now, offset) / windowS);
  let total = 0;
  for (let op = 1; op <= OP_MAX; op++) total += sum(now, S.OPERATIONS + op);
  return {
    operations: total,
    operations_per_s: round(operations(before, now) / windowS),
    busy_per_s: round(busyGrowth(before, now) / windowS),
    front_busy_per_s: round((now.frontBusy - before.frontBusy) / windowS),
    limited_per_s: rate(S.LIMITED),
    store_unavailable_per_s: rate(S.STORE_UNAVAILABLE),
    events_per_s: rate(S.EVENTS),
    hit_ratio: ratioOf(growth(before, now, S.HITS), growth(before, now, S.MISSES)),
    records: sum(now, S.RECORDS),
    records_max: sum(now, S.RECORDS_MAX),
    users: sum(now, S.USERS),
    evicted_users: sum(now, S.EVICTED_USERS),
    evicted_users_per_s: rate(S.EVICTED_USERS),
    unsaved_users: sum(now, S.DIRTY_USERS),
    oldest_unsaved_ms: oldestUnsavedMs(workers),
    parked: sum(now, S.PARKED),
    shards_replaced: workers.replacedThreads,
    spare_threads: workers.spareThreads,
  };
}

/** Of some lanes together. */
function ringsOf(depths: readonly RingDepths[]): ShardStatus['rings'] {
  const ringOf = (name: RingName): RingStatus => ({
    filled_bytes: depths.reduce((sum, { [name]: ring }) => sum + ring.filled * 4, 0),
    capacity_bytes: depths.reduce((sum, { [name]: ring }) => sum + ring.capacity * 4, 0),
  });
  return Object.fromEntries(RING_NAMES.map((name) => [name, ringOf(name)])) as ShardStatus['rings'];
}

function shardsOf(before: Snapshot, now: Snapshot, windowS: number, workers: Workers): ShardStatus[] {
  const S = LANE_STATS;
  const depths = workers.ringDepths();
  const ofPartitions = partitionsOf(now, workers.partitionStats);
  return now.shards.map((view) => {
    const { shard, lanes, counts: stats } = view;
    const grown = (offset: number): number => shardGrowth(before, view, offset);
    let total = 0;
    for (let op = 1; op <= OP_MAX; op++) total += grown(S.OPERATIONS + op);
    return {
      shard,
      lanes,
      partitions: ofPartitions.filter((each) => each.shard === shard).map(({ partition }) => partition),
      operations_per_s: round(total / windowS),
      busy: round(busyPart(before, view)),
      hit_ratio: ratioOf(grown(S.HITS), grown(S.MISSES)),
      records: stats[S.RECORDS]!,
      records_max: stats[S.RECORDS_MAX]!,
      users: stats[S.USERS]!,
      unsaved_users: stats[S.DIRTY_USERS]!,
      parked: stats[S.PARKED]!,
      rings: ringsOf(lanes.map((lane) => depths[lane]!)),
    };
  });
}

function lanesOf({ shards, lanes }: Snapshot): LaneStatus[] {
  const shardOf = new Map(shards.flatMap((view) => view.lanes.map((lane) => [lane, view.shard])));
  return lanes.map((stats, lane) => ({
    lane,
    shard: shardOf.get(lane) ?? null,
    attached: stats[LANE_STATS.ATTACHED]!,
  }));
}

function partitionsOf({ shards }: Snapshot, stats: Float64Array): PartitionStatus[] {
  const P = PARTITION_STATS;
  const shardOf = new Map(shards.flatMap((view) => view.lanes.map((lane) => [lane, view.shard])));
  const partitions: PartitionStatus[] = [];
  for (let at = 0; at < stats.length; at += P.WORDS) {
    partitions.push({
      partition: at / P.WORDS,
      lane: stats[at + P.LANE] === 0 ? null : stats[at + P.LANE]! - 1,
      shard: shardOf.get(stats[at + P.LANE]! - 1) ?? null,
      records: stats[at + P.RECORDS]!,
      records_max: stats[at + P.RECORDS_MAX]!,
      users: stats[at + P.USERS]!,
      users_max: stats[at + P.USERS_MAX]!,
      unsaved_users: stats[at + P.DIRTY_USERS]!,
      oldest_unsaved_ms: stats[at + P.OLDEST_DIRTY_MS]!,
      evicted_users: stats[at + P.EVICTED_USERS]!,
      reloading: stats[at + P.RELOADS] !== 0,
    });
  }
  return partitions;
}

function threadsOf(before: Snapshot, now: Snapshot, windowS: number, sampler: Sampler): ThreadStatus[] {
  const T = THREAD_STATS;
  const P = PERSISTER_STATS;
  const { frontThread } = sampler;
  return [
    {
      thread: 'front',
      gc_count: frontThread.gcCount,
      gc_ms_per_s: round((now.frontGcMs - before.frontGcMs) / windowS),
      gc_pause_max_ms: round(frontThread.gcPauseMaxMs),
      heap_used_bytes: frontThread.heapUsedBytes,
      buffer_bytes_max: null,
      loop_delay_p99_ms: round(frontThread.loopDelay.p99Ms),
      loop_delay_max_ms: round(frontThread.loopDelay.maxMs),
      turn_max_ms: null,
    },
    ...now.shards.map((view) => ({
      thread: `shard ${view.shard}`,
      gc_count: view.thread[T.GC_COUNT]!,
      gc_ms_per_s: round(threadGrowth(before, view, T.GC_PAUSE_SUM_MS) / windowS),
      gc_pause_max_ms: round(view.thread[T.GC_PAUSE_MAX_MS]!),
      heap_used_bytes: view.thread[T.HEAP_USED_BYTES]!,
      buffer_bytes_max: view.thread[T.BUFFER_BYTES_MAX]!,
      loop_delay_p99_ms: null,
      loop_delay_max_ms: null,
      turn_max_ms: round(view.thread[T.TURN_MAX_MS]!),
    })),
    {
      thread: 'persister',
      gc_count: now.persister[P.GC_COUNT]!,
      gc_ms_per_s: round(
        (now.persister[P.GC_PAUSE_SUM_MS]! - before.persister[P.GC_PAUSE_SUM_MS]!) / windowS,
      ),
      gc_pause_max_ms: round(now.persister[P.GC_PAUSE_MAX_MS]!),
      heap_used_bytes: now.persister[P.HEAP_USED_BYTES]!,
      buffer_bytes_max: null,
      loop_delay_p99_ms: round(now.persister[P.LOOP_DELAY_P99_MS]!),
      loop_delay_max_ms: round(now.persister[P.LOOP_DELAY_MAX_MS]!),
      turn_max_ms: null,
    },
  ];
}

function latenciesOf(before: Snapshot, now: Snapshot, windowS: number): LatencyStatus[] | null {
  const { latencies } = now;
  if (latencies === null) return null;
  const rows: LatencyStatus[] = [];
  for (let op = ALL_OPERATIONS; op <= OP_MAX; op++) {
    const { counts, total } = latencyGrowth(before, now, op)!;
    const maxUs =
      op === ALL_OPERATIONS
        ? latencies.subarray(LATENCIES.MAX_US).reduce((most, us) => Math.max(most, us), 0)
        : latencies[LATENCIES.MAX_US + op]!;
    if (op !== ALL_OPERATIONS && maxUs === 0 && total === 0) continue;
    const percentile = (part: number): number | null => {
      const us = percentileUs(counts, total, part);
      return us === null ? null : round(Math.min(us, maxUs) / 1000); // a bucket's middle may be beyond all in it
    };
    rows.push({
      operation: op === ALL_OPERATIONS ? 'all' : OP_NAMES[op]!,
      per_s: round(total / windowS),
      p50_ms: percentile(0.5),
      p90_ms: percentile(0.9),
      p99_ms: percentile(0.99),
      p999_ms: percentile(0.999),
      max_ms: round(maxUs / 1000),
    });
  }
  return rows;
}

function journalOf(
  before: Snapshot,
  now: Snapshot,
  windowS: number,
  { journalStats }: Workers,
): JournalStatus | null {
  if (journalStats === null) return null;
  const J = JOURNAL_STATS;
  const S = LANE_STATS;
  const rate = (offset: number): number => round(growth(before, now, offset) / windowS);
  const refuses = journalStats[J.REFUSES];
  return {
    state: refuses === REFUSE_FULL ? 'full' : refuses === REFUSE_FAILED ? 'failed' : 'writing',
    file_bytes: journalStats[J.BYTES]!,
    limit_bytes: journalStats[J.LIMIT_BYTES]!,
    segments: journalStats[J.SEGMENTS]!,
    segment_bytes: journalStats[J.SEGMENT_BYTES]!,
    epoch: journalStats[J.EPOCH]!,
    oldest_epoch: journalStats[J.OLDEST_EPOCH]!,
    changes_per_s: rate(S.JOURNAL_IMAGES),
    written_bytes_per_s: rate(S.JOURNAL_BYTES),
    failures: sum(now, S.JOURNAL_FAILURES),
    unavailable_per_s: rate(S.JOURNAL_UNAVAILABLE),
  };
}

function storeOf(before: Snapshot, now: Snapshot, windowS: number, workers: Workers): StoreStatus {
  const P = PERSISTER_STATS;
  const grown = (offset: number): number => now.persister[offset]! - before.persister[offset]!;
  const mean = (seconds: number, count: number): number | null =>
    count === 0 ? null : round((seconds / count) * 1000);
  return {
    loads: now.persister[P.LOADS]!,
    loads_per_s: round(grown(P.LOADS) / windowS),
    loads_in_flight: now.persister[P.LOADS_IN_FLIGHT]!,
    load_failures: now.persister[P.LOAD_FAILURES]!,
    load_timeouts: now.persister[P.LOAD_TIMEOUTS]!,
    loads_refused: now.persister[P.LOADS_REFUSED]!,
    load_circuit: now.persister[P.LOAD_CIRCUIT_OPEN] === 0 ? 'closed' : 'open',
    write_circuit: now.persister[P.WRITE_CIRCUIT_OPEN] === 0 ? 'closed' : 'open',
    load_ms: mean(grown(P.LOAD_SECONDS_SUM), grown(P.LOADS)),
    written_rows: now.persister[P.WRITTEN_ROWS]!,
    written_rows_per_s: round(grown(P.WRITTEN_ROWS) / windowS),
    writes_in_flight: now.persister[P.WRITES_IN_FLIGHT]!,
    write_failures: now.persister[P.WRITE_FAILURES]!,
    groups_refused: now.persister[P.GROUPS_REFUSED]!,
    persisters_replaced: workers.replacedPersisters,
    write_ms: mean(grown(P.WRITE_SECONDS_SUM), grown(P.WRITE_BATCHES)),
  };
}

function slowOf({ introspection }: Workers): SlowStatus[] | null {
  if (introspection.length === 0) return null;
  return introspection
    .flatMap(({ slow }) => new SlowLog(slow).read())
    .sort((a, b) => b.totalUs - a.totalUs)
    .slice(0, SLOW_SHOWN)
    .map((one) => ({
      operation: OP_NAMES[one.op]!,
      user_id: formatId(one.userLo, one.userHi),
      channel_id: one.channelLo === 0 && one.channelHi === 0 ? null : formatId(one.channelLo, one.channelHi),
      ended: new Date(one.endedMs).toISOString(),
      total_ms: one.totalUs / 1000,
      ring_ms: one.ringUs / 1000,
      load_ms: one.loadUs / 1000,
      room_ms: one.roomUs / 1000,
      cursor_ms: one.cursorUs / 1000,
      behind_ms: Math.max(0, one.totalUs - one.ringUs - one.loadUs - one.roomUs - one.cursorUs) / 1000,
    }));
}
