/**
 * The whole server over its own wire, with 8 million read states in memory, beside a bare uWebSockets echo in the same
 * run: `make bench-wire` (ARGS=--quick for a short look). Rounds of both sides alternate, and the ratios are those of
 * neighbouring rounds. What the answers say is checked before anything is timed. Ends with 1 when a floor is missed.
 */
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command, Option } from 'commander';
import { assert } from '../engine/layout.js';
import { TidemarkClient } from '../gateway/client/index.js';
import { goFirst } from '../workers/thread-priority.js';
import { startEcho, startModule } from './child.js';
import { sleep } from './clock.js';
import { sourceState } from './commit.js';
import type { BlasterOptions, BlastResult, FrameBlaster } from './frame-blaster.js';
import { httpBlast } from './http-blaster.js';
import { rawWebSocket } from './raw-web-socket.js';
import { formatCount, formatMs, formatTable, latencyMs, machine } from './run-stats.js';
import { killChild, readMetrics, type Service, startService } from './service-child.js';
import { type Spread, spreadOf } from './spread.js';
import { checkService, OPS_PER_FRAME, prefill, settledOpenLoop, withBlaster } from './wire-session.js';
import { WireWorkload } from './wire-workload.js';

const BIG_USER_ENTRIES = 7_713;
/** Clients that wait for each answer; then clients that keep frames in flight. */
const WAITING = { connections: 64, window: 1 };
const PIPELINED = { connections: 16, window: 8 };
const HTTP_CONNECTIONS = 64;
/** In flight on one connection in open loop. The service bounds a connection's operations, and its rings all of them. */
const OPEN_LOOP_FRAMES = 60;

/** What can be left out, in the order in which it is measured. */
const PARTS = ['binary', 'http', 'open-loop', 'lists'] as const;
type Part = (typeof PARTS)[number];

interface Options {
  quick?: boolean;
  only: readonly Part[];
  users: string;
  rounds: string;
  flushDelay: string;
  durability: string;
  scheduling: string;
  json?: string;
}

interface Finding {
  what: string;
  floor: string;
  measured: string;
  met: boolean;
}

function say(text: string): void {
  process.stderr.write(`${text}\n`);
}

class WireBench {
  readonly #workload: WireWorkload;
  readonly #rounds: number;
  readonly #roundMs: number;
  readonly #parts: readonly Part[];
  readonly findings: Finding[] = [];
  readonly results: Record<string, unknown> = {};
  #service!: Service;
  #echoUrl!: URL;

  constructor(options: Options) {
    const users = Number(options.users) / (options.quick === true ? 10 : 1);
    this.#workload = new WireWorkload(users, 32);
    this.#rounds = options.quick === true ? 3 : Number(options.rounds);
    this.#roundMs = options.quick === true ? 1500 : 4000;
    this.#parts = options.only;
  }

