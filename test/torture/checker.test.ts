/** The checker finds each kind of violation, and takes what is right for right. */
import { describe, expect, it } from 'vitest';
import { Checker } from './checker.js';
import type { Answer, Entry, Operation } from './operations.js';

const KEY = { channel: 7, type: 0 };
const OTHER = { channel: 8, type: 0 };

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

/** No answer comes to this one. */
const NONE = undefined;
type Step = [Operation, Answer | undefined] | 'kill';

/** Runs a history of one user. @returns the violations' first lines */
function run(...history: Step[]): string[] {
  const checker = new Checker();
  const user = checker.user(1);
  for (const one of history) {
    if (one === 'kill') {
      checker.lost('killed');
      continue;
    }
    const [operation, answer] = one;
    const sent = checker.sent(user, operation, 'ws0');
    if (answer !== undefined) checker.answered(sent, answer);
  }
  return checker.violations.map(({ text }) => text.split('\n')[0]!);
}

const ACKED = entry({ message: 10, version: 1 });

describe('what is right', () => {
  it('every operation, answered as it should be', () => {
    const pinned = entry({ message: 10, pin: 5, version: 2 });
    const found = run(
      [ack(10), shows(ACKED)],
      [ack(9), shows(ACKED)],
      [{ op: 'pin_ack', ...KEY, pin: 5 }, shows(pinned)],
      [mention(), counted(1, 3)],
      [mention(11), counted(2, 4)],
      [mention(11), { status: 'duplicate', count: 2, version: 4 }],
      [mention(10), { status: 'suppressed', count: 2, version: 4 }],
      [{ op: 'badge' }, { status: 'ok', count: 2, mentioned: 1 }],
      [ack(3, { manual: true, count: 4 }), shows(entry({ message: 3, count: 4, pin: 5, version: 5 }))],
      [
        { op: 'list', since: 4 },
        { ...listed(5, entry({ message: 3, count: 4, pin: 5, version: 5 })), partial: true },
      ],
      [
        { op: 'list', since: 5 },
        { ...listed(5), partial: true },
      ],
      [
        { op: 'delete', ...KEY },
        { status: 'ok', version: 6 },
      ],
      [GET, { status: 'unknown', entries: [] }],
      [{ op: 'list', since: 5 }, listed(6)],
      [{ op: 'delete_user' }, { status: 'ok', version: 6 }],
      [LIST, listed(6)],
    );
    expect(found).toEqual([]);
  });

  it('any prefix of what was not answered', () => {
    const sent: Step[] = [[ack(10), shows(ACKED)], [mention(), NONE], [mention(), NONE], 'kill'];
    expect(run(...sent, [GET, shows(ACKED)])).toEqual([]);
    expect(run(...sent, [GET, shows({ ...ACKED, count: 1, version: 2 })])).toEqual([]);
    expect(run(...sent, [GET, shows({ ...ACKED, count: 2, version: 3 })])).toEqual([]);
    // Versions may leave gaps.
    expect(run(...sent, [GET, shows({ ...ACKED, count: 2, version: 9 })])).toEqual([]);
  });

  it('a mention of long ago counts again or not, and the answer decides', () => {
    const sent: Step[] = [
      [mention(11), counted(1, 1)],
      [mention(12), counted(2, 2)],
    ];
    expect(run(...sent, [mention(11), counted(3, 3)])).toEqual([]);
    expect(run(...sent, [mention(11), { status: 'duplicate', count: 2, version: 2 }])).toEqual([]);
    const lost: Step[] = [...sent, [mention(11), NONE], 'kill'];
    expect(run(...lost, [{ op: 'badge' }, { status: 'ok', count: 2, mentioned: 1 }])).toEqual([]);
    expect(run(...lost, [{ op: 'badge' }, { status: 'ok', count: 3, mentioned: 1 }])).toEqual([]);
  });

  it('what is refused did nothing', () => {
    const checker = new Checker();
    const user = checker.user(1);
    const first = checker.sent(user, ack(10), 'ws0');
    const second = checker.sent(user, GET, 'ws0');
    checker.answered(second, { status: 'unknown', entries: [] });
    expect(checker.violations).toHaveLength(1); // answered before the first, which is not refused yet
    const other = checker.user(2);
    const refused = checker.sent(other, ack(10), 'ws0');
    const get = checker.sent(other, GET, 'ws0');
    checker.refused(refused, 'busy');
    checker.answered(get, { status: 'unknown', entries: [] });
    checker.refused(first, 'busy');
    expect(checker.violations).toHaveLength(1);
  });
});

