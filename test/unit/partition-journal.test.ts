/** Images of changes: written, carried to a newer epoch, and applied again. */
import { describe, expect, it } from 'vitest';
import { hashUser } from '../../engine/hash.js';
import { heap } from '../../engine/heap.js';
import { META_DELETED, META_WIPE } from '../../engine/layout.js';
import {
  ENTRY,
  FLUSH,
  FLUSH_ROW,
  FLUSH_WIPE,
  IMAGE,
  OP_ACK,
  OP_DELETE,
  OP_DELETE_USER,
  ROW,
} from '../../engine/messages.js';
import type { Partition } from '../../engine/partition.js';
import { slab } from '../../engine/slab.js';
import { answer, create, OPTIONS, run, send } from '../support/partition-driver.js';

function restore(partition: Partition, images: readonly Int32Array[]): void {
  for (const image of images) {
    expect(partition.restoreImage(hashUser(image[IMAGE.USER_LO]!, image[IMAGE.USER_HI]!), image, 0)).toBe(
      true,
    );
    partition.check();
  }
}

/** `channel:message@version`, `-channel@version` of a deleted row, `wipe@version`. */
function describeImage(image: Int32Array): string {
  const at = IMAGE.ROW + ROW.ENTRY;
  const meta = image[at + ENTRY.META]!;
  const channel = image[at + ENTRY.CHANNEL_LO]!;
  const what =
    (meta & META_WIPE) !== 0
      ? 'wipe'
      : (meta & META_DELETED) !== 0
        ? `-${channel}`
        : `${channel}:${image[at + ENTRY.MESSAGE_LO]}`;
  return `${what}@${image[at + ENTRY.VERSION]}`;
}

/** What a partition would write of a user, in the order of the channels. */
function unsaved(partition: Partition): string[] {
  const group = send(partition);
  const rows: string[] = [];
  for (let i = 0; i < (group[FLUSH.COUNT] ?? 0); i++) {
    const image = new Int32Array(IMAGE.WORDS);
    const row = FLUSH.WORDS + i * FLUSH_ROW.WORDS + FLUSH_ROW.ROW;
    image.set(group.subarray(row, row + ROW.WORDS), IMAGE.ROW);
    rows.push(describeImage(image));
  }
  const wipe = (group[FLUSH.KIND]! & FLUSH_WIPE) !== 0 ? ['wipe'] : [];
  return [...wipe, ...rows.sort(), `user ${group[FLUSH.VERSION]}, deleted ${group[FLUSH.DELETED_VERSION]}`];
}

/** Carries in calls of `max` images: all, or for one call and `steps`. */
function carry(partition: Partition, max = 1000, steps = 0): Int32Array[] {
  const images: Int32Array[] = [];
  const out = new Int32Array(max * IMAGE.WORDS);
  for (let call = steps === 0 ? 100 : 1; call > 0; call--) {
    const count = partition.carryUnsaved(out, 0, max, steps || 1000);
    for (let i = 0; i < count; i++) images.push(out.slice(i * IMAGE.WORDS, (i + 1) * IMAGE.WORDS));
    partition.check();
  }
  return images;
}

