/** The persister's thread: a Piscina task that opens the store, serves the shards and ends when it is told to stop. */
import { getHeapStatistics } from 'node:v8';
import { Doorbell } from '../engine/doorbell.js';
import { observeGc } from './gc-observer.js';
import { LoopDelays } from './introspection/loop-delays.js';
import { listenTo } from './listen.js';
import { Persister, type PersisterOptions, type PersisterOrder, type PersisterReport } from './persister.js';
import { PERSISTER_STATS } from './stats.js';
import { createStore } from './stores/open.js';
import type { Store } from './stores/store.js';
import { TASK_LOADED } from './task-loaded.js';
import { ThreadGate } from './thread-gate.js';
import { StoreGeneration } from './warm/store-generation.js';

const SHOW_INTERVAL_MS = 1000;
const BEAT_INTERVAL_MS = 50;

export default async function persisterTask(options: PersisterOptions): Promise<number | null> {
  const { port } = options;
  const report = (message: PersisterReport): void => port.postMessage(message);
  try {
    let store: Store;
    try {
      store = await createStore(options.store, options.faults, {
        replaces: options.number > 0,
        gate: new ThreadGate(options.gate),
      });
      port.postMessage(TASK_LOADED);
      await store.open();
    } catch (error) {
      report({ error: error instanceof Error ? error.message : String(error) });
      return null;
    }
    const warn = (warning: string): void => report({ warning });
    const generation = options.marksStore ? new StoreGeneration(store, warn) : null;
    const found = (await generation?.claim()) ?? null;
    const endObservation = observe(new Float64Array(options.stats));
    const persister = new Persister(store, options, warn);
    port.on('message', (_order: PersisterOrder) => persister.stop());
    const endListening = listenTo(new Doorbell(options.doorbell), () => persister.wake());
    report({ ready: true, mark: found });
    persister.wake();
    try {
      await persister.ended;
      return (await generation?.seal()) ?? null;
    } finally {
      endListening();
      endObservation();
      await store.close();
    }
  } finally {
    port.close();
  }
}

function observe(stats: Float64Array): () => void {
  const delays = new LoopDelays();
  const show = (): void => {
    stats[PERSISTER_STATS.HEAP_USED_BYTES] = getHeapStatistics().used_heap_size;
    const { p99Ms, maxMs } = delays.take();
    stats[PERSISTER_STATS.LOOP_DELAY_P99_MS] = p99Ms;
    stats[PERSISTER_STATS.LOOP_DELAY_MAX_MS] = maxMs;
  };
  show();
  const timers = [
    setInterval(show, SHOW_INTERVAL_MS),
    setInterval(() => {
      stats[PERSISTER_STATS.BEATS]! += 1;
    }, BEAT_INTERVAL_MS),
  ];
  const endGc = observeGc((pauseMs) => {
    stats[PERSISTER_STATS.GC_COUNT]!++;
    stats[PERSISTER_STATS.GC_PAUSE_SUM_MS]! += pauseMs;
    stats[PERSISTER_STATS.GC_PAUSE_MAX_MS] = Math.max(stats[PERSISTER_STATS.GC_PAUSE_MAX_MS]!, pauseMs);
  });
  return () => {
    for (const timer of timers) clearInterval(timer);
    delays.end();
    endGc();
  };
}
