/**
 * `make bench-engine`: the engine against other caches, and what the collector does to a shard under full load.
 * Prints a table with floors, writes the raw figures as JSON, and fails if a floor is missed.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { freemem, totalmem } from 'node:os';
import { join } from 'node:path';
import { Command, Option } from 'commander';
import { heap } from '../engine/heap.js';
import { slab } from '../engine/slab.js';
import { UNEVENNESS } from '../workers/partition-memory.js';
import { ROOT, sourceState } from './commit.js';
import { checkSides } from './engine-check.js';
import type { ChildReady, ChildSettings } from './engine-child.js';
import { type Row, verdictOf } from './engine-figures.js';
import { BenchProcess, NODE_FLAGS } from './engine-processes.js';
import type { ShardLoadResult, ShardLoadSettings } from './engine-shard-load.js';
import { ACK_PERCENT, MENTION_PERCENT } from './engine-stream.js';
import {
  bestPeer,
  cpuRatio,
  measureThroughput,
  ratio,
  summarizeSide,
  type Throughput,
  type ThroughputSettings,
} from './engine-throughput.js';
import { formatCount, formatTable, machine } from './run-stats.js';
import { decimal, wholeNumber } from './target-options.js';

const PARTS = ['throughput', 'memory', 'shard', 'shard-heap'] as const;
type Part = (typeof PARTS)[number];

interface Options {
  records: number;
  rounds: number;
  roundSeconds: number;
  seconds: number;
  partitions: number;
  seed: number;
  flushDelay: number;
  only?: Part[];
  quick: boolean;
}

const CHANNELS_PER_USER = 32;
/** Resident records over all keys. */
const HIT_SHARE = 0.9;
const SMALL_SHARD_RECORDS = 1_000_000;

const FLOOR_PEER = 12;
const FLOOR_BATCHED = 1.4;
const FLOOR_RECORD_BYTES = 64;
const FLOOR_PAUSE_MS = 2;
/** The heap is seen once a second: what was allocated since the collection before counts as noise. */
const HEAP_NOISE_BYTES_PER_10M = 1 << 20;

/** As scripts/tidemark starts a server; objects are better off with all the threads that the collector has. */
const SLAB_COLLECTOR = ['--single-threaded-gc', '--no-memory-reducer', '--min-semi-space-size=16'];

/** One megabyte: the least that there is. */
const SMALL_NURSERY = '--max-semi-space-size=1';

const QUICK: Partial<Options> = { records: 128_000, rounds: 3, roundSeconds: 0.3, seconds: 4, partitions: 4 };

const RESULTS = join(ROOT, 'bench', 'results');

function parseOptions(): Options {
  const command = new Command('bench-engine')
    .option(
      '--records <count>',
      'records of the throughput and memory parts',
      wholeNumber(32_000, 16_000_000),
      8_000_000,
    )
    .option('--rounds <count>', 'rounds that count', wholeNumber(1, 100), 5)
    .option('--round-seconds <seconds>', 'work of each side in a round', decimal(0.1, 600), 5)
    .option('--seconds <seconds>', 'full load on a shard', wholeNumber(4, 3600), 60)
    .option('--partitions <count>', 'partitions of our engines: a power of two', wholeNumber(1, 256), 32)
    .option('--flush-delay <seconds>', 'write-behind of our engines', wholeNumber(1, 600), 30)
    .option('--seed <number>', 'of the operations', wholeNumber(0, 2 ** 31 - 1), 1)
    .addOption(new Option('--only <parts...>', 'parts to run').choices(PARTS))
    .option('--quick', 'everything at small size, in a minute; floors are not judged (QUICK=1)', false)
    .parse();
  const options = command.opts<Options>();
  options.quick ||= /^(1|true)$/.test(process.env.QUICK ?? '');
  if (!options.quick) return options;
  for (const [name, value] of Object.entries(QUICK)) {
    if (command.getOptionValueSource(name) === 'default') Object.assign(options, { [name]: value });
  }
  return options;
}

/** Progress goes to stderr, so that the table can be kept. */
function log(text: string): void {
  console.error(text);
}

class Bench {
  readonly rows: Row[] = [];
  readonly notes: string[] = [];
  readonly raw: Record<string, unknown> = {};
  readonly #options: Options;
  readonly #cpuRatios: string[] = [];

  constructor(options: Options) {
    this.#options = options;
  }

  runs(part: Part): boolean {
    const { only } = this.#options;
    return only === undefined || only.includes(part);
  }

