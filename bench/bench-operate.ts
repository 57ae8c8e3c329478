/**
 * What operating costs those who are served: `make bench-operate` (ARGS=--quick for a short look). Under load at half of
 * the highest rate, which is measured first, threads of shards are ended at random instants, shards are resized from 1 to
 * 4, 2 and 1, and reloaded. Every answer is checked by a model of what was answered before, and all users are compared
 * at the end of each part. Ends with 1 when a floor is missed or an answer was wrong.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Command, Option } from 'commander';
import { sleep } from './clock.js';
import { sourceState } from './commit.js';
import { AnsweredWrites } from './operate/answered-writes.js';
import { CheckedLoad } from './operate/checked-load.js';
import { type KillResult, killShards } from './operate/kills.js';
import { type MovesResult, moveLanes } from './operate/moves.js';
import { OperatedService } from './operate/operated-service.js';
import { formatCount, formatMs, formatTable, type LatencySummary, machine } from './run-stats.js';
import { wholeNumber } from './target-options.js';
import { WireWorkload } from './wire-workload.js';

const PARTS = ['kills', 'moves'] as const;
const CHANNELS_PER_USER = 32;
const SOCKETS = 16;
/** So that one partition, copied, would stand out of what threads need for themselves. */
const PARTITIONS = 4;
const SERVED_P50_MS = 50;
const SERVED_P99_MS = 200;
const LONGEST_MS = 50;
const RELOADS = 20;
/**
 * After service is back. Apart, mostly a spare is ready. In a row, threads end faster than spares can be made beside the load, by
 * some hundred milliseconds of a processor each. Both have the floors; at once, hardly a spare has begun.
 */
const APART_MS: [number, number] = [200, 5000];
const IN_A_ROW_MS: [number, number] = [200, 1200];
const AT_ONCE_MS: [number, number] = [0, 100];
/** More of them in some seconds are a loop, and are replaced later and later: workers/relapses.ts. */
const AT_ONCE_KILLS = 18;
const RELAPSE_WINDOW_MS = 5500;

interface Options {
  quick?: boolean;
  only: (typeof PARTS)[number][];
  kills: number;
  seed: number;
  json?: string;
}

export interface Finding {
  readonly what: string;
  readonly floor: string;
  readonly measured: string;
  readonly met: boolean;
}

function say(text: string): void {
  process.stderr.write(`${text}\n`);
}

/** The value that a part of all are not above. */
function percentile(values: readonly number[], part: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil(sorted.length * part) - 1)]!;
}

function formatLatency({ p50, p999, max }: LatencySummary): string {
  return `p50 ${formatMs(p50)}, p99.9 ${formatMs(p999)}, longest ${formatMs(max)} ms`;
}

function formatDistances({ distancesMs }: KillResult): string {
  return `${formatMs(Math.min(...distancesMs))} to ${formatMs(Math.max(...distancesMs))} ms apart`;
}

class OperateBench {
  readonly findings: Finding[] = [];
  readonly results: Record<string, unknown> = {};
  readonly #options: Options;

  constructor(options: Options) {
    this.#options = options;
  }

