/**
 * The rounds of the engine benchmark: each side in its own process, one round of each after the other, so that what
 * else the machine does meets them all.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { ChildReady, ChildSettings, RoundOrder, RoundResult, SideName } from './engine-child.js';
import { BenchProcess } from './engine-processes.js';
import { ratioOf, type Spread, spreadOf } from './spread.js';

/** What takes turns: `single` is the slab without touch, in the same process as the slab. */
const TURNS = [
  { name: 'slab', side: 'slab', batched: true },
  { name: 'single', side: 'slab', batched: false },
  { name: 'lru-string', side: 'lru-string', batched: true },
  { name: 'lru-nested', side: 'lru-nested', batched: true },
  { name: 'heap', side: 'heap', batched: true },
] as const;
type TurnName = (typeof TURNS)[number]['name'];

/** Between two rounds, so that the collector threads of the last side come to rest. */
const REST_MS = 300;

export interface ThroughputSettings extends Omit<ChildSettings, 'side'> {
  readonly rounds: number;
  readonly roundSeconds: number;
}

export interface Throughput {
  readonly ready: Record<string, ChildReady>;
  readonly rounds: Record<TurnName, RoundResult[]>;
}

export async function measureThroughput(
  settings: ThroughputSettings,
  log: (text: string) => void,
): Promise<Throughput> {
  const { rounds: roundCount, roundSeconds, ...childSettings } = settings;
  const processes = new Map<SideName, BenchProcess>();
  const ready: Record<string, ChildReady> = {};
  const rounds = Object.fromEntries(TURNS.map(({ name }) => [name, []])) as unknown as Throughput['rounds'];
  try {
    for (const { side } of TURNS) {
      if (processes.has(side)) continue;
      const child = new BenchProcess('engine-child.js', { ...childSettings, side } satisfies ChildSettings);
      processes.set(side, child);
      ready[side] = await child.answer<ChildReady>();
      log(`${side}: ${ready[side].records} records in ${(ready[side].prefillMs / 1000).toFixed(1)} s`);
    }
    // The first round warms up, and is not counted.
    for (let round = 0; round <= roundCount; round++) {
      const rates: string[] = [];
      for (const { name, side, batched } of TURNS) {
        const order: RoundOrder = { seconds: roundSeconds, batched };
        const result = await processes.get(side)!.ask<RoundResult>(order);
        if (round > 0) rounds[name].push(result);
        rates.push(`${name} ${(rateOf(result) / 1e6).toFixed(3)}`);
        await delay(REST_MS);
      }
      log(`${round === 0 ? 'warm-up' : `round ${round}`}, M operations/s: ${rates.join(', ')}`);
    }
  } finally {
    await Promise.all([...processes.values()].map((child) => child.end()));
  }
  return { ready, rounds };
}

/** Operations in a second of work. */
export function rateOf({ operations, workMs }: RoundResult): number {
  return (operations / workMs) * 1000;
}

export interface SideSummary {
  readonly rate: Spread;
  readonly cpuRate: Spread;
  readonly hitShare: number;
  readonly gcMaxMs: number;
}

export function summarizeSide(rounds: readonly RoundResult[]): SideSummary {
  const hits = rounds.reduce((sum, round) => sum + round.hits, 0);
  const misses = rounds.reduce((sum, round) => sum + round.misses, 0);
  return {
    rate: spreadOf(rounds.map(rateOf)),
    cpuRate: spreadOf(rounds.map(cpuRateOf)),
    hitShare: hits / (hits + misses),
    gcMaxMs: Math.max(...rounds.map(({ gcMaxMs }) => gcMaxMs)),
  };
}

/** The faster of the two ways to use lru-cache. */
export function bestPeer({ rounds }: Throughput): 'lru-string' | 'lru-nested' {
  const median = (name: TurnName): number => spreadOf(rounds[name].map(rateOf)).median;
  return median('lru-string') >= median('lru-nested') ? 'lru-string' : 'lru-nested';
}

/** Operations in a second of processor time. */
function cpuRateOf({ operations, cpuMs }: RoundResult): number {
  return (operations / cpuMs) * 1000;
}

/** By processor time: on a machine that others use, it says more. */
export function cpuRatio({ rounds }: Throughput, name: TurnName, peer: TurnName): Spread {
  return ratioOf(rounds[name].map(cpuRateOf), rounds[peer].map(cpuRateOf));
}

export function ratio({ rounds }: Throughput, name: TurnName, peer: TurnName): Spread {
  return ratioOf(rounds[name].map(rateOf), rounds[peer].map(rateOf));
}
