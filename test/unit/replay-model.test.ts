import { describe, expect, test } from 'vitest';
import { ExpectedState } from '../../bench/expected-state.js';
import { MODEL_DEFAULTS, type ModelOptions, type Operation, ReaderModel } from '../../bench/reader-model.js';
import { replayCommand } from '../../bench/replay.js';
import { type Dispatch, parseDispatch } from '../../bench/trace.js';

function message(
  atMs: number,
  id: string,
  channelId: string,
  authorId: string,
  ...mentionIds: string[]
): Dispatch {
  return { kind: 'message', atMs, id, channelId, authorId, mentionIds };
}

/** What the model says, as `time kind user channel message`. */
function run(dispatches: Dispatch[], changes: Partial<ModelOptions> = {}): string[] {
  const said: string[] = [];
  const model = new ReaderModel({ ...MODEL_DEFAULTS, ...changes }, (operation: Operation) => {
    const { atMs, kind, userId, channelId, messageId } = operation;
    said.push(
      kind === 'list' ? `${atMs} list ${userId}` : `${atMs} ${kind} ${userId} ${channelId} ${messageId}`,
    );
  });
  for (const dispatch of dispatches) model.take(dispatch);
  model.finish();
  return said;
}

describe('the model of readers', () => {
  test('an author connects, has read the own message, and names others', () => {
    expect(run([message(0, '10', '1', 'a', 'b', 'c')])).toEqual([
      '0 list a',
      '0 ack a 1 10',
      '0 mention b 1 10',
      '0 mention c 1 10',
    ]);
  });

  test('a viewer acks once for a burst, about 3 s after its last message', () => {
    const burst = [0, 1000, 2000, 4000].map((atMs, i) =>
      message(atMs, String(10 + i), '1', i === 0 ? 'a' : 'b'),
    );
    const acks = run(burst).filter((line) => line.includes('ack a'));
    expect(acks).toHaveLength(2);
    const [atMs, , , , id] = acks[1]!.split(' ');
    expect(id).toBe('13');
    expect(Number(atMs)).toBeGreaterThanOrEqual(4000 + 2400);
    expect(Number(atMs)).toBeLessThanOrEqual(4000 + 3600);
  });

  test('a viewer who is named acks at once', () => {
    const said = run([message(0, '10', '1', 'a'), message(500, '11', '1', 'b', 'a')]);
    expect(said.slice(-2)).toEqual(['500 mention a 1 11', '500 ack a 1 11']);
  });

  test('who went to another channel, or has not written for long, does not ack', () => {
    const moved = [message(0, '10', '1', 'a'), message(1, '11', '2', 'a'), message(2, '12', '1', 'b')];
    expect(run(moved).filter((line) => line.endsWith('a 1 12'))).toEqual([]);
    const late = [message(0, '10', '1', 'a'), message(600_001, '12', '1', 'b')];
    expect(run(late).filter((line) => line.endsWith('a 1 12'))).toEqual([]);
    const leaving = [message(0, '10', '1', 'a'), message(1, '12', '1', 'b'), message(2, '13', '2', 'a')];
    expect(run(leaving).filter((line) => line.endsWith('a 1 12'))).toEqual([]);
  });

  test('a user connects again after the idle gap', () => {
    const said = run([
      message(0, '10', '1', 'a'),
      message(1_000, '11', '1', 'a'),
      message(1_801_000, '12', '1', 'a'),
    ]);
    expect(said.filter((line) => line.includes('list'))).toEqual(['0 list a', '1801000 list a']);
  });

  test('the same seed says the same, time never goes back, and the share counts', () => {
    const dispatches = Array.from({ length: 2000 }, (_, i) =>
      message(
        i * 400 - (i % 7) * 100,
        String(i + 1),
        String(i % 3),
        String((i * 7) % 40),
        String((i * 11) % 50),
      ),
    );
    const said = run(dispatches);
    expect(run(dispatches)).toEqual(said);
    expect(run(dispatches, { seed: 2 })).not.toEqual(said);
    const times = said.map((line) => Number(line.split(' ')[0]));
    expect(times).toEqual([...times].sort((a, b) => a - b));
    const acks = (share: number): number =>
      run(dispatches, { readerShare: share }).filter((line) => line.includes(' ack ')).length;
    expect(acks(0)).toBe(2000);
    expect(run(dispatches, { readers: false }).filter((line) => line.includes(' ack '))).toHaveLength(2000);
    expect(acks(0.5)).toBeGreaterThan(2000);
    expect(acks(0.5)).toBeLessThan(acks(1));
  });
});

const MESSAGE = '{"t":"MESSAGE_CREATE","d":{"id":"7","channel_id":"8","author":{"id":"9"}';
const ACK = '{"t":"MESSAGE_ACK","d":{"user_id":"1","channel_id":"2","message_id":"3"';

