/**
 * Restarts with 8 million read states in memory: `make bench-restart` (ARGS=--quick for a short look). From the start of the
 * process to the answer to the first request, which is a hit; after clean stops with what was saved in the page cache, and
 * with an empty page cache (as root only); after a kill -9 with changes that only the journal has. Checked before anything counts: the start was warm, all entries are there, and
 * nothing was loaded from the store. Ends with 1 when a floor is missed.
 */
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Command } from 'commander';
import { assert } from '../engine/layout.js';
import { STATUS_OK } from '../engine/messages.js';
import { TidemarkClient } from '../gateway/client/index.js';
import { sleep } from './clock.js';
import { sourceState } from './commit.js';
import { FrameBlaster } from './frame-blaster.js';
import { RawSocket } from './raw-socket.js';
import { rawWebSocket } from './raw-web-socket.js';
import { formatCount, formatTable, machine } from './run-stats.js';
import { killChild, readMetrics, type Service, startService } from './service-child.js';
import { median } from './spread.js';
import { WireWorkload } from './wire-workload.js';

const OPS_PER_FRAME = 64;
const WARM_FLOOR_MS = 2000;
const REPLAY_FLOOR_MS = 5000;
const GAUGE_MS = 2000;
/** Changes that only the journal has when the service is killed. */
const REPLAYED_RECORDS = 1_000_000;
/** Users whose entries are compared after a restart. */
const CHECKED_USERS = 100;

