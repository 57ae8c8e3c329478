/** What a partition keeps over a restart, and the clock of its flushes. */
import { afterEach, describe, expect, it, vi } from 'vitest';
import { hashUser } from '../../engine/hash.js';
import { heap } from '../../engine/heap.js';
import { joinWords } from '../../engine/ids.js';
import {
  FLUSH,
  FLUSH_ROW,
  FLUSHED,
  KIND_FLUSHED,
  OP_ACK,
  OP_MENTION,
  OP_SUBSCRIBE,
  REPLY,
  REPLY_WORDS_MAX,
  REQUEST,
  REQUEST_WORDS_MAX,
  STATUS_DUPLICATE,
  STORE_WORDS_MAX,
} from '../../engine/messages.js';
import { type Engine, OUTCOME_DONE, type Partition } from '../../engine/partition.js';
import { slab } from '../../engine/slab.js';
import { checkHeader, usedRanges } from '../../engine/slab-image.js';

const OPTIONS = {
  recordsMax: 200,
  usersMax: 50,
  watchedMax: 10,
  lastWrite: false,
  flushDelayTicks: 0,
  retryFirstTicks: 2,
  retryMaxTicks: 100,
  touchTicks: 1,
};
const OFFSET = 128;
const out = new Int32Array(REPLY_WORDS_MAX);

function create(engine: Engine): { partition: Partition; memory: SharedArrayBuffer } {
  const memory = new SharedArrayBuffer(OFFSET + slab.sharedBytes(OPTIONS));
  const partition = engine.attach(OPTIONS, memory, OFFSET);
  partition.setTick(100);
  return { partition, memory };
}

/** Runs an operation of a user of whom the store knows nothing. @returns its status */
function run(partition: Partition, op: number, user: number, channel: number, argument: number): number {
  const words = new Int32Array(REQUEST_WORDS_MAX);
  words[REQUEST.HEAD] = op;
  words[REQUEST.USER_LO] = user;
  words[REQUEST.CHANNEL_LO] = channel;
  words[REQUEST.ARGUMENT_LO] = argument;
  const hash = hashUser(user, 0);
  if (op !== OP_SUBSCRIBE) {
    const slot = partition.admitUser(hash, user, 0);
    partition.applyUserRow(slot, 0, 0);
    partition.markComplete(slot);
  }
  expect(partition.execute(hash, words, 0, out, 0, false)).toBe(OUTCOME_DONE);
  return (out[REPLY.HEAD]! >>> 8) & 0xff;
}

/** Flushes all and confirms it. @returns the clocks of the groups, microseconds */
function flush(partition: Partition): number[] {
  const clocks: number[] = [];
  const group = new Int32Array(STORE_WORDS_MAX);
  while (partition.dirtyUserCount > 0) {
    if (partition.flushNext(group, 0, 1000, true) === 0) continue;
    clocks.push(joinWords(group[FLUSH.CLOCK_LO]!, group[FLUSH.CLOCK_HI]!));
    const count = group[FLUSH.COUNT]!;
    const answer = new Int32Array(FLUSHED.WORDS + count);
    answer[FLUSHED.KIND] = KIND_FLUSHED;
    answer[FLUSHED.USER_SLOT] = group[FLUSH.USER_SLOT]!;
    answer[FLUSHED.COUNT] = count;
    for (let i = 0; i < count; i++) {
      answer[FLUSHED.WORDS + i] = group[FLUSH.WORDS + i * FLUSH_ROW.WORDS + FLUSH_ROW.SLOT]!;
    }
    partition.flushed(answer, 0, true);
  }
  return clocks;
}

/** New memory with what `usedRanges` names. */
function copyOf(memory: SharedArrayBuffer): SharedArrayBuffer {
  const copy = new SharedArrayBuffer(memory.byteLength);
  for (const { from, to } of usedRanges(OPTIONS, memory, OFFSET)) {
    new Uint8Array(copy, OFFSET + from, to - from).set(new Uint8Array(memory, OFFSET + from, to - from));
  }
  return copy;
}