describe('violations', () => {
  const cases: [string, RegExp, Step[]][] = [
    [
      'a lost ack',
      /is unknown, expected/,
      [[ack(10), shows(ACKED)], 'kill', [GET, { status: 'unknown', entries: [] }]],
    ],
    [
      'a lost ack in a list',
      /is not in the list, expected/,
      [[ack(10), shows(ACKED)], 'kill', [LIST, listed(1)]],
    ],
    [
      'a mark that went back',
      /message:10.* expected .*message:20/,
      [
        [ack(10), shows(ACKED)],
        [ack(20), shows({ ...ACKED, message: 20, version: 2 })],
        'kill',
        [GET, shows(ACKED)],
      ],
    ],
    [
      'a mark that went back by an ack below it',
      /expected .*message:10/,
      [
        [ack(10), shows(ACKED)],
        [ack(5), shows({ ...ACKED, message: 5, version: 2 })],
      ],
    ],
    [
      'a count too low',
      /count:1.* expected .*count:2/,
      [
        [mention(), counted(1, 1)],
        [mention(), counted(2, 2)],
        'kill',
        [GET, shows(entry({ count: 1, version: 1 }))],
      ],
    ],
    [
      'a count too high',
      /count:3.* expected .*count:1/,
      [[mention(), counted(1, 1)], [mention(), NONE], 'kill', [GET, shows(entry({ count: 3, version: 3 }))]],
    ],
    [
      'a retry counted twice',
      /answered ok, expected duplicate/,
      [[mention(11), counted(1, 1)], 'kill', [mention(11), counted(2, 2)]],
    ],
    [
      'a mention that was lost and is then called a duplicate',
      /expected ok/,
      [
        [mention(11), NONE],
        'kill',
        [GET, { status: 'unknown', entries: [] }],
        [mention(11), { status: 'duplicate', count: 0, version: 0 }],
      ],
    ],
    [
      'a mention suppressed for no reason',
      /answered suppressed, expected ok/,
      [
        [ack(10), shows(ACKED)],
        [mention(11), { status: 'suppressed', count: 0, version: 1 }],
      ],
    ],
    [
      'a deleted entry that came back',
      /expected no entry/,
      [
        [ack(10), shows(ACKED)],
        [
          { op: 'delete', ...KEY },
          { status: 'ok', version: 2 },
        ],
        'kill',
        [LIST, listed(2, ACKED)],
      ],
    ],
    [
      'an entry of a deleted user that came back',
      /count:1.* expected no entry/,
      [
        [mention(), counted(1, 1)],
        [{ op: 'delete_user' }, { status: 'ok', version: 2 }],
        [mention(0, OTHER), counted(1, 3)],
        'kill',
        [LIST, listed(3, entry({ count: 1, version: 1 }), entry({ ...OTHER, count: 1, version: 3 }))],
      ],
    ],
    [
      'a pin that came back with a new entry',
      /pin:5.* expected .*pin:0/,
      [
        [{ op: 'pin_ack', ...KEY, pin: 5 }, shows(entry({ pin: 5, version: 1 }))],
        [
          { op: 'delete', ...KEY },
          { status: 'ok', version: 2 },
        ],
        [ack(10), shows(entry({ message: 10, pin: 5, version: 3 }))],
      ],
    ],
    [
      'half a bulk ack',
      /not in the list/,
      [
        [
          {
            op: 'ack_bulk',
            items: [
              { ...KEY, message: 10 },
              { ...OTHER, message: 10 },
            ],
          },
          NONE,
        ],
        'kill',
        [LIST, listed(1, ACKED)],
      ],
    ],
    [
      'an unanswered operation without the one before it',
      /expected no entry/,
      [
        [mention(), NONE],
        [mention(0, OTHER), NONE],
        'kill',
        [LIST, listed(2, entry({ ...OTHER, count: 1, version: 2 }))],
      ],
    ],
    [
      'answers that each fit, but not together',
      /all 3 states|expected/,
      [
        [mention(), NONE],
        [mention(), NONE],
        'kill',
        [GET, shows(entry({ count: 1, version: 1 }))],
        [mention(), counted(3, 3)],
      ],
    ],
    [
      'a version that went back',
      /version is 1, expected 2/,
      [
        [mention(), counted(1, 1)],
        [mention(), counted(2, 2)],
        'kill',
        [LIST, listed(1, entry({ count: 2, version: 2 }))],
      ],
    ],
    [
      'a change without a higher version',
      /must be higher/,
      [
        [mention(), counted(1, 5)],
        [mention(), counted(2, 5)],
      ],
    ],
    [
      'an ack that changed nothing and raised the version',
      /expected .*version:1/,
      [
        [ack(10), shows(ACKED)],
        [ack(10), shows({ ...ACKED, version: 2 })],
      ],
    ],
    [
      'versions out of the order of changes',
      /after 3/,
      [
        [mention(), NONE],
        [mention(0, OTHER), NONE],
        'kill',
        [LIST, listed(3, entry({ count: 1, version: 3 }), entry({ ...OTHER, count: 1, version: 2 }))],
      ],
    ],
    [
      'a list since that misses a change',
      /not in the list since 0/,
      [
        [mention(), counted(1, 1)],
        [
          { op: 'list', since: 0 },
          { ...listed(1), partial: true },
        ],
      ],
    ],
    [
      'a list since that misses a change after a kill',
      /not in the list since 1/,
      [
        [mention(), counted(1, 1)],
        [LIST, listed(1, entry({ count: 1, version: 1 }))],
        'kill',
        [mention(), counted(2, 2)],
        [
          { op: 'list', since: 1 },
          { ...listed(2), partial: true },
        ],
      ],
    ],
    [
      'a list since that shows what did not change',
      /is in the list since 1/,
      [
        [mention(), counted(1, 1)],
        [
          { op: 'list', since: 1 },
          { ...listed(1, entry({ count: 1, version: 1 })), partial: true },
        ],
      ],
    ],
    [
      'a list since that hides a deletion',
      /something was deleted/,
      [
        [mention(), counted(1, 1)],
        [
          { op: 'delete', ...KEY },
          { status: 'ok', version: 2 },
        ],
        [
          { op: 'list', since: 1 },
          { ...listed(2), partial: true },
        ],
      ],
    ],
    [
      'a list since of the future',
      /user's version is 1/,
      [
        [mention(), counted(1, 1)],
        [
          { op: 'list', since: 9 },
          { ...listed(1), partial: true },
        ],
      ],
    ],
    [
      'a list out of order',
      /out of order/,
      [
        [mention(), counted(1, 1)],
        [mention(0, OTHER), counted(1, 2)],
        [LIST, listed(2, entry({ ...OTHER, count: 1, version: 2 }), entry({ count: 1, version: 1 }))],
      ],
    ],
    [
      'a wrong badge',
      /badge says 3/,
      [
        [mention(), counted(1, 1)],
        [{ op: 'badge' }, { status: 'ok', count: 3, mentioned: 1 }],
      ],
    ],
    ['a wrong count in an answer', /has 4 mentions, expected 1/, [[mention(), counted(4, 1)]]],
    [
      'a change that is said to be none',
      /says that nothing changed/,
      [[ack(10), { ...shows(ACKED), changed: false }]],
    ],
    ['an answer about another entry', /not one entry 7\/0/, [[ack(10), shows({ ...ACKED, channel: 9 })]]],
  ];
  it.each(cases)('%s', (_name, reason, history) => {
    const found = run(...history);
    expect(found).toHaveLength(1);
    expect(found[0]).toMatch(reason);
    // The history without its last step is right, so it is that step that was found.
    expect(run(...history.slice(0, -1))).toEqual([]);
  });

  it('says the user, the history and what was expected', () => {
    const checker = new Checker();
    const user = checker.user(42);
    checker.answered(checker.sent(user, ack(10), 'ws3'), shows(ACKED));
    checker.lost('killed (kill 1)');
    checker.answered(checker.sent(user, GET, 'http0'), shows({ ...ACKED, message: 9 }));
    const [violation] = checker.violations;
    expect(
      violation!.text,
    ).toBe(`user 42: get {channel:7,type:0}: 7/0 is {message:9,count:0,flags:0,viewed:-1,pin:0,version:1}, expected {message:10,count:0,flags:0,viewed:-1,pin:0,version:1}
  history:
    ws3 ack {channel:7,type:0,message:10,manual:false} -> {status:ok,entries:[{channel:7,type:0,message:10,count:0,flags:0,viewed:-1,pin:0,version:1}]}
    -- killed (kill 1)
    http0 get {channel:7,type:0} -> {status:ok,entries:[{channel:7,type:0,message:9,count:0,flags:0,viewed:-1,pin:0,version:1}]}`);
  });
});
