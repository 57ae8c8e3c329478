/** What a shard has done, whichever lanes and threads it had. */
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { busyPart, type Snapshot, threadGrowth } from '../../gateway/admin/sampler.js';
import { ShardFigures } from '../../workers/shard-figures.js';
import { LANE_STATS, THREAD_STATS } from '../../workers/stats.js';
import type { ShardView } from '../../workers/workers.js';

const { HITS, RECORDS } = LANE_STATS;
const { GC_COUNT, HEAP_USED_BYTES, SLEPT_MS } = THREAD_STATS;

let lanes: Float64Array[];
let figures: ShardFigures;
beforeEach(() => {
  vi.useFakeTimers({ toFake: ['performance'] });
  lanes = [0, 1].map(() => new Float64Array(LANE_STATS.WORDS));
  figures = new ShardFigures(lanes, [0, 1]);
});
afterEach(() => {
  vi.useRealTimers();
});

/** A new one of a shard. */
function thread(shard: number): Float64Array {
  const stats = new Float64Array(THREAD_STATS.WORDS);
  figures.follow(shard, stats);
  return stats;
}

const view = (shard: number): ShardView => ({ ...figures.totalsOf(shard), lanes: figures.lanesOf(shard) });
/** As the sampler takes it. */
const snapshot = (shards: number[], pastShards: number[] = []): Snapshot =>
  ({ shards: shards.map(view), pastShards: pastShards.map(view) }) as unknown as Snapshot;

describe('figures of a shard', () => {
  it('a lane counts for the shard that runs it, and takes its gauges along', () => {
    lanes[1]![HITS] = 5;
    lanes[1]![RECORDS] = 7;
    figures.move(1, 0);
    lanes[1]![HITS]! += 2;
    expect([0, 1].map((shard) => view(shard).counts[HITS])).toEqual([2, 5]);
    expect([0, 1].map((shard) => view(shard).counts[RECORDS])).toEqual([7, 0]);
  });

  it('the thread that follows another goes on from its counters, with gauges of its own', () => {
    const first = thread(0);
    first[GC_COUNT] = 3;
    first[HEAP_USED_BYTES] = 1000;
    const second = thread(0);
    second[GC_COUNT] = 1;
    second[HEAP_USED_BYTES] = 10;
    expect(view(0).thread[GC_COUNT]).toBe(4);
    thread(0);
    expect(view(0).thread[GC_COUNT]).toBe(4);
    expect(view(0).thread[HEAP_USED_BYTES]).toBe(0);
  });

  it('a replaced thread leaves the busy part of its shard as it was', () => {
    const first = thread(0);
    const before = snapshot([0]);
    vi.advanceTimersByTime(5000);
    first[SLEPT_MS] = 1500;
    const second = thread(0);
    vi.advanceTimersByTime(5000);
    second[SLEPT_MS] = 1500;
    expect(busyPart(before, view(0))).toBeCloseTo(0.7, 5);
  });

  it('the busy part of a shard that has just come is of its own time', () => {
    figures.move(1, 0);
    const before = snapshot([0], [1]);
    const [, back] = [thread(0), thread(1)];
    vi.advanceTimersByTime(8000);
    expect(busyPart(before, view(1))).toBe(0); // without lanes
    figures.move(1, 1);
    vi.advanceTimersByTime(2000);
    back[SLEPT_MS] = 500;
    expect(busyPart(before, view(1))).toBeCloseTo(0.75, 5);
  });

  it('a shard that comes back goes on from its counters, and was not there meanwhile', () => {
    thread(1)[SLEPT_MS] = 9000;
    vi.advanceTimersByTime(10_000);
    figures.move(1, 0);
    vi.advanceTimersByTime(10_000);
    const before = snapshot([0], [1]);
    const back = thread(1);
    figures.move(1, 1);
    vi.advanceTimersByTime(1000);
    back[SLEPT_MS] = 600;
    expect(view(1).servedMs).toBe(11_000);
    expect(threadGrowth(before, view(1), SLEPT_MS)).toBe(600);
    expect(busyPart(before, view(1))).toBeCloseTo(0.4, 5);
    expect(figures.shardsEver).toBe(2);
  });
});
