import { describe, expect, test } from 'vitest';
import { checkSides } from '../../bench/engine-check.js';
import { heapGrowth, longestPause, type Row, verdictOf } from '../../bench/engine-figures.js';
import type { Block } from '../../bench/engine-stream.js';
import { LruNestedSide } from '../../bench/peers-lru-cache.js';
import { ratioOf, spreadOf } from '../../bench/spread.js';
import { OP_GET, OP_MENTION, REPLY, REQUEST } from '../../engine/messages.js';
import type { Engine, Partition, PartitionOptions } from '../../engine/partition.js';
import { slab } from '../../engine/slab.js';

describe('the check before the timing', () => {
  /** The slab with something broken in each partition. */
  function mutant(breakIt: (partition: Partition) => void): Engine {
    return {
      ...slab,
      attach(options, memory, byteOffset) {
        const partition = slab.attach(options, memory, byteOffset);
        breakIt(partition);
        return partition;
      },
    };
  }

  test('passes our engine', () => {
    expect(() => checkSides([slab])).not.toThrow();
  });

  test('finds a mention that is counted twice, once in a thousand', () => {
    const broken = mutant((partition) => {
      const execute = partition.execute.bind(partition);
      let mentions = 0;
      partition.execute = (hash, words, at, out, outAt, rowsKnown) => {
        const outcome = execute(hash, words, at, out, outAt, rowsKnown);
        const isMention = (words[at + REQUEST.HEAD]! & 0xff) === OP_MENTION;
        if (isMention && ++mentions % 1000 === 0) out[outAt + REPLY.MENTION_COUNT]! += 1;
        return outcome;
      };
    });
    expect(() => checkSides([broken])).toThrow(/slab: word \d+ of the answer is \d+, not \d+, to operation/);
  });

  test('finds an engine that says it has flushed what it has not', () => {
    const broken = mutant((partition) => {
      const flushNext = partition.flushNext.bind(partition);
      let groups = 0;
      partition.flushNext = (out, at, steps, force) => {
        const length = flushNext(out, at, steps, force);
        // The row of the first record goes under the name of another channel.
        if (length > 0 && ++groups % 100 === 0) out[at + length - 10]! ^= 1;
        return length;
      };
    });
    expect(() => checkSides([broken])).toThrow(/slab: word \d+ of the answer/);
  });

  test('finds an engine that holds a third less than it may', () => {
    const less = (options: PartitionOptions) => ({
      ...options,
      recordsMax: Math.floor((options.recordsMax * 2) / 3),
    });
    const broken: Engine = {
      ...slab,
      attach: (options) => slab.attach(less(options), new SharedArrayBuffer(slab.sharedBytes(less(options)))),
    };
    expect(() => checkSides([broken])).toThrow(/slab, full: \d+\.\d% hits with \d+ of \d+ records/);
  });

  test('finds a peer that answers gets from nothing', () => {
    class Forgetful extends LruNestedSide {
      override run(block: Block): void {
        super.run(block);
        for (let i = 0; i < block.count; i += 97) {
          const at = i * REQUEST.WORDS;
          if ((block.words[at + REQUEST.HEAD]! & 0xff) === OP_GET)
            this.replyUnknown(block.words, at, block.replies, i * 13);
        }
      }
    }
    expect(() => checkSides([], [new Forgetful(10_000, 1000)])).toThrow(/lru-cache nested: word 0 /);
  });
});

test('spread: the median of an odd and of an even number of values', () => {
  expect(spreadOf([5, 1, 3])).toEqual({ median: 3, min: 1, max: 5 });
  expect(spreadOf([4, 1, 3, 10])).toEqual({ median: 3.5, min: 1, max: 10 });
  expect(spreadOf([7])).toEqual({ median: 7, min: 7, max: 7 });
  expect(() => spreadOf([])).toThrow();
});

test('ratios are those of rounds that followed each other', () => {
  // The machine was half as fast in the second round: that is no spread of the ratio.
  expect(ratioOf([10, 5, 12], [2, 1, 2])).toEqual({ median: 5, min: 5, max: 6 });
  expect(() => ratioOf([1, 2], [1])).toThrow(/2 rounds against 1/);
});

describe('the longest pause of a window', () => {
  const sample = (gcCount: number, gcSumMs: number, gcMaxMs: number) => ({ gcCount, gcSumMs, gcMaxMs });

  test('is exact when it is the longest of the thread', () => {
    const bounds = longestPause([sample(3, 30, 20), sample(4, 31, 20), sample(6, 61, 25)]);
    expect(bounds).toEqual({ count: 3, sumMs: 31, leastMs: 25, mostMs: 25 });
  });

  test('is bounded by what came between two samples when there was a longer one before', () => {
    const bounds = longestPause([sample(3, 30, 20), sample(4, 31, 20), sample(4, 31, 20), sample(7, 37, 20)]);
    expect(bounds).toEqual({ count: 4, sumMs: 7, leastMs: 2, mostMs: 6 });
  });

  test('is never more than the longest of the thread', () => {
    expect(longestPause([sample(0, 0, 20), sample(5, 50, 20)])).toMatchObject({ leastMs: 10, mostMs: 20 });
  });

  test('is 0 when there was none', () => {
    expect(longestPause([sample(3, 30, 20), sample(3, 30, 20)])).toEqual({
      count: 0,
      sumMs: 0,
      leastMs: 0,
      mostMs: 0,
    });
  });
});

describe('heap growth', () => {
  /** A sample each million operations; a heap that is smaller than before was collected. */
  const heap = (bytes: readonly number[]) => {
    let gcCount = 0;
    return bytes.map((heapBytes, i) => {
      if (i > 0 && heapBytes < bytes[i - 1]!) gcCount++;
      return { operations: i * 1_000_000, heapBytes, gcCount };
    });
  };

  test('of a saw is 0, whatever it allocates', () => {
    const growth = heapGrowth(heap([200, 300, 100, 200, 300, 100, 200, 300, 100, 200, 300, 100, 200]));
    expect(growth).toEqual({ collections: 4, allocatedPerOperation: 800 / 8e6, bytesPer10M: 0 });
  });

  test('of a rising saw is the rise of its lows', () => {
    // Least early 110, late 150: 40 in half of 9 M operations.
    const growth = heapGrowth(heap([200, 300, 120, 310, 110, 310, 160, 310, 150, 350]));
    expect(growth).toMatchObject({ collections: 4 });
    expect(growth.bytesPer10M).toBeCloseTo(40 / 0.45);
  });

  test('is at most all that was allocated where there were too few collections', () => {
    // 300 in 3 M operations.
    expect(heapGrowth(heap([100, 200, 300, 400]))).toMatchObject({ collections: 0, bytesPer10M: 1000 });
  });
});

test('verdicts: at the floor it is held, on the wrong side it is missed, without a floor there is none', () => {
  const row = (value: number | null, floor: number | null, atLeast: boolean): Row => ({
    name: '',
    value,
    shown: '',
    spread: '',
    floor,
    atLeast,
    floorShown: '',
  });
  expect(verdictOf(row(12, 12, true))).toBe('held');
  expect(verdictOf(row(11.9, 12, true))).toBe('MISSED');
  expect(verdictOf(row(2, 2, false))).toBe('held');
  expect(verdictOf(row(2.1, 2, false))).toBe('MISSED');
  expect(verdictOf(row(1, null, true))).toBe('');
});