  /** Two shards with a million records each. */
  async kills(): Promise<void> {
    const { quick, kills: asked, seed } = this.#options;
    const kills = quick === true ? Math.min(asked, 10) : asked;
    await this.#serve(
      'kills',
      { records: quick === true ? 200_000 : 2_000_000, shards: 2 },
      async (service, load) => {
        const apart = await killShards(service, load, { kills, distanceMs: APART_MS, seed });
        this.#findServed('kill to service again', apart);
        this.#find('operations on the shard that was killed', '', formatLatency(apart.struckMs));
        this.#find('operations on the other shard meanwhile', '', formatLatency(apart.sparedMs));
        await sleep(RELAPSE_WINDOW_MS);
        const inARow = await killShards(service, load, { kills, distanceMs: IN_A_ROW_MS, seed: seed + 1 });
        this.#findServed('in a row, kill to service again', inARow);
        await sleep(RELAPSE_WINDOW_MS);
        const plan = { kills: Math.min(AT_ONCE_KILLS, kills), distanceMs: AT_ONCE_MS, seed: seed + 2 };
        const atOnce = await killShards(service, load, plan);
        const served = [0.5, 0.99].map((part) => formatMs(percentile(atOnce.servedMs, part)));
        const what = `at once, ${plan.kills} kills ${formatDistances(atOnce)}: p50, p99`;
        this.#find(what, '', `${served.join(', ')} ms`);
        return { apart, inARow, atOnce };
      },
    );
  }

  #findServed(how: string, result: KillResult): void {
    const p50 = percentile(result.servedMs, 0.5);
    const p99 = percentile(result.servedMs, 0.99);
    const what = `${how}, ${result.servedMs.length} kills ${formatDistances(result)}`;
    this.#find(`${what}, p50`, `${SERVED_P50_MS} ms`, `${formatMs(p50)} ms`, p50 <= SERVED_P50_MS);
    this.#find(`${what}, p99`, `${SERVED_P99_MS} ms`, `${formatMs(p99)} ms`, p99 <= SERVED_P99_MS);
  }

  /** Eight million records. */
  async moves(): Promise<void> {
    const { quick } = this.#options;
    const records = quick === true ? 400_000 : 8_000_000;
    await this.#serve('moves', { records, shards: 1 }, async (service, load) => {
      const pauseMs = quick === true ? 500 : 2000;
      const bytes = 64 * records; // less than the partitions have
      const resizes = [4, 2, 1].map((shards) => ({ path: 'shards' as const, body: { shards } }));
      const resize = await moveLanes(service, load, resizes, pauseMs);
      this.#findMoves('resize 1 to 4, 2, 1', resize, bytes);
      const reloads = new Array(quick === true ? 4 : RELOADS).fill({ path: 'reload', body: {} });
      const reload = await moveLanes(service, load, reloads, pauseMs / 2);
      this.#findMoves(`${reloads.length} reloads`, reload, bytes);
      return { resize, reload };
    });
  }

  #findMoves(
    what: string,
    { quietMs, allMs, tookMs, longest, buffersMax, grownBytes }: MovesResult,
    bytes: number,
  ): void {
    this.#find(`${what}: longest`, `${LONGEST_MS} ms`, `${formatMs(allMs.max)} ms`, allMs.max <= LONGEST_MS);
    this.#find(`${what}: p99.9`, '', `${formatMs(allMs.p999)} ms`);
    const slowest = [...longest].sort((a, b) => b.ms - a.ms).slice(0, 3);
    this.#find(
      `${what}: the longest of the slowest three; the host took of the processors meanwhile`,
      '',
      slowest.map(({ ms, stolenMs }) => `${formatMs(ms)}; ${stolenMs} ms`).join(', '),
    );
    this.#find(`${what}: before, under the same load`, '', formatLatency(quietMs));
    this.#find(
      `${what}: each took`,
      '',
      `${formatMs(Math.min(...tookMs))} to ${formatMs(Math.max(...tookMs))} ms`,
    );
    const partition = bytes / PARTITIONS;
    const megabytes = (count: number): string => `${(count / 1e6).toFixed(1)} MB`;
    this.#find(
      `${what}: buffers of a thread; growth of the process; one partition has ${megabytes(partition)}`,
      'no partition copied',
      `${megabytes(buffersMax)}; ${megabytes(grownBytes)}`,
      buffersMax < partition && grownBytes < partition,
    );
  }

  /** Starts and fills a service, has `work` done under load, compares everything. */
  async #serve(
    part: string,
    { records, shards }: { readonly records: number; readonly shards: number },
    work: (service: OperatedService, load: CheckedLoad) => Promise<object>,
  ): Promise<void> {
    const { quick, seed } = this.#options;
    const data = mkdtempSync(join(tmpdir(), 'tidemark-operate-'));
    const users = Math.ceil(records / CHANNELS_PER_USER / SOCKETS) * SOCKETS;
    const workload = new WireWorkload(users, CHANNELS_PER_USER);
    const memory = [
      '--capacity',
      String(Math.ceil(workload.records * 1.1)),
      '--partitions',
      String(PARTITIONS),
    ];
    const patience = ['--flush-delay', '1h', '--load-timeout', '1m'];
    const args = ['--data', data, '--shards', String(shards), ...memory, ...patience];
    say(`${part}: ${formatCount(users)} users, ${formatCount(workload.records)} records, ${shards} shards`);
    const service = await OperatedService.start(args);
    try {
      const { settings } = await service.status();
      const model = new AnsweredWrites(workload, SOCKETS, seed);
      const load = await CheckedLoad.open(model, service.url, settings);
      await load.fill(users, workload.records);
      const highest = await load.highestRate(quick === true ? 1500 : 4000);
      say(`highest rate ${formatCount(highest)} operations/s; load at half of it`);
      load.start(highest / 2);
      await sleep(1000);
      const result = await work(service, load);
      await load.stop();
      await load.verify();
      load.close();
      this.#findAnswers(part, model);
      this.results[part] = { records: workload.records, highest, ...result };
    } finally {
      await service.end();
      rmSync(data, { recursive: true, force: true });
    }
  }

  #findAnswers(part: string, model: AnsweredWrites): void {
    const { answered, writes, lost, wrong, reordered, refusedCount, shown } = model;
    for (const text of shown) say(text);
    this.#find(
      `${part}: of ${formatCount(writes)} answered writes lost; wrong; out of order`,
      '0',
      `${lost}; ${wrong}; ${reordered}`,
      lost + wrong + reordered === 0,
    );
    // A lane whose thread has ended may answer busy; one that goes over answers all.
    this.#find(
      `${part}: of ${formatCount(answered)} operations refused`,
      part === 'kills' ? '' : '0',
      String(refusedCount),
      part === 'kills' || refusedCount === 0,
    );
    this.results[`${part} answers`] = {
      answered,
      writes,
      lost,
      wrong,
      reordered,
      refused: [...model.refused],
    };
  }

  #find(what: string, floor: string, measured: string, met = true): void {
    this.findings.push({ what, floor, measured, met });
    say(`${what}: ${measured}`);
  }
}

