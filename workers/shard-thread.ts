/**
 * A shard's thread: a Piscina task that runs until the shard has stopped. It does not return to its event loop but
 * once a second, for what only arrives there: the entries of the garbage collector.
 */
import { setImmediate } from 'node:timers/promises';
import { getHeapStatistics } from 'node:v8';
import { Doorbell } from '../engine/doorbell.js';
import { touchPages } from '../engine/slab-memory.js';
import { observeGc } from './gc-observer.js';
import { Shard } from './shard.js';
import { type ShardOptions, TICK_MS } from './shard-options.js';
import { SHARD_STATS } from './stats.js';

const YIELD_MS = 1000;
/** Turns between two looks at the clock for the yield. */
const TURNS = 64;

export default async function shardTask(options: ShardOptions): Promise<void> {
  const stats = new Float64Array(options.stats);
  const endObservation = observeGc((pauseMs) => {
    stats[SHARD_STATS.GC_COUNT]! += 1;
    stats[SHARD_STATS.GC_PAUSE_SUM_MS]! += pauseMs;
    stats[SHARD_STATS.GC_PAUSE_MAX_MS] = Math.max(stats[SHARD_STATS.GC_PAUSE_MAX_MS]!, pauseMs);
  });
  const doorbell = new Doorbell(options.doorbell);
  const shard = new Shard(options, performance.now());
  for (const { memory, byteOffset } of options.owned) {
    if (memory !== null) touchPages(shard.state.partitionOptions, memory, byteOffset);
  }
  try {
    while (!shard.isReady(performance.now())) {
      runFor(shard, doorbell, YIELD_MS, stats, true);
      await setImmediate();
    }
    options.frontPort.postMessage('ready');
    while (!shard.finished) {
      stats[SHARD_STATS.TURN_MAX_MS] = runFor(shard, doorbell, YIELD_MS, stats, false);
      stats[SHARD_STATS.HEAP_USED_BYTES] = getHeapStatistics().used_heap_size;
      await setImmediate();
    }
  } finally {
    endObservation();
    shard.state.journal?.close();
    options.frontPort.close();
    options.persisterPort.close();
  }
}

/**
 * @param isStarting  ends when the shard is ready
 * @returns milliseconds of the longest turn
 */
function runFor(
  shard: Shard,
  doorbell: Doorbell,
  ms: number,
  stats: Float64Array,
  isStarting: boolean,
): number {
  let now = performance.now();
  const end = now + ms;
  let longest = 0;
  while (now < end) {
    if (isStarting && shard.isReady(now)) break;
    let busy = true;
    for (let turns = 0; busy && turns < TURNS; turns++) {
      busy = shard.turn(now);
      const after = performance.now();
      if (after - now > longest) longest = after - now;
      now = after;
    }
    if (busy) continue;
    if (shard.finished) break;
    doorbell.sleep();
    if (shard.hasWork) {
      doorbell.rise();
      continue;
    }
    doorbell.wait(TICK_MS);
    const woken = performance.now();
    stats[SHARD_STATS.SLEPT_MS]! += woken - now;
    now = woken;
  }
  return longest;
}
