import { describe, expect, test } from 'vitest';
import { LatencyCounts } from '../../bench/latency-counts.js';
import { loadCommand } from '../../bench/load.js';
import { Random } from '../../bench/random.js';
import { createHistogram, KINDS } from '../../bench/run-stats.js';
import { parseMix, userLow, Workload } from '../../bench/synthetic-workload.js';
import { Zipf } from '../../bench/zipf.js';
import { REQUEST } from '../../engine/messages.js';

describe('zipf', () => {
  test.each([0, 0.5, 0.99, 1, 1.5, 3])('ranks come as often as they should with exponent %d', (exponent) => {
    const [count, samples] = [50, 200_000];
    const zipf = new Zipf(new Random(42), count, exponent);
    const seen = new Array<number>(count + 1).fill(0);
    for (let i = 0; i < samples; i++) seen[zipf.next()]!++;
    const weights = Array.from({ length: count }, (_, i) => (i + 1) ** -exponent);
    const sum = weights.reduce((a, b) => a + b, 0);
    // Chi-square over ranks that are expected often enough; 49 degrees of freedom pass 100 once in 50,000 seeds.
    let chiSquare = 0;
    let [restSeen, restExpected] = [0, 0];
    weights.forEach((weight, index) => {
      const expected = (weight / sum) * samples;
      if (expected < 10) {
        restSeen += seen[index + 1]!;
        restExpected += expected;
      } else chiSquare += (seen[index + 1]! - expected) ** 2 / expected;
    });
    if (restExpected > 0) chiSquare += (restSeen - restExpected) ** 2 / restExpected;
    expect(seen[0]).toBe(0);
    expect(chiSquare).toBeLessThan(100);
  });

  test('one rank, many ranks, the same seed', () => {
    expect(new Zipf(new Random(1), 1, 1).next()).toBe(1);
    const [zipf, same] = [new Zipf(new Random(3), 1e9, 0.9), new Zipf(new Random(3), 1e9, 0.9)];
    let largest = 0;
    for (let i = 0; i < 1000; i++) {
      const rank = zipf.next();
      expect(same.next()).toBe(rank);
      expect(Number.isInteger(rank) && rank >= 1 && rank <= 1e9).toBe(true);
      largest = Math.max(largest, rank);
    }
    expect(largest).toBeGreaterThan(1e8);
  });
});

describe('the workload', () => {
  test('has the shares of the mix, within the users and channels asked for', () => {
    const mix = parseMix('ack=50,mention=30,get=10,list=5,badge=5');
    const workload = new Workload({ users: 100, channelsPerUser: 4, zipfExponent: 0.9, mix, seed: 1 });
    const words = new Int32Array(REQUEST.WORDS);
    const seen = new Array<number>(KINDS.length).fill(0);
    const channelsOf = new Map<number, Set<number>>();
    for (let i = 0; i < 50_000; i++) {
      workload.write(words, 0);
      seen[workload.kind]!++;
      const user = words[REQUEST.USER_LO]!;
      if (!channelsOf.has(user)) channelsOf.set(user, new Set());
      channelsOf.get(user)!.add(words[REQUEST.CHANNEL_LO]!);
    }
    expect(channelsOf.size).toBe(100);
    for (const channels of channelsOf.values()) expect(channels.size).toBeLessThanOrEqual(4);
    const shares = Object.fromEntries(KINDS.map((kind, index) => [kind, seen[index]! / 50_000]));
    expect(shares.ack).toBeCloseTo(0.5, 1);
    expect(shares.mention).toBeCloseTo(0.3, 1);
    expect(shares.badge).toBeCloseTo(0.05, 1);
    expect(shares.delete).toBe(0);
  });

  test('user ids differ', () => {
    const ids = new Set<number>();
    for (let rank = 1; rank <= 100_000; rank++) ids.add(userLow(rank));
    expect(ids.size).toBe(100_000);
  });

  test.each(['ack', 'ack=', 'fly=3', 'ack=-1', 'ack=0'])('mix %s is refused', (text) => {
    expect(() => parseMix(text)).toThrow();
  });
});

test('the command refuses what it cannot do, by name', () => {
  const command = loadCommand()
    .exitOverride()
    .configureOutput({ writeErr: () => {} });
  const parse = (...args: string[]): void => void command.parse(args, { from: 'user' });
  expect(() => parse('--rate', 'fast')).toThrow(/--rate .*Not a number/);
  expect(() => parse('--duration', '10')).toThrow(/Not a duration/);
  expect(() => parse('--mix', 'fly=1')).toThrow(/fly=1/);
  expect(() => parse('--protocol', 'udp')).toThrow(/bin, http/);
  expect(() => parse('--url', 'ftp://x')).toThrow(/Not an http/);
});

test('latency counts agree with a histogram within 0.2%, and never tell less', () => {
  const [random, counts, poured, direct] = [
    new Random(5),
    new LatencyCounts(),
    createHistogram(),
    createHistogram(),
  ];
  for (let i = 0; i < 20_000; i++) {
    const us = Math.round(2 ** (random.fraction() * 30));
    counts.record(us);
    direct.recordValue(us);
  }
  counts.pourInto(poured);
  expect(poured.totalCount).toBe(20_000);
  expect(poured.maxValue).toBe(direct.maxValue);
  for (const percentile of [1, 10, 50, 90, 99, 99.9, 100]) {
    const [told, exact] = [poured.getValueAtPercentile(percentile), direct.getValueAtPercentile(percentile)];
    expect(told).toBeGreaterThanOrEqual(exact);
    expect(told).toBeLessThanOrEqual(exact * 1.002 + 1);
  }
});
