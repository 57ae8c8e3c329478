/**
 * The configuration of `serve`: one table of options, read from the command line or the environment, checked as a
 * whole. All problems are reported at once; each names the thing, its value, the limit and the remedy.
 */
import { z } from 'zod';
import { BULK_ITEMS_MAX } from '../engine/messages.js';
import { WATCHED_MAX } from '../workers/introspection/limiter.js';
import { JOURNAL_LIMIT_MIN_BYTES_A_SHARD } from '../workers/journal/sizes.js';
import { automaticShards, lanesFor } from '../workers/lane-counts.js';
import { capacityFor, recordsOfPartition } from '../workers/partition-memory.js';
import {
  CASSANDRA_PARAMETERS,
  CASSANDRA_PREFIX,
  PASSWORD_VARIABLE,
  readCassandraUrl,
  redactStore,
} from '../workers/stores/cassandra-url.js';
import { readTokens } from './auth.js';
import { isLoopback } from './foreign-pages.js';
import { LOG_LEVELS } from './log.js';
import { bytes, choice, count, duration, numberOr, whole } from './option-types.js';
import { SLOTS_MAX } from './slot-table.js';

const RECORDS_PER_PARTITION_MAX = 2 ** 24;
const PARTITIONS_MAX = 256;
/** Of `--hot-users`: with some 30 records a user, those whose records are half of the capacity. */
const RECORDS_A_HOT_USER = 64;

/** A text of `--store`, without opening it. */
const storeText = z.string().superRefine((text, context) => {
  const refuse = (message: string): void => context.addIssue({ code: 'custom', message });
  if (text.startsWith(CASSANDRA_PREFIX)) readCassandraUrl(text).problems.forEach(refuse);
  else if (text !== 'memory:' && !/^lmdb:./.test(text)) {
    refuse(
      'is not lmdb:DIRECTORY, cassandra://HOST,HOST:9042/KEYSPACE?dc=DATACENTRE, or memory: (which forgets everything at the end)',
    );
  }
});

interface Option<T extends z.ZodType<unknown, string | undefined> = z.ZodType<unknown, string | undefined>> {
  readonly type: T;
  readonly value: string;
  readonly help: string;
  /** As it would be given; undefined when it follows from others, which `help` then says. */
  readonly default?: string;
}

function option<T extends z.ZodType<unknown, string | undefined>>(
  type: T,
  value: string,
  help: string,
  default_?: string,
): Option<T> {
  return default_ === undefined ? { type, value, help } : { type, value, help, default: default_ };
}

