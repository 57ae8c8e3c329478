/** Limits on what one user or channel may do in a second. */
import { describe, expect, it } from 'vitest';
import { hashUser } from '../../engine/hash.js';
import { OP_ACK, OP_UNSUBSCRIBE, REQUEST, ROUTED } from '../../engine/messages.js';
import { HOT_TABLE_BYTES, HotTable, WINDOW_S } from '../../workers/introspection/hot-keys.js';
import { KeyLimiter, Limiter, WATCHED_MAX } from '../../workers/introspection/limiter.js';
import { LANE_STATS } from '../../workers/stats.js';
import { Random } from '../model/random.js';

const KEY = 7;
const TICK_S = 0.1;

/** As if these keys, and no others, were near their limit. */
function hotKeys(keys: Iterable<number>, ratePerS = 1): HotTable {
  return {
    each: (_least: number, see: (lo: number, hi: number, count: number) => void) => {
      for (const key of keys) see(key, 0, ratePerS * WINDOW_S);
    },
  } as unknown as HotTable;
}
const hot = hotKeys([KEY]);
const hash = (lo: number): number => lo;
const newStats = (): Float64Array => new Float64Array(LANE_STATS.WORDS);

function operation(op: number): Int32Array {
  const words = new Int32Array(ROUTED.WORDS + REQUEST.WORDS);
  words[ROUTED.USER_HASH] = hash(KEY);
  words[ROUTED.WORDS + REQUEST.HEAD] = op;
  words[ROUTED.WORDS + REQUEST.USER_LO] = KEY;
  words[ROUTED.WORDS + REQUEST.CHANNEL_LO] = KEY;
  return words;
}

it("a channel's part of a limit may be less than one operation a second of a lane", () => {
  const limiter = new Limiter({ userPerS: 0, channelPerS: 4 }, 8, hash, newStats());
  limiter.tick(1, hot, hot);
  const ack = operation(OP_ACK);
  const seconds = Array.from({ length: 6 }, () => {
    const refused = limiter.refuses(ack, 0);
    limiter.tick(1, hot, hot);
    return refused;
  });
  expect(seconds).toEqual([false, true, false, true, false, true]);
});

it('an unsubscribe is never refused', () => {
  const limiter = new Limiter({ userPerS: 1, channelPerS: 0 }, 1, hash, newStats());
  limiter.tick(1, hot, hot);
  expect(
    [operation(OP_ACK), operation(OP_ACK), operation(OP_UNSUBSCRIBE)].map((words) =>
      limiter.refuses(words, 0),
    ),
  ).toEqual([false, true, false]);
});

it('200 users at once are all limited', () => {
  const USERS = 200;
  const LIMIT_PER_S = 10;
  const SECONDS = 10;
  const A_TICK = 100;
  const table = new HotTable(new SharedArrayBuffer(HOT_TABLE_BYTES), 0);
  const limiter = new KeyLimiter(LIMIT_PER_S, hashUser);
  const run = new Array<number>(USERS).fill(0);
  for (let tick = 0; tick < SECONDS / TICK_S; tick++) {
    for (let i = 0; i < A_TICK; i++) {
      for (let user = 0; user < USERS; user++) {
        table.add(hashUser(user, 1), user, 1, 1);
        if (!limiter.refuses(hashUser(user, 1), user, 1)) run[user]!++;
      }
    }
    table.decay(Math.exp(-TICK_S / WINDOW_S));
    limiter.tick(TICK_S, table);
  }
  // What came before it was noticed, a bucket, and the rate.
  expect(Math.max(...run)).toBeLessThanOrEqual(A_TICK * 3 + LIMIT_PER_S * (1 + SECONDS));
  expect(Math.min(...run)).toBeGreaterThanOrEqual(LIMIT_PER_S * SECONDS);
});