  #childSettings(): Omit<ChildSettings, 'side'> {
    const { records, partitions, seed, flushDelay } = this.#options;
    const users = Math.ceil(records / CHANNELS_PER_USER);
    return {
      users,
      channelsPerUser: CHANNELS_PER_USER,
      universeUsers: Math.round(users / HIT_SHARE),
      partitions,
      slack: 1,
      isAsServed: false,
      flushDelayMs: flushDelay * 1000,
      seed,
    };
  }

  async throughput(): Promise<void> {
    const { rounds, roundSeconds } = this.#options;
    const settings: ThroughputSettings = { ...this.#childSettings(), rounds, roundSeconds };
    const result = await measureThroughput(settings, log);
    this.raw.throughput = { settings, ...result };
    const peer = bestPeer(result);
    const other = peer === 'lru-string' ? 'lru-nested' : 'lru-string';
    this.#ratioRow(`slab / lru-cache 11.5.3 (${peer.slice(4)})`, result, peer, FLOOR_PEER);
    this.#ratioRow(`slab / lru-cache 11.5.3 (${other.slice(4)})`, result, other, null);
    this.#ratioRow('slab / heap', result, 'heap', FLOOR_PEER);
    this.#ratioRow('slab batched / one at a time', result, 'single', FLOOR_BATCHED);
    this.notes.push(sidesTable(result));
    this.notes.push(
      `by processor time, the collector's threads included:\n  ${this.#cpuRatios.join('\n  ')}`,
    );
  }

  #ratioRow(name: string, result: Throughput, peer: Parameters<typeof ratio>[2], floor: number | null): void {
    const { median, min, max } = ratio(result, 'slab', peer);
    this.rows.push({
      name,
      value: median,
      shown: `${median.toFixed(2)}x`,
      spread: `${min.toFixed(2)}..${max.toFixed(2)}`,
      floor,
      atLeast: true,
      floorShown: floor === null ? '' : `>= ${floor}x`,
    });
    const cpu = cpuRatio(result, 'slab', peer);
    this.#cpuRatios.push(`${name}: ${cpu.median.toFixed(2)}x (${cpu.min.toFixed(2)}..${cpu.max.toFixed(2)})`);
  }

  async memory(): Promise<void> {
    const settings: ChildSettings = {
      ...this.#childSettings(),
      side: 'slab',
      slack: UNEVENNESS,
      isAsServed: true,
    };
    const child = new BenchProcess('engine-child.js', settings);
    const ready = await child.answer<ChildReady>();
    await child.end();
    this.raw.memory = { settings, ...ready };
    const bytes = ready.rssGrowthBytes / ready.records;
    this.rows.push({
      name: 'memory a record (RSS growth)',
      value: bytes,
      shown: `${bytes.toFixed(1)} bytes`,
      spread: `${(ready.sharedBytes / ready.records).toFixed(1)} allocated`,
      floor: FLOOR_RECORD_BYTES,
      atLeast: false,
      floorShown: `<= ${FLOOR_RECORD_BYTES} bytes`,
    });
  }

  async shard(engine: 'slab' | 'heap'): Promise<void> {
    const { records, quick } = this.#options;
    const sizes = [quick ? Math.floor(records / 8) : Math.min(SMALL_SHARD_RECORDS, records), records];
    for (const size of sizes) {
      const { settings, result } = await this.#shardLoad(engine, size, []);
      this.#pauseRow(settings, result);
    }
    if (engine === 'slab') await this.#heapGrowth(sizes[0]!);
  }

  /** With a nursery so small that the collector runs now and then, if there is anything for it. */
  async #heapGrowth(records: number): Promise<void> {
    const { result } = await this.#shardLoad('slab', records, [SMALL_NURSERY]);
    const { bytesPer10M, collections, allocatedPerOperation } = result.heap;
    this.rows.push({
      name: `heap growth, slab shard, ${formatCount(records)} records`,
      value: bytesPer10M,
      shown: `${(bytesPer10M / 1024).toFixed(0)} KiB`,
      spread: `10 M operations, ${collections} collections`,
      floor: HEAP_NOISE_BYTES_PER_10M,
      atLeast: false,
      floorShown: `none (<= ${HEAP_NOISE_BYTES_PER_10M / 1024} KiB)`,
    });
    this.notes.push(`slab shard: ${allocatedPerOperation.toFixed(2)} bytes allocated for an operation`);
  }

  async #shardLoad(
    engine: 'slab' | 'heap',
    records: number,
    flags: readonly string[],
  ): Promise<{ settings: ShardLoadSettings; result: ShardLoadResult }> {
    const { seconds, partitions, seed, flushDelay } = this.#options;
    const settings: ShardLoadSettings = {
      engine,
      records,
      channelsPerUser: CHANNELS_PER_USER,
      partitions,
      seconds,
      warmUpSeconds: Math.min(5, seconds / 4),
      // Every dirty user is flushed at least once in the window.
      flushDelayMs: Math.min(flushDelay * 1000, seconds * 500),
      seed,
    };
    log(`${engine} shard of ${formatCount(records)} records, ${seconds} s ${flags.join(' ')}`);
    const collector = engine === 'slab' ? SLAB_COLLECTOR : [];
    const child = new BenchProcess('engine-shard-load.js', settings, [...collector, ...flags]);
    const result = await child.answer<ShardLoadResult>();
    this.raw[`shard-${engine}-${records}${flags.join('')}`] = { settings, flags, ...result };
    const refused = result.refused === 0 ? '' : `; ${formatCount(result.refused)} REFUSED`;
    this.notes.push(
      `${engine} shard, ${formatCount(records)} records${flags.map((flag) => `, ${flag}`).join('')}: ` +
        `${formatCount(result.operations)} acks in ${result.seconds.toFixed(0)} s, ` +
        `${(result.operations / result.seconds / 1e6).toFixed(2)} M/s; ` +
        `${formatCount(result.flushedRows)} rows flushed (delay ${settings.flushDelayMs / 1000} s); ` +
        `${result.pause.count} collections, ${result.pause.sumMs.toFixed(1)} ms in all${refused}`,
    );
    return { settings, result };
  }

  #pauseRow({ engine, records }: ShardLoadSettings, { pause }: ShardLoadResult): void {
    const floor = engine === 'slab' ? FLOOR_PAUSE_MS : null;
    this.rows.push({
      name: `longest GC pause, ${engine} shard, ${formatCount(records)} records`,
      value: pause.mostMs,
      shown: `${pause.mostMs.toFixed(2)} ms`,
      spread: `${pause.leastMs.toFixed(2)}..${pause.mostMs.toFixed(2)} of ${pause.count}`,
      floor,
      atLeast: false,
      floorShown: floor === null ? '' : `<= ${floor} ms`,
    });
  }
}

