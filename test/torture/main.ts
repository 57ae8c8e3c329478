/** `make torture`: the full run. Exits with 1 on a violation, and prints all that is needed to look into it. */
import { Command } from 'commander';
import { decimal, wholeNumber } from '../../bench/target-options.js';
import { CassandraPlace } from './cassandra-place.js';
import { LOAD_DEFAULTS } from './load.js';
import { report, Torture, type TortureOptions, type TortureResult } from './torture.js';
import { runTrouble, TROUBLES } from './trouble.js';

interface Given {
  kills: number;
  lives: number;
  seed: number;
  life: number;
  stops: number;
  users?: number;
  channels: number;
  sockets: number;
  httpSockets: number;
  store?: string;
  capacity?: string;
  partitions: string;
  shards: string;
  engine: string;
  durability: string;
  flushDelay: string;
  serve: string[];
  operate?: boolean;
  nodes: number;
  trouble?: string;
  troubleTime: number;
  residents: number;
}

/**
 * All that 400 users can write in a minute without a store (35,000 entries at most, with what was deleted) fits in, or
 * changes would be refused rightly; and there are more users than places for them, so that there are misses.
 */
const TROUBLE = { users: 30_000, capacity: '60k' };

const command = new Command('torture')
  .description('kill the service with -9 again and again under load, and prove that it kept its word')
  .option('--kills <count>', 'kills', wholeNumber(0, 100_000), 50)
  .option(
    '--lives <count>',
    'lives, at least; with --kills 0 all end with an orderly stop',
    wholeNumber(0, 100_000),
    0,
  )
  .option(
    '--seed <number>',
    'of the load and the moments',
    wholeNumber(0, 2 ** 31 - 1),
    Date.now() % 1_000_000,
  )
  .option('--life <ms>', 'load before a kill, at most', wholeNumber(1, 3_600_000), 2000)
  .option('--stops <share>', 'of all lives that end with an orderly stop', decimal(0, 1), 0.2)
  .option(
    '--users <count>',
    `users (default: ${LOAD_DEFAULTS.users}, with --trouble ${TROUBLE.users})`,
    wholeNumber(10, 1e6),
  )
  .option(
    '--channels <count>',
    'channels of a user, on average',
    wholeNumber(1, 1000),
    LOAD_DEFAULTS.channels,
  )
  .option('--sockets <count>', 'WebSockets', wholeNumber(1, 100), LOAD_DEFAULTS.sockets)
  .option('--http-sockets <count>', 'HTTP connections', wholeNumber(0, 100), LOAD_DEFAULTS.httpSockets)
  .option('--store <url>', 'store; cassandra: starts one (default: LMDB in a folder of the run)')
  .option('--nodes <count>', 'of the Cassandra that is started', wholeNumber(1, 3), 1)
  .option(
    '--trouble <kinds>',
    `no kills, but trouble of the Cassandra: all, or some of ${TROUBLES.join(', ')}`,
  )
  .option('--trouble-time <ms>', 'how long each lasts', wholeNumber(100, 3_600_000), 60_000)
  .option('--residents <count>', 'with --trouble: users that stay in memory', wholeNumber(1, 1e6), 200)
  .option('--capacity <records>', 'read states in memory (default: 500,1500,6000, with --trouble 60k)')
  .option('--partitions <count>', 'partitions', '2,4')
  .option('--shards <counts>', 'shard threads', '1,2')
  .option('--engine <names>', 'engine', 'slab')
  .option('--durability <levels>', 'durability', 'process')
  .option('--flush-delay <times>', 'from a change to its write', '50ms,300ms,2s,30s')
  .option('--operate', 'resize and reload under load, all the time')
  .option('--serve <option=values>', 'another option of serve; repeat it', collect, [])
  .addHelpText(
    'after',
    '\nWhere an option of serve has several values (a,b), starts take another now and then.',
  );

function collect(value: string, before: string[]): string[] {
  return [...before, value];
}

const { kills, lives, seed, life, stops, serve, trouble, ...given } = command.parse().opts<Given>();
const isCassandra = given.store === 'cassandra:' || (given.store === undefined && trouble !== undefined);
const place = isCassandra ? await CassandraPlace.start(given.nodes) : undefined;
const store = place?.storeUrl ?? given.store;
const options: TortureOptions = {
  seed,
  kills,
  lives,
  users: given.users ?? (trouble === undefined ? LOAD_DEFAULTS : TROUBLE).users,
  channels: given.channels,
  sockets: given.sockets,
  httpSockets: given.httpSockets,
  residents: trouble === undefined ? 0 : given.residents,
  lifeMs: life,
  stopShare: stops,
  operates: given.operate === true,
  serve: {
    ...(store === undefined ? {} : { store: [store] }),
    capacity: (given.capacity ?? (trouble === undefined ? '500,1500,6000' : TROUBLE.capacity)).split(','),
    partitions: given.partitions.split(','),
    shards: given.shards.split(','),
    engine: given.engine.split(','),
    durability: given.durability.split(','),
    'flush-delay': given.flushDelay.split(','),
    ...Object.fromEntries(
      serve.map((text) => {
        const [name = '', values = ''] = text.split('=');
        return [name, values.split(',')];
      }),
    ),
  },
  log: (line) => process.stdout.write(`${line}\n`),
};

async function inTrouble(names: string): Promise<TortureResult> {
  if (place === undefined) throw new Error('--trouble needs --store cassandra:');
  const kinds =
    names === 'all'
      ? TROUBLES.filter((name) => name.startsWith('one-') === given.nodes > 1)
      : names.split(',');
  const torture = await runTrouble(options, { place, kinds, troubleMs: given.troubleTime });
  return torture.finish();
}

process.stdout.write(`seed ${seed}\n`);
const startMs = performance.now();
let result: TortureResult;
try {
  result = await (trouble === undefined ? new Torture(options).run() : inTrouble(trouble));
} finally {
  await place?.end();
}
const { checker, counters } = result;
process.stdout.write(
  `${result.kills} kills (${result.startKills} during a start, ${result.stopKills} during a stop), ${result.stops} orderly stops, ${result.orders} resizes and reloads, ${Math.round((performance.now() - startMs) / 1000)} s
${checker.answeredCount} operations answered, ${checker.lostCount} without an answer, at most ${checker.statesMax} states possible for a user
${[...counters].map(([name, value]) => `${name} ${value}`).join('\n')}
`,
);
if (checker.violations.length > 0) {
  process.stdout.write(`${report(result, options)}\n`);
  process.exitCode = 1;
} else process.stdout.write('no violation\n');