describe.each([slab, heap])('the journal of a $name partition', (engine) => {
  it('restores what was changed, deleted and wiped', () => {
    const partition = create(engine);
    const images = [
      ...run(partition, OP_ACK, 1, 5, 50),
      ...run(partition, OP_DELETE_USER, 1),
      ...run(partition, OP_ACK, 1, 6, 60),
      ...run(partition, OP_ACK, 1, 7, 70),
      ...run(partition, OP_ACK, 1, 7, 71),
      ...run(partition, OP_DELETE, 1, 6),
    ];
    expect(images.map(describeImage)).toEqual(['5:50@1', 'wipe@2', '6:60@3', '7:70@4', '7:71@5', '-6@6']);
    const expected = ['wipe', '-6@6', '7:71@5', 'user 6, deleted 6'];
    for (const order of [images, [...images, ...images], [...images].reverse()]) {
      const restored = create(engine);
      restore(restored, order);
      expect(unsaved(restored)).toEqual(expected);
    }
    expect(unsaved(partition)).toEqual(expected);
  });

  it('keeps what is resident and newer, and says when there is no room', () => {
    const partition = create(engine);
    const [first] = run(partition, OP_ACK, 1, 5, 50);
    const [second] = run(partition, OP_ACK, 1, 5, 51);
    restore(partition, [first!, second!]);
    expect(unsaved(partition)).toEqual(['5:51@2', 'user 2, deleted 0']);
    const options = { ...OPTIONS, recordsMax: 1 };
    const small = engine.attach(options, new SharedArrayBuffer(slab.sharedBytes(options)));
    const [other] = run(create(engine), OP_ACK, 2, 5, 50);
    restore(small, [first!]);
    expect(small.restoreImage(hashUser(2, 0), other!, 0)).toBe(false);
    expect(small.findUser(hashUser(2, 0), 2, 0)).toBe(0);
  });

  it('gives a restored user the later of both versions when the store is asked', () => {
    const partition = create(engine);
    restore(partition, run(create(engine), OP_ACK, 1, 5, 50));
    const user = partition.findUser(hashUser(1, 0), 1, 0);
    partition.applyUserRow(user, 9, 8);
    expect([partition.versionOf(user), partition.deletedVersionOf(user)]).toEqual([9, 8]);
    partition.applyUserRow(user, 10, 10); // it is known now
    expect(partition.versionOf(user)).toBe(9);
    const newer = create(engine);
    run(newer, OP_ACK, 1, 5, 49);
    restore(newer, run(newer, OP_ACK, 1, 5, 50));
    const later = create(engine);
    restore(later, run(newer, OP_ACK, 1, 5, 51));
    later.applyUserRow(1, 2, 1);
    expect(later.versionOf(1)).toBe(3);
  });

  it('counts users by the epoch of their oldest unsaved change', () => {
    const partition = create(engine);
    const counts = () => [partition.unsavedUsers(0), partition.unsavedUsers(1)];
    run(partition, OP_ACK, 1, 5, 50);
    run(partition, OP_ACK, 2, 5, 50);
    expect(counts()).toEqual([2, 0]);
    partition.setEpoch(1);
    run(partition, OP_ACK, 1, 6, 50);
    run(partition, OP_ACK, 3, 5, 50);
    expect(counts()).toEqual([2, 1]);
    expect(() => partition.setEpoch(0)).toThrow('users are unsaved of an epoch gone: 2');
    for (let i = 0; i < 3; i++) {
      const group = send(partition);
      run(partition, OP_ACK, group[FLUSH.USER_LO]!, 9, 90); // dirty again, journaled in epoch 1
      answer(partition, group, true);
    }
    expect(counts()).toEqual([0, 3]);
    partition.setEpoch(0);
    const group = send(partition);
    answer(partition, group, false);
    run(partition, OP_ACK, group[FLUSH.USER_LO]!, 9, 91);
    expect(counts()).toEqual([0, 3]);
  });

  it('does not take a change for saved that happened behind a walk of several slices', () => {
    const partition = create(engine);
    run(partition, OP_ACK, 1, 1, 10);
    for (let channel = 2; channel <= 120; channel++) run(partition, OP_ACK, 1, channel, 10);
    const first = send(partition); // 100 of 120
    answer(partition, first, true);
    // One that was sent changes again, in epoch 0; the rest goes in epoch 1.
    const row = FLUSH.WORDS + FLUSH_ROW.ROW;
    run(partition, OP_ACK, 1, first[row + ENTRY.CHANNEL_LO]!, 11);
    partition.setEpoch(1);
    for (let i = 0; i < 5 && partition.dirtyUserCount > 0; i++) {
      const group = send(partition);
      const changed = Array.from(
        { length: group[FLUSH.COUNT] ?? 0 },
        (_, n) => group[FLUSH.WORDS + n * FLUSH_ROW.WORDS + FLUSH_ROW.ROW + ENTRY.MESSAGE_LO],
      ).includes(11);
      if (group.length > 0) answer(partition, group, true);
      expect(partition.unsavedUsers(0)).toBe(changed ? 0 : 1);
    }
    expect(partition.dirtyUserCount).toBe(0);
  });

  it('carries what is unsaved of an older epoch, also what is on its way, and no flight takes that back', () => {
    const partition = create(engine);
    for (let channel = 1; channel <= 5; channel++) run(partition, OP_ACK, 1, channel, 10);
    const group = send(partition);
    run(partition, OP_DELETE, 1, 5);
    partition.setEpoch(1);
    expect(carry(partition, 2).map(describeImage).sort()).toEqual([
      '-5@6',
      '1:10@1',
      '2:10@2',
      '3:10@3',
      '4:10@4',
    ]);
    expect([partition.unsavedUsers(0), partition.unsavedUsers(1)]).toEqual([0, 1]);
    answer(partition, group, true);
    expect([partition.unsavedUsers(0), partition.unsavedUsers(1)]).toEqual([0, 1]);
  });

  it('does not take a change for saved of a record that was on its way when others were sent', () => {
    const partition = create(engine);
    run(partition, OP_ACK, 1, 1, 10);
    const first = send(partition);
    run(partition, OP_ACK, 1, 1, 11); // in epoch 0
    partition.setEpoch(1);
    run(partition, OP_ACK, 1, 2, 10);
    const second = send(partition);
    answer(partition, second, true);
    answer(partition, first, true);
    expect([partition.unsavedUsers(0), partition.unsavedUsers(1)]).toEqual([1, 0]);
    answer(partition, send(partition), true);
    expect(partition.dirtyUserCount).toBe(0);
  });

  it('carries a pending wipe with all rows since, below their versions, in one call', () => {
    const partition = create(engine);
    run(partition, OP_ACK, 1, 5, 50);
    const before = send(partition);
    run(partition, OP_DELETE_USER, 1);
    for (let channel = 6; channel <= 9; channel++) run(partition, OP_ACK, 1, channel, 60);
    partition.setEpoch(1);
    expect(carry(partition, 4)).toEqual([]);
    const images = carry(partition, 5);
    expect(images[0]![IMAGE.ROW + ROW.ENTRY + ENTRY.META]).toBe(META_WIPE);
    expect(images.slice(1).map(describeImage).sort()).toEqual(['6:60@3', '7:60@4', '8:60@5', '9:60@6']);
    const restored = create(engine);
    restore(restored, run(create(engine), OP_ACK, 1, 5, 50));
    restore(restored, images);
    expect(unsaved(restored).slice(0, 5)).toEqual(['wipe', '6:60@3', '7:60@4', '8:60@5', '9:60@6']);
    answer(partition, before, false);
    expect(unsaved(partition)[0]).toBe('wipe');
  });

  it('writes a later version of the user, also when the row is known and in the store', () => {
    const source = create(engine);
    const first = run(source, OP_ACK, 1, 5, 50);
    run(source, OP_ACK, 1, 6, 60);
    source.setEpoch(1);
    const carried = carry(source).filter((image) => describeImage(image) === '5:50@1');
    const restored = create(engine);
    restore(restored, first);
    answer(restored, send(restored), true);
    restore(restored, carried);
    expect(unsaved(restored)).toEqual(['5:50@1', 'user 2, deleted 0']);
  });

  it('carries all that is unsaved of a user, also when a tombstone is freed under the walk', () => {
    const partition = create(engine);
    for (const channel of [1, 2, 3]) run(partition, OP_ACK, 1, channel, 10);
    answer(partition, send(partition), true);
    run(partition, OP_DELETE, 1, 2);
    const deletion = send(partition);
    for (const channel of [1, 3]) run(partition, OP_ACK, 1, channel, 11);
    partition.setEpoch(1);
    const images = carry(partition, 1, 1); // the walk stops at the tombstone
    answer(partition, deletion, true);
    images.push(...carry(partition));
    const carried = new Set(images.map(describeImage));
    expect([...carried]).toEqual(expect.arrayContaining(['1:11@5', '3:11@6']));
    expect([partition.unsavedUsers(0), partition.unsavedUsers(1)]).toEqual([0, 1]);
  });

  it('carries a wipe of a user without rows', () => {
    const partition = create(engine);
    run(partition, OP_ACK, 1, 5, 50);
    run(partition, OP_DELETE_USER, 1);
    partition.setEpoch(1);
    expect(carry(partition).map(describeImage)).toEqual(['wipe@2']);
    expect(partition.unsavedUsers(0)).toBe(0);
  });
});
