import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  OP_ACK,
  OP_ACK_BULK,
  OP_LIST,
  OP_MENTION,
  OP_PIN_ACK,
  REQUEST,
  REQUEST_SINCE,
} from '../../engine/messages.js';
import { Draft } from '../../gateway/draft.js';
import type { Problem } from '../../gateway/errors.js';
import { readId, readTimestamp } from '../../gateway/json-fields.js';
import { invalidField, operationWords } from '../../gateway/operation-words.js';
import { readUsers } from '../../gateway/user-list.js';

const ID_MAX = 2n ** 63n - 1n;

function problemsOf(read: (problems: Problem[]) => unknown): string[] {
  const problems: Problem[] = [];
  read(problems);
  return problems.map(({ path }) => path);
}

describe('ids in JSON', () => {
  const wrong: unknown[] = [
    ...[
      '',
      '0',
      '-1',
      '+1',
      '01',
      ' 1',
      '1 ',
      '1.0',
      '1e3',
      '0x1',
      '９',
      '9223372036854775808',
      '99999999999999999999',
    ],
    ...[0, -1, 1.5, 2 ** 53, 2 ** 63, 1e300, Number.NaN, null, undefined, true, [], ['1'], {}],
  ];
  it.each(wrong)('%j is refused and named', (value) => {
    expect(problemsOf((problems) => readId(value, 'message_id', problems))).toEqual(['message_id']);
  });

  it.each(['1', '9223372036854775807', 1, 1.0, 2 ** 53 - 1])('%j is taken', (value) => {
    expect(problemsOf((problems) => readId(value, 'message_id', problems))).toEqual([]);
  });

  it('are refused as JSON text that JSON.parse would round', () => {
    for (const text of ['9007199254740992', '9007199254740993', '9223372036854775807', '1e19']) {
      expect(
        problemsOf((problems) => readId(JSON.parse(text), 'id', problems)),
        text,
      ).toEqual(['id']);
    }
  });

  it('are the value given, as string or number', () => {
    fc.assert(
      fc.property(fc.bigInt(1n, ID_MAX), (value) => {
        const draft = new Draft().begin(OP_LIST).user(String(value));
        const low = BigInt(draft.words[REQUEST.USER_LO]! >>> 0);
        expect((BigInt(draft.words[REQUEST.USER_HI]!) << 32n) | low).toBe(value);
        if (value <= Number.MAX_SAFE_INTEGER) {
          expect(new Draft().begin(OP_LIST).user(Number(value)).words).toEqual(draft.words);
        }
      }),
    );
  });
});

describe('timestamps', () => {
  it.each([
    ['2025-01-01T00:00:00.000Z', Date.UTC(2025, 0, 1)],
    ['2025-01-01T00:00:00Z', Date.UTC(2025, 0, 1)],
    ['2025-01-01T02:00:00.5+02:00', Date.UTC(2025, 0, 1) + 500],
    ['2024-02-29T12:00Z', Date.UTC(2024, 1, 29, 12)],
    ['+275760-09-13T00:00:00.000Z', 8.64e15],
    [1, 1],
    [8.64e15, 8.64e15],
  ])('%j is %d', (value, ms) => {
    const problems: Problem[] = [];
    expect(readTimestamp(value, 'last_pin_timestamp', problems)).toBe(ms);
    expect(problems).toEqual([]);
  });

  it.each([
    ...[
      '',
      'now',
      '2025-01-01',
      '2025-01-01T00:00:00',
      '2025-02-30T00:00:00Z',
      '2025-13-01T00:00:00Z',
      '1735689600000',
    ],
    ...['1970-01-01T00:00:00.000Z', '1969-12-31T23:59:59.999Z', 0, -1, 1.5, 8.64e15 + 1, null, undefined, {}],
  ])('%j is refused', (value) => {
    expect(problemsOf((problems) => readTimestamp(value, 'last_pin_timestamp', problems))).toEqual([
      'last_pin_timestamp',
    ]);
  });
});

describe('acks', () => {
  const paths = (body: Record<string, unknown>): string[] =>
    new Draft()
      .begin(OP_ACK)
      .user('1')
      .channel('2')
      .ack(body)
      .problems.map(({ path }) => path);

  it('take what is in range and name everything that is not', () => {
    expect(
      paths({
        message_id: '1',
        manual: true,
        mention_count: 0x7fffffff,
        flags: 255,
        last_viewed: 65_534,
        what: 1,
      }),
    ).toEqual([]);
    expect(paths({ manual: 1, mention_count: 2 ** 31, flags: 256, last_viewed: 65_535 })).toEqual([
      'message_id',
      'manual',
      'mention_count',
      'flags',
      'last_viewed',
    ]);
    expect(
      paths({ message_id: '1', manual: null, mention_count: -1, flags: '1', last_viewed: 1.5 }),
    ).toHaveLength(4);
  });

  it('are words that the binary protocol takes as well', () => {
    const optional = <T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> =>
      fc.option(arbitrary, { nil: undefined });
    const body = fc.record({
      message_id: fc.bigInt(1n, ID_MAX).map(String),
      manual: optional(fc.boolean()),
      mention_count: optional(fc.nat(0x7fffffff)),
      flags: optional(fc.nat(255)),
      last_viewed: optional(fc.nat(65_534)),
    });
    fc.assert(
      fc.property(body, fc.nat(5), (fields, type) => {
        const draft = new Draft().begin(OP_ACK).user('1').channel('2').type(type).ack(fields);
        expect(draft.problems).toEqual([]);
        expect(invalidField(draft.words, 0)).toBe(0);
        expect(operationWords(draft.words, 0)).toBe(draft.length);
      }),
    );
  });
});

