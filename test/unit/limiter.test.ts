/** Limits on what one user or channel may do in a second. */
import { expect, it } from 'vitest';
import { OP_ACK, OP_UNSUBSCRIBE, REQUEST, ROUTED } from '../../engine/messages.js';
import type { HotTable } from '../../workers/introspection/hot-keys.js';
import { Limiter } from '../../workers/introspection/limiter.js';

const KEY = 7;
/** As if the key were hot. */
const hot = {
  each: (_least: number, see: (lo: number, hi: number) => void) => see(KEY, 0),
} as unknown as HotTable;
const hash = (lo: number): number => lo;

function operation(op: number): Int32Array {
  const words = new Int32Array(ROUTED.WORDS + REQUEST.WORDS);
  words[ROUTED.USER_HASH] = hash(KEY);
  words[ROUTED.WORDS + REQUEST.HEAD] = op;
  words[ROUTED.WORDS + REQUEST.USER_LO] = KEY;
  words[ROUTED.WORDS + REQUEST.CHANNEL_LO] = KEY;
  return words;
}

it("a channel's part of a limit may be less than one operation a second of a lane", () => {
  const limiter = new Limiter({ userPerS: 0, channelPerS: 4 }, 8, hash);
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
  const limiter = new Limiter({ userPerS: 1, channelPerS: 0 }, 1, hash);
  limiter.tick(1, hot, hot);
  expect(
    [operation(OP_ACK), operation(OP_ACK), operation(OP_UNSUBSCRIBE)].map((words) =>
      limiter.refuses(words, 0),
    ),
  ).toEqual([false, true, false]);
});