function sidesTable(result: Throughput): string {
  const rows = [['side', 'M ops/s', 'min..max', 'M ops/cpu s', 'hits', 'longest GC pause', 'bytes a record']];
  for (const [name, rounds] of Object.entries(result.rounds)) {
    const { rate, cpuRate, hitShare, gcMaxMs } = summarizeSide(rounds);
    const ready = result.ready[name];
    rows.push([
      name,
      (rate.median / 1e6).toFixed(3),
      `${(rate.min / 1e6).toFixed(3)}..${(rate.max / 1e6).toFixed(3)}`,
      (cpuRate.median / 1e6).toFixed(3),
      `${(hitShare * 100).toFixed(1)}%`,
      `${gcMaxMs.toFixed(1)} ms`,
      ready === undefined ? '' : (ready.rssGrowthBytes / ready.records).toFixed(0),
    ]);
  }
  return formatTable(rows);
}

async function main(): Promise<void> {
  const options = parseOptions();
  const tunables = process.env.GLIBC_TUNABLES ?? '';
  if (!tunables.includes('hugetlb=1'))
    log('GLIBC_TUNABLES is without glibc.malloc.hugetlb=1: pages are small.');
  log('checking that all sides give the same answers');
  checkSides([slab, heap]);

  const bench = new Bench(options);
  if (bench.runs('throughput')) await bench.throughput();
  if (bench.runs('memory')) await bench.memory();
  if (bench.runs('shard')) await bench.shard('slab');
  if (bench.runs('shard-heap')) await bench.shard('heap');

  const verdicts = bench.rows.map((row) => (options.quick ? '' : verdictOf(row)));
  const table = [['what', 'median', 'min..max', 'floor', '']];
  bench.rows.forEach((row, i) => {
    table.push([row.name, row.shown, row.spread, row.floorShown, verdicts[i]!]);
  });
  console.log(formatTable(table));
  for (const note of bench.notes) console.log(`\n${note}`);
  console.log(`\n${describe(options)}`);

  const date = new Date().toISOString();
  const { commit, modified } = sourceState();
  const file = `${date.slice(0, 10)}-${commit}-engine.json`;
  const result = {
    date,
    commit,
    modified,
    machine: { ...machine(), memoryBytes: totalmem(), freeBytes: freemem() },
    settings: { ...options, nodeFlags: NODE_FLAGS, glibcTunables: tunables },
    rows: bench.rows.map((row, i) => ({ ...row, verdict: verdicts[i] })),
    raw: bench.raw,
  };
  await mkdir(RESULTS, { recursive: true });
  await writeFile(join(RESULTS, file), `${JSON.stringify(result, null, 2)}\n`);
  console.log(`bench/results/${file}`);
  if (verdicts.includes('MISSED')) process.exitCode = 1;
}

function describe(options: Options): string {
  const { records, rounds, roundSeconds, partitions, quick } = options;
  const { cpu, cores, node } = machine();
  return [
    `${formatCount(records)} records of ${formatCount(records / CHANNELS_PER_USER)} users, uniform keys, ` +
      `${HIT_SHARE * 100}% hits; ${ACK_PERCENT}% acks, ${MENTION_PERCENT}% mentions, ` +
      `${100 - ACK_PERCENT - MENTION_PERCENT}% gets; ${partitions} partitions; ${rounds} rounds of ${roundSeconds} s.`,
    'A ratio is that of two rounds that followed each other; floors are for the median. slab and heap also load',
    'what is missing, make room and flush to a store that confirms at once; lru-cache just drops what is evicted.',
    `${cpu}, ${cores} cores, Node ${node}.`,
    ...(quick ? ['Quick: small caches say nothing about large ones, so floors are not judged.'] : []),
  ].join('\n');
}

await main();
