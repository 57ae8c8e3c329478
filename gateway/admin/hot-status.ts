/**
 * The hottest keys of all lanes together. All that a user does is in one lane, but a channel's operations are in as many as
 * it has users, so that what is a small part of each lane can be the hottest of the service: parts are summed before any is
 * left out.
 */
import { formatId } from '../../engine/ids.js';
import { HOT_TABLE_BYTES, HOT_TABLE_KEYS, HotTable, WINDOW_S } from '../../workers/introspection/hot-keys.js';
import type { IntrospectionMemory } from '../../workers/introspection/lane-introspection.js';
import { hashId } from '../id-hash.js';
import type { HotStatus } from './status-types.js';

const SHOWN = 16;
/** A key with less than this part of all operations is not hot: it may have been sampled by chance. */
const PART_MIN = 1e-4;

/** Sums by key. Open addressing: tens of thousands of keys a second are no objects. */
class KeySums {
  readonly #mask: number;
  /** Positions from 1; 0 = empty. At most half of them are in use. */
  readonly #buckets: Int32Array;
  readonly #los: Int32Array;
  readonly #his: Int32Array;
  readonly #sums: Float64Array;
  #count = 0;

  constructor(keysMax: number) {
    const buckets = 2 ** Math.ceil(Math.log2(keysMax * 2));
    this.#mask = buckets - 1;
    this.#buckets = new Int32Array(buckets);
    this.#los = new Int32Array(keysMax);
    this.#his = new Int32Array(keysMax);
    this.#sums = new Float64Array(keysMax);
  }

  add(lo: number, hi: number, count: number): void {
    let bucket = hashId(lo, hi) & this.#mask;
    for (let place = this.#buckets[bucket]!; place !== 0; place = this.#buckets[bucket]!) {
      if (this.#los[place - 1] === lo && this.#his[place - 1] === hi) {
        this.#sums[place - 1]! += count;
        return;
      }
      bucket = (bucket + 1) & this.#mask;
    }
    this.#los[this.#count] = lo;
    this.#his[this.#count] = hi;
    this.#sums[this.#count] = count;
    this.#buckets[bucket] = ++this.#count;
  }

  /** Ids and sums of the `most` largest that are `least` or more, the largest first. */
  top(most: number, least: number): [id: string, sum: number][] {
    const places: number[] = [];
    for (let i = 0; i < this.#count; i++) if (this.#sums[i]! >= least) places.push(i);
    places.sort((a, b) => this.#sums[b]! - this.#sums[a]!);
    return places.slice(0, most).map((i) => [formatId(this.#los[i]!, this.#his[i]!), this.#sums[i]!]);
  }
}

/** @param introspection  of each lane */
export function hotOf(
  introspection: readonly IntrospectionMemory[],
  operationsPerS: number,
): HotStatus | null {
  if (introspection.length === 0) return null;
  const countMin = Math.max(1, operationsPerS * PART_MIN * WINDOW_S);
  /** @param partMin  what is less in a lane is no part of a hot key */
  const top = (byteOffset: number, partMin: number): [string, number][] => {
    const sums = new KeySums(introspection.length * HOT_TABLE_KEYS);
    for (const { hotKeys } of introspection)
      new HotTable(hotKeys, byteOffset).each(partMin, (lo, hi, count) => sums.add(lo, hi, count));
    return sums.top(SHOWN, countMin).map(([id, sum]) => [id, Number((sum / WINDOW_S).toPrecision(3))]);
  };
  return {
    window_s: WINDOW_S,
    users: top(0, countMin).map(([user_id, per_s]) => ({ user_id, per_s })),
    channels: top(HOT_TABLE_BYTES, Number.MIN_VALUE).map(([channel_id, per_s]) => ({ channel_id, per_s })),
  };
}
