/** Groups of changes on their way to the store, while the user goes on. */
import { describe, expect, it } from 'vitest';
import { hashUser } from '../../engine/hash.js';
import { heap } from '../../engine/heap.js';
import { ENTRY, FLUSH, FLUSH_ROW, OP_ACK, OP_DELETE, OP_DELETE_USER } from '../../engine/messages.js';
import { slab } from '../../engine/slab.js';
import { answer, create, OPTIONS, run, send, TICK } from '../support/partition-driver.js';

/** User and channels of a group. */
function describeGroup(group: Int32Array): [number, number[]] {
  const channels = Array.from(
    { length: group[FLUSH.COUNT]! },
    (_, i) => group[FLUSH.WORDS + i * FLUSH_ROW.WORDS + FLUSH_ROW.ROW + ENTRY.CHANNEL_LO]!,
  );
  return [group[FLUSH.USER_LO]!, channels];
}

describe.each([slab, heap])('the groups of a $name partition', (engine) => {
  it('are of one user, also when a tombstone is freed under the walk and another user takes its place', () => {
    const partition = create(engine);
    for (const channel of [1, 2, 3]) run(partition, OP_ACK, 1, channel, 10);
    answer(partition, send(partition), true);
    run(partition, OP_DELETE, 1, 2);
    const deletion = send(partition);
    for (const channel of [1, 3]) run(partition, OP_ACK, 1, channel, 11);
    const groups = [send(partition, 1)]; // the walk stops at the tombstone
    answer(partition, deletion, true);
    run(partition, OP_ACK, 2, 9, 90);
    for (let group = send(partition); group.length > 0; group = send(partition)) groups.push(group);
    const channels = new Map<number, number[]>();
    for (const [user, own] of groups.filter(({ length }) => length > 0).map(describeGroup))
      channels.set(user, [...(channels.get(user) ?? []), ...own].sort());
    expect([...channels]).toEqual([
      [1, [1, 3]],
      [2, [9]],
    ]);
    for (const group of groups) if (group.length > 0) answer(partition, group, true);
    expect(partition.dirtyUserCount).toBe(0);
  });

  it('begin at the first record of a user who has got the slot of one that was deleted under the walk', () => {
    const options = { ...OPTIONS, flushDelayTicks: 50 };
    const partition = engine.attach(options, new SharedArrayBuffer(slab.sharedBytes(options)));
    partition.setTick(TICK);
    for (const channel of [1, 2, 3]) run(partition, OP_ACK, 1, channel, 10);
    const first = send(partition, 1);
    run(partition, OP_DELETE_USER, 1);
    answer(partition, first, true);
    partition.sweep(1000);
    run(partition, OP_ACK, 2, 8, 80);
    partition.hurry(partition.findUser(hashUser(2, 0), 2, 0)); // before the wipe of the other
    expect(describeGroup(send(partition))).toEqual([2, [8]]);
  });
});