interface Options {
  quick?: boolean;
  users: string;
  rounds: string;
  data?: string;
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

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(2)} s`;
}

function formatRounds(ms: readonly number[]): string {
  return `${seconds(median(ms))} (${seconds(Math.min(...ms))} to ${seconds(Math.max(...ms))})`;
}

/** Records in memory; the gauge is a moment behind. */
async function recordsBack(url: URL, expected: number): Promise<number> {
  const endMs = performance.now() + GAUGE_MS;
  for (;;) {
    const back = (await readMetrics(url)).get('tidemark_shard_records')!;
    if (back >= expected || performance.now() > endMs) return back;
    await sleep(10);
  }
}

class RestartBench {
  readonly #workload: WireWorkload;
  readonly #args: string[];
  readonly #rounds: number;
  readonly findings: Finding[] = [];
  readonly results: Record<string, unknown> = {};
  service: Service | undefined;

  constructor(options: Options, args: string[]) {
    this.#workload = new WireWorkload(Number(options.users) / (options.quick === true ? 10 : 1), 32);
    this.#rounds = Number(options.rounds);
    this.#args = args;
  }

  async run(): Promise<void> {
    this.service = await startService(this.#args);
    this.#find('cold start, to the first answer', '', [this.service.startMs]);
    await this.#fill();
    const flushStopMs = await this.#stop();
    say(`first stop, which writes everything to the store: ${seconds(flushStopMs)}`);
    const cached: number[] = [];
    const stops: number[] = [];
    for (let round = 0; round < this.#rounds; round++) {
      cached.push(await this.#startWarm());
      stops.push(await this.#stop());
    }
    this.#find(
      'warm start, saved partitions in the page cache',
      seconds(WARM_FLOOR_MS),
      cached,
      WARM_FLOOR_MS,
    );
    this.#find('clean stop with nothing to flush', '', stops);
    await this.#measureUncached();
    await this.#measureReplay(); // last: what a crash leaves in memory is not all that there was
  }

  async #measureUncached(): Promise<void> {
    const uncached: number[] = [];
    for (let round = 0; round < this.#rounds; round++) {
      if (!dropPageCache()) {
        say('warm start with an empty page cache: not measured, only root can empty it');
        return;
      }
      uncached.push(await this.#startWarm());
      await this.#stop();
    }
    this.#find('warm start, empty page cache', '', uncached);
  }

  /** Kills the service when nothing of the changes is in the store yet. */
  async #measureReplay(): Promise<void> {
    const workload = this.#workload;
    const records = Math.min(REPLAYED_RECORDS, workload.records);
    // Hot users would come back from the store, and count like what the journal brings.
    const args = [...this.#args, '--durability', 'process', '--flush-delay', '1h', '--hot-users', '0'];
    const starts: number[] = [];
    for (let round = 0; round < this.#rounds; round++) {
      this.service = await startService(args);
      workload.rewind();
      await this.#blast(workload.ackNext, records);
      await killChild(this.service.child);
      this.service = await startService(args);
      starts.push(this.service.startMs);
      const back = await recordsBack(this.service.url, records);
      assert(back >= records, `${back} of ${records} changed records are back`);
      await this.#stop();
    }
    this.#find(
      `start after kill -9, ${formatCount(records)} records in the journal`,
      seconds(REPLAY_FLOOR_MS),
      starts,
      REPLAY_FLOOR_MS,
    );
  }

  #find(what: string, floor: string, ms: readonly number[], most = Number.POSITIVE_INFINITY): void {
    this.findings.push({ what, floor, measured: formatRounds(ms), met: median(ms) <= most });
    this.results[what] = { ms };
    say(`${what}: ${formatRounds(ms)}`);
  }

  async #fill(): Promise<void> {
    const workload = this.#workload;
    say(`${formatCount(workload.users)} users, ${formatCount(workload.records)} records`);
    await this.#blast(workload.listNext, workload.users);
    workload.rewind();
    await this.#blast(workload.ackNext, workload.records);
    workload.rewind();
  }

  async #blast(fill: WireWorkload['listNext'], operations: number): Promise<void> {
    const sockets: RawSocket[] = [];
    for (let i = 0; i < 4; i++) {
      sockets.push(await RawSocket.open({ url: this.service!.url, frameWords: 1024 }));
    }
    const blaster = new FrameBlaster({ sockets, opsPerFrame: OPS_PER_FRAME, fill, answers: 'service' });
    const { statuses } = await blaster.sendAll(Math.ceil(operations / OPS_PER_FRAME), 8);
    for (const socket of sockets) {
      socket.onClose = () => {};
      socket.close();
    }
    const failed = statuses.reduce((sum, count, status) => sum + (status === STATUS_OK ? 0 : count), 0);
    assert(failed === 0, `${failed} operations were not answered ok`);
  }

  /** @returns from the start of the process to the answer to the first request */
  async #startWarm(): Promise<number> {
    const workload = this.#workload;
    this.service = await startService(this.#args, undefined, `/v1/users/${workload.userId(1)}/badge`);
    const metrics = await readMetrics(this.service.url);
    const records = metrics.get('tidemark_shard_records')!;
    assert(records >= workload.records, `${records} of ${workload.records} records are there`);
    await this.#check();
    const loads = (await readMetrics(this.service.url)).get('tidemark_shard_loads_total');
    assert(loads === 0, `${loads} loads after a warm start`);
    return this.service.startMs;
  }

  async #check(): Promise<void> {
    const workload = this.#workload;
    const client = new TidemarkClient({ url: this.service!.url.href, webSocket: rawWebSocket });
    try {
      for (let i = 0; i < CHECKED_USERS; i++) {
        const userId = workload.userId(Math.floor((i * workload.users) / CHECKED_USERS));
        const { entries, version } = await client.list(userId);
        assert(entries.length === workload.channelsPerUser, `user ${userId} has ${entries.length} entries`);
        assert(version >= workload.channelsPerUser, `user ${userId} has version ${version}`);
      }
    } finally {
      client.close();
    }
  }

  /** @returns from the signal to the end of the process, ms */
  async #stop(): Promise<number> {
    const { child } = this.service!;
    const ended = once(child, 'exit') as Promise<[number | null]>;
    const start = performance.now();
    child.kill('SIGTERM');
    const [code] = await ended;
    this.service = undefined;
    assert(code === 0, `the service ended with ${code}`);
    return performance.now() - start;
  }
}

/** @returns whether it could */
function dropPageCache(): boolean {
  spawnSync('sync');
  try {
    writeFileSync('/proc/sys/vm/drop_caches', '3');
    return true;
  } catch {
    return false;
  }
}

async function main(options: Options): Promise<void> {
  const data = mkdtempSync(join(options.data ?? tmpdir(), 'tidemark-bench-'));
  const capacity = options.quick === true ? '1m' : '8400k';
  const args = ['--data', data, '--capacity', capacity, '--save-timeout', '10m'];
  const bench = new RestartBench(options, args);
  try {
    await bench.run();
    const rows = [['', 'floor', 'measured', '']];
    for (const { what, floor, measured, met } of bench.findings)
      rows.push([what, floor, measured, floor === '' ? '' : met ? 'met' : 'MISSED']);
    process.stdout.write(`${formatTable(rows)}\n`);
    const { findings, results } = bench;
    const context = { ...machine(), ...sourceState(), date: new Date().toISOString(), args };
    const file = options.json ?? (options.quick === true ? undefined : 'bench/results/restart.json');
    if (file !== undefined) {
      mkdirSync(dirname(file), { recursive: true });
      writeFileSync(file, `${JSON.stringify({ context, findings, results }, undefined, 2)}\n`);
      say(`written: ${file}`);
    }
    if (findings.some(({ met }) => !met)) process.exitCode = 1;
  } finally {
    if (bench.service !== undefined) await killChild(bench.service.child);
    rmSync(data, { recursive: true, force: true });
  }
}

await new Command('bench-restart')
  .description('restarts with 8 million read states in memory')
  .option('--quick', 'a tenth of the users: for a look, not for figures')
  .option('--users <count>', 'users of 32 channels each', '250000')
  .option('--rounds <count>', 'rounds of each kind', '5')
  .option('--data <dir>', 'where the data directory is made; by default for temporary files')
  .option('--json <file>', 'where the result goes')
  .action(main)
  .parseAsync();
