/** Whom a partition evicts for room, and whom it does not. */
import { describe, expect, it } from 'vitest';
import { hashUser } from '../../engine/hash.js';
import { heap } from '../../engine/heap.js';
import { FLUSH, OP_ACK, OP_MENTION } from '../../engine/messages.js';
import { CANDIDATES_MAX, type Engine, type Partition } from '../../engine/partition.js';
import { slab } from '../../engine/slab.js';
import { answer, OPTIONS, run, send, TICK } from '../support/partition-driver.js';

/** More than one call looks at. */
const USERS = CANDIDATES_MAX + 6;

/** Room for USERS users and one more, with a record each. */
function create(engine: Engine): Partition {
  const options = { ...OPTIONS, recordsMax: 1000, usersMax: USERS + 1, flushDelayTicks: 50 };
  const partition = engine.attach(options, new SharedArrayBuffer(slab.sharedBytes(options)));
  partition.setTick(TICK);
  return partition;
}

function slotOf(partition: Partition, user: number): number {
  return partition.findUser(hashUser(user, 0), user, 0);
}

/** All that is unsaved is sent, and answered. @param failing  users up to this one fail */
function flush(partition: Partition, failing = 0): void {
  const groups: Int32Array[] = [];
  for (let group = send(partition); group.length > 0; group = send(partition)) groups.push(group);
  for (const group of groups) answer(partition, group, group[FLUSH.USER_LO]! > failing);
}

/** A user each for the numbers `from` to `to`, not included. The first is the oldest. */
function touch(partition: Partition, op: number, from: number, to: number): void {
  for (let user = from; user < to; user++) run(partition, op, user, 1, op === OP_ACK ? 10 : 0);
}

describe.each([slab, heap])('for room, a $name partition', (engine) => {
  it('comes to those behind users that are held', () => {
    const partition = create(engine);
    touch(partition, OP_ACK, 1, USERS + 2);
    flush(partition);
    for (let user = 1; user <= USERS; user++) partition.setHold(slotOf(partition, user), user);
    expect([partition.makeRoom(1, false), partition.makeRoom(1, false)]).toEqual([false, true]);
    expect(slotOf(partition, USERS + 1)).toBe(0);
    partition.check();
  });

  it('comes to those behind users whose writes fail', () => {
    const partition = create(engine);
    touch(partition, OP_ACK, 1, USERS + 2);
    flush(partition, USERS);
    expect([partition.makeRoom(1, false), partition.makeRoom(1, false)]).toEqual([false, true]);
    expect(slotOf(partition, USERS + 1)).toBe(0);
    expect(partition.dirtyUserCount).toBe(USERS);
    partition.check();
  });

  it('has what is unsaved of the oldest written at once', () => {
    const partition = create(engine);
    touch(partition, OP_ACK, 1, USERS + 2);
    expect(partition.nextDue()).toBe(TICK + 50);
    expect(partition.makeRoom(1, false)).toBe(false);
    expect(partition.nextDue()).toBe(TICK);
    flush(partition);
    expect(partition.makeRoom(1, false)).toBe(true);
    expect(slotOf(partition, 1)).toBe(0);
    partition.check();
  });

  it('takes for a mention from who was only mentioned, also when that takes longer', () => {
    const partition = create(engine);
    touch(partition, OP_ACK, 1, USERS + 1);
    flush(partition);
    touch(partition, OP_MENTION, USERS + 1, USERS + 2); // unsaved
    expect(partition.makeRoom(1, true)).toBe(false);
    expect(partition.evictedUserCount).toBe(0);
    flush(partition);
    expect(partition.makeRoom(1, true)).toBe(true);
    expect(slotOf(partition, USERS + 1)).toBe(0);
    // Nobody is left who was only mentioned.
    touch(partition, OP_ACK, USERS + 1, USERS + 2);
    expect(partition.makeRoom(1, true)).toBe(true);
    expect(slotOf(partition, 1)).toBe(0);
  });

  it('takes for others from who was only mentioned when those hold much, else from the oldest', () => {
    const partition = create(engine);
    touch(partition, OP_ACK, 1, USERS + 1);
    touch(partition, OP_MENTION, USERS + 1, USERS + 2);
    flush(partition);
    expect(partition.makeRoom(1, false)).toBe(true);
    expect([slotOf(partition, 1), slotOf(partition, USERS + 1) === 0]).toEqual([0, false]);
    for (let channel = 2; channel <= 63; channel++) run(partition, OP_MENTION, USERS + 1, channel);
    touch(partition, OP_ACK, 1, 2);
    flush(partition);
    expect(partition.makeRoom(1, false)).toBe(true);
    expect([slotOf(partition, 2) === 0, slotOf(partition, USERS + 1)]).toEqual([false, 0]);
  });
});
