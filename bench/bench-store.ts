/**
 * The Cassandra store beside its driver, in one run on one Cassandra: `make cassandra`, then `make bench-store`.
 *
 * Flushes: rows/s through the rings, the persister's thread and the store until confirmed, beside the driver's own
 * `concurrent.executeConcurrent` with the same rows, as single prepared inserts, on this thread. With many rows of a
 * user and with one: the store makes one request of many rows, executeConcurrent has one a row.
 * Misses: from the request in the ring to the answer in the ring, beside a query of the driver, one at a time, of one
 * user after the other: what Cassandra takes changes by a half within a second.
 * Sides alternate, and the ratios are those of neighbours. Checked before it is timed: what one side wrote is what the
 * other reads. Ends with 1 when a floor is missed.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import cassandra from 'cassandra-driver';
import { Command } from 'commander';
import { PERSISTER_STATS } from '../workers/stats.js';
import { textsOf } from '../workers/stores/cassandra-rows.js';
import { keyspaceCql, tableCql } from '../workers/stores/cassandra-schema.js';
import { sourceState } from './commit.js';
import { formatCount, formatMs, formatTable, machine } from './run-stats.js';
import { ratioOf, type Spread, spreadOf } from './spread.js';
import { type BenchGroup, StoreShard } from './store-shard.js';

const { Client, concurrent, types } = cassandra;
const { Long } = types;

const HOST = '127.0.0.1';
const KEYSPACE = 'tidemark_bench';
const DATA_CENTER = 'datacenter1';
const FLUSH_FLOOR = 0.8;
const MISS_CEILING = 1.2;
/** Rows of a user that is loaded. */
const MISS_ROWS = 50;
/** Misses of each side of which a median is taken. */
const MISS_BLOCK = 100;

interface Options {
  readonly rows: string;
  readonly rounds: string;
  readonly misses: string;
  readonly profile?: string;
  readonly json?: string;
}

interface Finding {
  readonly what: string;
  readonly store: Spread;
  readonly driver: Spread;
  /** Of the store to the driver. */
  readonly ratio: Spread;
  readonly bound: string;
  readonly met: boolean;
}

class StoreBench {
  readonly findings: Finding[] = [];
  readonly #client: cassandra.Client;
  readonly #shard: StoreShard;
  readonly #texts = textsOf(KEYSPACE);
  #user = 1;
  #message = 1;

  constructor(client: cassandra.Client, shard: StoreShard) {
    this.#client = client;
    this.#shard = shard;
  }

  #groups(rows: number, rowsAUser: number): BenchGroup[] {
    const message = ++this.#message;
    return Array.from({ length: Math.ceil(rows / rowsAUser) }, () => ({
      user: this.#user++,
      count: rowsAUser,
      message,
    }));
  }

  /** @returns milliseconds */
  async #driverFlush(groups: readonly BenchGroup[]): Promise<number> {
    const { insert, insertFirst } = this.#texts;
    const statements: { query: string; params: unknown[] }[] = [];
    for (const { user, count, message } of groups) {
      for (let channel = 1; channel <= count; channel++) {
        const ids = [Long.fromNumber(user), Long.fromNumber(channel), 0, Long.fromNumber(message)];
        const params: unknown[] = [...ids, 1, 0, 0, message, Long.ZERO, message];
        // The user's versions go with the first row, as the store writes them.
        if (channel > 1) statements.push({ query: insert, params });
        else statements.push({ query: insertFirst, params: [...params, message, types.unset] });
      }
    }
    const startedMs = performance.now();
    await concurrent.executeConcurrent(this.#client, statements);
    return performance.now() - startedMs;
  }

  /** What each side wrote is what the other reads. */
  async check(): Promise<void> {
    const [ours, theirs] = [this.#groups(MISS_ROWS, MISS_ROWS)[0]!, this.#groups(MISS_ROWS, MISS_ROWS)[0]!];
    await this.#shard.flush([ours]);
    await this.#driverFlush([theirs]);
    const loaded = await this.#shard.load(theirs.user, null);
    if (loaded.rows !== MISS_ROWS || loaded.message !== theirs.message)
      throw new Error('the store read other rows');
    const { rows } = await this.#client.execute(this.#texts.loadUser, [Long.fromNumber(ours.user)], {
      prepare: true,
    });
    const wrong = rows.filter(({ message_id: message }) => Number(String(message)) !== ours.message);
    if (rows.length !== MISS_ROWS || wrong.length > 0) throw new Error('the store wrote other rows');
  }

  async flushes(rowsAUser: number, rows: number, rounds: number): Promise<void> {
    const rates: Record<'store' | 'driver', number[]> = { store: [], driver: [] };
    for (let round = -1; round < rounds; round++) {
      const sides = ['store', 'driver'] as const;
      for (const side of round % 2 === 0 ? sides : [...sides].reverse()) {
        const groups = this.#groups(rows, rowsAUser);
        const ms = side === 'store' ? await this.#shard.flush(groups) : await this.#driverFlush(groups);
        if (round >= 0) rates[side].push((groups.length * rowsAUser * 1000) / ms); // the first warms up
      }
    }
    const ratio = ratioOf(rates.store, rates.driver);
    this.findings.push({
      what: `flush, ${rowsAUser} row${rowsAUser === 1 ? '' : 's'} a user, rows/s`,
      store: spreadOf(rates.store),
      driver: spreadOf(rates.driver),
      ratio,
      bound: `>= ${FLUSH_FLOOR}`,
      met: ratio.median >= FLUSH_FLOOR,
    });
  }

  /** @param isList  a whole user of MISS_ROWS rows, or one row */
  async misses(isList: boolean, count: number): Promise<void> {
    const users = this.#groups(count * MISS_ROWS, MISS_ROWS);
    await this.#shard.flush(users);
    const p50s: Record<'store' | 'driver', number[]> = { store: [], driver: [] };
    for (let from = 0; from + MISS_BLOCK <= count; from += MISS_BLOCK) {
      const sides = ['store', 'driver'] as const;
      const times: Record<'store' | 'driver', number[]> = { store: [], driver: [] };
      for (const { user } of users.slice(from, from + MISS_BLOCK)) {
        for (const side of user % 2 === 0 ? sides : [...sides].reverse()) {
          const { ms, rows } =
            side === 'store'
              ? await this.#shard.load(user, isList ? null : 7)
              : await this.#query(user, isList);
          if (rows !== (isList ? MISS_ROWS : 1)) throw new Error(`${rows} rows of user ${user}`);
          times[side].push(ms);
        }
      }
      for (const side of sides) p50s[side].push(spreadOf(times[side]).median);
    }
    const ratio = ratioOf(p50s.store, p50s.driver);
    this.findings.push({
      what: `miss of ${isList ? `${MISS_ROWS} rows` : 'one row'}, p50 in ms`,
      store: spreadOf(p50s.store),
      driver: spreadOf(p50s.driver),
      ratio,
      bound: `<= ${MISS_CEILING}`,
      met: ratio.median <= MISS_CEILING,
    });
  }

  async #query(user: number, isList: boolean): Promise<{ rows: number; ms: number }> {
    const id = Long.fromNumber(user);
    const startedMs = performance.now();
    const { rows } = isList
      ? await this.#client.execute(this.#texts.loadUser, [id], { prepare: true })
      : await this.#client.execute(this.#texts.loadRow, [id, Long.fromNumber(7), 0], { prepare: true });
    return { rows: rows.length, ms: performance.now() - startedMs };
  }
}