/** Every option of `serve`. `flushDelay` is `--flush-delay` and `TIDEMARK_FLUSH_DELAY`. */
export const OPTIONS = {
  host: option(
    z.string().min(1, 'is empty'),
    'HOST',
    'address to listen at; one that is not loopback needs --auth-token-file',
    '127.0.0.1',
  ),
  port: option(whole(0, 65_535), 'PORT', 'port to listen at, 0 = any free one', '4040'),
  data: option(z.string().min(1, 'is empty'), 'DIR', 'directory of all that is kept', './data'),
  shards: option(
    numberOr('auto', 1, PARTITIONS_MAX),
    'N',
    'shard threads; auto = one for each processor less one, also when their number changes, until a number is ordered',
    'auto',
  ),
  lanes: option(
    whole(1, PARTITIONS_MAX).optional(),
    'N',
    'what shards share and hand over to each other: as many shards there can be (default: twice the shards, a power of two, at least 4)',
  ),
  partitions: option(whole(1, PARTITIONS_MAX), 'N', 'partitions, a power of two; lanes share them', '32'),
  capacity: option(
    count(1, RECORDS_PER_PARTITION_MAX * PARTITIONS_MAX),
    'RECORDS',
    'read states kept in memory, like 250k or 8m',
    '1m',
  ),
  store: option(
    storeText.optional(),
    'URL',
    `lmdb:DIR, memory:, or cassandra://[USER:PASSWORD@]HOST,HOST:9042/KEYSPACE?dc=DATACENTRE with ${CASSANDRA_PARAMETERS}; the password may be in ${PASSWORD_VARIABLE} instead (default: lmdb:DATA/store)`,
  ),
  flushDelay: option(
    duration(0, 3_600_000),
    'TIME',
    'from the first change of a user to its write to the store, like 500ms',
    '30s',
  ),
  durability: option(
    choice(['none', 'process', 'disk']),
    'LEVEL',
    'what an answer outlives, by a journal in DATA/journal: process = a kill of the process; disk = a power failure, too (each batch waits for the disk); none = no journal: a crash loses the changes of the flush delay',
    'process',
  ),
  journalLimit: option(
    bytes(0, 2 ** 44),
    'BYTES',
    "the journal's files together; when it is reached, changes are refused until the store has taken some; 0 = by the capacity: 260 bytes a record, at least 256mib",
    '0',
  ),
  journalDamage: option(
    choice(['refuse', 'skip']),
    'WHAT',
    'a damaged journal at the start: refuse = do not start; skip = go on with what is whole',
    'refuse',
  ),
  journalStore: option(
    choice(['same', 'any']),
    'WHICH',
    'a journal of changes for another store than --store, at the start: same = do not start; any = put them into this one',
    'same',
  ),
  ackOrder: option(
    choice(['forward', 'last-write']),
    'ORDER',
    'forward: the mark never goes back but by manual acks; last-write: every ack sets it',
    'forward',
  ),
  warmRate: option(
    count(0, 10_000_000),
    'N',
    'after a start that is not warm, hot users loaded in a second at most; 0 = none',
    '2000',
  ),
  hotUsers: option(
    count(0, 100_000_000).optional(),
    'N',
    `users that were active last to remember for such a start; 0 = none (default: one for each ${RECORDS_A_HOT_USER} of --capacity)`,
  ),
  hotUsersInterval: option(duration(100, 86_400_000), 'TIME', 'how often the hot users are saved', '1m'),
  authTokenFile: option(
    z.string().optional(),
    'FILE',
    'bearer tokens, one a line; without it nobody is asked for one',
  ),
  admin: option(
    choice(['on', 'off']).optional(),
    'SWITCH',
    '/admin and /console, on or off (default: on where there is an admin token, or the listener is loopback and has no service tokens to ask for)',
  ),
  adminTokenFile: option(
    z.string().optional(),
    'FILE',
    'bearer tokens of /admin and /console, one a line; needed where they are listened at beyond loopback, or on the port of a service with --auth-token-file',
  ),
  adminPort: option(
    whole(0, 65_535).optional(),
    'PORT',
    'a listener of their own for /admin and /console, 0 = any free one (default: on --port)',
  ),
  adminHost: option(
    z.string().min(1, 'is empty').optional(),
    'HOST',
    'address of --admin-port (default: that of --host)',
  ),
  introspection: option(
    choice(['on', 'off']),
    'SWITCH',
    'latencies, hot keys and the slow log of /admin/status, on or off (to measure what they cost)',
    'on',
  ),
  limitUser: option(
    count(0, 1_000_000_000),
    'N',
    `operations a second of one user, beyond which its operations are answered busy, 0 = no limit; where more than ${WATCHED_MAX} users of a lane are beyond it at once, the others are not limited; needs --introspection on`,
    '0',
  ),
  limitChannel: option(count(0, 1_000_000_000), 'N', 'likewise of one channel, all users together', '0'),
  tlsCert: option(z.string().optional(), 'FILE', 'certificate chain, PEM; with --tls-key'),
  tlsKey: option(z.string().optional(), 'FILE', 'private key, PEM; with --tls-cert'),
  engine: option(
    choice(['slab', 'heap']),
    'ENGINE',
    'slab: typed arrays in shared memory; heap: objects, to compare with',
    'slab',
  ),
  logLevel: option(choice(LOG_LEVELS), 'LEVEL', LOG_LEVELS.join(', '), 'info'),
  loadTimeout: option(
    duration(10, 600_000),
    'TIME',
    'a load from the store that takes longer is answered store_unavailable',
    '2s',
  ),
  roomTimeout: option(
    duration(10, 600_000),
    'TIME',
    'a request that waits longer for room in memory is answered busy',
    '1s',
  ),
  drain: option(
    duration(0, 600_000),
    'TIME',
    'at a stop, how long to serve on as before while /readyz says 503, so that load balancers send nobody any more',
    '0s',
  ),
  stopTimeout: option(
    duration(0, 600_000),
    'TIME',
    'at a stop, how long to wait until all requests in flight are answered, and the answers have gone out',
    '10s',
  ),
  saveTimeout: option(
    duration(0, 600_000),
    'TIME',
    'at a stop, how long the store may take for changes that it does not have; then they are lost, and the exit code is 1',
    '60s',
  ),
  idleTimeout: option(
    duration(12_000, 960_000),
    'TIME',
    'a WebSocket that is silent for so long, also to pings, is closed',
    '120s',
  ),
  hangTimeout: option(
    duration(0, 3_600_000),
    'TIME',
    "a shard's thread that does nothing for so long is ended and replaced, 0 = none is",
    '5s',
  ),
  scheduling: option(
    choice(['other', 'rr']),
    'POLICY',
    'of the threads that serve: other, as all programs, or rr, real time (SCHED_RR): they run as soon as they wake; needs Linux and CAP_SYS_NICE or a limit RTPRIO',
    'other',
  ),
  maxConnections: option(count(1, SLOTS_MAX), 'N', 'WebSocket connections', '20k'),
  maxHttpConnections: option(
    count(1, 10_000_000),
    'N',
    'HTTP connections; beyond, no more are taken until some have gone',
    '20k',
  ),
  maxPending: option(count(1, SLOTS_MAX - 1), 'N', 'HTTP and JSON requests that wait for shards', '32k'),
  maxInFlight: option(
    count(1, 10_000_000),
    'N',
    'unanswered operations of one WebSocket; more are answered busy',
    '16384',
  ),
  maxParked: option(
    count(1, 10_000_000),
    'N',
    'blocks for operations of one shard of the start, in equal parts for its lanes, that wait for the store or room (most take one, an ack_bulk one for each 2.6 items); beyond, they are answered busy',
    '16384',
  ),
  maxBody: option(bytes(1024, 2 ** 28), 'BYTES', 'HTTP request body', '1mib'),
  maxFrame: option(bytes(1024, 2 ** 28), 'BYTES', 'WebSocket frame from a client', '1mib'),
  maxSubscriptions: option(count(1, 10_000_000), 'N', 'users that one WebSocket is subscribed to', '10k'),
  maxWatched: option(count(1, 100_000_000), 'N', 'users that are subscribed to, all together', '1m'),
  maxBackpressure: option(
    bytes(65_536, 2 ** 30),
    'BYTES',
    'what may wait for a slow WebSocket before it is closed with 1013',
    '16mib',
  ),
  maxBackpressureTotal: option(
    bytes(2 ** 20, 2 ** 40),
    'BYTES',
    'what may wait for all slow WebSockets together; the more waits, the sooner one is closed with 1013, and a long JSON list that does not fit is answered busy',
    '1gib',
  ),
  maxListMemory: option(
    bytes(2 ** 20, 2 ** 36),
    'BYTES',
    'long lists being sent, all together; beyond, lists are answered busy',
    '256mib',
  ),
} as const;

