/**
 * Counters that worker threads keep in shared memory and the front reads for `/metrics`.
 *
 * One Float64 a field, one block a thread; only the thread writes its block. A reader may see one counter a
 * little ahead of another. Counters only grow; gauges are the last value.
 */
import { layout } from '../engine/layout.js';
import { OP_MAX } from '../engine/messages.js';

/** Of one lane, written by the thread that runs it. */
export const LANE_STATS = layout({
  OPERATIONS: OP_MAX + 1, // counters by OP_*
  HITS: 1, // operations answered without the store
  MISSES: 1, // operations that waited for a load
  BUSY: 1, // operations answered busy
  STORE_UNAVAILABLE: 1, // operations answered store_unavailable
  BATCHES: 1,
  EVENTS: 1,
  LOADS: 1, // queries sent to the persister
  LOAD_FAILURES: 1,
  LOADED_ROWS: 1,
  FLUSH_GROUPS: 1, // groups confirmed
  FLUSHED_ROWS: 1, // rows confirmed
  FLUSH_FAILURES: 1, // groups that came back with an error
  EVICTED_USERS: 1,
  RECORDS: 1, // gauge
  USERS: 1, // gauge
  DIRTY_USERS: 1, // gauge
  RECORDS_MAX: 1, // gauge: capacity
  JOURNAL_IMAGES: 1, // changes written to the journal, with those carried over
  JOURNAL_COMMITS: 1,
  JOURNAL_BYTES: 1,
  JOURNAL_WRITE_SECONDS: 1, // in write
  JOURNAL_SYNC_SECONDS: 1, // in fdatasync
  JOURNAL_FAILURES: 1, // writes that failed
  JOURNAL_UNAVAILABLE: 1, // operations answered journal_unavailable
  CARRIED_IMAGES: 1, // written again, so that older segments can go
  REPLAYED_IMAGES: 1, // taken from the journal at the start
  PARKED: 1, // gauge: operations waiting for a load, a task or room
  TICK: 1, // gauge: ticks since the first start of a row of warm ones
  HOT_USERS_LEFT: 1, // gauge: users to be loaded after a cold start
  HOT_USERS_LOADED: 1,
  HOT_USERS_SKIPPED: 1, // were there already, found no room, or failed
  LIMITED: 1, // operations answered busy for a limit on their user or channel; counted in BUSY, too
  REFUSED: 1, // operations answered internal: threads ended in them
  TAKEN_BACK: 1, // units of work that a thread left half done
  ATTACHED: 1, // times that a thread has taken the lane up
  RELOADED: 1, // partitions that could not be repaired, and came back from journal and store
  UNLIMITED: 1, // operations beyond a limit that were run, too many keys being limited: an estimate
});

/** Fields of LANE_STATS that are no counters. */
export const LANE_GAUGES: ReadonlySet<number> = new Set([
  LANE_STATS.RECORDS,
  LANE_STATS.USERS,
  LANE_STATS.DIRTY_USERS,
  LANE_STATS.RECORDS_MAX,
  LANE_STATS.PARKED,
  LANE_STATS.TICK,
  LANE_STATS.HOT_USERS_LEFT,
]);

/** Of one shard's thread. Collections and sleep are counted while it has lanes: a spare's are no shard's. */
export const THREAD_STATS = layout({
  GC_COUNT: 1,
  GC_PAUSE_SUM_MS: 1,
  GC_PAUSE_MAX_MS: 1, // gauge: the longest of those
  HEAP_USED_BYTES: 1, // gauge
  SLEPT_MS: 1, // time in which there was nothing to do
  TURN_MAX_MS: 1, // gauge: the longest turn of a lane in the last second
  BUFFER_BYTES_MAX: 1, // gauge: the most that it had in buffers which it made itself, those it was given not among them
});

/** Fields of THREAD_STATS that are no counters. */
export const THREAD_GAUGES: ReadonlySet<number> = new Set([
  THREAD_STATS.GC_PAUSE_MAX_MS,
  THREAD_STATS.HEAP_USED_BYTES,
  THREAD_STATS.TURN_MAX_MS,
  THREAD_STATS.BUFFER_BYTES_MAX,
]);

/** Of one partition, written by its lane each tick. */
export const PARTITION_STATS = layout({
  LANE: 1, // gauge: the lane, from 1; 0 = it has not written yet
  RECORDS: 1, // gauge
  RECORDS_MAX: 1, // gauge
  USERS: 1, // gauge
  USERS_MAX: 1, // gauge
  DIRTY_USERS: 1, // gauge: users with changes that the store does not have
  OLDEST_DIRTY_MS: 1, // gauge: age of the oldest such change, 0 = there is none
  EVICTED_USERS: 1,
  RELOADS: 1, // gauge: 1 while it comes back from journal and store, and does not serve
});

/** Of the journal as a whole, kept by the front's thread. */
export const JOURNAL_STATS = layout({
  BYTES: 1, // gauge: all files
  SEGMENT_BYTES: 1, // gauge: files with content
  SEGMENTS: 1, // gauge
  LIMIT_BYTES: 1, // gauge
  EPOCH: 1, // gauge
  OLDEST_EPOCH: 1, // gauge: of what is not saved
  REFUSES: 1, // gauge: REFUSE_* of journal/shared.ts, 0 = nothing is wrong
  FAILURES: 1, // files that could not be made, renamed or removed
});

/** Of the persister thread. */
export const PERSISTER_STATS = layout({
  LOADS: 1,
  LOAD_FAILURES: 1,
  LOADED_ROWS: 1,
  WRITE_BATCHES: 1, // calls of the store's write
  WRITTEN_GROUPS: 1,
  WRITTEN_ROWS: 1,
  WRITE_FAILURES: 1, // groups
  LOADS_IN_FLIGHT: 1, // gauge
  WRITES_IN_FLIGHT: 1, // gauge: groups
  LOAD_SECONDS_SUM: 1,
  WRITE_SECONDS_SUM: 1,
  GC_COUNT: 1,
  GC_PAUSE_SUM_MS: 1,
  GC_PAUSE_MAX_MS: 1,
  HEAP_USED_BYTES: 1,
  LOOP_DELAY_P99_MS: 1, // gauge: event loop, of the last second
  LOOP_DELAY_MAX_MS: 1,
  LOAD_TIMEOUTS: 1, // loads and probes given up; loads are counted in LOAD_FAILURES, too
  LOADS_REFUSED: 1, // loads answered without asking the store; counted in LOAD_FAILURES, too
  LOAD_CIRCUIT_OPEN: 1, // gauge: 1 while the store fails all loads, and only probes ask it
  LOAD_CIRCUIT_OPENED: 1,
  WRITE_CIRCUIT_OPEN: 1, // gauge: 1 while the store fails all writes, and they wait
  WRITE_CIRCUIT_OPENED: 1,
  GROUPS_REFUSED: 1, // groups with a row that the store refuses; counted in WRITE_FAILURES, too
  BEATS: 1, // turns of a timer, and loads begun: a thread that hangs has none
  LOADS_AT_ONCE: 1, // gauge: calls that the store takes at once; Infinity: it has no bound
  WRITES_AT_ONCE: 1, // gauge
});

/** @param blocks  of the table */
export function createStats(table: { readonly WORDS: number }, blocks = 1): SharedArrayBuffer {
  return new SharedArrayBuffer(table.WORDS * blocks * Float64Array.BYTES_PER_ELEMENT);
}
