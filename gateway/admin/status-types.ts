/**
 * What `GET /admin/status` and `GET /admin/history` answer. Names end in their unit; `_per_s` are rates over
 * `window_s`, everything else without a window counts since the start. Ids are decimal strings. A value that is
 * not known (switched off, or not yet measured) is null.
 */

export interface AdminStatus {
  /** ISO 8601. */
  readonly time: string;
  readonly uptime_s: number;
  readonly version: string;
  readonly node: string;
  readonly pid: number;
  /** Draining: it will stop, serves on, and is not ready for new clients. */
  readonly state: 'serving' | 'draining' | 'stopping';
  /** Seconds that rates and latencies are over: up to ten. */
  readonly window_s: number;
  readonly settings: StatusSettings;
  readonly totals: StatusTotals;
  readonly shards: readonly ShardStatus[];
  readonly lanes: readonly LaneStatus[];
  readonly partitions: readonly PartitionStatus[];
  readonly threads: readonly ThreadStatus[];
  /** Null with `--introspection off`. */
  readonly latencies: readonly LatencyStatus[] | null;
  /** Null with `--durability none`. */
  readonly journal: JournalStatus | null;
  readonly store: StoreStatus;
  readonly front: FrontStatus;
  /** Null with `--introspection off`. */
  readonly hot: HotStatus | null;
  /** The slowest first. Null with `--introspection off`. */
  readonly slow: readonly SlowStatus[] | null;
}

export interface StatusSettings {
  /** Now; a resize changes it. */
  readonly shards: number;
  /** They follow the processors (`auto`); false after the order of a number, until `auto` is ordered. */
  readonly shards_automatic: boolean;
  readonly lanes: number;
  readonly partitions: number;
  readonly capacity: number;
  readonly engine: string;
  /** Without a password. */
  readonly store: string;
  readonly durability: string;
  readonly flush_delay_ms: number;
  readonly ack_order: string;
  readonly introspection: boolean;
}

export interface StatusTotals {
  readonly operations: number;
  readonly operations_per_s: number;
  readonly busy_per_s: number;
  /** Of these, by the front itself, for a bound of its own: `front.busy` says which. */
  readonly front_busy_per_s: number;
  /** Of these, for `--limit-user` or `--limit-channel`. */
  readonly limited_per_s: number;
  readonly store_unavailable_per_s: number;
  readonly events_per_s: number;
  /** Of the window; null when nothing was asked. */
  readonly hit_ratio: number | null;
  readonly records: number;
  readonly records_max: number;
  readonly users: number;
  readonly evicted_users: number;
  readonly evicted_users_per_s: number;
  /** Users with changes that the store does not have. */
  readonly unsaved_users: number;
  /** Age of the oldest such change; 0 = there is none. An upper bound while writes fail. */
  readonly oldest_unsaved_ms: number;
  /** Operations that wait for the store, a cursor or room. */
  readonly parked: number;
  /** Threads of shards that ended by themselves, or hung, since the start: others have gone on with their lanes. */
  readonly shards_replaced: number;
  /** Threads that are ready for the lanes of one that ends; while there is none, they wait for one to start. */
  readonly spare_threads: number;
}

export interface RingStatus {
  readonly filled_bytes: number;
  readonly capacity_bytes: number;
}

export interface ShardStatus {
  readonly shard: number;
  /** Numbers of the lanes that it runs, and of their partitions. */
  readonly lanes: readonly number[];
  readonly partitions: readonly number[];
  readonly operations_per_s: number;
  /** Part of the window, or of its time as a shard if that is less, in which it had work, 0 to 1. */
  readonly busy: number;
  readonly hit_ratio: number | null;
  readonly records: number;
  readonly records_max: number;
  readonly users: number;
  readonly unsaved_users: number;
  readonly parked: number;
  readonly rings: {
    readonly requests: RingStatus;
    readonly replies: RingStatus;
    readonly loads: RingStatus;
    readonly flushes: RingStatus;
    readonly store_answers: RingStatus;
  };
}

export interface LaneStatus {
  readonly lane: number;
  /** That runs it. */
  readonly shard: number | null;
  /** Threads that have run it, one after another. */
  readonly attached: number;
}

export interface PartitionStatus {
  readonly partition: number;
  /** To which it belongs; null until that has shown itself. */
  readonly lane: number | null;
  /** That runs the lane. */
  readonly shard: number | null;
  readonly records: number;
  readonly records_max: number;
  readonly users: number;
  readonly users_max: number;
  readonly unsaved_users: number;
  readonly oldest_unsaved_ms: number;
  readonly evicted_users: number;
  /** It was broken, and comes back from journal and store: requests for its users wait, or are answered busy. */
  readonly reloading: boolean;
}

