/** `/metrics`: the counters of the front and of the worker threads in Prometheus' text format. */
import { Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client';
import { OP_MAX } from '../engine/messages.js';
import { REFUSE_FAILED, REFUSE_FULL } from '../workers/journal/shared.js';
import {
  JOURNAL_STATS,
  LANE_STATS,
  PARTITION_STATS,
  PERSISTER_STATS,
  THREAD_STATS,
} from '../workers/stats.js';
import { RING_NAMES, type ShardView, type Workers } from '../workers/workers.js';
import { OP_NAMES } from './counters.js';
import type { Front } from './front.js';
import { registerRequestTimes, registerServiceTimes } from './metrics-histograms.js';

/** A value that is looked up when it is asked for. */
type Read = (set: (labels: Record<string, string | number>, value: number) => void) => void;

export interface MetricDescription {
  readonly name: string;
  readonly help: string;
  readonly type: string;
  readonly labels: readonly string[];
}

export class Metrics {
  readonly #registry = new Registry();

  constructor(front: Front, workers: Workers) {
    collectDefaultMetrics({ register: this.#registry });
    this.#ofFront(front);
    this.#ofShards(workers);
    this.#ofPersister(workers.persisterStats);
    this.#ofJournal(workers.journalStats);
    this.#ofPartitions(workers);
    registerServiceTimes(this.#registry, workers.introspection);
  }

  /** Every metric, for its documentation. */
  async describe(): Promise<MetricDescription[]> {
    const labels = new Map(
      this.#registry
        .getMetricsAsArray()
        .map((metric) => [
          (metric as unknown as { name: string }).name,
          (metric as unknown as { labelNames?: readonly string[] }).labelNames ?? [],
        ]),
    );
    const metrics = await this.#registry.getMetricsAsJSON();
    return metrics.map(({ name, help, type }) => ({
      name,
      help,
      type: String(type),
      labels: labels.get(name) ?? [],
    }));
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  render(): Promise<string> {
    return this.#registry.metrics();
  }

  #counter(name: string, help: string, labelNames: string[], read: Read): void {
    new Counter({
      name,
      help,
      labelNames,
      registers: [this.#registry],
      collect() {
        this.reset();
        read((labels, value) => this.inc(labels, value));
      },
    });
  }

  #gauge(name: string, help: string, labelNames: string[], read: Read): void {
    new Gauge({
      name,
      help,
      labelNames,
      registers: [this.#registry],
      collect() {
        this.reset();
        read((labels, value) => this.set(labels, value));
      },
    });
  }

  #ofFront(front: Front): void {
    const { counters, subscriptions } = front;
    this.#counter('tidemark_http_requests_total', 'HTTP requests answered.', ['operation', 'status'], (set) =>
      counters.eachStatus((op, status, count) => set({ operation: OP_NAMES[op]!, status }, count)),
    );
    registerRequestTimes(
      this.#registry,
      'tidemark_http_request_duration_seconds',
      'From the headers of an HTTP request to its answer.',
      counters.http,
    );
    registerRequestTimes(
      this.#registry,
      'tidemark_ws_json_request_duration_seconds',
      'From a JSON request to its answer.',
      counters.json,
    );
    this.#counter(
      'tidemark_http_aborted_total',
      'HTTP requests whose client left before the answer.',
      [],
      (set) => set({}, counters.httpAborted),
    );
    this.#gauge('tidemark_http_connections', 'Open HTTP connections, at the last look.', [], (set) =>
      set({}, front.openConnections.connections),
    );
    this.#counter(
      'tidemark_listen_pauses_total',
      'Times that no connections were taken, as there were too many.',
      [],
      (set) => set({}, front.openConnections.pauses),
    );
    this.#gauge('tidemark_requests_waiting', 'HTTP and JSON requests that wait for shards.', [], (set) =>
      set({}, front.waitingCount),
    );
    this.#gauge('tidemark_list_bytes', 'Memory of long lists being sent.', [], (set) =>
      set({}, front.budget.usedBytes),
    );
    this.#gauge('tidemark_ws_connections', 'Open WebSockets.', ['protocol'], (set) => {
      let binary = 0;
      for (const connection of front.connections) if (connection.protocol === 'binary') binary++;
      set({ protocol: 'binary' }, binary);
      set({ protocol: 'json' }, front.connections.count - binary);
    });
    this.#counter('tidemark_ws_connections_opened_total', 'WebSockets opened.', [], (set) =>
      set({}, counters.connectionsOpened),
    );
    this.#counter('tidemark_ws_upgrades_refused_total', 'WebSockets refused.', [], (set) =>
      set({}, counters.upgradesRefused),
    );
    this.#gauge('tidemark_ws_backpressure_bytes', 'What waits for WebSockets to be read.', [], (set) =>
      set({}, front.outbox.backpressureBytes),
    );
    this.#counter('tidemark_ws_slow_closes_total', 'WebSockets closed as they did not read.', [], (set) =>
      set({}, front.outbox.slowCloses),
    );
    this.#counter('tidemark_ws_frames_received_total', 'Frames of clients.', ['protocol'], (set) => {
      set({ protocol: 'binary' }, counters.binaryFrames);
      set({ protocol: 'json' }, counters.jsonFrames);
    });
    this.#counter(
      'tidemark_ws_binary_operations_total',
      'Operations in binary frames.',
      ['operation'],
      (set) =>
        counters.binaryOperations.forEach((count, op) => {
          set({ operation: OP_NAMES[op]! }, count);
        }),
    );
    this.#counter(
      'tidemark_ws_binary_rejected_total',
      'Binary operations that the front refused.',
      ['reason'],
      (set) => {
        set({ reason: 'invalid' }, counters.binaryInvalid);
        set({ reason: 'busy' }, counters.binaryBusy);
      },
    );
    this.#counter(
      'tidemark_front_busy_total',
      'Operations that the front answered busy itself, by the bound that was reached.',
      ['reason'],
      (set) => {
        for (const [reason, count] of Object.entries(counters.busy)) set({ reason }, count);
      },
    );
    this.#counter('tidemark_ws_json_errors_total', 'JSON requests answered with an error.', [], (set) =>
      set({}, counters.jsonErrors),
    );
    this.#gauge('tidemark_subscriptions', 'Pairs of connection and user.', [], (set) =>
      set({}, subscriptions.count),
    );
    this.#counter('tidemark_events_delivered_total', 'Events sent to subscribers.', [], (set) =>
      set({}, subscriptions.eventsDelivered),
    );
  }

  #ofShards(workers: Workers): void {
    const each =
      (of: (view: ShardView) => number): Read =>
      (set) => {
        for (const view of workers.shards()) set({ shard: view.shard }, of(view));
      };
    const counter = (name: string, help: string, offset: number, factor = 1): void =>
      this.#counter(
        `tidemark_shard_${name}`,
        help,
        ['shard'],
        each(({ counts }) => counts[offset]! * factor),
      );
    const gauge = (name: string, help: string, offset: number): void =>
      this.#gauge(
        `tidemark_shard_${name}`,
        help,
        ['shard'],
        each(({ counts }) => counts[offset]!),
      );
    const ofThread = (offset: number, factor: number): Read => each(({ thread }) => thread[offset]! * factor);
    const S = LANE_STATS;
    const T = THREAD_STATS;

    this.#counter('tidemark_shard_operations_total', 'Operations run.', ['shard', 'operation'], (set) => {
      for (const { shard, counts } of workers.shards())
        for (let op = 1; op <= OP_MAX; op++)
          set({ shard, operation: OP_NAMES[op]! }, counts[S.OPERATIONS + op]!);
    });
    counter('hits_total', 'Operations answered without the store.', S.HITS);
    counter('misses_total', 'Operations that waited for a load.', S.MISSES);
    counter('busy_total', 'Operations answered busy.', S.BUSY);
    counter('limited_total', 'Operations answered busy for a limit on their user or channel.', S.LIMITED);
    counter(
      'unlimited_total',
      'Operations beyond a limit that were run, as too many users or channels of a lane were limited: an estimate.',
      S.UNLIMITED,
    );
    counter('store_unavailable_total', 'Operations answered store_unavailable.', S.STORE_UNAVAILABLE);
    counter('batches_total', 'Batches of drained requests.', S.BATCHES);
    counter('events_total', 'Changes announced.', S.EVENTS);
    counter('loads_total', 'Loads asked for.', S.LOADS);
    counter('load_failures_total', 'Loads that failed.', S.LOAD_FAILURES);
    counter('loaded_rows_total', 'Rows loaded.', S.LOADED_ROWS);
    counter('flush_groups_total', 'Groups of writes confirmed.', S.FLUSH_GROUPS);
    counter('flushed_rows_total', 'Rows confirmed.', S.FLUSHED_ROWS);
    counter('flush_failures_total', 'Groups of writes that failed and are tried again.', S.FLUSH_FAILURES);
    counter('evicted_users_total', 'Users evicted.', S.EVICTED_USERS);
    const name = (rest: string): string => `tidemark_shard_${rest}`;
    this.#counter(
      name('gc_total'),
      'Garbage collections of threads that had lanes.',
      ['shard'],
      ofThread(T.GC_COUNT, 1),
    );
    this.#counter(
      name('gc_pause_seconds_total'),
      'Time in garbage collections of threads that had lanes.',
      ['shard'],
      ofThread(T.GC_PAUSE_SUM_MS, 1e-3),
    );
    this.#gauge(
      name('gc_pause_max_seconds'),
      'Longest garbage collection of the thread since it has had lanes.',
      ['shard'],
      ofThread(T.GC_PAUSE_MAX_MS, 1e-3),
    );
    this.#counter(
      name('idle_seconds_total'),
      'Time in which the thread had lanes, and nothing to do.',
      ['shard'],
      ofThread(T.SLEPT_MS, 1e-3),
    );
    this.#gauge(
      name('turn_max_seconds'),
      'Longest turn of a lane in the last second.',
      ['shard'],
      ofThread(T.TURN_MAX_MS, 1e-3),
    );
    this.#gauge(
      name('heap_used_bytes'),
      'JavaScript heap of the thread.',
      ['shard'],
      ofThread(T.HEAP_USED_BYTES, 1),
    );
    this.#gauge(
      name('lanes'),
      'Lanes that the thread runs.',
      ['shard'],
      each(({ lanes }) => lanes.length),
    );
    this.#counter(
      'tidemark_shard_threads_replaced_total',
      'Threads that ended by themselves, or hung, and were replaced.',
      [],
      (set) => set({}, workers.replacedThreads),
    );
    this.#counter(
      'tidemark_persister_threads_replaced_total',
      'Threads of the persister that ended by themselves, or hung, and were replaced.',
      [],
      (set) => set({}, workers.replacedPersisters),
    );
    this.#gauge(
      'tidemark_spare_threads',
      'Threads that have rehearsed, and wait for the lanes of one that ends.',
      [],
      (set) => set({}, workers.spareThreads),
    );
    counter('taken_back_total', 'Units of work that a thread left half done.', S.TAKEN_BACK);
    counter(
      'partitions_reloaded_total',
      'Partitions that were broken, and came back from journal and store.',
      S.RELOADED,
    );
    counter('refused_total', 'Operations refused as threads had ended in them.', S.REFUSED);
    this.#counter('tidemark_lane_attached_total', 'Threads that have run the lane.', ['lane'], (set) =>
      workers.laneStats.forEach((stats, lane) => {
        set({ lane }, stats[S.ATTACHED]!);
      }),
    );
    gauge('records', 'Read states in memory.', S.RECORDS);
    gauge('records_max', 'Read states that fit.', S.RECORDS_MAX);
    gauge('users', 'Users in memory.', S.USERS);
    gauge('dirty_users', 'Users with changes that the store does not have.', S.DIRTY_USERS);
    gauge('hot_users_left', 'Hot users still to be loaded after a cold start.', S.HOT_USERS_LEFT);
    counter('hot_users_loaded_total', 'Hot users loaded.', S.HOT_USERS_LOADED);
    counter(
      'hot_users_skipped_total',
      'Hot users that were there already, found no room, or failed.',
      S.HOT_USERS_SKIPPED,
    );
    counter('journal_images_total', 'Changes written to the journal.', S.JOURNAL_IMAGES);
    counter(
      'journal_carried_images_total',
      'Of those, written again so that older segments can go.',
      S.CARRIED_IMAGES,
    );
    counter('journal_commits_total', 'Writes to the journal.', S.JOURNAL_COMMITS);
    counter('journal_bytes_total', 'Bytes written to the journal.', S.JOURNAL_BYTES);
    counter('journal_write_seconds_total', 'Time in writes to the journal.', S.JOURNAL_WRITE_SECONDS);
    counter('journal_sync_seconds_total', 'Time in fdatasync (--durability disk).', S.JOURNAL_SYNC_SECONDS);
    counter('journal_failures_total', 'Writes to the journal that failed.', S.JOURNAL_FAILURES);
    counter('journal_unavailable_total', 'Operations answered journal_unavailable.', S.JOURNAL_UNAVAILABLE);
    counter('replayed_images_total', 'Changes put back from the journal at the start.', S.REPLAYED_IMAGES);
    gauge('parked', 'Operations that wait for the store or room.', S.PARKED);
    this.#gauge('tidemark_started_warm', '1: memory is that of the process before.', [], (set) =>
      set({}, workers.startedWarm ? 1 : 0),
    );
    this.#gauge('tidemark_ring_filled_bytes', 'What waits in the rings.', ['lane', 'ring'], (set) => {
      workers.ringDepths().forEach((rings, lane) => {
        for (const ring of RING_NAMES) set({ lane, ring }, rings[ring].filled * 4);
      });
    });
    this.#gauge('tidemark_ring_capacity_bytes', 'Size of each ring.', ['lane', 'ring'], (set) => {
      workers.ringDepths().forEach((rings, lane) => {
        for (const ring of RING_NAMES) set({ lane, ring }, rings[ring].capacity * 4);
      });
    });
  }

  /** @param stats  null: there is no journal, and the metrics have no samples */
  #ofJournal(stats: Float64Array | null): void {
    const gauge = (name: string, help: string, offset: number): void =>
      this.#gauge(`tidemark_journal_${name}`, help, [], (set) => {
        if (stats !== null) set({}, stats[offset]!);
      });
    const J = JOURNAL_STATS;

    gauge('file_bytes', "The journal's files, spares included.", J.BYTES);
    gauge('limit_bytes', 'What they may have together.', J.LIMIT_BYTES);
    gauge('segment_bytes', 'Files with changes that the store may lack.', J.SEGMENT_BYTES);
    gauge('segments', 'Those files.', J.SEGMENTS);
    gauge('epoch', 'Epoch in which changes are journaled now.', J.EPOCH);
    gauge('oldest_epoch', 'Epoch of the oldest change that the store may lack.', J.OLDEST_EPOCH);
    this.#gauge(
      'tidemark_journal_blocked',
      'Whether new segments cannot be made: changes are refused when those at hand are full.',
      ['reason'],
      (set) => {
        if (stats === null) return;
        set({ reason: 'failed' }, stats[J.REFUSES] === REFUSE_FAILED ? 1 : 0);
        set({ reason: 'full' }, stats[J.REFUSES] === REFUSE_FULL ? 1 : 0);
      },
    );
    this.#counter(
      'tidemark_journal_file_failures_total',
      'Files that could not be made or moved.',
      [],
      (set) => {
        if (stats !== null) set({}, stats[J.FAILURES]!);
      },
    );
  }

  #ofPersister(stats: Float64Array): void {
    const counter = (name: string, help: string, offset: number, factor = 1): void =>
      this.#counter(`tidemark_persister_${name}`, help, [], (set) => set({}, stats[offset]! * factor));
    const gauge = (name: string, help: string, offset: number, factor = 1): void =>
      this.#gauge(`tidemark_persister_${name}`, help, [], (set) => set({}, stats[offset]! * factor));
    const P = PERSISTER_STATS;

    counter('loads_total', 'Loads from the store.', P.LOADS);
    counter('load_failures_total', 'Loads that failed.', P.LOAD_FAILURES);
    counter('loaded_rows_total', 'Rows loaded.', P.LOADED_ROWS);
    counter('load_seconds_total', 'Time of all loads.', P.LOAD_SECONDS_SUM);
    counter('write_batches_total', 'Writes to the store.', P.WRITE_BATCHES);
    counter('written_groups_total', 'Groups written, each of one user.', P.WRITTEN_GROUPS);
    counter('written_rows_total', 'Rows written.', P.WRITTEN_ROWS);
    counter('write_failures_total', 'Groups that could not be written.', P.WRITE_FAILURES);
    counter('write_seconds_total', 'Time of all writes.', P.WRITE_SECONDS_SUM);
    counter('groups_refused_total', 'Groups with a row that the store refuses.', P.GROUPS_REFUSED);
    counter('load_timeouts_total', 'Loads that were given up.', P.LOAD_TIMEOUTS);
    counter('loads_refused_total', 'Loads failed without asking, the circuit being open.', P.LOADS_REFUSED);
    gauge('load_circuit_open', '1 while the store fails all loads.', P.LOAD_CIRCUIT_OPEN);
    counter('load_circuit_opened_total', 'Times that it opened.', P.LOAD_CIRCUIT_OPENED);
    gauge('write_circuit_open', '1 while the store fails all writes.', P.WRITE_CIRCUIT_OPEN);
    counter('write_circuit_opened_total', 'Times that it opened.', P.WRITE_CIRCUIT_OPENED);
    gauge('loads_at_once', 'Loads that the store takes at once.', P.LOADS_AT_ONCE);
    gauge('writes_at_once', 'Writes that the store takes at once.', P.WRITES_AT_ONCE);
    counter('gc_total', 'Garbage collections.', P.GC_COUNT);
    counter('gc_pause_seconds_total', 'Time in garbage collections.', P.GC_PAUSE_SUM_MS, 1e-3);
    gauge('gc_pause_max_seconds', 'Longest garbage collection since the start.', P.GC_PAUSE_MAX_MS, 1e-3);
    gauge('loop_delay_p99_seconds', 'Delay of the event loop, last second.', P.LOOP_DELAY_P99_MS, 1e-3);
    gauge(
      'loop_delay_max_seconds',
      'Longest delay of the event loop, last second.',
      P.LOOP_DELAY_MAX_MS,
      1e-3,
    );
    gauge('loads_in_flight', 'Loads on their way.', P.LOADS_IN_FLIGHT);
    gauge('writes_in_flight', 'Groups on their way.', P.WRITES_IN_FLIGHT);
    gauge('heap_used_bytes', 'JavaScript heap of the thread.', P.HEAP_USED_BYTES);
  }

  #ofPartitions(workers: Workers): void {
    const stats = workers.partitionStats;
    const P = PARTITION_STATS;
    const gauge = (name: string, help: string, offset: number, factor = 1): void =>
      this.#gauge(`tidemark_partition_${name}`, help, ['partition'], (set) => {
        for (let at = 0; at < stats.length; at += P.WORDS)
          set({ partition: at / P.WORDS }, stats[at + offset]! * factor);
      });
    gauge('records', 'Read states in the partition.', P.RECORDS);
    gauge('records_max', 'Read states that fit.', P.RECORDS_MAX);
    gauge('dirty_users', 'Users with changes that the store does not have.', P.DIRTY_USERS);
    gauge('oldest_dirty_seconds', 'Age of the oldest such change, 0 = none.', P.OLDEST_DIRTY_MS, 1e-3);
    gauge('reloading', '1 while it was broken and comes back from journal and store.', P.RELOADS);
    this.#gauge(
      'tidemark_partition_shard',
      'Number of the shard that runs its lane.',
      ['partition'],
      (set) => {
        for (const { shard, lanes } of workers.shards()) {
          for (let at = 0; at < stats.length; at += P.WORDS)
            if (lanes.includes(stats[at + P.LANE]! - 1)) set({ partition: at / P.WORDS }, shard);
        }
      },
    );
  }
}
