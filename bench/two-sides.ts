/**
 * Two ways to start the service, under the same load in turn, in one run. The order within a pair of rounds alternates,
 * and the ratios are those of neighbours. The processor time of an operation is given, too: on a machine that others use
 * it is the steadier figure.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Command } from 'commander';
import { sourceState } from './commit.js';
import { formatCount, formatTable, machine } from './run-stats.js';
import { killChild, readMetrics, type Service, startService } from './service-child.js';
import { median } from './spread.js';
import { prefill, withBlaster } from './wire-session.js';
import { WireWorkload } from './wire-workload.js';

const CHANNELS_PER_USER = 32;
const LOADS = {
  pipelined: { connections: 16, window: 8 },
  'one frame in flight': { connections: 64, window: 1 },
} as const;

/** Of the command line. */
interface SidesOptions {
  quick?: boolean;
  users: string;
  rounds: string;
  json?: string;
}

interface TwoSides {
  /** Of the file of the result. */
  readonly name: string;
  /** The one that is judged, and what it is compared with: a name, and arguments of `tidemark serve`. */
  readonly sides: readonly [Side, Side];
  /** The median of the ratios of the rates must be at least this. */
  readonly floor: number;
  /** What the operations are; `mixed` if left out. */
  readonly workloads?: readonly ('mixed' | 'ackNext')[];
}

interface Side {
  readonly name: string;
  readonly args: readonly string[];
}

interface Result {
  /** By side. */
  readonly rates: readonly [number[], number[]];
  readonly ratios: number[];
  readonly median: number;
  /** Processor time of the whole process for one operation, by side. */
  readonly cpuNs: readonly [number[], number[]];
  readonly cpuRatios: number[];
}

function formatRatio(ratios: readonly number[]): string {
  return `${median(ratios).toFixed(3)} (${Math.min(...ratios).toFixed(3)} to ${Math.max(...ratios).toFixed(3)})`;
}

/** Runs it, says the result and keeps it; sets the exit code to 1 when the floor is missed. */
async function compareSides(
  options: SidesOptions,
  { name, sides, floor, workloads }: TwoSides,
): Promise<void> {
  const quick = options.quick === true;
  const users = Number(options.users) / (quick ? 10 : 1);
  const rounds = quick ? 4 : Number(options.rounds);
  const roundMs = quick ? 1500 : 4000;
  const workload = new WireWorkload(users, CHANNELS_PER_USER);
  const data = mkdtempSync(join(tmpdir(), 'tidemark-bench-'));
  const services: Service[] = [];
  try {
    for (const [side, { args }] of sides.entries()) {
      const capacity = String(Math.ceil(workload.records * 1.1));
      const own = [
        '--data',
        join(data, String(side)),
        '--capacity',
        capacity,
        '--flush-delay',
        '1h',
        '--load-timeout',
        '1m',
      ];
      const service = await startService([...own, ...args]);
      services.push(service);
      await prefill(service.url, workload);
    }
    const results: Record<string, Result> = {};
    for (const operations of workloads ?? (['mixed'] as const)) {
      for (const [load, { connections, window }] of Object.entries(LOADS)) {
        const rates: Result['rates'] = [[], []];
        const cpuNs: Result['cpuNs'] = [[], []];
        for (let round = 0; round < rounds; round++) {
          for (const side of round % 2 === 0 ? [0, 1] : [1, 0]) {
            const { url } = services[side]!;
            const before = await readMetrics(url);
            const { rate } = await withBlaster(url, connections, workload[operations], (blaster) =>
              blaster.closedLoop(roundMs, window),
            );
            const after = await readMetrics(url);
            const grown = (metric: string): number => after.get(metric)! - before.get(metric)!;
            rates[side]!.push(rate);
            cpuNs[side]!.push(
              (grown('process_cpu_seconds_total') / grown('tidemark_shard_operations_total')) * 1e9,
            );
          }
        }
        const ratios = rates[0].map((rate, round) => rate / rates[1][round]!);
        const cpuRatios = cpuNs[0].map((ns, round) => ns / cpuNs[1][round]!);
        const title =
          workloads === undefined ? load : `${operations === 'mixed' ? 'mixed' : 'acks'}, ${load}`;
        results[title] = { rates, ratios, median: median(ratios), cpuNs, cpuRatios };
      }
    }
    const [one, other] = sides.map((side) => side.name);
    const rows = Object.entries(results).map(
      ([load, { rates, ratios, median: middle, cpuNs, cpuRatios }]) => [
        load,
        formatCount(median(rates[0])),
        formatCount(median(rates[1])),
        formatRatio(ratios),
        `${median(cpuNs[0]).toFixed(0)}, ${median(cpuNs[1]).toFixed(0)} ns`,
        formatRatio(cpuRatios),
        middle >= floor ? 'met' : 'MISSED',
      ],
    );
    const cpu = `processor time of an operation, ${one}, ${other}`;
    const ratio = `${one} / ${other}`;
    const header = ['', `${one}, ops/s`, `${other}, ops/s`, ratio, cpu, ratio, `floor ${floor}`];
    process.stdout.write(`${formatTable([header, ...rows])}\n`);
    const file = options.json ?? (quick ? undefined : `bench/results/${name}.json`);
    if (file !== undefined) {
      const context = { ...machine(), ...sourceState(), date: new Date().toISOString(), users, rounds };
      mkdirSync(dirname(file), { recursive: true });
      writeFileSync(file, `${JSON.stringify({ context, sides, results }, undefined, 2)}\n`);
    }
    if (rows.some((row) => row.at(-1) === 'MISSED')) process.exitCode = 1;
  } finally {
    for (const service of services) await killChild(service.child);
    rmSync(data, { recursive: true, force: true });
  }
}

/** A command that compares. */
export function sidesCommand(description: string, sides: TwoSides): Command {
  return new Command(`bench-${sides.name}`)
    .description(description)
    .option('--quick', 'a tenth of the users, short rounds: for a look, not for figures')
    .option('--users <count>', 'users of 32 channels each', '100000')
    .option('--rounds <count>', 'pairs of rounds of each load', '10')
    .option(
      '--json <file>',
      `where the result goes (default: bench/results/${sides.name}.json; with --quick nowhere)`,
    )
    .action((options: SidesOptions) => compareSides(options, sides));
}
