import { describe, expect, it } from 'vitest';
import * as layouts from '../../engine/layout.js';
import { assert, layout } from '../../engine/layout.js';
import * as messages from '../../engine/messages.js';

/** Masks and flags that share a word, with the word's name. */
function isBit(value: unknown): value is number {
  return typeof value === 'number' && value !== 0;
}

describe('layout', () => {
  it('adds up the widths', () => {
    const fields = layout({ FIRST: 1, PAIR: 2, LAST: 1 });
    expect(fields).toEqual({ FIRST: 0, PAIR: 1, LAST: 3, WORDS: 4 });
    expect(Object.isFrozen(fields)).toBe(true);
  });

  it.each([0, -1, 1.5, Number.NaN])('refuses a width of %s, and names the field', (width) => {
    expect(() => layout({ GOOD: 1, BAD: width })).toThrow(`width of BAD is ${width}`);
  });

  it('says what failed', () => {
    expect(() => assert(false, '3 is not 4')).toThrow('assertion failed: 3 is not 4');
    expect(() => assert(true, 'never')).not.toThrow();
  });
});

describe('bits that share a word', () => {
  const groups: [string, [string, number][]][] = [
    [
      'META',
      Object.entries(layouts).filter((entry): entry is [string, number] =>
        /^META_(DIRTY|FLUSHING|DELETED|STORED|WIPE|ENTRY_MASK)$/.test(entry[0]),
      ),
    ],
    [
      'META of an entry',
      [
        ['type', layouts.META_TYPE_MASK],
        ['flags', layouts.META_FLAGS_MASK << layouts.META_FLAGS_SHIFT],
        ['viewed', layouts.META_VIEWED_MASK << layouts.META_VIEWED_SHIFT],
      ],
    ],
    [
      'STATE of a user',
      Object.entries(layouts).filter(
        (entry): entry is [string, number] =>
          /^USER_/.test(entry[0]) && (isBit(entry[1]) || entry[0] === 'USER_ATTEMPTS'),
      ),
    ],
    [
      'HEAD of a request',
      Object.entries(messages).filter(
        (entry): entry is [string, number] =>
          /^REQUEST_/.test(entry[0]) &&
          isBit(entry[1]) &&
          entry[0] !== 'REQUEST_WORDS_MAX' &&
          entry[0] !== 'REQUEST_HAS_EXTRA',
      ),
    ],
    [
      'HEAD of a reply',
      Object.entries(messages).filter(
        (entry): entry is [string, number] =>
          /^REPLY_/.test(entry[0]) && isBit(entry[1]) && entry[0] !== 'REPLY_WORDS_MAX',
      ),
    ],
  ];

  it.each(groups)('of %s do not overlap', (_name, bits) => {
    expect(bits.length).toBeGreaterThan(2);
    let used = 0;
    for (const [name, bit] of bits) {
      expect(bit & used, name).toBe(0);
      used |= bit;
    }
  });

  it('of an entry fill its mask', () => {
    const all =
      layouts.META_TYPE_MASK |
      (layouts.META_FLAGS_MASK << layouts.META_FLAGS_SHIFT) |
      (layouts.META_VIEWED_MASK << layouts.META_VIEWED_SHIFT);
    expect(all).toBe(layouts.META_ENTRY_MASK);
    expect(layouts.META_TYPE_MASK).toBeGreaterThanOrEqual(messages.TYPE_MAX);
  });

  it('of flags leave operation, type and status alone', () => {
    for (const [name, bit] of [...groups[3]![1], ...groups[4]![1]]) expect(bit & 0xffff, name).toBe(0);
    expect(messages.OP_MAX).toBeLessThan(messages.OP_EVENT);
  });
});

describe('operations and statuses', () => {
  it.each(['OP_', 'STATUS_', 'FIELD_', 'KIND_', 'CAUSE_'])('%s* are all different', (prefix) => {
    const values = Object.entries(messages).filter(([name]) => name.startsWith(prefix) && name !== 'OP_MAX');
    expect(values.length).toBeGreaterThan(3);
    expect(new Set(values.map(([, value]) => value)).size).toBe(values.length);
  });
});
