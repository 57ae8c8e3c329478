/** Hashes are judged by what they are used for: partitions and buckets that fill evenly from real-looking ids. */
import { describe, expect, it } from 'vitest';
import { fingerprint, hashRecord, hashUser, mix, partitionOf } from '../../engine/hash.js';

/** Snowflakes as they come: a time in ms, 10 bits of worker and a counter that is nearly always 0. */
function snowflakes(count: number): [number, number][] {
  return Array.from({ length: count }, (_, i) => {
    const ms = BigInt(1_000_000_000 + i * 7919);
    const id = (ms << 22n) | BigInt((i % 3) << 12);
    return [Number(BigInt.asIntN(32, id)), Number(id >> 32n)];
  });
}
const SMALL: [number, number][] = Array.from({ length: 65_536 }, (_, i) => [i + 1, 0]);
const SNOWFLAKES = snowflakes(65_536);

/** How much the fill of `buckets` by `hashes` differs from an even one, in standard deviations of chance. */
function unevenness(hashes: number[], buckets: number, bucketOf: (hash: number) => number): number {
  const fill = new Array<number>(buckets).fill(0);
  for (const hash of hashes) fill[bucketOf(hash)]!++;
  const expected = hashes.length / buckets;
  const chiSquare = fill.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0);
  return (chiSquare - (buckets - 1)) / Math.sqrt(2 * (buckets - 1));
}

describe.each([
  ['small ids', SMALL],
  ['snowflakes', SNOWFLAKES],
])('hashes of %s', (_name, ids) => {
  it('spread users over partitions', () => {
    const hashes = ids.map(([lo, hi]) => hashUser(lo, hi));
    for (const partitions of [2, 32, 1024]) {
      expect(unevenness(hashes, partitions, (hash) => partitionOf(hash, partitions))).toBeLessThan(5);
    }
  });

  it('spread the users of one partition over its index, and over the tags', () => {
    const hashes = ids.map(([lo, hi]) => hashUser(lo, hi)).filter((hash) => partitionOf(hash, 4) === 1);
    expect(unevenness(hashes, 256, (hash) => (hash >>> 2) & 255)).toBeLessThan(5);
    expect(unevenness(hashes, 256, (hash) => hash >>> 24)).toBeLessThan(5);
  });

  it('spread the records of one user', () => {
    const user = hashUser(80_351, 0);
    for (const type of [0, 5]) {
      const hashes = ids.map(([lo, hi]) => hashRecord(user, lo, hi, type));
      expect(unevenness(hashes, 1024, (hash) => hash & 1023)).toBeLessThan(5);
      expect(unevenness(hashes, 1024, (hash) => hash >>> 22)).toBeLessThan(5);
    }
  });

  it('spread one channel over its users', () => {
    const hashes = ids.map(([lo, hi]) => hashRecord(hashUser(lo, hi), 77, 3, 0));
    expect(unevenness(hashes, 1024, (hash) => hash & 1023)).toBeLessThan(5);
  });

  it('tell messages apart', () => {
    const prints = new Set(ids.map(([lo, hi]) => fingerprint(lo, hi)));
    expect(prints.size).toBeGreaterThan(ids.length - 5); // chance allows about half a pair in 65,536
  });
});

describe('hashes', () => {
  it('depend on every bit of what they hash', () => {
    for (let bit = 0; bit < 32; bit++) {
      const flip = 1 << bit;
      expect(hashUser(5 ^ flip, 9)).not.toBe(hashUser(5, 9));
      expect(hashUser(5, 9 ^ flip)).not.toBe(hashUser(5, 9));
      expect(hashRecord(1, 5 ^ flip, 9, 0)).not.toBe(hashRecord(1, 5, 9, 0));
      expect(hashRecord(1, 5, 9 ^ flip, 0)).not.toBe(hashRecord(1, 5, 9, 0));
      expect(hashRecord(1 ^ flip, 5, 9, 0)).not.toBe(hashRecord(1, 5, 9, 0));
      expect(fingerprint(5 ^ flip, 9)).not.toBe(fingerprint(5, 9));
      expect(fingerprint(5, 9 ^ flip)).not.toBe(fingerprint(5, 9));
    }
    expect(new Set([0, 1, 2, 3, 4, 5].map((type) => hashRecord(1, 5, 9, type))).size).toBe(6);
  });

  it('are signed 32-bit words', () => {
    for (const [lo, hi] of SNOWFLAKES.slice(0, 1000)) {
      for (const hash of [hashUser(lo, hi), hashRecord(7, lo, hi, 5), fingerprint(lo, hi), mix(lo)]) {
        expect(hash).toBe(hash | 0);
      }
    }
  });

  it('mix without losing anything', () => {
    expect(new Set(SMALL.map(([lo]) => mix(lo))).size).toBe(SMALL.length);
  });

  it('never give 0 as a fingerprint, which would mean none', () => {
    // The low word for which the mix is 0: what the other word contributes, undone.
    let inverse = 0x9e3779b1;
    for (let i = 0; i < 5; i++) inverse = Math.imul(inverse, 2 - Math.imul(0x9e3779b1, inverse));
    const lo = Math.imul(inverse, mix(3 + 0x3c6ef372));
    expect(fingerprint(lo, 3)).toBe(1);
  });
});
