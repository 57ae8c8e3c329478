import { expect, test } from 'vitest';
import { CoalescingCounter } from '../../bench/coalescing.js';
import type { Operation } from '../../bench/reader-model.js';

const WINDOW_MS = 1000;

/** `atMs kind user channel message` each. */
function count(...lines: string[]) {
  const counter = new CoalescingCounter(WINDOW_MS);
  for (const line of lines) {
    const [atMs, kind, userId, channelId = '', messageId = ''] = line.split(' ');
    counter.take({
      kind: kind as Operation['kind'],
      atMs: Number(atMs),
      userId: userId!,
      channelId,
      messageId,
      mentionCount: undefined,
      manual: false,
    });
  }
  return counter.bound;
}

test('one row for all changes of an entry within the delay, and another from its end on', () => {
  expect(count('0 ack a 1 10', '500 ack a 1 11', '999 mention a 1 12', '1000 ack a 1 12')).toEqual({
    updates: 4,
    changes: 4,
    rowsByEntry: 2,
    rowsByUser: 2,
    groups: 2,
  });
});

test('the delay of an entry begins with its own change, that of a user with any', () => {
  const bound = count('0 ack a 1 10', '900 ack a 2 11', '1100 ack a 2 12', '1800 ack a 2 13');
  // Alone, channel 2 is written once, at 1900. With its user it is written at 1000, and again at 2100.
  expect(bound).toMatchObject({ rowsByEntry: 2, rowsByUser: 3, groups: 2 });
});

test('what changes nothing is an update and no row, and a list is neither', () => {
  const bound = count('0 list a', '0 ack a 1 10', '1 ack a 1 10', '2 ack a 1 9', '5000 mention a 1 10');
  expect(bound).toEqual({ updates: 4, changes: 1, rowsByEntry: 1, rowsByUser: 1, groups: 1 });
});

test('users are apart', () => {
  expect(count('0 ack a 1 10', '1 ack b 1 10')).toMatchObject({ rowsByEntry: 2, rowsByUser: 2, groups: 2 });
});