function formatSpread({ median, min, max }: Spread, format: (value: number) => string): string {
  return `${format(median)} (${format(min)} to ${format(max)})`;
}

function report(findings: readonly Finding[]): string {
  const rows = [['', 'store', 'driver', 'ratio', 'bound', '']];
  for (const { what, store, driver, ratio, bound, met } of findings) {
    const format = what.startsWith('flush') ? formatCount : formatMs;
    const ratios = formatSpread(ratio, (value) => value.toFixed(2));
    rows.push([
      what,
      formatSpread(store, format),
      formatSpread(driver, format),
      ratios,
      bound,
      met ? 'met' : 'MISSED',
    ]);
  }
  return formatTable(rows);
}

async function connect(): Promise<cassandra.Client> {
  const client = new Client({
    contactPoints: [HOST],
    localDataCenter: DATA_CENTER,
    queryOptions: { consistency: types.consistencies.localQuorum },
    monitorReporting: { enabled: false },
  });
  try {
    await client.connect();
  } catch {
    throw new Error(`No Cassandra answers at ${HOST}:9042. Start one: make cassandra`);
  }
  await client.execute(`DROP KEYSPACE IF EXISTS ${KEYSPACE}`);
  await client.execute(keyspaceCql(KEYSPACE, DATA_CENTER, 1));
  await client.execute(tableCql(KEYSPACE));
  return client;
}

async function main(options: Options): Promise<void> {
  const [rows, rounds, misses] = [Number(options.rows), Number(options.rounds), Number(options.misses)];
  const client = await connect();
  const profile = options.profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${options.profile}`];
  let shard: StoreShard | null = null;
  let bench: StoreBench;
  try {
    shard = await StoreShard.start(`cassandra://${HOST}/${KEYSPACE}?dc=${DATA_CENTER}`, profile);
    bench = new StoreBench(client, shard);
    await bench.check();
    for (const rowsAUser of [1, 10, 100]) await bench.flushes(rowsAUser, rows, rounds);
    for (const isList of [false, true]) await bench.misses(isList, misses);
  } finally {
    await shard?.end();
    await client.execute(`DROP KEYSPACE IF EXISTS ${KEYSPACE}`);
    await client.shutdown();
  }
  const { findings } = bench;
  console.log(report(findings));
  const atOnce = {
    loads: shard.stats[PERSISTER_STATS.LOADS_AT_ONCE]!,
    writes: shard.stats[PERSISTER_STATS.WRITES_AT_ONCE]!,
  };
  console.log(`at the end the store took ${atOnce.loads} loads and ${atOnce.writes} writes at once`);
  const context = {
    ...machine(),
    ...sourceState(),
    date: new Date().toISOString(),
    rows,
    rounds,
    misses,
    atOnce,
  };
  const file = options.json ?? 'bench/results/store.json';
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, `${JSON.stringify({ context, findings }, undefined, 2)}\n`);
  console.log(`written: ${file}`);
  if (findings.some(({ met }) => !met)) process.exitCode = 1;
}

await new Command('bench-store')
  .description('the Cassandra store beside its driver; needs make cassandra')
  .option('--rows <count>', 'rows of one side in a round', '20000')
  .option('--rounds <count>', 'rounds of flushes, after one to warm up', '5')
  .option('--misses <count>', 'misses of each kind and side, in blocks of 100', '2000')
  .option('--profile <folder>', "where a processor profile of the persister's thread goes")
  .option('--json <file>', 'where the result goes (default: bench/results/store.json)')
  .action((options: Options) =>
    main(options).catch((error: Error) => {
      console.error(`bench-store: ${error.message}`);
      process.exitCode = 1;
    }),
  )
  .parseAsync();
