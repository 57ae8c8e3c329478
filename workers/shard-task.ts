/**
 * What a shard's thread does: it runs lanes until it is told to end. It does not return to its event loop but
 * once a second, for what only arrives there: the entries of the garbage collector.
 */
import { setImmediate } from 'node:timers/promises';
import { getHeapStatistics } from 'node:v8';
import type { Doorbell } from '../engine/doorbell.js';
import { LaneControl, seatDoorbell } from '../engine/lane-control.js';
import { type Clock, createClock } from './clock.js';
import { observeGc } from './gc-observer.js';
import { type ShardMessage, type ShardOptions, TICK_MS } from './lane-options.js';
import { rehearse } from './rehearsal.js';
import { selfCheck } from './self-check.js';
import { Shard } from './shard.js';
import { THREAD_STATS } from './stats.js';
import { TASK_LOADED } from './task-loaded.js';
import { ownThread } from './thread-number.js';

const YIELD_MS = 1000;
/** After each slice of a rehearsal that is not in the background. */
const REST_MS = 9;
/** Linux makes a tenth of a millisecond of it, if no doorbell ends it before. */
const GIVE_WAY_MS = 0.05;

/** @param joins  others serve already, and it has no lanes yet: it is in the background if it may be */
export async function runShard(options: ShardOptions, joins: boolean): Promise<void> {
  selfCheck(options.versions);
  const stats = new Float64Array(options.stats);
  const clock = await createClock();
  options.port.postMessage(TASK_LOADED);
  const doorbell = seatDoorbell(options.control, options.seat);
  // A rehearsal's lanes go from one to the next, as objects cannot.
  if (joins && options.service.engine === 'slab') prepare(options, clock);
  // Not before: entries arrive late, and those of a rehearsal would be the first lane's.
  const endObservation = observeGc((pauseMs) => {
    if (!shard.hasLanes) return;
    stats[THREAD_STATS.GC_COUNT]! += 1;
    stats[THREAD_STATS.GC_PAUSE_SUM_MS]! += pauseMs;
    stats[THREAD_STATS.GC_PAUSE_MAX_MS] = Math.max(stats[THREAD_STATS.GC_PAUSE_MAX_MS]!, pauseMs);
  });
  const shard = new Shard(options, clock);
  shard.touchPages();
  try {
    while (!shard.isReady()) {
      runFor(YIELD_MS, shard, doorbell, clock, stats, true);
      await setImmediate();
    }
    options.port.postMessage({ readyThread: ownThread() } satisfies ShardMessage);
    while (!shard.finished) {
      runFor(YIELD_MS, shard, doorbell, clock, stats, false);
      shard.showTurns();
      shard.showBuffers();
      stats[THREAD_STATS.HEAP_USED_BYTES] = getHeapStatistics().used_heap_size;
      await setImmediate();
    }
  } finally {
    endObservation();
    shard.close();
    options.port.close();
  }
}

/** Until the code is compiled, or somebody waits for the thread. */
function prepare(options: ShardOptions, clock: Clock): void {
  const { seat } = options;
  const control = new LaneControl(options.control);
  rehearse(options, {
    clock,
    restsMs: control.backgroundOf(seat) === 0 ? REST_MS : 0,
    isNeeded: () => control.isNeeded(seat),
  });
}

/** @param isStarting  ends when the shard is ready */
function runFor(
  ms: number,
  shard: Shard,
  doorbell: Doorbell,
  clock: Clock,
  stats: Float64Array,
  isStarting: boolean,
): void {
  clock.read();
  const endMs = clock.ms + ms;
  for (;;) {
    const busy = shard.turn();
    if (clock.ms >= endMs || (isStarting && shard.isReady())) return;
    const { givesWay } = shard;
    if (busy && !givesWay) continue;
    if (shard.finished) return;
    doorbell.sleep();
    if (givesWay ? shard.hasWorkBesideLists : shard.hasWork) {
      doorbell.rise();
      continue;
    }
    const asleepUs = clock.us;
    doorbell.wait(givesWay ? GIVE_WAY_MS : TICK_MS);
    clock.read();
    shard.woke();
    if (shard.hasLanes) stats[THREAD_STATS.SLEPT_MS]! += ((clock.us - asleepUs) | 0) / 1000;
  }
}
