/**
 * What others notice of a user with 100,000 entries who is listed, evicted and loaded, written and deleted, on LMDB
 * and on Cassandra: `make bench-large-user`. Others get and ack at a fixed rate, in open loop. Windows without and
 * with the large user alternate, and each ratio is of two neighbours. A list is checked before anything is timed.
 *
 * Cassandra and the large user's client would have machines of their own: here they get what processor time is left
 * (util-linux's `chrt` for the client).
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command } from 'commander';
import { ACK_EXTRA, REQUEST } from '../engine/messages.js';
import { CassandraCluster } from '../scripts/cassandra/cluster.js';
import { createKeyspace } from '../scripts/cassandra/keyspace.js';
import { nap, nowUs, sleep, yieldToEvents } from './clock.js';
import { sourceState } from './commit.js';
import { ANY_CONNECTION, type Driver, drain, openDriver } from './driver.js';
import { type Done, ENTRIES, PHASES, type Phase } from './large-user-phases.js';
import { formatCount, formatMs, formatTable, machine, RunStats } from './run-stats.js';
import { killChild, readMetrics, startService } from './service-child.js';
import { median } from './spread.js';
import { Workload } from './synthetic-workload.js';
import { wholeNumber } from './target-options.js';

interface Options {
  rounds: number;
  seconds: number;
  rate: number;
  store: string[];
  json: string;
}

/**
 * Others, all in memory, with room for the large user and not much more. At 2,000 operations/s each user is met 10 times a second: who
 * is met less is among the oldest when the large user comes back, goes, and measures the store.
 */
const OTHERS = { users: 200, channelsPerUser: 50, zipfExponent: 0, mix: { ack: 60, get: 40 }, seed: 1 };
const CAPACITY = '150k';
/** So many operations that each entry of the others is met: chosen at random, one in three million is not. */
const WARM_RATE = 50_000;
/** Answers that come meanwhile are seen so much later. */
const NAP_MS_MAX = 0.25;
const WARM_S = 3;
/** A window of reloads is so many times as long: between two of them is a pause. */
const RELOAD_TURNS = 3;
const LOWEST = 19;
const RESULT = 'bench/results/large-user.json';
/** Others' p99.9 with the large user, over that without. */
const RATIO_MAX = 2;

/** One window, p99.9 in ms; `large` is missing in a window without. */
interface Window {
  readonly phase: Phase;
  readonly quietMs: number;
  readonly largeMs: number;
  /** How long the large user's work took, each time, ms. */
  readonly tookMs: number[];
}

function say(text: string): void {
  process.stderr.write(`${text}\n`);
}

class LargeUserBench {
  readonly windows: Window[] = [];
  readonly #options: Options;
  readonly #url: URL;
  readonly #driver: Driver;
  readonly #stats: RunStats;
  readonly #child: ChildProcess;
  readonly #workload = new Workload(OTHERS);
  readonly #words = new Int32Array(REQUEST.WORDS + ACK_EXTRA.WORDS);

  private constructor(options: Options, url: URL, driver: Driver, stats: RunStats) {
    this.#options = options;
    this.#url = url;
    this.#driver = driver;
    this.#stats = stats;
    // All its threads get what is left, V8's helpers among them: a priority set from within is that of one thread.
    const idle = { execPath: 'chrt', execArgv: ['--idle', '0', process.execPath] };
    this.#child = fork(fileURLToPath(new URL('./large-user-child.js', import.meta.url)), [url.href], idle);
    this.#child.setMaxListeners(0); // two for each question
  }

  static async run(options: Options, url: URL): Promise<Window[]> {
    const stats = new RunStats();
    const target = { url, token: undefined, connections: 8, opsPerFrame: 16, stats };
    const bench = new LargeUserBench(options, url, await openDriver('bin', target), stats);
    try {
      await bench.#ask('prepare');
      await bench.#warm();
      for (const phase of PHASES) await bench.#measure(phase, 1); // compiles the code of both, and is not counted
      bench.windows.length = 0;
      await bench.#warm(); // what was prepared has gone by now, and some of the others with it
      for (let round = 0; round < options.rounds; round++) {
        for (const phase of PHASES) await bench.#measure(phase, options.seconds);
      }
      return bench.windows;
    } finally {
      bench.#driver.close();
      await killChild(bench.#child);
    }
  }

  async #measure(phase: Phase, turnS: number): Promise<void> {
    const seconds = phase === 'reload' ? turnS * RELOAD_TURNS : turnS;
    const { rate } = this.#options;
    const quietMs = await this.#window(seconds, rate);
    const done = this.#ask(phase);
    const largeMs = await this.#window(seconds, rate);
    this.#child.send('stop');
    const { times } = await done;
    await this.#flushed();
    // The last of them went on while the others rested, and were the oldest.
    if (phase === 'reload') await this.#warm();
    this.windows.push({ phase, quietMs, largeMs, tookMs: times });
    say(
      `${phase}: p99.9 ${formatMs(quietMs)} ms, with the large user ${formatMs(largeMs)} ms (${times.length} times, ${formatMs(median(times))} ms each)`,
    );
  }