describe('other operations', () => {
  const codes = (draft: Draft): string[] => draft.problems.map(({ path }) => path);

  it('bulk acks name the item', () => {
    const bulk = (read_states: unknown): string[] =>
      codes(new Draft().begin(OP_ACK_BULK).user('1').bulk({ read_states }));
    const good = { channel_id: '1', message_id: '2' };
    expect(bulk([good])).toEqual([]);
    expect(bulk(new Array(100).fill(good))).toEqual([]);
    expect(bulk(new Array(101).fill(good))).toEqual(['read_states']);
    for (const none of [[], undefined, null, {}, 'x']) expect(bulk(none)).toEqual(['read_states']);
    expect(bulk([good, 1, { ...good, read_state_type: 6 }, { channel_id: '0' }])).toEqual([
      'read_states.1',
      'read_states.2.read_state_type',
      'read_states.3.channel_id',
      'read_states.3.message_id',
    ]);
  });

  it('a list since a version that no user can have is the whole list', () => {
    const hasSince = (value: unknown): boolean =>
      (new Draft().begin(OP_LIST).user('1').since(value).words[REQUEST.HEAD]! & REQUEST_SINCE) !== 0;
    expect(hasSince('0')).toBe(true);
    expect(hasSince('4294967295')).toBe(true);
    expect(hasSince('4294967296')).toBe(false);
    for (const wrong of ['', '-1', '01', 'x', '1.5', '9007199254740992']) {
      expect(codes(new Draft().begin(OP_LIST).user('1').since(wrong)), wrong).toEqual(['since']);
    }
  });

  it('types of the query are digits', () => {
    const type = (text: string): string[] => codes(new Draft().begin(OP_PIN_ACK).typeText(text));
    expect(type('5')).toEqual([]);
    for (const wrong of ['', '6', '-1', '05', '0x1', 'a', '1.0'])
      expect(type(wrong), wrong).toEqual(['type']);
  });

  it('forget the problems and flags of the one before', () => {
    const draft = new Draft().begin(OP_ACK).user('x').channel('1').ack({ message_id: '1', flags: 1 });
    draft.begin(OP_MENTION).channel('1').type(undefined).mention({});
    expect(codes(draft)).toEqual([]);
    expect([...draft.words.subarray(0, REQUEST.WORDS)]).toEqual([OP_MENTION, 0, 0, 0, 1, 0, 0, 0]);
  });
});

describe('sets of users', () => {
  it('have each user once, in the order of first appearance', () => {
    const ids = fc.array(fc.oneof(fc.bigInt(1n, 20n), fc.bigInt(1n, ID_MAX)), {
      minLength: 1,
      maxLength: 300,
    });
    fc.assert(
      fc.property(ids, (values) => {
        const mixed = values.map((value, i) => (i % 2 === 0 && value < 100n ? Number(value) : String(value)));
        const problems: Problem[] = [];
        const users = readUsers(mixed, problems);
        expect(problems).toEqual([]);
        const found: bigint[] = [];
        for (let i = 0; i < users.length; i += 2) {
          found.push((BigInt(users[i + 1]!) << 32n) | BigInt(users[i]! >>> 0));
        }
        expect(found).toEqual([...new Set(values)]);
      }),
    );
  });

  it('take 10,000 and no more, and do not list every wrong one', () => {
    const many = Array.from({ length: 10_000 }, (_, i) => String(i + 1));
    expect(readUsers(many, [])).toHaveLength(20_000);
    expect(problemsOf((problems) => readUsers([...many, '10001'], problems))).toEqual(['user_ids']);
    expect(problemsOf((problems) => readUsers([], problems))).toEqual(['user_ids']);
    expect(problemsOf((problems) => readUsers('1', problems))).toEqual(['user_ids']);
    expect(problemsOf((problems) => readUsers(['1', 'x', '2', 0], problems))).toEqual([
      'user_ids.1',
      'user_ids.3',
    ]);
    expect(problemsOf((problems) => readUsers(new Array(10_000).fill('x'), problems))).toHaveLength(10);
  });
});
