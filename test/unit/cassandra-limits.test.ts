/** Loads and writes that meet in the queue of one store: time is stepped by half a millisecond. */
import { describe, expect, it } from 'vitest';
import { CassandraLimits } from '../../workers/stores/cassandra-limits.js';

const STEP_MS = 0.5;
const WRITE_MS = 3;
const LOAD_MS = 0.5;

interface Job {
  readonly isLoad: boolean;
  readonly startedMs: number;
  leftMs: number;
}

/** Serves one request after the other; all places for writes are always taken. */
class BusyStore {
  readonly limits: CassandraLimits;
  readonly loadsTookMs: number[] = [];
  writesDone = 0;
  #nowMs = 0;
  #queue: Job[] = [];
  #writes = 0;
  readonly #rowsALoad: number;

  constructor(rowsALoad: number) {
    this.#rowsALoad = rowsALoad;
    this.limits = new CassandraLimits(() => this.#nowMs);
  }

  #begin(isLoad: boolean): void {
    const startedMs = isLoad ? this.limits.loads.begin() : this.limits.writes.begin();
    this.#queue.push({ isLoad, startedMs, leftMs: isLoad ? LOAD_MS : WRITE_MS });
  }

  #end({ isLoad, startedMs }: Job): void {
    if (isLoad) {
      this.limits.endLoad(startedMs, true, this.#rowsALoad);
      this.loadsTookMs.push(this.#nowMs - startedMs);
    } else {
      this.limits.writes.end(startedMs, true);
      this.#writes--;
      this.writesDone++;
    }
  }

  /** @param loads  that come together, every 20 ms */
  run(ms: number, loads: number): void {
    const untilMs = this.#nowMs + ms;
    this.loadsTookMs.length = 0;
    this.writesDone = 0;
    while (this.#nowMs < untilMs) {
      if (this.#nowMs % 20 === 0) for (let i = 0; i < loads; i++) this.#begin(true);
      for (; this.#writes < this.limits.writes.limit; this.#writes++) this.#begin(false);
      this.#nowMs += STEP_MS;
      const first = this.#queue[0]!;
      first.leftMs -= STEP_MS;
      if (first.leftMs <= 0) this.#end(this.#queue.shift()!);
    }
  }

  get loadMs(): number {
    return this.loadsTookMs.sort((a, b) => a - b)[this.loadsTookMs.length >> 1]!;
  }
}

describe('CassandraLimits', () => {
  it('lets small loads pass writes, and the store as busy as before', () => {
    const store = new BusyStore(1);
    store.run(5000, 0);
    expect(store.limits.writes.limit).toBeGreaterThan(20);
    const alone = store.writesDone;
    store.run(5000, 1);
    store.run(5000, 1);
    expect(store.loadMs).toBeLessThan(30);
    expect(store.writesDone).toBeGreaterThan(0.9 * alone);
  });

  it('gives the places back to writes when no load waits', () => {
    const store = new BusyStore(1);
    store.run(5000, 1);
    expect(store.limits.writes.limit).toBeLessThan(15);
    store.run(5000, 0);
    expect(store.limits.writes.limit).toBeGreaterThan(20);
  });

  it('does not take long loads for late ones', () => {
    const store = new BusyStore(5000);
    store.run(20_000, 1);
    expect(store.loadMs).toBeGreaterThan(50);
    expect(store.limits.loads.limit).toBe(64);
    expect(store.limits.writes.limit).toBeGreaterThan(20);
  });

  it('leaves writes about as many places as loads have, however late these are', () => {
    const store = new BusyStore(1);
    store.run(10_000, 38); // 95% of what the store can do
    expect(store.limits.writes.limit).toBeGreaterThan(4);
    expect(store.writesDone).toBeGreaterThan(300);
  });
});