  async run(service: Service, echoUrl: URL): Promise<void> {
    this.#service = service;
    this.#echoUrl = echoUrl;
    this.#find(
      'start, to the first answer',
      '3 s',
      `${(service.startMs / 1000).toFixed(2)} s`,
      service.startMs <= 3000,
    );
    this.results.startMs = service.startMs;
    await this.#prefill();
    await this.#verify();
    const before = await readMetrics(service.url);
    if (this.#measures('binary')) {
      const ratio = spreadOf((await this.#binary('clients that wait', WAITING)).ratios);
      this.#find('binary, of the bare echo', 'at least 0.4', formatSpread(ratio), ratio.median >= 0.4);
    }
    // The highest rate is what the rates of the open loop are parts of.
    const highest = spreadOf((await this.#binary('pipelined', PIPELINED)).rates).median;
    if (this.#measures('http')) await this.#http();
    if (this.#measures('open-loop')) await this.#openLoop(highest / 2);
    if (this.#measures('lists')) await this.#lists(highest / 4);
    await this.#shardHeap(before);
  }

  #measures(part: Part): boolean {
    return this.#parts.includes(part);
  }

  #find(what: string, floor: string, measured: string, met: boolean): void {
    this.findings.push({ what, floor, measured, met });
  }

  /** Runs `work` with a blaster on new connections; of the service its answers must be right. */
  #blast(
    side: 'service' | 'echo',
    connections: number,
    fill: BlasterOptions['fill'],
    work: (blaster: FrameBlaster) => Promise<BlastResult>,
    opsPerFrame = OPS_PER_FRAME,
  ): Promise<BlastResult> {
    const url = side === 'echo' ? this.#echoUrl : this.#service.url;
    return withBlaster(url, connections, fill, work, { answers: side, opsPerFrame });
  }

  async #prefill(): Promise<void> {
    const workload = this.#workload;
    const { users, records } = workload;
    say(`prefill: ${formatCount(users)} users, ${formatCount(records)} records`);
    const rates = await prefill(this.#service.url, workload);
    // One operation a frame, so that there are exactly as many entries as wanted.
    await this.#blast(
      'service',
      1,
      workload.ackBigUser,
      (blaster) => blaster.sendAll(BIG_USER_ENTRIES, 256),
      1,
    );
    say(`  lists ${formatCount(rates.listsPerSecond)}/s, acks ${formatCount(rates.acksPerSecond)}/s`);
    this.results.prefill = { users, records, ...rates };
  }

  /** The answers are right before they are fast. */
  async #verify(): Promise<void> {
    const workload = this.#workload;
    await checkService(this.#service.url, workload);
    const client = new TidemarkClient({ url: this.#service.url.href, webSocket: rawWebSocket });
    const big = await client.list(workload.bigUserId);
    client.close();
    assert(big.entries.length === BIG_USER_ENTRIES, `the big user has ${big.entries.length} entries`);
  }

  async #binary(
    name: string,
    { connections, window }: typeof WAITING,
  ): Promise<{ ratios: number[]; rates: number[] }> {
    const rates: { echo: number[]; service: number[] } = { echo: [], service: [] };
    for (let round = 0; round < this.#rounds; round++) {
      for (const side of ['echo', 'service'] as const) {
        const result = await this.#blast(side, connections, this.#workload.mixed, (blaster) =>
          blaster.closedLoop(this.#roundMs, window),
        );
        rates[side].push(result.rate);
      }
    }
    const ratios = rates.service.map((rate, round) => rate / rates.echo[round]!);
    const rows = { echo: spreadOf(rates.echo), service: spreadOf(rates.service), ratio: spreadOf(ratios) };
    this.results[`binary, ${name}`] = { connections, window, rates, ...rows };
    say(
      `binary, ${name} (${connections} connections x ${window} frames): echo ${millions(rows.echo)}, service ${millions(rows.service)} M ops/s, ratio ${formatSpread(rows.ratio)}`,
    );
    return { ratios, rates: rates.service };
  }

  async #http(): Promise<void> {
    const rates: { echo: number[]; service: number[] } = { echo: [], service: [] };
    for (let round = 0; round < this.#rounds; round++) {
      for (const side of ['echo', 'service'] as const) {
        const { rate } = await httpBlast({
          url: side === 'echo' ? this.#echoUrl : this.#service.url,
          connections: HTTP_CONNECTIONS,
          durationMs: this.#roundMs,
          next: this.#workload.httpAck,
        });
        rates[side].push(rate);
      }
    }
    const ratio = spreadOf(rates.service.map((rate, round) => rate / rates.echo[round]!));
    this.results.http = { connections: HTTP_CONNECTIONS, rates, ratio };
    const [echo, service] = [spreadOf(rates.echo).median, spreadOf(rates.service).median];
    say(
      `HTTP ack: bare POST ${formatCount(echo)}/s, service ${formatCount(service)}/s, ratio ${formatSpread(ratio)}`,
    );
    this.#find('HTTP ack, of the bare POST', 'at least 0.5', formatSpread(ratio), ratio.median >= 0.5);
  }

  /** Frames are sent when they are due, whatever has been answered. */
  async #openLoopRound(
    side: 'service' | 'echo',
    opsPerSecond: number,
    durationMs: number,
  ): Promise<BlastResult> {
    return await this.#blast(side, PIPELINED.connections, this.#workload.mixed, (blaster) =>
      settledOpenLoop(blaster, durationMs, opsPerSecond / OPS_PER_FRAME, OPEN_LOOP_FRAMES),
    );
  }

