/** Groups of changes on their way to the store, while the user goes on. */
import { describe, expect, it } from 'vitest';
import { heap } from '../../engine/heap.js';
import { ENTRY, FLUSH, FLUSH_ROW, OP_ACK, OP_DELETE } from '../../engine/messages.js';
import { slab } from '../../engine/slab.js';
import { answer, create, run, send } from '../support/partition-driver.js';

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
});