describe('when as many keys are watched as can be', () => {
  const LIMIT_PER_S = 10;
  const crowd = Array.from({ length: WATCHED_MAX }, (_, i) => i + 1);
  const NEWCOMERS = [100_001, 100_002, 100_003];

  /** @returns operations that were not refused */
  function run(limiter: KeyLimiter, key: number, operations: number): number {
    let count = 0;
    for (let i = 0; i < operations; i++) if (!limiter.refuses(hashUser(key, 0), key, 0)) count++;
    return count;
  }

  it('one that keeps its limit gives way to a newcomer', () => {
    const limiter = new KeyLimiter(LIMIT_PER_S, hashUser);
    limiter.tick(TICK_S, hotKeys(crowd));
    expect(limiter.count).toBe(WATCHED_MAX);
    for (const key of crowd) expect(run(limiter, key, 1)).toBe(1);
    expect(limiter.tick(TICK_S, hotKeys([...crowd, ...NEWCOMERS], 100))).toBe(0);
    for (const key of NEWCOMERS) expect(run(limiter, key, 50), `${key}`).toBe(LIMIT_PER_S);
    expect(limiter.count).toBe(WATCHED_MAX);
    expect(crowd.filter((key) => run(limiter, key, 50) > LIMIT_PER_S)).toHaveLength(NEWCOMERS.length);
  });

  it('one that is over its limit does not, and what is beyond the limit of a newcomer is counted', () => {
    const limiter = new KeyLimiter(LIMIT_PER_S, hashUser);
    limiter.tick(TICK_S, hotKeys(crowd));
    const flood = (): number[] => crowd.map((key) => run(limiter, key, 50));
    flood();
    for (let tick = 0; tick < 3; tick++) {
      const passed = limiter.tick(TICK_S, hotKeys([...NEWCOMERS, ...crowd], 50));
      expect(passed).toBeCloseTo(NEWCOMERS.length * (50 - LIMIT_PER_S) * TICK_S);
      expect(new Set(flood())).toEqual(new Set([LIMIT_PER_S * TICK_S]));
      expect(run(limiter, NEWCOMERS[0]!, 50)).toBe(50);
    }
    // Only one of them keeps its limit now: one newcomer has its place.
    const [calm, ...others] = crowd;
    for (let tick = 0; tick < 9; tick++) {
      limiter.tick(TICK_S, hotKeys([]));
      for (const key of others) run(limiter, key, 50);
    }
    const passed = limiter.tick(TICK_S, hotKeys([...NEWCOMERS, ...others], 50));
    expect(passed).toBeCloseTo((NEWCOMERS.length - 1) * (50 - LIMIT_PER_S) * TICK_S);
    expect([...NEWCOMERS, calm!].map((key) => run(limiter, key, 50))).toEqual([LIMIT_PER_S, 50, 50, 50]);
  });

  it('the lane counts what was not refused', () => {
    const stats = newStats();
    const limiter = new Limiter({ userPerS: LIMIT_PER_S, channelPerS: 0 }, 1, hashUser, stats);
    const many = hotKeys([...crowd, ...NEWCOMERS], 50);
    limiter.tick(TICK_S, many, many); // all new: nobody gives way
    expect(stats[LANE_STATS.UNLIMITED]).toBeCloseTo(NEWCOMERS.length * (50 - LIMIT_PER_S) * TICK_S);
  });
});

it('keys that come and go are limited as those of a map, also where their hashes meet', () => {
  const LIMIT_PER_S = 5;
  const KEYS = 60;
  const random = new Random(11);
  const meeting = (lo: number): number => (lo % 4) << 8;
  const limiter = new KeyLimiter(LIMIT_PER_S, meeting);
  const model = new Map<number, number>();
  for (let tick = 0; tick < 1000; tick++) {
    const near = Array.from({ length: random.next(KEYS / 2) }, () => random.next(KEYS));
    limiter.tick(TICK_S, hotKeys(near));
    for (const [key, tokens] of model) model.set(key, Math.min(LIMIT_PER_S, tokens + LIMIT_PER_S * TICK_S));
    for (const key of near) if (!model.has(key)) model.set(key, LIMIT_PER_S);
    for (const [key, tokens] of model) if (tokens >= LIMIT_PER_S && !near.includes(key)) model.delete(key);
    expect(limiter.count).toBe(model.size);
    for (let i = random.next(40); i > 0; i--) {
      const key = random.next(KEYS);
      const tokens = model.get(key);
      expect(limiter.refuses(meeting(key), key, 0)).toBe(tokens !== undefined && tokens < 1);
      if (tokens !== undefined && tokens >= 1) model.set(key, tokens - 1);
    }
  }
});
