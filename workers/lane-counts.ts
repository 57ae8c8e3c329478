/** How many lanes and shards there are, and how lanes are spread over shards. */
import { availableParallelism } from 'node:os';

/** Enough that a service which starts with one shard can grow to four. */
const LANES_MIN = 4;
/** Blocks; an ack_bulk of 100 items takes 40. */
const PARKED_MIN = 64;

/** Lanes if nobody says how many: room to grow, in a power of two so that partitions spread evenly. */
export function lanesFor(engine: 'slab' | 'heap', shards: number, partitions: number): number {
  if (engine === 'heap') return shards; // objects stay with their thread
  return Math.min(partitions, 2 ** Math.ceil(Math.log2(Math.max(LANES_MIN, shards * 2))));
}

/** What waits in all lanes together is what would in as many lanes as shards; the longest operation always can. */
export function parkedOfLane(parkedMax: number, shards: number, lanes: number): number {
  return Math.min(parkedMax, Math.max(PARKED_MIN, Math.ceil((parkedMax * shards) / lanes)));
}

/** `--shards auto`: one for each processor that the process may use, but that of the front. */
export function automaticShards(most: number): number {
  return Math.max(1, Math.min(availableParallelism() - 1, most));
}

/**
 * Spreads lanes evenly over shards, moving as few as possible.
 * @param owners  shard of each lane
 * @returns the same for so many shards
 */
export function spreadLanes(owners: readonly number[], shards: number): number[] {
  const counts = new Array<number>(shards).fill(0);
  const least = Math.floor(owners.length / shards);
  let larger = owners.length % shards;
  const NOBODY = -1;
  const stays = owners.map((owner) => {
    if (owner >= shards || counts[owner]! > least) return NOBODY;
    if (counts[owner] === least) {
      if (larger === 0) return NOBODY;
      larger--;
    }
    counts[owner]!++;
    return owner;
  });
  return stays.map((owner) => {
    if (owner !== NOBODY) return owner;
    const fewest = counts.indexOf(Math.min(...counts));
    counts[fewest]!++;
    return fewest;
  });
}
