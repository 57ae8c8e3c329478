import { describe, expect, it } from 'vitest';
import { lanesFor, spreadLanes } from '../../workers/lane-counts.js';

describe('lanes', () => {
  it('leave room to grow, are a power of two, and no more than the partitions', () => {
    expect([1, 2, 3, 5, 16].map((shards) => lanesFor('slab', shards, 32))).toEqual([4, 4, 8, 16, 32]);
    expect(lanesFor('slab', 1, 2)).toBe(2);
    expect(lanesFor('heap', 3, 32)).toBe(3);
  });

  it('are spread evenly, and only those move that must', () => {
    for (let lanes = 1; lanes <= 9; lanes++) {
      for (let before = 1; before <= lanes; before++) {
        const owners = Array.from({ length: lanes }, (_, lane) => lane % before);
        for (let shards = 1; shards <= lanes; shards++) {
          const after = spreadLanes(owners, shards);
          const counts = Array.from(
            { length: shards },
            (_, shard) => after.filter((x) => x === shard).length,
          );
          expect(Math.max(...counts) - Math.min(...counts), `${owners} to ${after}`).toBeLessThanOrEqual(1);
          // Each shard keeps what it may have: as many as it ends with, or all that it had.
          const kept = counts.map(
            (_, shard) => owners.filter((owner, lane) => owner === shard && after[lane] === shard).length,
          );
          const had = counts.map((_, shard) => owners.filter((owner) => owner === shard).length);
          kept.forEach((count, shard) => {
            expect(count, `${owners} to ${after}`).toBe(Math.min(had[shard]!, counts[shard]!));
          });
        }
      }
    }
  });
});
