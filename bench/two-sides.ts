/**
 * Two ways to start the service, under the same load in turn, in one run.
 *
 * What is looked for is a few percent, and that is less than what comes and goes on a machine that others use, within
 * seconds, and less than what one process of the same service differs from another in. So both sides have connections all the time, and have
 * the load in slices, one after the other; a ratio is of two slices that are neighbours. And both are started several times: the
 * median of a start's ratios is one figure, and the median of those is the result. The processor time of an operation is given, too.
 */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Command } from 'commander';
import { sourceState } from './commit.js';
import { formatCount, formatTable, machine } from './run-stats.js';
import { killChild, type Service, startService } from './service-child.js';
import { median } from './spread.js';
import { openBlaster, prefill, requireAnswers } from './wire-session.js';
import { WireWorkload } from './wire-workload.js';

const CHANNELS_PER_USER = 32;
const LOADS = {
  pipelined: { connections: 16, window: 8 },
  'one frame in flight': { connections: 64, window: 1 },
} as const;
/** Of the load, before it counts: connections are new, and code is not compiled. */
const WARM_UP_MS = 1500;

/** Of the command line. */
interface SidesOptions {
  quick?: boolean;
  users: string;
  starts: string;
  pairs: string;
  json?: string;
}

interface TwoSides {
  /** Of the file of the result. */
  readonly name: string;
  /** The one that is judged, and what it is compared with: a name, and arguments of `tidemark serve`. */
  readonly sides: readonly [Side, Side];
  /** The result must be at least this. */
  readonly floor: number;
  /** Short enough that the machine is the same in two of them, long enough for what a side does now and then. */
  readonly sliceMs: number;
  /** Pairs of slices of each load, for each start. */
  readonly pairs: number;
  /** What the operations are; `mixed` if left out. */
  readonly workloads?: readonly ('mixed' | 'ackNext')[];
}

interface Side {
  readonly name: string;
  readonly args: readonly string[];
}

/** Of one load; each figure is the median of one start's slices. */
interface Result {
  /** By side: operations a second. */
  readonly rates: readonly [number[], number[]];
  readonly ratios: number[];
  /** By side: processor time of the whole process for one operation. */
  readonly cpuNs: readonly [number[], number[]];
  readonly cpuRatios: number[];
}

/** What all threads of a process have had of the processors. */
function processorNs(pid: number): number {
  let ns = 0;
  for (const task of readdirSync(`/proc/${pid}/task`)) {
    try {
      ns += Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')[0]);
    } catch {} // it has ended meanwhile
  }
  return ns;
}

function formatRatio(ratios: readonly number[]): string {
  return `${median(ratios).toFixed(3)} (${Math.min(...ratios).toFixed(3)} to ${Math.max(...ratios).toFixed(3)})`;
}

/** One load on both, slice by slice; adds a figure of each kind to `result`. */
async function compareStart(
  services: readonly [Service, Service],
  { connections, window }: (typeof LOADS)[keyof typeof LOADS],
  fill: WireWorkload['mixed'],
  { sliceMs, pairs }: Pick<TwoSides, 'sliceMs' | 'pairs'>,
  result: Result,
): Promise<void> {
  const opened = [
    await openBlaster(services[0].url, connections, fill),
    await openBlaster(services[1].url, connections, fill),
  ] as const;
  const rates: Result['rates'] = [[], []];
  const cpuNs: Result['cpuNs'] = [[], []];
  for (const { blaster } of opened) requireAnswers(await blaster.closedLoop(WARM_UP_MS, window));
  for (let pair = 0; pair < pairs; pair++) {
    for (const side of pair % 2 === 0 ? ([0, 1] as const) : ([1, 0] as const)) {
      const { pid } = services[side].child;
      const before = processorNs(pid!);
      const slice = await opened[side].blaster.closedLoop(sliceMs, window);
      requireAnswers(slice);
      rates[side].push(slice.rate);
      // Also of those that were answered after the end of the slice: they took their time, too.
      const answered = slice.statuses.reduce((sum, count) => sum + count, 0);
      cpuNs[side].push((processorNs(pid!) - before) / answered);
    }
  }
  for (const { close } of opened) close();
  result.ratios.push(median(rates[0].map((rate, pair) => rate / rates[1][pair]!)));
  result.cpuRatios.push(median(cpuNs[0].map((ns, pair) => ns / cpuNs[1][pair]!)));
  for (const side of [0, 1] as const) {
    result.rates[side].push(median(rates[side]));
    result.cpuNs[side].push(median(cpuNs[side]));
  }
}