describe('dispatches', () => {
  test('the time is given, or that of the snowflake, or of the dispatch before', () => {
    const d = { id: '1323802873036800000', channel_id: '1', author: { id: '2' }, mentions: [] };
    const at = (extra: object): number | undefined =>
      parseDispatch(JSON.stringify({ t: 'MESSAGE_CREATE', d: { ...d, ...extra } }), 5)?.atMs;
    expect(at({ timestamp_ms: 77 })).toBe(77);
    expect(at({ timestamp: '1970-01-01T00:00:01.500Z' })).toBe(1500);
    expect(at({})).toBe(1735689600000);
    const ack = { user_id: '1', channel_id: '2', message_id: '3', mention_count: null };
    expect(parseDispatch(JSON.stringify({ t: 'MESSAGE_ACK', d: ack }), 5)).toEqual({
      kind: 'ack',
      atMs: 5,
      userId: '1',
      channelId: '2',
      messageId: '3',
      mentionCount: undefined,
      manual: false,
    });
    expect(parseDispatch('{"op":0,"t":"TYPING_START","d":{}}', 5)).toBeUndefined();
  });

  test.each([
    ['{"t":"MESSAGE_CREATE"}', 'without d'],
    ['{"t":"MESSAGE_CREATE","d":{"id":1}}', 'without id'],
    ['{"t":"MESSAGE_ACK","d":{"user_id":"1","channel_id":"2"}}', 'without message_id'],
    ['{"t":"MESSAGE_ACK","d":{"timestamp":"then"}}', 'a time that cannot be read'],
    ['{', 'JSON'],
    ['null', 'no JSON object'],
    ['{"t":"MESSAGE_CREATE","d":null}', 'without d'],
    ['{"t":"MESSAGE_CREATE","d":{"id":"abc"}}', 'id "abc" is no id'],
    ['{"t":"MESSAGE_CREATE","d":{"id":"7","channel_id":"07"}}', 'channel_id "07" is no id'],
    ['{"t":"MESSAGE_CREATE","d":{"id":"7","channel_id":"8","author":null}}', 'without author.id'],
    [`${MESSAGE},"mentions":{}}}`, 'mentions are no list'],
    [`${MESSAGE},"mentions":[null]}}`, 'without mentions[].id'],
    [`${MESSAGE},"timestamp_ms":"5"}}`, 'a time that cannot be read'],
    [`${ACK},"mention_count":"x"}}`, 'mention_count "x" is not 0 to 2147483647'],
    [`${ACK},"mention_count":-1}}`, 'mention_count -1 is not'],
    [`${ACK},"mention_count":2147483648}}`, 'mention_count 2147483648 is not'],
  ])('%s is refused', (line, why) => {
    expect(() => parseDispatch(line, 0)).toThrow(why);
  });
});

describe('the expected state', () => {
  function state(
    ...operations: [kind: 'ack' | 'mention', messageId: string, manual?: boolean, count?: number][]
  ) {
    const expected = new ExpectedState();
    for (const [kind, messageId, manual = false, mentionCount] of operations)
      expected.apply({ kind, atMs: 0, userId: '1', channelId: '2', messageId, manual, mentionCount });
    return expected;
  }
  const listed = (lastMessageId: string | null, mentionCount: number, channelId = '2') => [
    {
      channelId,
      type: 0,
      lastMessageId,
      mentionCount,
      lastPinTimestamp: null,
      flags: 0,
      lastViewed: null,
      version: 1,
    },
  ];

  test('follows the rules of acks and mentions', () => {
    expect(state(['mention', '5'], ['mention', '6']).compare('1', listed(null, 2))).toEqual([]);
    expect(state(['mention', '5'], ['mention', '5']).compare('1', listed(null, 1))).toEqual([]);
    expect(state(['ack', '10'], ['mention', '10'], ['ack', '9']).compare('1', listed('10', 0))).toEqual([]);
    expect(state(['ack', '10'], ['ack', '9', true, 4]).compare('1', listed('9', 4))).toEqual([]);
    // Longer is larger, whatever the first digit.
    expect(state(['ack', '9'], ['ack', '10']).compare('1', listed('10', 0))).toEqual([]);
  });

  test('names each difference', () => {
    const expected = state(['ack', '10']);
    expect(expected.compare('1', listed('11', 1))).toEqual([
      'user 1 channel 2: mark 11, should be 10',
      'user 1 channel 2: 1 mentions, should be 0',
    ]);
    expect(expected.compare('1', listed('10', 0, '3'))).toEqual([
      'user 1 channel 3: listed, and should not be there',
      'user 1 channel 2: is missing',
    ]);
  });
});

test('the defaults of the command are those of the model', () => {
  const { burst, view, idle, readerShare, readers, seed } = replayCommand().opts();
  expect({ burstMs: burst, viewMs: view, idleMs: idle, readerShare, readers, seed }).toEqual(MODEL_DEFAULTS);
});
