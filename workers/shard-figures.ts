/**
 * What each shard has done. A lane counts for itself, and takes its counters along to another thread; a thread counts for
 * itself, while it has lanes. What they counted belongs to the shard whose they were then, so that a shard's counters never
 * fall, nor jump.
 */
import { LANE_GAUGES, LANE_STATS, THREAD_GAUGES, THREAD_STATS } from './stats.js';
import type { ShardTotals } from './workers.js';

export class ShardFigures {
  readonly #lanes: readonly Float64Array[];
  /** Shard of each lane. */
  readonly #shardOf: Int32Array;
  /** By shard: what it counted of lanes that have left, less what its lanes had counted when they came. */
  readonly #before = new Map<number, Float64Array>();
  #shardsEver: number;
  /** By shard: THREAD_STATS of its thread, or of the last that it had. */
  readonly #threads: Float64Array[] = [];
  /** By shard: counters of the threads before that one. */
  readonly #threadsBefore: Float64Array[] = [];
  /** By shard: time with lanes, until it last lost all of them. */
  readonly #servedMs: number[] = [];
  /** Of shards with lanes: since when they have had some. */
  readonly #servesFromMs = new Map<number, number>();

  /** @param lanes  LANE_STATS of each; @param shardOf  shard of each */
  constructor(lanes: readonly Float64Array[], shardOf: readonly number[]) {
    this.#lanes = lanes;
    this.#shardOf = Int32Array.from(shardOf);
    this.#shardsEver = Math.max(...shardOf) + 1;
    for (const shard of shardOf) this.#servesFromMs.set(shard, performance.now());
  }

  /** Shard of each lane. */
  get shardOf(): readonly number[] {
    return [...this.#shardOf];
  }

  /** The most that there have been; their numbers are from 0. */
  get shardsEver(): number {
    return this.#shardsEver;
  }

  lanesOf(shard: number): number[] {
    return this.shardOf.flatMap((owner, lane) => (owner === shard ? [lane] : []));
  }

  /** A thread is a shard's from now on. @param stats  its THREAD_STATS */
  follow(shard: number, stats: Float64Array): void {
    this.#threadsBefore[shard] = this.#threadOf(shard);
    this.#threads[shard] = stats;
  }

  /** A lane has gone over to a shard. */
  move(lane: number, shard: number): void {
    const from = this.#shardOf[lane]!;
    if (from === shard) return;
    const left = this.#beforeOf(from);
    const joined = this.#beforeOf(shard);
    this.#lanes[lane]!.forEach((count, field) => {
      if (LANE_GAUGES.has(field)) return;
      left[field]! += count;
      joined[field]! -= count;
    });
    this.#shardOf[lane] = shard;
    this.#shardsEver = Math.max(this.#shardsEver, shard + 1);
    const nowMs = performance.now();
    if (!this.#servesFromMs.has(shard)) this.#servesFromMs.set(shard, nowMs);
    if (this.#shardOf.includes(from)) return;
    this.#servedMs[from] = this.#servedMsOf(from, nowMs);
    this.#servesFromMs.delete(from);
  }

  #servedMsOf(shard: number, nowMs: number): number {
    return (this.#servedMs[shard] ?? 0) + nowMs - (this.#servesFromMs.get(shard) ?? nowMs);
  }

  #beforeOf(shard: number): Float64Array {
    const before = this.#before.get(shard) ?? new Float64Array(LANE_STATS.WORDS);
    this.#before.set(shard, before);
    return before;
  }

  totalsOf(shard: number): ShardTotals {
    return {
      shard,
      counts: this.#countsOf(shard),
      thread: this.#threadOf(shard),
      servedMs: this.#servedMsOf(shard, performance.now()),
    };
  }

  /** THREAD_STATS of a shard: its threads together, but for gauges. */
  #threadOf(shard: number): Float64Array {
    const stats = this.#threads[shard]?.slice() ?? new Float64Array(THREAD_STATS.WORDS);
    this.#threadsBefore[shard]?.forEach((count, field) => {
      if (!THREAD_GAUGES.has(field)) stats[field]! += count;
    });
    return stats;
  }

  /** LANE_STATS of a shard: its lanes together. */
  #countsOf(shard: number): Float64Array {
    const counts = this.#beforeOf(shard).slice();
    this.#lanes.forEach((stats, lane) => {
      if (this.#shardOf[lane] !== shard) return;
      stats.forEach((count, field) => {
        counts[field]! += count;
      });
    });
    // Of seconds, a sum of differences may be a hair below nothing.
    return counts.map((count) => Math.max(0, count));
  }
}