  /** Brings the others into memory. */
  async #warm(): Promise<void> {
    await this.#window(WARM_S, WARM_RATE);
    await this.#flushed();
  }

  async #ask(order: Phase | 'prepare'): Promise<Done> {
    const answer = Promise.race([
      once(this.#child, 'message').then(([done]) => done as Done),
      once(this.#child, 'exit').then(() => Promise.reject(new Error(`the large user's ${order} failed`))),
    ]);
    this.#child.send(order);
    return answer;
  }

  /** @returns p99.9 of the others in ms, from when each was due */
  async #window(seconds: number, rate: number): Promise<number> {
    this.#stats.reset();
    const startUs = nowUs();
    const total = seconds * rate;
    for (let sent = 0; sent < total; ) {
      const due = Math.min(total, Math.floor(((nowUs() - startUs) / 1e6) * rate) + 1);
      for (; sent < due && this.#driver.hasRoom(); sent++) {
        this.#workload.write(this.#words, 0);
        const intendedUs = startUs + (sent * 1e6) / rate;
        this.#driver.submit(ANY_CONNECTION, this.#words, REQUEST.WORDS, this.#workload.kind, intendedUs);
      }
      this.#driver.flush();
      // Spinning would take one of two cores from what is measured, and a timer of the event loop would be half a millisecond late.
      const waitMs = (startUs + (sent * 1e6) / rate - nowUs()) / 1000;
      await (waitMs > 0 ? nap(Math.min(waitMs, NAP_MS_MAX)) : yieldToEvents());
    }
    await drain(this.#driver, this.#stats, 120_000);
    const { errors, kinds } = this.#stats.summary(seconds);
    if (Object.keys(errors).length > 0) throw new Error(`others were refused: ${JSON.stringify(errors)}`);
    return kinds.at(-1)!.latencyMs.p999;
  }

  async #flushed(): Promise<void> {
    while ((await readMetrics(this.#url)).get('tidemark_shard_dirty_users') !== 0) await sleep(100);
  }
}

function ratiosOf(phase: Phase, windows: readonly Window[]): number[] {
  const of = windows.filter((window) => window.phase === phase);
  return of.map(({ quietMs, largeMs }) => largeMs / quietMs);
}

function report(store: string, windows: readonly Window[]): string[][] {
  return PHASES.map((phase) => {
    const of = windows.filter((window) => window.phase === phase);
    const ratios = ratiosOf(phase, windows);
    return [
      `${store}: ${phase}`,
      formatMs(median(of.map(({ quietMs }) => quietMs))),
      formatMs(median(of.map(({ largeMs }) => largeMs))),
      `${median(ratios).toFixed(2)} (${Math.min(...ratios).toFixed(2)} to ${Math.max(...ratios).toFixed(2)})`,
      formatMs(median(of.flatMap(({ tookMs }) => tookMs))),
      median(ratios) > RATIO_MAX ? 'MISSED' : 'held',
    ];
  });
}

async function main(options: Options): Promise<void> {
  const results: Record<string, Window[]> = {};
  const rows = [
    ['', 'p99.9 ms without', 'with', `ratio, at most ${RATIO_MAX}`, 'work of the large user ms', ''],
  ];
  for (const store of options.store) {
    const data = mkdtempSync(join(tmpdir(), 'tidemark-large-'));
    const cluster =
      store === 'cassandra' ? await CassandraCluster.start({ durable: false, niceness: LOWEST }) : null;
    try {
      const url = cluster === null ? `lmdb:${data}/store` : await createKeyspace(cluster.contactPoints);
      const args = ['--data', data, '--store', url, '--capacity', CAPACITY, '--partitions', '1'];
      const patience = ['--flush-delay', '1s', '--room-timeout', '60s', '--load-timeout', '60s'];
      const service = await startService([...args, ...patience]);
      try {
        results[store] = await LargeUserBench.run(options, service.url);
        rows.push(...report(store, results[store]));
      } finally {
        await killChild(service.child);
      }
    } finally {
      await cluster?.end();
      rmSync(data, { recursive: true, force: true });
    }
  }
  process.stdout.write(
    `${formatCount(ENTRIES)} entries, others at ${formatCount(options.rate)} operations/s\n`,
  );
  process.stdout.write(`${formatTable(rows)}\n`);
  const context = { ...machine(), ...sourceState(), date: new Date().toISOString(), others: OTHERS, options };
  mkdirSync(dirname(options.json), { recursive: true });
  writeFileSync(options.json, `${JSON.stringify({ context, results }, undefined, 2)}\n`);
  say(`written: ${options.json}`);
  const ratios = Object.values(results).flatMap((of) => PHASES.map((phase) => median(ratiosOf(phase, of))));
  if (ratios.some((ratio) => ratio > RATIO_MAX)) process.exitCode = 1;
}

await new Command('bench-large-user')
  .description('what others notice of a user with 100,000 entries')
  .option('--rounds <count>', 'of all phases', wholeNumber(1, 100), 5)
  .option('--seconds <count>', 'of each window, of reloads three times as many', wholeNumber(1, 600), 5)
  .option('--rate <ops>', 'operations of others a second', wholeNumber(1, 1_000_000), 2000)
  .option('--store <names...>', 'lmdb, cassandra', ['lmdb', 'cassandra'])
  .option('--json <file>', 'where the result goes', RESULT)
  .action((options: Options) => main(options))
  .parseAsync();