/** Runs it, says the result and keeps it; sets the exit code to 1 when the floor is missed. */
async function compareSides(options: SidesOptions, compared: TwoSides): Promise<void> {
  const { name, sides, floor, sliceMs, workloads } = compared;
  const quick = options.quick === true;
  const users = Number(options.users) / (quick ? 10 : 1);
  const starts = quick ? 2 : Number(options.starts);
  const pairs = quick ? Math.ceil(compared.pairs / 8) : Number(options.pairs);
  const workload = new WireWorkload(users, CHANNELS_PER_USER);
  const capacity = String(Math.ceil(workload.records * 1.1));
  const results: Record<string, Result> = {};
  for (let start = 0; start < starts; start++) {
    const data = mkdtempSync(join(tmpdir(), 'tidemark-bench-'));
    const services: Service[] = [];
    try {
      for (const side of start % 2 === 0 ? [0, 1] : [1, 0]) {
        const place = ['--data', join(data, String(side)), '--capacity', capacity];
        const service = await startService([
          ...[...place, '--flush-delay', '1h', '--load-timeout', '1m'],
          ...sides[side]!.args,
        ]);
        services[side] = service;
        await prefill(service.url, workload);
      }
      for (const operations of workloads ?? (['mixed'] as const)) {
        for (const [load, shape] of Object.entries(LOADS)) {
          const title =
            workloads === undefined ? load : `${operations === 'mixed' ? 'mixed' : 'acks'}, ${load}`;
          results[title] ??= { rates: [[], []], ratios: [], cpuNs: [[], []], cpuRatios: [] };
          const result = results[title];
          await compareStart(
            services as [Service, Service],
            shape,
            workload[operations],
            { sliceMs, pairs },
            result,
          );
          console.error(`start ${start + 1} of ${starts}, ${title}: ${result.ratios.at(-1)!.toFixed(3)}`);
        }
      }
    } finally {
      for (const service of services) if (service !== undefined) await killChild(service.child);
      rmSync(data, { recursive: true, force: true });
    }
  }
  report(results, compared);
  const file = options.json ?? (quick ? undefined : `bench/results/${name}.json`);
  if (file !== undefined) {
    const settings = { users, starts, pairs, sliceMs };
    const context = { ...machine(), ...sourceState(), date: new Date().toISOString(), ...settings };
    const judged = Object.entries(results).map(([load, result]) => [
      load,
      { ...result, median: median(result.ratios) },
    ]);
    mkdirSync(dirname(file), { recursive: true });
    const content = { context, sides, results: Object.fromEntries(judged) };
    writeFileSync(file, `${JSON.stringify(content, undefined, 2)}\n`);
  }
  if (Object.values(results).some(({ ratios }) => median(ratios) < floor)) process.exitCode = 1;
}

function report(results: Readonly<Record<string, Result>>, { sides, floor }: TwoSides): void {
  const [one, other] = sides.map((side) => side.name);
  const rows = Object.entries(results).map(([load, { rates, ratios, cpuNs, cpuRatios }]) => [
    load,
    formatCount(median(rates[0])),
    formatCount(median(rates[1])),
    formatRatio(ratios),
    `${median(cpuNs[0]).toFixed(0)}, ${median(cpuNs[1]).toFixed(0)} ns`,
    formatRatio(cpuRatios),
    median(ratios) >= floor ? 'met' : 'MISSED',
  ]);
  const cpu = `processor time of an operation, ${one}, ${other}`;
  const ratio = `${one} / ${other}`;
  const header = ['', `${one}, ops/s`, `${other}, ops/s`, ratio, cpu, ratio, `floor ${floor}`];
  process.stdout.write(`${formatTable([header, ...rows])}\n`);
}

/** A command that compares. */
export function sidesCommand(description: string, sides: TwoSides): Command {
  return new Command(`bench-${sides.name}`)
    .description(description)
    .option('--quick', 'a tenth of the users, two starts, few slices: for a look, not for figures')
    .option('--users <count>', 'users of 32 channels each', '100000')
    .option('--starts <count>', 'times that both sides are started', '6')
    .option('--pairs <count>', 'pairs of slices of each load, for each start', String(sides.pairs))
    .option(
      '--json <file>',
      `where the result goes (default: bench/results/${sides.name}.json; with --quick nowhere)`,
    )
    .action((options: SidesOptions) => compareSides(options, sides));
}
