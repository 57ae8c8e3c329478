/**
 * Both engines against the model: weighted random operations on partitions of 4 to 16 records, so that nearly every
 * one needs a load, an eviction or a flush; a quarter of the time with room for all and a slow store, so that much is
 * on its way while it changes. Now and then the process is killed, and begins again with its journal. TIDEMARK_SEED repeats a run, TIDEMARK_MODEL_OPERATIONS lengthens it.
 */
import { describe, expect, it } from 'vitest';
import { hashRecord, hashUser } from '../../engine/hash.js';
import { heap } from '../../engine/heap.js';
import {
  OP_ACK,
  OP_ACK_BULK,
  OP_BADGE,
  OP_DELETE,
  OP_DELETE_USER,
  OP_GET,
  OP_LIST,
  OP_MENTION,
  OP_PIN_ACK,
  OP_SUBSCRIBE,
  OP_UNSUBSCRIBE,
  REQUEST_HAS_COUNT,
  REQUEST_HAS_EXTRA,
  REQUEST_HAS_FLAGS,
  REQUEST_HAS_VIEWED,
  REQUEST_MANUAL,
  REQUEST_WITH_ENTRY,
} from '../../engine/messages.js';
import { slab } from '../../engine/slab.js';
import { HEADER } from '../../engine/slab-memory.js';
import { mortalSlab } from './mortal-engine.js';
import { PartitionHarness } from './partition-harness.js';
import { joinId, type Operation } from './partition-model.js';
import { Random } from './random.js';

const OPERATIONS = Number(process.env.TIDEMARK_MODEL_OPERATIONS ?? 120_000);
const SEED = Number(process.env.TIDEMARK_SEED ?? Date.now() % 1_000_000_000);
/** Operations on one partition before the next, with other limits, begins. */
const LIFE = 3000;

/** x with a * x = 1 modulo 2^32. */
function inverse(a: number): number {
  let x = a;
  for (let i = 0; i < 5; i++) x = Math.imul(x, 2 - Math.imul(a, x));
  return x;
}
/** A low word that gives the same hash with another high word: lists of equal hashes are a path of their own. */
function sameUserHash(lo: number, hi: number, otherHi: number): number {
  const term = (h: number) => (Math.imul(h, 0x1b873593) + 0x3c6ef372) | 0;
  return Math.imul(inverse(0xcc9e2d51), Math.imul(lo, 0xcc9e2d51) ^ term(hi) ^ term(otherHi));
}
function sameRecordHash(lo: number, hi: number, otherHi: number): number {
  const term = (h: number) => Math.imul(h, 0x27d4eb2f) | 0;
  return Math.imul(inverse(0x9e3779b1), Math.imul(lo, 0x9e3779b1) ^ term(hi) ^ term(otherHi));
}
const USERS = [
  1n,
  joinId(-1, 7),
  joinId(5, 3),
  joinId(sameUserHash(5, 3, 4), 4),
  joinId(77, 0x7fffffff),
  6n,
  7n,
];
const CHANNELS = [1n, joinId(0, 1), joinId(9, 2), joinId(sameRecordHash(9, 2, 3), 3), joinId(-1, 0x7fffffff)];
/** In order; words of which the sign bit counts as a bit, and both ends of the range. */
const MESSAGES = [
  1n,
  2n,
  0x7fffffffn,
  0x80000000n,
  0xffffffffn,
  1n << 32n,
  (1n << 32n) + 1n,
  (1n << 63n) - 1n,
];

const WEIGHTS: [number, number][] = [
  [OP_ACK, 26],
  [OP_MENTION, 24],
  [OP_GET, 12],
  [OP_PIN_ACK, 8],
  [OP_DELETE, 9],
  [OP_DELETE_USER, 3],
  [OP_ACK_BULK, 6],
  [OP_LIST, 6],
  [OP_BADGE, 2],
  [OP_SUBSCRIBE, 2],
  [OP_UNSUBSCRIBE, 2],
];
const KINDS = WEIGHTS.flatMap(([op, weight]) => new Array<number>(weight).fill(op));

function randomOperation(random: Random): Operation {
  const op = random.pick(KINDS);
  let flags = random.chance(50) ? REQUEST_WITH_ENTRY : 0;
  if (op === OP_ACK) {
    if (random.chance(25)) flags |= REQUEST_MANUAL;
    for (const flag of [REQUEST_HAS_COUNT, REQUEST_HAS_FLAGS, REQUEST_HAS_VIEWED]) {
      if (random.chance(20)) flags |= flag;
    }
  }
  const type = random.chance(80) ? 0 : random.pick([1, 5]);
  const message = random.pick(MESSAGES);
  const argument =
    op === OP_LIST
      ? random.pick([0n, 1n, 3n, 10n, 100n])
      : op === OP_PIN_ACK
        ? random.pick([0n, 1n, 1735689600000n, 1735689600001n])
        : op === OP_MENTION && random.chance(30)
          ? 0n
          : message;
  return {
    op,
    flags,
    user: random.pick(USERS),
    channel: random.pick(CHANNELS),
    type,
    argument,
    count: (flags & REQUEST_HAS_EXTRA) === 0 ? 0 : random.pick([0, 1, 5, 0x7ffffffe, 0x7fffffff]),
    entryFlags: random.pick([0, 1, 255]),
    viewed: random.pick([0, 1, 65535]),
    items:
      op !== OP_ACK_BULK
        ? []
        : Array.from({ length: 1 + random.next(4) }, () => ({
            channel: random.pick(CHANNELS),
            type: random.chance(80) ? 0 : 1,
            message: random.pick(MESSAGES),
          })),
  };
}