describe('the used ranges of a slab partition', () => {
  it('are the partition: entries, order, window of mentions; subscriptions are gone', () => {
    const { partition, memory } = create(slab);
    run(partition, OP_SUBSCRIBE, 3, 0, 0);
    for (let user = 1; user <= 20; user++) {
      partition.setTick(100 + user);
      for (let channel = 1; channel <= user % 8; channel++) run(partition, OP_ACK, user, channel, 7);
    }
    expect(run(partition, OP_MENTION, 5, 9, 33)).not.toBe(STATUS_DUPLICATE);
    run(partition, OP_MENTION, 5, 9, 34);
    expect(partition.isWatched(partition.findUser(hashUser(3, 0), 3, 0))).toBe(true);
    flush(partition);

    const copy = copyOf(memory);
    expect(checkHeader(OPTIONS, copy, OFFSET)).toBeNull();
    const restored = slab.attach(OPTIONS, copy, OFFSET);
    restored.setTick(200);
    restored.afterRestart();
    restored.check();
    expect(restored.recordCount).toBe(partition.recordCount);
    expect(restored.userCount).toBe(partition.userCount);
    const user = restored.findUser(hashUser(3, 0), 3, 0);
    expect(restored.isWatched(user)).toBe(false);
    expect(restored.isComplete(user)).toBe(true);
    expect(restored.versionOf(user)).toBe(3);
    expect(run(restored, OP_MENTION, 5, 9, 33)).toBe(STATUS_DUPLICATE);
    run(restored, OP_ACK, 3, 200, 8);
    expect(restored.versionOf(user)).toBe(4);
    restored.check();
  });

  it('leave out slots never used and the watched users', () => {
    const { partition, memory } = create(slab);
    run(partition, OP_ACK, 1, 1, 1);
    const saved = usedRanges(OPTIONS, memory, OFFSET).reduce((sum, { from, to }) => sum + to - from, 0);
    expect(saved).toBeLessThan(slab.sharedBytes(OPTIONS) - 198 * 48 - 1021 * 64);
  });

  it('are refused when the sizes or the layout are others, or nothing was there', () => {
    const { memory } = create(slab);
    expect(checkHeader({ ...OPTIONS, recordsMax: 201 }, memory, OFFSET)).toBe('records: 200, not 201');
    expect(checkHeader({ ...OPTIONS, usersMax: 1 }, memory, OFFSET)).toBe('users: 50, not 1');
    expect(checkHeader(OPTIONS, new SharedArrayBuffer(memory.byteLength), OFFSET)).toMatch(
      /^layout version: 0/,
    );
  });

  it('of an unsaved partition are a bug', () => {
    const { partition, memory } = create(slab);
    run(partition, OP_ACK, 1, 1, 1);
    const restored = slab.attach(OPTIONS, copyOf(memory), OFFSET);
    expect(() => restored.afterRestart()).toThrow('unsaved');
  });
});

describe.each([slab, heap])('$name', (engine) => {
  afterEach(() => {
    vi.restoreAllMocks();
  });

  it('names the hottest users, newest first, and nobody who was only mentioned', () => {
    const { partition } = create(engine);
    for (let user = 1; user <= 9; user++) {
      partition.setTick(100 + user);
      run(partition, user === 5 ? OP_MENTION : OP_ACK, user, 1, 7);
    }
    const ids = new Int32Array(20);
    expect(partition.hottestUsers(ids, 2, 4, 0, 109)).toBe(4);
    expect([...ids]).toEqual([0, 0, 9, 0, 8, 0, 7, 0, 6, 0, ...new Array(10).fill(0)]);
    expect(partition.hottestUsers(ids, 0, 10, 0, 109)).toBe(8);
  });

  it('names the hottest users in portions, nobody twice, whoever does something in between', () => {
    const { partition } = create(engine);
    for (let user = 1; user <= 9; user++) {
      partition.setTick(100 + user);
      run(partition, OP_ACK, user, 1, 7);
    }
    const ids = new Int32Array(20);
    const since = 150;
    partition.setTick(since);
    expect(partition.hottestUsers(ids, 0, 3, 0, since)).toBe(3);
    partition.setTick(since + 1);
    for (const user of [7, 4]) run(partition, OP_ACK, user, 1, 8); // the last of the portion, and one of the rest
    expect(partition.hottestUsers(ids, 0, 5, 3, since)).toBe(5);
    run(partition, OP_ACK, 5, 1, 8); // the last of this one
    expect(partition.hottestUsers(ids, 0, 10, 5, since)).toBe(8);
    expect([...ids].filter((_, i) => i % 2 === 0)).toEqual([9, 8, 7, 6, 5, 3, 2, 1, 0, 0]);
    expect(partition.hottestUsers(ids, 0, 10, 8, since)).toBe(8);
  });

  it('has clocks that grow when the wall clock is set back, also below the floor after a restart', () => {
    const wall = vi.spyOn(Date, 'now').mockReturnValue(5_000);
    const first = create(engine).partition;
    first.boundClock(0, 9_000_000);
    run(first, OP_ACK, 1, 1, 1);
    run(first, OP_ACK, 2, 1, 1);
    const clocks = flush(first);
    wall.mockReturnValue(1_000); // an hour back, say
    run(first, OP_ACK, 1, 1, 2);
    clocks.push(...flush(first));
    expect(clocks).toEqual([5_000_000, 5_000_001, 5_000_002]);

    const second = create(engine).partition; // a cold start, still in the past
    second.boundClock(6_000_000, 9_000_000);
    run(second, OP_ACK, 1, 1, 1);
    second.boundClock(6_000_000, 9_000_000);
    run(second, OP_ACK, 2, 1, 1);
    expect(flush(second)).toEqual([6_000_001, 6_000_002]);
  });

  it('is not ahead of the limit but by its groups, however far the wall clock is', () => {
    vi.spyOn(Date, 'now').mockReturnValue(50_000);
    const { partition } = create(engine);
    partition.boundClock(0, 9_000_000);
    run(partition, OP_ACK, 1, 1, 1);
    run(partition, OP_ACK, 2, 1, 1);
    expect(flush(partition)).toEqual([9_000_000, 9_000_001]);
    partition.boundClock(0, 60_000_000);
    run(partition, OP_ACK, 1, 1, 2);
    expect(flush(partition)).toEqual([50_000_000]);
  });
});
