/** The checks of users that several connections write to find each kind of violation. */
import { describe, expect, it } from 'vitest';
import type { Answer, Entry, Operation } from './operations.js';
import { SharedUser, type Use } from './shared-user.js';

const KEY = { channel: 7, type: 0 };

function entry(fields: Partial<Entry> & { version: number }): Entry {
  return { ...KEY, message: 0, count: 0, flags: 0, viewed: -1, pin: 0, ...fields };
}

function ack(message: number, fields: object = {}): Operation {
  return { op: 'ack', ...KEY, message, manual: false, ...fields };
}

function mention(message = 0, key = KEY): Operation {
  return { op: 'mention', ...key, message };
}

const GET: Operation = { op: 'get', ...KEY };
const LIST: Operation = { op: 'list' };

function shows(...entries: Entry[]): Answer {
  return { status: 'ok', entries };
}

function counted(count: number, version: number): Answer {
  return { status: 'ok', count, version };
}

function listed(version: number, ...entries: Entry[]): Answer {
  return { status: 'ok', entries, version, partial: false };
}

describe('users of several connections', () => {
  /** Sends all at once, answers in turn. A second round is sent when the first is answered. `undefined`: not answered. */
  function shared(use: Use, ...rounds: [Operation, Answer | 'refused' | undefined][][]): string[] {
    const found: string[] = [];
    const user = new SharedUser(1, (reason) => found.push(reason));
    for (const round of rounds) {
      const sent = round.map(([operation]) =>
        user.sent(operation, operation.op === 'list' ? undefined : use),
      );
      round.forEach(([, answer], i) => {
        if (answer === 'refused') user.refused(sent[i]!);
        else if (answer !== undefined) user.answered(sent[i]!, answer);
      });
    }
    return found;
  }
  const at = (version: number, fields: Partial<Entry> = {}) => shows(entry({ version, ...fields }));

  it('takes what is right for right', () => {
    expect(
      shared(
        'count',
        [
          [mention(), counted(2, 2)],
          [mention(), counted(1, 1)],
          [mention(), undefined],
        ],
        [[GET, at(3, { count: 3 })]],
      ),
    ).toEqual([]);
    expect(
      shared(
        'mark',
        [
          [ack(5), at(1, { message: 5 })],
          [ack(9), at(2, { message: 9 })],
        ],
        [[GET, at(2, { message: 9 })]],
      ),
    ).toEqual([]);
    expect(
      shared(
        'once',
        [
          [mention(1), counted(1, 1)],
          [mention(1), { status: 'duplicate', count: 1, version: 1 }],
        ],
        [[GET, at(1, { count: 1 })]],
      ),
    ).toEqual([]);
  });

  it('finds counts too low and too high, and twice the same', () => {
    const two: [Operation, Answer][] = [
      [mention(), counted(1, 1)],
      [mention(), counted(2, 2)],
    ];
    expect(shared('count', two, [[GET, at(2, { count: 1 })]])[0]).toMatch(/is 1, expected 2 to 2/);
    expect(shared('count', two, [[GET, at(2, { count: 3 })]])[0]).toMatch(/is 3, expected 2 to 2/);
    expect(shared('count', two, [[GET, { status: 'unknown', entries: [] }]])[0]).toMatch(/is unknown/);
    expect(
      shared('count', [
        [mention(), counted(1, 1)],
        [mention(), counted(1, 2)],
      ])[0],
    ).toMatch(/made the count 1/);
    expect(shared('once', [[mention(1), counted(1, 1)]], [[mention(1), counted(2, 2)]])[0]).toMatch(
      /counted twice/,
    );
  });

  it.each<[Use, Operation, Operation, Answer, Answer]>([
    ['count', mention(), mention(), counted(2, 2), counted(1, 1)],
    ['once', mention(1), mention(2), counted(2, 2), counted(1, 1)],
    ['mark', ack(9), ack(5), at(2, { message: 9 }), at(1, { message: 5 })],
  ])('finds what was refused and done all the same (%s)', (use, refused, done, wrong, right) => {
    expect(shared(use, [[refused, 'refused']], [[done, wrong]])[0]).toMatch(/expected 0 to [15]$/);
    expect(shared(use, [[refused, 'refused']], [[done, right]])).toEqual([]);
    // Nobody answered it: it may have been done.
    expect(shared(use, [[refused, undefined]], [[done, wrong]])).toEqual([]);
  });

  it('takes an id for possible as long as one mention with it may have been done', () => {
    const round = (answer: 'refused' | undefined): [Operation, 'refused' | undefined][] => [
      [mention(1), 'refused'],
      [mention(1), answer],
    ];
    expect(shared('once', round(undefined), [[mention(2), counted(2, 2)]])).toEqual([]);
    expect(shared('once', round('refused'), [[mention(2), counted(2, 2)]])[0]).toMatch(/expected 0 to 1/);
  });

  it('finds a mark that went back, and versions that do', () => {
    const one: [Operation, Answer][] = [[ack(5), { ...at(4, { message: 5 }), changed: true }]];
    expect(shared('mark', one, [[GET, at(4, { message: 3 })]])[0]).toMatch(/is 3, expected 5 to 5/);
    expect(shared('mark', one, [[GET, at(3, { message: 5 })]])[0]).toMatch(/version 3, and 4 was answered/);
    expect(shared('mark', one, [[ack(6), { ...at(2, { message: 6 }), changed: true }]]).join()).toMatch(
      /after 4 had been/,
    );
    expect(shared('mark', one, [[LIST, listed(3, entry({ message: 5, version: 4 }))]])[0]).toMatch(
      /version is 3/,
    );
    expect(
      shared('mark', one, [
        [
          { op: 'list', since: 2 },
          { ...listed(4), partial: true },
        ],
      ])[0],
    ).toMatch(/not in the list since 2/);
    expect(shared('mark', one, [[LIST, listed(4)]])[0]).toMatch(/not in the list/);
  });
});
