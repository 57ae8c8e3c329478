/** What the peers in other languages must make alike: ranks without logarithms, and a checksum that sees each answer. */
import { describe, expect, it } from 'vitest';
import { AnswerChecksum } from '../../bench/answer-checksum.js';
import { Block, OperationStream, REPLY_STRIDE } from '../../bench/engine-stream.js';
import { Random } from '../../bench/random.js';
import { COMMAND_BYTES_MAX, resp, writeIncrement, writeSameOperation } from '../../bench/resp-commands.js';
import { WireWorkload } from '../../bench/wire-workload.js';
import { zipfConstants, zipfRank } from '../../bench/zipf-portable.js';
import { formatId } from '../../engine/ids.js';
import { OP_ACK, REPLY, REQUEST } from '../../engine/messages.js';

describe('zipf ranks', () => {
  it('come as often as they should', () => {
    const count = 1000;
    const constants = zipfConstants(count);
    const random = new Random(1);
    const seen = new Float64Array(count);
    const samples = 400_000;
    for (let i = 0; i < samples; i++) {
      const rank = zipfRank(constants, count, random.fraction());
      seen[rank] = seen[rank]! + 1;
    }
    const share = (from: number, to: number): number =>
      seen.slice(from, to).reduce((sum, times) => sum + times, 0) / samples;
    const expected = (from: number, to: number): number => {
      let sum = 0;
      for (let rank = from; rank < to; rank++) sum += (rank + 1) ** -0.99;
      return sum / constants.zetaN;
    };
    // The first two are exact; the others are of the integral, which is some percent off.
    expect(share(0, 1)).toBeCloseTo(expected(0, 1), 2);
    expect(share(1, 2)).toBeCloseTo(expected(1, 2), 2);
    for (const [from, to] of [
      [2, 10],
      [10, 100],
      [100, 1000],
    ] as const) {
      expect(share(from, to) / expected(from, to)).toBeGreaterThan(0.85);
      expect(share(from, to) / expected(from, to)).toBeLessThan(1.15);
    }
  });

  it('stay below the count', () => {
    const constants = zipfConstants(64);
    expect(zipfRank(constants, 64, 1 - 2 ** -32)).toBe(63);
    expect(zipfRank(constants, 64, 0)).toBe(0);
  });
});

it('users who never came before come as often as asked, each once', () => {
  const users = 100;
  const stream = new OperationStream({ users, channelsPerUser: 4 }, 1, 0, { coldPercent: 30, zipf: null });
  const block = new Block();
  stream.fill(block);
  const usersOf = new Map<number, number>();
  for (let i = 0; i < block.count; i++) {
    const user = block.words[i * REQUEST.WORDS + REQUEST.USER_LO]!;
    usersOf.set(user, (usersOf.get(user) ?? 0) + 1);
  }
  const cold = [...usersOf.values()].filter((times) => times === 1).length;
  expect(cold / block.count).toBeGreaterThan(0.26);
  expect(cold / block.count).toBeLessThan(0.34);
});

it('a checksum differs when one answer does, and not by versions', () => {
  const block = new Block();
  block.add(OP_ACK, 1, 2, 3, 4, 0);
  block.add(OP_ACK, 1, 2, 3, 4, 1);
  const sum = (): number => {
    const checksum = new AnswerChecksum();
    checksum.take(block);
    return checksum.value;
  };
  const before = sum();
  block.replies[REPLY_STRIDE + REPLY.VERSION] = 7;
  expect(sum()).toBe(before);
  block.replies[REPLY_STRIDE + REPLY.MENTION_COUNT] = 1;
  expect(sum()).not.toBe(before);
});

it('commands for Redis say what the operations of the wire say', () => {
  const words = new Int32Array(REQUEST.WORDS);
  const bytes = Buffer.alloc(COMMAND_BYTES_MAX);
  const workload = new WireWorkload(3, 4);
  workload.ackNext(words, 0, 0);
  const text = bytes.toString('latin1', 0, writeSameOperation(words, bytes, 0));
  const [user, channel, message] = [REQUEST.USER_LO, REQUEST.CHANNEL_LO, REQUEST.ARGUMENT_LO].map((at) =>
    formatId(words[at]!, words[at + 1]!),
  ) as [string, string, string];
  expect(user).toBe(workload.userId(0));
  expect(text).toMatch(/^\*6\r\n\$7\r\nEVALSHA\r\n\$40\r\n[0-9a-f]{40}\r\n/);
  expect(text.endsWith(resp('1', user, channel, message).replace(/^\*4\r\n/, ''))).toBe(true);
  const increment = bytes.toString('latin1', 0, writeIncrement(words, bytes, 0));
  expect(increment).toBe(resp('HINCRBY', user, `-${channel}`, '1'));
});