export type OptionName = keyof typeof OPTIONS;
type Parsed = { [K in OptionName]: z.output<(typeof OPTIONS)[K]['type']> };

export interface Config
  extends Omit<Parsed, 'shards' | 'lanes' | 'store' | 'hotUsers' | 'admin' | 'adminHost'> {
  /** At the start. */
  readonly shards: number;
  /** `--shards auto`: they follow the processors, until a number is ordered. */
  readonly automaticShards: boolean;
  readonly lanes: number;
  readonly store: string;
  readonly hotUsers: number;
  readonly tokens: readonly string[];
  readonly admin: boolean;
  /** Why the admin side is off though nobody said so, and what would help. */
  readonly adminOffReason: string | null;
  readonly adminHost: string;
  readonly adminTokens: readonly string[];
}

/** What the front bounds. */
export interface Limits {
  readonly maxConnections: number;
  readonly maxPending: number;
  readonly maxInFlight: number;
  readonly maxBody: number;
  readonly maxFrame: number;
  readonly maxSubscriptions: number;
  readonly maxBackpressure: number;
  readonly maxBackpressureTotal: number;
  readonly maxListMemory: number;
  readonly idleTimeout: number;
}

/** `flushDelay` -> `flush-delay` */
function dashed(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}
export function flagOf(name: string): string {
  return `--${dashed(name)}`;
}
export function variableOf(name: string): string {
  return `TIDEMARK_${dashed(name).replaceAll('-', '_').toUpperCase()}`;
}

