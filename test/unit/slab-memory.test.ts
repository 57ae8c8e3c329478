/** Where partitions of one buffer lie: no word is of two, and each is of one. */
import { describe, expect, it } from 'vitest';
import type { PartitionOptions } from '../../engine/partition.js';
import { slab } from '../../engine/slab.js';
import { emptyPartition, usedRanges } from '../../engine/slab-image.js';
import { holdsWord, placeOf, stripeRanges, touchPages } from '../../engine/slab-memory.js';
import { allocatePartitions } from '../../workers/partition-memory.js';

const COUNT = 3;

function optionsFor(usersMax: number): PartitionOptions {
  return {
    recordsMax: 100,
    usersMax,
    watchedMax: 4,
    lastWrite: false,
    flushDelayTicks: 10,
    retryFirstTicks: 1,
    retryMaxTicks: 1,
    touchTicks: 1,
  };
}

// One stripe that is not full; a slot less than one, just one and one more (slot 0 is none's); several.
describe.each([1, 1022, 1023, 1024, 5000])('Partitions of %i users in one buffer', (usersMax) => {
  const options = optionsFor(usersMax);
  const places = allocatePartitions(COUNT, options);
  const { memory } = places[0]!;

  it('share it: each word is of one of them', () => {
    expect(new Set(places.map((place) => place.memory)).size).toBe(1);
    const holds = places.map(({ byteOffset }) => holdsWord(options, memory.byteLength, byteOffset));
    for (let word = places[0]!.byteOffset / 4; word < memory.byteLength / 4; word++)
      if (holds.filter((each) => each(word)).length !== 1) expect.fail(`word ${word}`);
  });

  it('have their users within, each in words of its own', () => {
    const seen = new Set<number>();
    for (const { byteOffset } of places) {
      const { memory: slots } = slab.attach(options, memory, byteOffset) as unknown as {
        memory: { userAt(slot: number): number; userSlotWith(word: number): number };
      };
      const holds = holdsWord(options, memory.byteLength, byteOffset);
      for (let slot = 0; slot <= usersMax; slot++) {
        const at = slots.userAt(slot);
        if (!holds(at) || !holds(at + 15) || seen.has(at)) expect.fail(`user ${slot} at ${at}`);
        if (slots.userSlotWith(at) !== slot || slots.userSlotWith(at + 15) !== slot)
          expect.fail(`the user with word ${at}`);
        seen.add(at);
      }
    }
    for (const { byteOffset } of places)
      expect(placeOf(options, memory.byteLength, byteOffset).stripes.base).toBeGreaterThan(0);
  });

  it('are emptied, saved and touched alone', () => {
    const words = new Int32Array(memory);
    words.fill(7);
    const { byteOffset } = places[1]!;
    const holds = holdsWord(options, memory.byteLength, byteOffset);
    touchPages(options, memory, byteOffset);
    expect(words.every((word) => word === 7)).toBe(true);
    emptyPartition(options, memory, byteOffset);
    for (let word = 0; word < words.length; word++)
      if ((words[word] === 0) !== holds(word)) expect.fail(`word ${word} is ${words[word]}`);

    slab.attach(options, memory, byteOffset);
    for (const { from, to } of usedRanges(options, memory, byteOffset)) {
      expect(holds((byteOffset + from) / 4)).toBe(true);
      expect(holds((byteOffset + to) / 4 - 1)).toBe(true);
    }
  });
});

it('refuses a buffer that is of partitions of other sizes', () => {
  const places = allocatePartitions(COUNT, optionsFor(1000));
  const { memory, byteOffset } = places[1]!;
  expect(() => slab.attach({ ...optionsFor(1000), recordsMax: 99 }, memory, byteOffset)).toThrow(
    'which holds others',
  );
});

it('has the stripes up to a slot, the last one cut', () => {
  const stripes = { base: 100, stride: 50_000, count: 3 };
  expect(stripeRanges(stripes, 1024 + 3)).toEqual([
    { from: 100, to: 100 + 16_384 },
    { from: 50_100, to: 50_100 + 48 },
  ]);
  expect(stripeRanges(stripes, 0)).toEqual([]);
});