async function main(options: Options): Promise<void> {
  const bench = new OperateBench(options);
  for (const part of options.only) await bench[part]();
  const { findings, results } = bench;
  const rows = findings.map(({ what, floor, measured, met }) => [
    what,
    floor,
    measured,
    floor === '' ? '' : met ? 'met' : 'MISSED',
  ]);
  process.stdout.write(`${formatTable([['', 'floor', 'measured', ''], ...rows])}\n`);
  const file = options.json ?? (options.quick === true ? undefined : 'bench/results/operate.json');
  if (file !== undefined) {
    const context = { ...machine(), ...sourceState(), date: new Date().toISOString(), options };
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, `${JSON.stringify({ context, findings, results }, undefined, 2)}\n`);
    say(`written: ${file}`);
  }
  if (findings.some(({ met }) => !met)) process.exitCode = 1;
}

await new Command('bench-operate')
  .description('kills, resizes and reloads under load: what those who are served notice')
  .option('--quick', 'a tenth of the records, few kills: for a look, not for figures')
  .addOption(new Option('--only <parts...>', 'not all').choices(PARTS).default(PARTS))
  .option('--kills <count>', 'of shard threads', wholeNumber(1, 10_000), 100)
  .option('--seed <number>', 'of operations and instants', wholeNumber(0, 2 ** 31 - 1), 1)
  .option(
    '--json <file>',
    'where the result goes (default: bench/results/operate.json; with --quick nowhere)',
  )
  .action((options: Options) => main(options))
  .parseAsync();