/** @param isCalm  there is room for everything, and the store is slow: much is unsaved for long */
function step(harness: PartitionHarness, random: Random, isCalm: boolean): boolean {
  const choice = random.next(100);
  if (choice < 50) {
    harness.run(randomOperation(random));
    return true;
  }
  if (choice < 64) harness.stepLoad(true);
  else if (choice < 72) harness.stepListing();
  else if (choice < 80) harness.flush(random.pick([1, 2, 3, 50, 1000]), random.chance(20));
  else if (choice < 90) {
    if (!isCalm || random.chance(40)) harness.answerFlush(30);
  } else if (choice < 95) harness.tick(random.next(4));
  else if (choice < 98) harness.evict(random.next(harness.options.recordsMax + 2), random.chance(50));
  else if (choice < 99) harness.hurry(random.pick(USERS));
  else if (random.chance(50)) harness.partition.sweep(random.next(3));
  else harness.handOver();
  if (random.chance(isCalm ? 30 : 10)) harness.journal.advance(harness.partition);
  if (random.chance(isCalm ? 20 : 10)) harness.journal.carry(harness.partition);
  if (random.chance(5)) harness.flushes.storeLate();
  return false;
}

const mortal = mortalSlab(new Random(SEED));

describe.each([
  { name: 'heap partition', engine: heap, operationsMax: OPERATIONS },
  { name: 'slab partition', engine: slab, operationsMax: OPERATIONS },
  { name: 'slab partition of mortal owners', engine: mortal, operationsMax: OPERATIONS / 10 },
])('$name', ({ engine, operationsMax }) => {
  it(`answers like the model (TIDEMARK_SEED=${SEED})`, { timeout: 600_000 }, () => {
    const random = new Random(SEED);
    const totals: Record<string, number> = { groups: 0, failedGroups: 0 };
    for (let operations = 0; operations < operationsMax; ) {
      const isCalm = random.chance(25);
      const options = {
        recordsMax: isCalm ? 200 : 4 + random.next(13),
        usersMax: isCalm ? 20 : 3 + random.next(6),
        watchedMax: 1 + random.next(4),
        lastWrite: random.chance(20),
        flushDelayTicks: random.next(isCalm ? 5 : 12),
        retryFirstTicks: 1 + random.next(3),
        retryMaxTicks: 1 + random.next(20),
        touchTicks: random.next(3),
      };
      const harness = new PartitionHarness(engine, options, random);
      const end = operations + LIFE;
      while (operations < end) {
        try {
          if (step(harness, random, isCalm)) operations++;
          harness.check(USERS);
          if (random.next(500) === 0) {
            harness.drain(USERS);
            if (random.chance(50)) harness.restart();
          }
          if (random.next(isCalm ? 200 : 700) === 0) {
            harness.crash();
            harness.check(USERS);
          }
        } catch (error) {
          console.error(
            `TIDEMARK_SEED=${SEED}: operation ${operations} of the ${engine.name} engine`,
            options,
          );
          throw error;
        }
      }
      harness.drain(USERS);
      totals.groups! += harness.flushes.groups;
      totals.failedGroups! += harness.flushes.failedGroups;
      for (const [name, count] of Object.entries({ ...harness.counts, ...harness.journal.counts }))
        totals[name] = (totals[name] ?? 0) + count;
    }
    // The run was about something: everything that can happen has happened, and most operations were answered.
    expect(totals.answered!).toBeGreaterThan(operationsMax * 0.25);
    // The run of mortal owners is a tenth as long, so that what is rare need not come in it.
    if (engine === mortal) expect(mortal.counts.deaths).toBeGreaterThan(operationsMax * 5);
    else for (const count of Object.values(totals)) expect(count).toBeGreaterThan(operationsMax / 20_000);
  });
});

it('finds a log that forgets some stores', () => {
  const random = new Random(SEED);
  const forgetful = mortalSlab(random, (index) => index === HEADER.RECORD_COUNT);
  const options = {
    recordsMax: 10,
    usersMax: 5,
    watchedMax: 2,
    lastWrite: false,
    flushDelayTicks: 1,
    retryFirstTicks: 1,
    retryMaxTicks: 10,
    touchTicks: 1,
  };
  const harness = new PartitionHarness(forgetful, options, random);
  expect(() => {
    for (let i = 0; i < 10_000; i++) step(harness, random, false);
  }).toThrow('words that differ');
});

it('has keys with equal hashes to tell apart', () => {
  const hashes = USERS.map((id) => hashUser(Number(id & 0xffffffffn) | 0, Number(id >> 32n)));
  expect(new Set(hashes).size).toBe(USERS.length - 1);
  const records = CHANNELS.map((id) => hashRecord(1, Number(id & 0xffffffffn) | 0, Number(id >> 32n), 0));
  expect(new Set(records).size).toBe(CHANNELS.length - 1);
});