  async #openLoop(opsPerSecond: number): Promise<void> {
    const tails: { echo: number[]; service: number[] } = { echo: [], service: [] };
    const medians: { echo: number[]; service: number[] } = { echo: [], service: [] };
    for (let round = 0; round < this.#rounds; round++) {
      for (const side of ['echo', 'service'] as const) {
        const { latencyUs } = await this.#openLoopRound(side, opsPerSecond, this.#roundMs * 2);
        tails[side].push(latencyMs(latencyUs).p999);
        medians[side].push(latencyMs(latencyUs).p50);
      }
    }
    const [echo, service] = [spreadOf(tails.echo), spreadOf(tails.service)];
    this.results.openLoop = { opsPerSecond, p999Ms: tails, p50Ms: medians };
    say(
      `open loop at ${millions(spreadOf([opsPerSecond]))} M ops/s: p99.9 echo ${formatMs(echo.median)}, service ${formatMs(service.median)} ms (p50 ${formatMs(spreadOf(medians.echo).median)}, ${formatMs(spreadOf(medians.service).median)})`,
    );
    const ratio = spreadOf(tails.service.map((tail, round) => tail / tails.echo[round]!));
    this.#find(
      'open loop at half the rate, p99.9, of the echo’s',
      'at most 2',
      formatSpread(ratio),
      ratio.median <= 2,
    );
  }

  /** Long lists, and what other users notice of them. */
  async #lists(opsPerSecond: number): Promise<void> {
    const quiet: number[] = [];
    const listed: number[] = [];
    const listMs: number[] = [];
    const lists: unknown[] = [];
    for (let round = 0; round < this.#rounds; round++) {
      const without = await this.#openLoopRound('service', opsPerSecond, this.#roundMs * 2);
      quiet.push(latencyMs(without.latencyUs).p999);
      const alone = await this.#whileListing(() => sleep(this.#roundMs), 5);
      listMs.push(alone.lists.p50 / 1000);
      const during = await this.#whileListing(
        () => this.#openLoopRound('service', opsPerSecond, this.#roundMs * 2),
        20,
      );
      listed.push(latencyMs(during.result.latencyUs).p999);
      lists.push({ alone: alone.lists, underLoad: during.lists });
    }
    this.results.lists = { entries: BIG_USER_ENTRIES, opsPerSecond, lists, othersP999Ms: { quiet, listed } };
    const p50 = spreadOf(listMs);
    say(`list of ${formatCount(BIG_USER_ENTRIES)} entries over HTTP: p50 ${formatMs(p50.median)} ms`);
    this.#find(
      `list of ${formatCount(BIG_USER_ENTRIES)} entries, p50`,
      'at most 10 ms',
      `${formatMs(p50.median)} ms`,
      p50.median <= 10,
    );
    const ratio = spreadOf(listed.map((tail, round) => tail / quiet[round]!));
    say(
      `others' p99.9 with and without lists: ${formatMs(spreadOf(listed).median)}, ${formatMs(spreadOf(quiet).median)} ms`,
    );
    this.#find(
      'others’ p99.9 while lists run, of that without',
      'at most 2',
      formatSpread(ratio),
      ratio.median <= 2,
    );
  }

  async #whileListing<T>(
    work: () => Promise<T>,
    pauseMs: number,
  ): Promise<{ result: T; lists: { p50: number } }> {
    const file = fileURLToPath(new URL('./list-loop.js', import.meta.url));
    const args = [
      this.#service.url.href,
      this.#workload.bigUserId,
      String(BIG_USER_ENTRIES),
      String(pauseMs),
    ];
    const { child } = await startModule(file, args, /^listening/);
    let output = '';
    child.stdout!.on('data', (chunk: Buffer) => {
      output += chunk.toString();
    });
    const ended = once(child, 'close');
    const result = await work();
    child.stdin!.end();
    await ended;
    return { result, lists: JSON.parse(output) as { p50: number } };
  }

  async #shardHeap(before: Map<string, number>): Promise<void> {
    const after = await readMetrics(this.#service.url);
    const delta = (name: string): number => (after.get(name) ?? 0) - (before.get(name) ?? 0);
    const shard = {
      records: after.get('tidemark_shard_records'),
      operations: delta('tidemark_shard_operations_total'),
      gcCount: delta('tidemark_shard_gc_total'),
      gcPauseMs: delta('tidemark_shard_gc_pause_seconds_total') * 1000,
      gcPauseMaxMs: (after.get('tidemark_shard_gc_pause_max_seconds') ?? 0) * 1000,
      heapUsedMB: (after.get('tidemark_shard_heap_used_bytes') ?? 0) / 1e6,
      flushedRows: delta('tidemark_shard_flushed_rows_total'),
      residentMB: (after.get('process_resident_memory_bytes') ?? 0) / 1e6,
    };
    this.results.shard = shard;
    say(
      `shard: ${formatCount(shard.operations)} operations, ${shard.gcCount} collections of ${formatMs(shard.gcPauseMs)} ms together (longest since the start ${formatMs(shard.gcPauseMaxMs)} ms), heap ${shard.heapUsedMB.toFixed(1)} MB, process ${formatCount(shard.residentMB)} MB`,
    );
  }
}

