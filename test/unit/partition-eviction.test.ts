/** A full partition evicts as few as are needed: those first who were asked for longest ago, and no change with them. */
import { describe, expect, it } from 'vitest';
import { hashUser } from '../../engine/hash.js';
import { heap } from '../../engine/heap.js';
import { OP_ACK, OP_MENTION } from '../../engine/messages.js';
import type { Partition } from '../../engine/partition.js';
import { slab } from '../../engine/slab.js';
import { answer, create, OPTIONS, run, send } from '../support/partition-driver.js';

const CHANNELS = OPTIONS.recordsMax / 4;

/** Of users 1 to 4, in this order, each with a quarter of the records. */
function fill(partition: Partition, op: number): void {
  for (let user = 1; user <= 4; user++)
    for (let channel = 1; channel <= CHANNELS; channel++) run(partition, op, user, channel, 10);
  expect(partition.freeRecordCount).toBe(0);
}

function saveAll(partition: Partition): void {
  while (partition.dirtyUserCount > 0) answer(partition, send(partition), true);
}

function residents(partition: Partition): number[] {
  return [1, 2, 3, 4].filter((user) => partition.findUser(hashUser(user, 0), user, 0) !== 0);
}

describe.each([slab, heap])('A full $name partition', (engine) => {
  it.each([OP_ACK, OP_MENTION])(
    'keeps whom it saved for room that was had without them (operation %i)',
    (op) => {
      const partition = create(engine);
      fill(partition, op);
      // All are unsaved: each becomes due, and none can go.
      expect(partition.makeRoom(1, false)).toBe(false);
      saveAll(partition);
      expect(residents(partition)).toEqual([1, 2, 3, 4]);
      expect(partition.makeRoom(1, false)).toBe(true);
      expect([residents(partition), partition.evictedUserCount]).toEqual([[2, 3, 4], 1]);
      expect(partition.makeRoom(CHANNELS, false)).toBe(true);
      expect(partition.evictedUserCount).toBe(1);
      expect(partition.makeRoom(CHANNELS + 1, false)).toBe(true);
      expect([residents(partition), partition.evictedUserCount]).toEqual([[3, 4], 2]);
      partition.check();
    },
  );

  it('passes by those who are unsaved', () => {
    const partition = create(engine);
    fill(partition, OP_ACK);
    saveAll(partition);
    partition.setTick(1000);
    run(partition, OP_MENTION, 1, 1, 11); // changes the user who is the oldest still
    expect(partition.makeRoom(1, false)).toBe(true);
    expect(residents(partition)).toEqual([1, 3, 4]);
    saveAll(partition);
    expect(partition.makeRoom(CHANNELS + 1, false)).toBe(true);
    expect(residents(partition)).toEqual([3, 4]);
  });
});