/** Thrown with all that is wrong, a line each. */
export class ConfigError extends Error {
  constructor(readonly problems: readonly string[]) {
    super(problems.join('\n'));
  }
}

/** A command could not do what it was asked for; the message is all that there is to say. */
export class CommandError extends Error {}

/**
 * @param given        the options of the command line, as text
 * @param environment  asked for TIDEMARK_* where the command line says nothing
 * @throws ConfigError
 */
export function readConfig(
  given: Partial<Record<OptionName, string>>,
  environment: Record<string, string | undefined>,
): Config {
  const problems: string[] = [];
  const values: Record<string, unknown> = {};
  /** How the value came, for messages: `--port=x`, or the variable. */
  const named: Record<string, string> = {};
  for (const [name, { type, default: default_ }] of Object.entries(OPTIONS) as [OptionName, Option][]) {
    const variable = variableOf(name);
    const text = given[name] ?? environment[variable] ?? default_;
    named[name] =
      `${given[name] === undefined && environment[variable] !== undefined ? variable : flagOf(name)}=${redactStore(String(text))}`;
    const result = type.safeParse(text);
    if (result.success) values[name] = result.data;
    else problems.push(`${named[name]} ${result.error.issues.map(({ message }) => message).join(', ')}.`);
  }
  const config = values as Partial<Parsed> as Parsed;
  const partitions = config.partitions;
  if (partitions !== undefined && (partitions & (partitions - 1)) !== 0) {
    const below = 2 ** Math.floor(Math.log2(partitions));
    problems.push(
      `${named.partitions} is no power of two. Use ${below}${below < PARTITIONS_MAX ? ` or ${below * 2}` : ''}.`,
    );
  } else if (partitions !== undefined) {
    checkSizes(config, named, problems);
  }
  const counts = countsOf(config, named, problems);
  if (config.introspection === 'off') {
    for (const name of ['limitUser', 'limitChannel'] as const) {
      if (config[name] > 0)
        problems.push(`${named[name]} needs the hot keys. Leave out --introspection off, or the limit.`);
    }
  }
  const complete = {
    ...config,
    ...counts,
    store: config.store ?? `lmdb:${config.data}/store`,
    hotUsers: config.hotUsers ?? Math.ceil(config.capacity / RECORDS_A_HOT_USER),
    tokens: checkAccess(config, named, problems),
    ...checkAdmin(values as Partial<Parsed>, named, problems),
  };
  const limitMin = complete.lanes * JOURNAL_LIMIT_MIN_BYTES_A_SHARD;
  if (config.journalLimit > 0 && config.journalLimit < limitMin) {
    problems.push(
      `${named.journalLimit} is too small for ${complete.lanes} lanes. Use at least ${limitMin / 2 ** 20}mib, or 0 for a limit by the capacity.`,
    );
  }
  if (problems.length > 0) throw new ConfigError(problems);
  return complete;
}

/** How many shards and lanes; notes what does not fit together. */
function countsOf(
  { shards: asked, lanes: askedLanes, partitions, engine }: Parsed,
  named: Record<string, string>,
  problems: string[],
): { shards: number; automaticShards: boolean; lanes: number } {
  const isAutomatic = asked === 'auto';
  const shards = isAutomatic ? automaticShards(Math.min(partitions, askedLanes ?? partitions)) : asked;
  if (shards > partitions) {
    const enough = 2 ** Math.ceil(Math.log2(shards));
    problems.push(
      `${named.shards} is more than the ${partitions} partitions. Use at most ${partitions}, or start with --partitions ${enough} (a cold start).`,
    );
  } else if (askedLanes !== undefined && askedLanes > partitions) {
    problems.push(
      `${named.lanes} is more than the ${partitions} partitions. Use at most ${partitions}, or start with more --partitions (a cold start).`,
    );
  } else if (askedLanes !== undefined && shards > askedLanes) {
    problems.push(
      `${named.shards} is more than the ${askedLanes} lanes. Use at most ${askedLanes}, or --lanes ${shards}.`,
    );
  } else if (engine === 'heap' && askedLanes !== undefined && askedLanes !== shards) {
    problems.push(`${named.lanes} with --engine heap: objects stay with their thread. Leave it out.`);
  }
  const automatic = isAutomatic && engine === 'slab'; // objects stay with their thread
  return { shards, automaticShards: automatic, lanes: askedLanes ?? lanesFor(engine, shards, partitions) };
}

