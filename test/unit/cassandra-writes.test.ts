/** Groups as requests of one partition: what is in them, and what is done when one is refused. */
import cassandra from 'cassandra-driver';
import { beforeEach, describe, expect, it } from 'vitest';
import { META_DELETED, META_STORED } from '../../engine/layout.js';
import { ENTRY, ROW } from '../../engine/messages.js';
import { type Statement, textsOf } from '../../workers/stores/cassandra-rows.js';
import { type SendStatements, writeGroup } from '../../workers/stores/cassandra-writes.js';
import { GroupRefused, type WriteGroup } from '../../workers/stores/store.js';

const { errors, types } = cassandra;
const TEXTS = textsOf('k');

/** Of channels 1 to `count`. */
function group(count: number, change: Partial<WriteGroup> = {}, deleted: readonly number[] = []): WriteGroup {
  const rows = new Int32Array(count * ROW.WORDS);
  for (let i = 0; i < count; i++) {
    rows[i * ROW.WORDS + ENTRY.CHANNEL_LO] = i + 1;
    rows[i * ROW.WORDS + ENTRY.META] = 3 | (deleted.includes(i + 1) ? META_DELETED | META_STORED : 0);
  }
  const user = {
    userLo: 7,
    userHi: 0,
    version: 9,
    deletedVersion: 0,
    clockLo: 1000,
    clockHi: 0,
    wipe: false,
  };
  return { ...user, rows, count, ...change };
}

const refusal = (): Error => new errors.ResponseError(types.responseErrorCodes.invalid, 'bad value');
const channelOf = ({ params }: Statement): number => Number(String(params[1]));

let requests: (readonly Statement[])[];
let clocks: string[];
/** Says what is wrong with a request, if anything. */
let judge: (statements: readonly Statement[]) => Error | null;
beforeEach(() => {
  requests = [];
  clocks = [];
  judge = () => null;
});

const send: SendStatements = async (statements, clock, routingKey) => {
  expect(routingKey.toString('hex')).toBe('0000000000000007');
  const error = judge(statements);
  if (error !== null) throw error;
  requests.push(statements);
  clocks.push(String(clock));
};
const write = (one: WriteGroup) => writeGroup(one, 'cassandra://h/k', TEXTS, send);
const written = (): number[] =>
  requests
    .flat()
    .filter(({ query }) => query === TEXTS.insert || query === TEXTS.insertFirst)
    .map(channelOf)
    .sort((a, b) => a - b);

const channels = (from: number, to: number): number[] =>
  Array.from({ length: to - from + 1 }, (_, i) => from + i);

describe('writeGroup', () => {
  it('writes one row as one statement, which carries the versions', async () => {
    expect(await write(group(1))).toBeNull();
    expect(requests).toHaveLength(1);
    expect(requests[0]).toHaveLength(1);
    expect(requests[0]![0]!.query).toBe(TEXTS.insertFirst);
    expect(requests[0]![0]!.params.slice(-2)).toEqual([9, types.unset]);
    expect(clocks).toEqual(['1000']);
  });

  it('never writes a null, and no deleted_version of 0', async () => {
    await write(group(30, { deletedVersion: 5 }));
    await write(group(0));
    for (const { params } of requests.flat()) expect(params).not.toContain(null);
    expect(requests[0]![0]!.params.at(-1)).toBe(5);
    expect(requests.at(-1)).toEqual([
      { query: TEXTS.insertStatics, params: [expect.anything(), 9, types.unset] },
    ]);
  });

  it('writes the versions with a deletion, too', async () => {
    await write(group(2, { deletedVersion: 9 }, [1, 2]));
    expect(requests[0]!.map(({ query }) => query)).toEqual([TEXTS.remove, TEXTS.remove, TEXTS.insertStatics]);
  });

  it('does not delete what was never stored', async () => {
    const one = group(3, {}, [1, 2]);
    one.rows[ENTRY.META]! &= ~META_STORED;
    await write(one);
    expect(requests.flat().map(({ query }) => query)).toEqual([TEXTS.remove, TEXTS.insertFirst]);
    expect(channelOf(requests[0]![0]!)).toBe(2);
    one.rows[ROW.WORDS + ENTRY.META]! &= ~META_STORED;
    await write({ ...one, count: 2 });
    expect(requests[1]!.map(({ query }) => query)).toEqual([TEXTS.insertStatics]);
  });

  it('splits a group: wipe and versions with the first rows, at most 24 rows a request', async () => {
    expect(await write(group(100, { wipe: true, deletedVersion: 8 }))).toBeNull();
    expect(requests.map(({ length }) => length)).toEqual([25, 24, 24, 24, 4]);
    expect(requests[0]![0]).toEqual({ query: TEXTS.wipe, params: [expect.anything(), expect.anything()] });
    expect(String(requests[0]![0]!.params[0])).toBe('999'); // older than its own rows
    const carries = requests.map(
      (statements) => statements.filter(({ query }) => query === TEXTS.insertFirst).length,
    );
    expect(carries).toEqual([1, 0, 0, 0, 0]);
    expect(written()).toEqual(channels(1, 100));
    expect(new Set(clocks)).toEqual(new Set(['1000']));
  });

  it('does not go on when a request fails, and says why', async () => {
    judge = () => (requests.length < 2 ? null : new errors.OperationTimedOutError('too late'));
    const error = await write(group(100));
    expect(error).not.toBeInstanceOf(GroupRefused);
    expect(error?.message).toBe('cannot write to the store cassandra://h/k: too late');
    expect(requests).toHaveLength(2);
  });

  it.each([1, 2, 24, 25, 60, 100])('writes all but the row that is refused: channel %i', async (bad) => {
    let asked = 0;
    judge = (statements) => {
      asked++;
      return statements.some((one) => one.params.length > 3 && channelOf(one) === bad) ? refusal() : null;
    };
    const error = await write(group(100, { wipe: true }));
    expect(error).toBeInstanceOf(GroupRefused);
    expect(error?.message).toBe(
      `the store cassandra://h/k refuses a row of user 7, channel ${bad}, type 3: bad value`,
    );
    expect(written()).toEqual(channels(1, 100).filter((channel) => channel !== bad));
    expect(asked).toBeLessThan(20);
    const all = requests.flat();
    expect(all.filter(({ query }) => query === TEXTS.wipe)).toHaveLength(1);
    expect(all.some(({ query }) => query === TEXTS.insertFirst || query === TEXTS.insertStatics)).toBe(true);
  });

  it('takes what the driver cannot encode for refused, too', async () => {
    judge = (statements) =>
      statements.length > 1 || channelOf(statements[0]!) === 2 ? new TypeError('not a number') : null;
    expect(await write(group(3))).toBeInstanceOf(GroupRefused);
    expect(written()).toEqual([1, 3]);
  });

  it('gives up soon when everything is refused', async () => {
    let asked = 0;
    judge = () => {
      asked++;
      return refusal();
    };
    expect(await write(group(100))).toBeInstanceOf(GroupRefused);
    expect(asked).toBeLessThanOrEqual(16);
  });
});