export interface ThreadStatus {
  /** `front`, `shard 0`, ..., `persister`. */
  readonly thread: string;
  /** Of a shard: by all threads that had its number. */
  readonly gc_count: number;
  /** Of the window: milliseconds of each second that the collector stopped the thread. */
  readonly gc_ms_per_s: number;
  /** The longest since the start, of a shard's present thread. */
  readonly gc_pause_max_ms: number;
  readonly heap_used_bytes: number;
  /** The most it had in buffers that it made itself, so also copies of those it was given; null: not measured. */
  readonly buffer_bytes_max: number | null;
  /** How late the event loop was in the last second; null in a thread without one. */
  readonly loop_delay_p99_ms: number | null;
  readonly loop_delay_max_ms: number | null;
  /** The longest turn of the last second, of a thread without an event loop. */
  readonly turn_max_ms: number | null;
}

/** From the request ring to the answer, of the operations of the window. */
export interface LatencyStatus {
  /** An operation, or `all`, which is the first. */
  readonly operation: string;
  readonly per_s: number;
  readonly p50_ms: number | null;
  readonly p90_ms: number | null;
  readonly p99_ms: number | null;
  readonly p999_ms: number | null;
  /** Since the start. */
  readonly max_ms: number;
}

export interface JournalStatus {
  /** `full`, `failed`: no new files can be made, and changes are refused when those at hand are full. */
  readonly state: 'writing' | 'full' | 'failed';
  readonly file_bytes: number;
  readonly limit_bytes: number;
  /** Of the files, those with changes that the store may lack. */
  readonly segments: number;
  readonly segment_bytes: number;
  readonly epoch: number;
  readonly oldest_epoch: number;
  readonly changes_per_s: number;
  readonly written_bytes_per_s: number;
  /** Writes that failed. */
  readonly failures: number;
  /** Operations answered journal_unavailable. */
  readonly unavailable_per_s: number;
}

export interface StoreStatus {
  readonly loads: number;
  readonly loads_per_s: number;
  readonly loads_in_flight: number;
  readonly load_failures: number;
  /** Of the failures, those given up as the store did not answer, and those that were not asked for at all. */
  readonly load_timeouts: number;
  readonly loads_refused: number;
  /** While it is open, loads fail at once, and writes wait; only probes ask the store. */
  readonly load_circuit: 'closed' | 'open';
  readonly write_circuit: 'closed' | 'open';
  /** Mean of the window. */
  readonly load_ms: number | null;
  readonly written_rows: number;
  readonly written_rows_per_s: number;
  readonly writes_in_flight: number;
  readonly write_failures: number;
  /** Of these, groups with a row that the store refuses. */
  readonly groups_refused: number;
  /** Persisters that ended by themselves, or hung. */
  readonly persisters_replaced: number;
  /** Mean time of one batch in the window. */
  readonly write_ms: number | null;
}

export interface FrontStatus {
  readonly requests_waiting: number;
  readonly http_connections: number;
  readonly websockets: number;
  readonly subscriptions: number;
  readonly backpressure_bytes: number;
  readonly list_bytes: number;
  /** Operations answered busy since the start, by the bound: labels of `tidemark_front_busy_total`. */
  readonly busy: Readonly<Record<string, number>>;
}

export interface HotStatus {
  /** Rates are of about so many seconds, estimated from samples. Of channels that are rare in each lane they are too low. */
  readonly window_s: number;
  readonly users: readonly { readonly user_id: string; readonly per_s: number }[];
  readonly channels: readonly { readonly channel_id: string; readonly per_s: number }[];
}

export interface SlowStatus {
  readonly operation: string;
  readonly user_id: string;
  readonly channel_id: string | null;
  /** ISO 8601, whole seconds. */
  readonly ended: string;
  readonly total_ms: number;
  /** In the request ring. */
  readonly ring_ms: number;
  /** For the store. */
  readonly load_ms: number;
  /** For room in the partition. */
  readonly room_ms: number;
  /** For a cursor, and its walk over the user's entries. */
  readonly cursor_ms: number;
  /** The rest: behind others of the same user, for its turn, and being worked on. */
  readonly behind_ms: number;
}

/** Columns of equal length, a value for each second, the oldest first. */
export interface AdminHistory {
  /** Milliseconds since 1970. */
  readonly time_ms: readonly number[];
  readonly columns: Readonly<Record<HistoryColumn, readonly (number | null)[]>>;
}

export const HISTORY_COLUMNS = [
  'operations_per_s',
  'refused_per_s',
  'p50_ms',
  'p99_ms',
  'p999_ms',
  'hit_ratio',
  'front_gc_ms',
  'shard_gc_ms',
  'persister_gc_ms',
  'front_loop_delay_ms',
  'persister_loop_delay_ms',
  'shard_turn_ms',
  'records',
  'unsaved_users',
  'oldest_unsaved_ms',
  'loads_per_s',
  'written_rows_per_s',
  'busiest_shard',
  'fullest_ring',
] as const;
export type HistoryColumn = (typeof HISTORY_COLUMNS)[number];
