/**
 * What always-on introspection costs: two services, one with `--introspection off`, under the same load in turn, in one
 * run: `make bench-introspection` (ARGS=--quick for a short look). The order within a pair of rounds alternates, and the
 * ratios are those of neighbours. Ends with 1 when the median of the ratios of the rates is below the floor. The
 * processor time of an operation is given, too: on a machine that others use it is the steadier figure.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Command } from 'commander';
import { STATUS_DUPLICATE, STATUS_OK, STATUS_SUPPRESSED } from '../engine/messages.js';
import { type BlastResult, FrameBlaster } from './frame-blaster.js';
import { RawSocket } from './raw-socket.js';
import { formatCount, formatTable, machine } from './run-stats.js';
import { killChild, readMetrics, type Service, startService } from './service-child.js';
import { WireWorkload } from './wire-workload.js';

const OPS_PER_FRAME = 64;
const CHANNELS_PER_USER = 32;
/** Introspection may cost at most 3%. */
const FLOOR = 0.97;
const LOADS = {
  pipelined: { connections: 16, window: 8 },
  'one frame in flight': { connections: 64, window: 1 },
} as const;
type Side = 'on' | 'off';
const SIDES: readonly Side[] = ['on', 'off'];

interface Options {
  quick?: boolean;
  users: string;
  rounds: string;
  json?: string;
}

interface Result {
  readonly rates: Record<Side, number[]>;
  readonly ratios: number[];
  readonly median: number;
  /** Processor time of the whole process for one operation. */
  readonly cpuNs: Record<Side, number[]>;
  readonly cpuRatios: number[];
}

function formatRatio(ratios: readonly number[]): string {
  return `${median(ratios).toFixed(3)} (${Math.min(...ratios).toFixed(3)} to ${Math.max(...ratios).toFixed(3)})`;
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >>> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

function requireAnswers({ statuses }: BlastResult): void {
  const good = [STATUS_OK, STATUS_SUPPRESSED, STATUS_DUPLICATE];
  const bad = statuses.reduce((sum, count, status) => sum + (good.includes(status) ? 0 : count), 0);
  if (bad > 0) throw new Error(`${bad} operations were refused`);
}

async function withBlaster(
  url: URL,
  connections: number,
  fill: (words: Int32Array, at: number, requestId: number) => number,
  work: (blaster: FrameBlaster) => Promise<BlastResult>,
): Promise<BlastResult> {
  const sockets: RawSocket[] = [];
  for (let i = 0; i < connections; i++) sockets.push(await RawSocket.open({ url, frameWords: 1024 }));
  try {
    const blaster = new FrameBlaster({ sockets, opsPerFrame: OPS_PER_FRAME, fill, answers: 'service' });
    const result = await work(blaster);
    requireAnswers(result);
    return result;
  } finally {
    for (const socket of sockets) {
      socket.onClose = () => {};
      socket.close();
    }
  }
}

/** Fills one service with all users and records. */
async function prefill(url: URL, workload: WireWorkload): Promise<void> {
  workload.rewind();
  const frames = (count: number): number => Math.ceil(count / OPS_PER_FRAME);
  await withBlaster(url, 4, workload.listNext, (blaster) => blaster.sendAll(frames(workload.users), 16));
  workload.rewind();
  await withBlaster(url, 8, workload.ackNext, (blaster) => blaster.sendAll(frames(workload.records), 8));
}

async function main(options: Options): Promise<void> {
  const quick = options.quick === true;
  const users = Number(options.users) / (quick ? 10 : 1);
  const rounds = quick ? 4 : Number(options.rounds);
  const roundMs = quick ? 1500 : 4000;
  const workload = new WireWorkload(users, CHANNELS_PER_USER);
  const data = mkdtempSync(join(tmpdir(), 'tidemark-bench-'));
  const services: Partial<Record<Side, Service>> = {};
  try {
    for (const side of SIDES) {
      const capacity = String(Math.ceil(workload.records * 1.1));
      const args = ['--data', join(data, side), '--capacity', capacity, '--flush-delay', '1h'];
      services[side] = await startService([...args, '--introspection', side]);
      await prefill(services[side].url, workload);
    }
    const results: Record<string, Result> = {};
    for (const [name, { connections, window }] of Object.entries(LOADS)) {
      const rates: Record<Side, number[]> = { on: [], off: [] };
      const cpuNs: Record<Side, number[]> = { on: [], off: [] };
      for (let round = 0; round < rounds; round++) {
        for (const side of round % 2 === 0 ? SIDES : [...SIDES].reverse()) {
          const { url } = services[side]!;
          const before = await readMetrics(url);
          const { rate } = await withBlaster(url, connections, workload.mixed, (blaster) =>
            blaster.closedLoop(roundMs, window),
          );
          const after = await readMetrics(url);
          const grown = (name: string): number => after.get(name)! - before.get(name)!;
          rates[side].push(rate);
          cpuNs[side].push(
            (grown('process_cpu_seconds_total') / grown('tidemark_shard_operations_total')) * 1e9,
          );
        }
      }
      const ratios = rates.on.map((rate, round) => rate / rates.off[round]!);
      const cpuRatios = cpuNs.on.map((ns, round) => ns / cpuNs.off[round]!);
      results[name] = { rates, ratios, median: median(ratios), cpuNs, cpuRatios };
    }
    const rows = Object.entries(results).map(
      ([name, { rates, ratios, median: middle, cpuNs, cpuRatios }]) => [
        name,
        formatCount(median(rates.on)),
        formatCount(median(rates.off)),
        formatRatio(ratios),
        `${median(cpuNs.on).toFixed(0)}, ${median(cpuNs.off).toFixed(0)} ns`,
        formatRatio(cpuRatios),
        middle >= FLOOR ? 'met' : 'MISSED',
      ],
    );
    const cpu = 'processor time of an operation, on, off';
    const header = ['', 'on, ops/s', 'off, ops/s', 'on / off', cpu, 'on / off', `floor ${FLOOR}`];
    process.stdout.write(`${formatTable([header, ...rows])}\n`);
    const file = options.json ?? (quick ? undefined : 'bench/results/introspection.json');
    if (file !== undefined) {
      const { stdout } = spawnSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' });
      const context = { ...machine(), commit: stdout.trim(), date: new Date().toISOString(), users, rounds };
      mkdirSync(dirname(file), { recursive: true });
      writeFileSync(file, `${JSON.stringify({ context, results }, undefined, 2)}\n`);
    }
    if (rows.some((row) => row.at(-1) === 'MISSED')) process.exitCode = 1;
  } finally {
    for (const service of Object.values(services)) await killChild(service.child);
    rmSync(data, { recursive: true, force: true });
  }
}

await new Command('bench-introspection')
  .description('the same service with and without introspection, in turn')
  .option('--quick', 'a tenth of the users, short rounds: for a look, not for figures')
  .option('--users <count>', 'users of 32 channels each', '100000')
  .option('--rounds <count>', 'pairs of rounds of each load', '10')
  .option(
    '--json <file>',
    'where the result goes (default: bench/results/introspection.json; with --quick nowhere)',
  )
  .action((options: Options) => main(options))
  .parseAsync();