function checkSizes(
  { partitions, capacity }: Parsed,
  named: Record<string, string>,
  problems: string[],
): void {
  // The entries of one ack_bulk are resident at once.
  if (capacity !== undefined && recordsOfPartition(capacity, partitions) < BULK_ITEMS_MAX) {
    const most = 2 ** Math.floor(Math.log2(Math.max(1, capacity / BULK_ITEMS_MAX)));
    const fewer = recordsOfPartition(capacity, most) >= BULK_ITEMS_MAX ? `, or --partitions ${most}` : '';
    problems.push(
      `${named.capacity} gives each of the ${partitions} partitions fewer than the ${BULK_ITEMS_MAX} records of an ack_bulk. Use at least ${capacityFor(BULK_ITEMS_MAX, partitions)}${fewer}.`,
    );
  }
  const most = partitions * RECORDS_PER_PARTITION_MAX;
  if (capacity > most) {
    problems.push(
      `${named.capacity} is more than the ${most} records of ${partitions} partitions. Use more --partitions (a cold start).`,
    );
  }
}

/** The tokens; notes what is wrong with who may connect and how. */
function checkAccess(config: Parsed, named: Record<string, string>, problems: string[]): string[] {
  const { host, authTokenFile, tlsCert, tlsKey } = config;
  const tokens = tokensOf(authTokenFile, named.authTokenFile!, problems);
  if (authTokenFile === undefined && host !== undefined && !isLoopback(host)) {
    problems.push(
      `${named.host} is not loopback, and there is no token: anyone could read and write. Give --auth-token-file, or listen at 127.0.0.1.`,
    );
  }
  if ((tlsCert === undefined) !== (tlsKey === undefined)) {
    const [one, other] = tlsCert === undefined ? [named.tlsKey, '--tls-cert'] : [named.tlsCert, '--tls-key'];
    problems.push(`${one} is given without ${other}. Give both, or neither.`);
  }
  return tokens;
}

function tokensOf(file: string | undefined, named: string, problems: string[]): string[] {
  if (file === undefined) return [];
  try {
    return readTokens(file);
  } catch (error) {
    problems.push(`${named} ${(error as Error).message}.`);
    return [];
  }
}

/** Whether there is an admin side, where, and for whom; notes what is wrong with it. */
function checkAdmin(
  { admin, host, adminHost = host, adminPort, adminTokenFile, authTokenFile }: Partial<Parsed>,
  named: Record<string, string>,
  problems: string[],
): Pick<Config, 'admin' | 'adminOffReason' | 'adminHost' | 'adminTokens'> {
  const adminTokens = tokensOf(adminTokenFile, named.adminTokenFile!, problems);
  if (adminHost !== host && adminPort === undefined)
    problems.push(`${named.adminHost} is given without --admin-port. Give both, or neither.`);
  let danger: string | null = null;
  if (adminTokenFile === undefined && adminHost !== undefined) {
    if (!isLoopback(adminHost))
      danger = `${adminHost === host ? named.host : named.adminHost}, which is not loopback, and there is no admin token: anyone could operate the service.`;
    else if (authTokenFile !== undefined && adminPort === undefined)
      danger = `${named.authTokenFile} on the same port, and there is no admin token: whom a proxy on this machine passes on could operate the service.`;
  }
  const reason =
    danger === null
      ? null
      : `${danger} Give --admin-token-file, or --admin-port with --admin-host 127.0.0.1, or --admin off.`;
  if (admin === 'on' && reason !== null) problems.push(`${named.admin} with ${reason}`);
  return {
    admin: admin === undefined ? reason === null : admin === 'on',
    adminOffReason: admin === undefined ? reason : null,
    adminHost: adminHost ?? '',
    adminTokens,
  };
}