function formatSpread({ median, min, max }: Spread): string {
  return `${median.toFixed(2)} (${min.toFixed(2)} to ${max.toFixed(2)})`;
}

function millions({ median }: Spread): string {
  return (median / 1e6).toFixed(2);
}

async function main(options: Options): Promise<void> {
  const data = mkdtempSync(join(tmpdir(), 'tidemark-bench-'));
  const bench = new WireBench(options);
  const echo = await startEcho();
  let service: Service | undefined;
  try {
    const { flushDelay, durability, scheduling } = options;
    if (scheduling === 'rr' && !goFirst(echo.child.pid!))
      throw new Error('the system refuses --scheduling rr');
    const args = [
      '--data',
      data,
      '--capacity',
      '8400k',
      '--flush-delay',
      flushDelay,
      '--durability',
      durability,
      '--scheduling',
      scheduling,
    ];
    service = await startService(args);
    await bench.run(service, echo.url);
    const rows = [['', 'floor', 'measured', '']];
    for (const { what, floor, measured, met } of bench.findings)
      rows.push([what, floor, measured, met ? 'met' : 'MISSED']);
    process.stdout.write(`${formatTable(rows)}\n`);
    const { findings, results } = bench;
    const context = {
      ...machine(),
      ...sourceState(),
      date: new Date().toISOString(),
      args,
      opsPerFrame: OPS_PER_FRAME,
    };
    const file = options.json ?? (options.quick === true ? undefined : 'bench/results/wire.json');
    if (file !== undefined) {
      mkdirSync(dirname(file), { recursive: true });
      writeFileSync(file, `${JSON.stringify({ context, findings, results }, undefined, 2)}\n`);
      say(`written: ${file}`);
    }
    if (findings.some(({ met }) => !met)) process.exitCode = 1;
  } finally {
    if (service !== undefined) await killChild(service.child);
    await killChild(echo.child);
    rmSync(data, { recursive: true, force: true });
  }
}

await new Command('bench-wire')
  .description('the whole server under load, beside a bare echo')
  .option('--quick', 'a tenth of the users, short rounds: for a look, not for figures')
  .addOption(new Option('--only <parts...>', 'not all').choices(PARTS).default(PARTS))
  .option('--users <count>', 'users of 32 channels each', '250000')
  .option('--rounds <count>', 'rounds of each side', '5')
  .option(
    '--flush-delay <duration>',
    'of the service; the default keeps the store out of what is measured',
    '1h',
  )
  .option(
    '--durability <level>',
    'of the service; what a journal costs is what bench-journal measures',
    'none',
  )
  .addOption(
    new Option('--scheduling <policy>', 'of the service and of the echo')
      .choices(['other', 'rr'])
      .default('other'),
  )
  .option('--json <file>', 'where the result goes (default: bench/results/wire.json; with --quick nowhere)')
  .action((options: Options) => main(options))
  .parseAsync();
