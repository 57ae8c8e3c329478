/**
 * What each shard has done: a lane counts for itself, and takes its counters along to another thread. What a lane
 * counted belongs to the shard that ran it then, so that a shard's counters never fall.
 */
import { LANE_GAUGES, LANE_STATS } from './stats.js';

export class ShardFigures {
  readonly #lanes: readonly Float64Array[];
  /** Shard of each lane. */
  readonly #shardOf: Int32Array;
  /** By shard: what it counted of lanes that have left, less what its lanes had counted when they came. */
  readonly #before = new Map<number, Float64Array>();
  #shardsEver: number;

  /** @param lanes  LANE_STATS of each; @param shardOf  shard of each */
  constructor(lanes: readonly Float64Array[], shardOf: readonly number[]) {
    this.#lanes = lanes;
    this.#shardOf = Int32Array.from(shardOf);
    this.#shardsEver = Math.max(...shardOf) + 1;
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
  }

  #beforeOf(shard: number): Float64Array {
    const before = this.#before.get(shard) ?? new Float64Array(LANE_STATS.WORDS);
    this.#before.set(shard, before);
    return before;
  }

  /** LANE_STATS of a shard: its lanes together. */
  countsOf(shard: number): Float64Array {
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
