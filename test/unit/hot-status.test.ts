/** Hot users and channels of the service, from what each lane has of them. */
import { expect, it } from 'vitest';
import { hotOf } from '../../gateway/admin/hot-status.js';
import { HOT_TABLE_BYTES, HotTable, WINDOW_S } from '../../workers/introspection/hot-keys.js';
import {
  createIntrospection,
  hashChannel,
  type IntrospectionMemory,
} from '../../workers/introspection/lane-introspection.js';
import { Random } from '../model/random.js';

const LANES = 32;
const OPERATIONS_PER_S = 24_000;
/** A ten-thousandth of the operations of the window. */
const COUNT_MIN = OPERATIONS_PER_S * WINDOW_S * 1e-4;

const lanes = (): IntrospectionMemory[] => Array.from({ length: LANES }, createIntrospection);

function add({ hotKeys }: IntrospectionMemory, byteOffset: number, id: number, count: number): void {
  new HotTable(hotKeys, byteOffset).add(hashChannel(id, 0), id, 0, count);
}

it('a channel is as hot as its parts in all lanes together', () => {
  const introspection = lanes();
  const part = COUNT_MIN - 2;
  for (const lane of introspection) add(lane, HOT_TABLE_BYTES, 7, part);
  add(introspection[3]!, HOT_TABLE_BYTES, 8, COUNT_MIN);
  for (const lane of introspection.slice(0, 2)) add(lane, HOT_TABLE_BYTES, 9, COUNT_MIN / 2 - 1);
  expect(hotOf(introspection, OPERATIONS_PER_S)!.channels).toEqual([
    { channel_id: '7', per_s: (LANES * part) / WINDOW_S },
    { channel_id: '8', per_s: COUNT_MIN / WINDOW_S },
  ]);
});

it('a user is shown from a ten-thousandth of all operations on', () => {
  const introspection = lanes();
  add(introspection[0]!, 0, 7, COUNT_MIN);
  add(introspection[1]!, 0, 8, COUNT_MIN - 1);
  const { users, channels } = hotOf(introspection, OPERATIONS_PER_S)!;
  expect(users).toEqual([{ user_id: '7', per_s: COUNT_MIN / WINDOW_S }]);
  expect(channels).toEqual([]);
});

it('sums of thousands of channels are those of a map', () => {
  const random = new Random(5);
  const introspection = lanes();
  for (const lane of introspection)
    for (let i = 0; i < 1500; i++) add(lane, HOT_TABLE_BYTES, 1 + random.next(5000), 1 + random.next(9));
  const sums = new Map<number, number>();
  for (const { hotKeys } of introspection)
    new HotTable(hotKeys, HOT_TABLE_BYTES).each(Number.MIN_VALUE, (lo, _hi, count) =>
      sums.set(lo, (sums.get(lo) ?? 0) + count),
    );
  expect(sums.size).toBeGreaterThan(4000);
  const shown = hotOf(introspection, 0)!.channels;
  expect(shown.map(({ per_s }) => per_s)).toEqual(
    [...sums.values()]
      .sort((a, b) => b - a)
      .slice(0, shown.length)
      .map((sum) => Number((sum / WINDOW_S).toPrecision(3))),
  );
  for (const { channel_id, per_s } of shown)
    expect(sums.get(Number(channel_id))! / WINDOW_S, channel_id).toBeCloseTo(per_s, 1);
});
