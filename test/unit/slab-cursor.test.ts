/** Long lists of a slab partition, in slices: more entries than one slice of the walk or of a pass of the sort has. */
import { describe, expect, it } from 'vitest';
import { hashUser } from '../../engine/hash.js';
import {
  ENTRY,
  OP_ACK,
  OP_DELETE,
  REPLY_WORDS_MAX,
  REQUEST,
  REQUEST_WORDS_MAX,
} from '../../engine/messages.js';
import { OUTCOME_DONE, type Partition, type UserSlot } from '../../engine/partition.js';
import { slab } from '../../engine/slab.js';
import { OPTIONS } from '../support/partition-driver.js';

const USER = 7;
const HASH = hashUser(USER, 0);
const ENTRIES = 3000;

interface Key {
  readonly lo: number;
  readonly hi: number;
  readonly type: number;
}

/** 32 random bits; the same in each run. */
function createRandom(seed: number): () => number {
  let x = seed;
  return () => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return x;
  };
}

function compare(a: Key, b: Key): number {
  return a.hi - b.hi || (a.lo >>> 0) - (b.lo >>> 0) || a.type - b.type;
}

function execute(partition: Partition, op: number, { lo, hi, type }: Key, message: number): void {
  const words = new Int32Array(REQUEST_WORDS_MAX);
  words[REQUEST.HEAD] = op | (type << 8);
  words[REQUEST.USER_LO] = USER;
  words[REQUEST.CHANNEL_LO] = lo;
  words[REQUEST.CHANNEL_HI] = hi;
  words[REQUEST.ARGUMENT_LO] = message;
  expect(partition.execute(HASH, words, 0, new Int32Array(REPLY_WORDS_MAX), 0, false)).toBe(OUTCOME_DONE);
}

/** Walks and sorts in slices of `steps`. @returns the keys of the list, and how many slices there were */
function list(
  partition: Partition,
  user: UserSlot,
  steps: number,
  written = 0,
): { keys: Key[]; slices: number } {
  const cursor = partition.createCursor();
  cursor.begin(user, 0, true, written);
  let slices = 1;
  while (!cursor.advance(steps)) slices++;
  const keys: Key[] = [];
  const out = new Int32Array(128 * ENTRY.WORDS);
  for (let count = cursor.write(out, 0, 128); count > 0; count = cursor.write(out, 0, 128)) {
    for (let at = 0; at < count * ENTRY.WORDS; at += ENTRY.WORDS)
      keys.push({
        lo: out[at + ENTRY.CHANNEL_LO]!,
        hi: out[at + ENTRY.CHANNEL_HI]!,
        type: out[at + ENTRY.META]! & 7,
      });
  }
  return { keys, slices };
}

describe('a cursor of a slab partition', () => {
  // Snowflakes differ in some bytes; ids of which only a few high bits differ have passes that move nothing.
  it.each<[string, (random: () => number, index: number) => Key]>([
    ['in all bytes', (random) => ({ lo: random(), hi: random() >>> 1, type: (random() >>> 4) % 6 })],
    [
      'in the highest byte and the type alone',
      (_, index) => ({ lo: 9, hi: ((index >> 2) % 128) << 24, type: index & 3 }),
    ],
    ['in the low word alone', (_, index) => ({ lo: Math.imul(index, 0x9e3779b1), hi: 77, type: 0 })],
  ])('lists entries that differ %s in order, whatever the slices', (_name, keyOf) => {
    const options = { ...OPTIONS, recordsMax: ENTRIES + 100 };
    const partition = slab.attach(options, new SharedArrayBuffer(slab.sharedBytes(options)));
    const user = partition.admitUser(HASH, USER, 0);
    partition.applyUserRow(user, 0, 0);
    partition.markComplete(user);
    const random = createRandom(1);
    const expected = new Map<string, Key>();
    for (let i = 0; i < ENTRIES; i++) {
      const key = keyOf(random, i);
      execute(partition, OP_ACK, key, i + 1);
      expected.set(Object.values(key).join(), key);
    }
    for (const [name, key] of [...expected].filter((_, index) => index % 7 === 3)) {
      execute(partition, OP_DELETE, key, 0);
      expected.delete(name);
    }
    const sorted = [...expected.values()].sort(compare);
    for (const steps of [1, 7, 512, 1_000_000]) {
      const { keys, slices } = list(partition, user, steps);
      expect(keys).toEqual(sorted);
      if (steps === 1_000_000) expect(slices).toBe(1);
      else expect(slices).toBeGreaterThan(sorted.length / steps);
    }
    expect(list(partition, user, 512, 100).keys).toEqual(sorted.slice(100));
  });

  it('lists what is later than a version, also when versions have more than 31 bits', () => {
    const partition = slab.attach(OPTIONS, new SharedArrayBuffer(slab.sharedBytes(OPTIONS)));
    const user = partition.admitUser(HASH, USER, 0);
    const VERSION = 0x7ffffffe;
    partition.applyUserRow(user, VERSION, 0);
    partition.markComplete(user);
    for (let lo = 1; lo <= 4; lo++) execute(partition, OP_ACK, { lo, hi: 0, type: 0 }, 1);
    const counts = [0, VERSION + 1, VERSION + 2, VERSION + 3].map((since) => {
      const cursor = partition.createCursor();
      cursor.begin(user, since, true);
      cursor.advance(512);
      return cursor.remaining;
    });
    expect(counts).toEqual([4, 3, 2, 1]);
  });
});
