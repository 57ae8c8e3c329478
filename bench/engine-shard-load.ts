/**
 * Full load on one real shard thread, from the main thread of a process of its own: through the rings, with as many
 * operations in flight as they take, and with write-behind to a store in memory. Watches the collector and the heap
 * of the shard's thread.
 *
 * Users are listed once, so that they are complete; then each record is acknowledged once, which creates it; then
 * come acks of random records, at first as a warm-up.
 */
import { hashUser, partitionOf } from '../engine/hash.js';
import {
  ANSWERED,
  OP_ACK,
  OP_LIST,
  REPLY,
  REPLY_MORE,
  REQUEST,
  ROUTED,
  STATUS_OK,
} from '../engine/messages.js';
import { sharedUs } from '../workers/introspection/shared-clock.js';
import { LANE_STATS, THREAD_STATS } from '../workers/stats.js';
import { startWorkers } from '../workers/supervisor.js';
import type { FrontPort, Workers } from '../workers/workers.js';
import { sleep, yieldToEvents } from './clock.js';
import { type GcSample, type HeapSample, heapGrowth, longestPause } from './engine-figures.js';
import { channelHigh, channelLow, type Universe, userHigh, userLow } from './engine-stream.js';
import { Random } from './random.js';

export interface ShardLoadSettings {
  readonly engine: 'slab' | 'heap';
  readonly records: number;
  readonly channelsPerUser: number;
  readonly partitions: number;
  readonly seconds: number;
  readonly warmUpSeconds: number;
  readonly flushDelayMs: number;
  readonly seed: number;
}

export interface ShardLoadResult {
  readonly prefillMs: number;
  readonly records: number;
  readonly operations: number;
  readonly seconds: number;
  /** Answers with a status other than ok. */
  readonly refused: number;
  readonly flushedRows: number;
  /** Turns in which the shard took operations from its ring. */
  readonly batches: number;
  readonly pause: ReturnType<typeof longestPause>;
  readonly heap: ReturnType<typeof heapGrowth>;
  readonly samples: readonly (GcSample & HeapSample)[];
}

const LENGTH = ROUTED.WORDS + REQUEST.WORDS;
/** Operations written before answers are taken. */
const WRITES_A_TURN = 4096;
/** Lists that wait for the store at once: a shard holds a limited number of users. */
const LISTS_IN_FLIGHT = 4096;
const SAMPLE_MS = 100;

class ShardLoad {
  readonly #port: FrontPort;
  readonly #universe: Universe;
  #sent = 0;
  #answered = 0;
  #message = 1;
  #full = false;
  /** As the front stamps what it publishes together: without it each answer would be a slow one. */
  #stampUs = sharedUs(performance.now());
  refused = 0;

  constructor(port: FrontPort, universe: Universe) {
    this.#port = port;
    this.#universe = universe;
    port.onAnswer = (words, at) => {
      const head = words[at + ANSWERED.WORDS + REPLY.HEAD]!;
      if ((head & REPLY_MORE) !== 0) return;
      this.#answered++;
      if (((head >>> 8) & 0xff) !== STATUS_OK) this.refused++;
    };
  }

  get answered(): number {
    return this.#answered;
  }

  /** @returns false if the ring is full */
  #write(op: number, user: number, channel: number): boolean {
    const port = this.#port;
    const hash = hashUser(userLow(user), userHigh);
    const at = port.reserve(hash, LENGTH);
    if (at === -1) {
      this.#full = true;
      return false;
    }
    const { words } = port;
    words[at + ROUTED.ROUTE] = 1;
    words[at + ROUTED.USER_HASH] = hash;
    words[at + ROUTED.STAMP_US] = this.#stampUs;
    const opAt = at + ROUTED.WORDS;
    const isAck = op === OP_ACK;
    words[opAt + REQUEST.HEAD] = op;
    words[opAt + REQUEST.REQUEST_ID] = this.#sent | 0;
    words[opAt + REQUEST.USER_LO] = userLow(user);
    words[opAt + REQUEST.USER_HI] = userHigh;
    words[opAt + REQUEST.CHANNEL_LO] = isAck ? channelLow(this.#universe, user, channel) : 0;
    words[opAt + REQUEST.CHANNEL_HI] = isAck ? channelHigh : 0;
    const message = isAck ? this.#message++ : 0;
    words[opAt + REQUEST.ARGUMENT_LO] = message | 0;
    words[opAt + REQUEST.ARGUMENT_HI] = Math.floor(message / 2 ** 32);
    port.commit(LENGTH);
    this.#sent++;
    return true;
  }

  async listAll(): Promise<void> {
    for (let user = 0; user < this.#universe.users; ) {
      while (
        user < this.#universe.users &&
        this.#sent - this.#answered < LISTS_IN_FLIGHT &&
        this.#write(OP_LIST, user, 0)
      ) {
        user++;
      }
      await this.#pass();
    }
    await this.drain();
  }

  async ackAll(): Promise<void> {
    const { users, channelsPerUser } = this.#universe;
    for (let next = 0; next < users * channelsPerUser; ) {
      for (let writes = WRITES_A_TURN; writes > 0 && next < users * channelsPerUser; writes--) {
        if (!this.#write(OP_ACK, Math.floor(next / channelsPerUser), next % channelsPerUser)) break;
        next++;
      }
      await this.#pass();
    }
    await this.drain();
  }

  async ackAtRandom(random: Random, seconds: number): Promise<void> {
    const { users, channelsPerUser } = this.#universe;
    const end = performance.now() + seconds * 1000;
    while (performance.now() < end) {
      for (let writes = WRITES_A_TURN; writes > 0; writes--) {
        if (!this.#write(OP_ACK, random.below(users), random.below(channelsPerUser))) break;
      }
      await this.#pass();
    }
  }

  /** A full ring is work for many milliseconds: to look at it all the time would only take from the shard's processor. */
  #pass(): Promise<void> {
    this.#port.publish();
    this.#stampUs = sharedUs(performance.now());
    if (!this.#full) return yieldToEvents();
    this.#full = false;
    return sleep(1);
  }

  async drain(): Promise<void> {
    while (this.#answered < this.#sent) await sleep(1);
  }
}

/** Capacity with which also the partition fits that most users fall to: nothing is evicted. */
function capacityFor({ partitions, channelsPerUser }: ShardLoadSettings, users: number): number {
  const usersOf = new Int32Array(partitions);
  for (let user = 0; user < users; user++)
    usersOf[partitionOf(hashUser(userLow(user), userHigh), partitions)]!++;
  return Math.max(...usersOf) * channelsPerUser * partitions;
}

async function measure(settings: ShardLoadSettings): Promise<ShardLoadResult> {
  const users = Math.ceil(settings.records / settings.channelsPerUser);
  const workers = await startWorkers({
    shards: 1,
    partitions: settings.partitions,
    capacity: capacityFor(settings, users),
    engine: settings.engine,
    store: 'memory:',
    flushDelayMs: settings.flushDelayMs,
    ackOrder: 'forward',
    loadTimeoutMs: 60_000,
    roomTimeoutMs: 60_000,
    parkedMax: 65_536,
    watchedUsersMax: 1024,
  });
  const failed = new Promise<never>((_, reject) => {
    workers.onFailure = reject;
  });
  return Promise.race([failed, run(settings, workers, users)]);
}

async function run(settings: ShardLoadSettings, workers: Workers, users: number): Promise<ShardLoadResult> {
  const counted = (field: number): number => workers.laneStats.reduce((sum, stats) => sum + stats[field]!, 0);
  const universe = { users, channelsPerUser: settings.channelsPerUser };
  const load = new ShardLoad(workers.port, universe);
  const start = performance.now();
  await load.listAll();
  await load.ackAll();
  const prefillMs = performance.now() - start;
  const random = new Random(settings.seed);
  await load.ackAtRandom(random, settings.warmUpSeconds);

  const sample = (): GcSample & HeapSample => {
    const { thread } = workers.shards()[0]!;
    return {
      gcCount: thread[THREAD_STATS.GC_COUNT]!,
      gcSumMs: thread[THREAD_STATS.GC_PAUSE_SUM_MS]!,
      gcMaxMs: thread[THREAD_STATS.GC_PAUSE_MAX_MS]!,
      operations: load.answered,
      heapBytes: thread[THREAD_STATS.HEAP_USED_BYTES]!,
    };
  };
  const samples = [sample()];
  const flushedBefore = counted(LANE_STATS.FLUSHED_ROWS);
  const batchesBefore = counted(LANE_STATS.BATCHES);
  const windowStart = performance.now();
  const timer = setInterval(() => {
    const last = samples[samples.length - 1]!;
    const next = sample();
    // The shard shows its heap once a second; collections are seen at the same time.
    if (next.heapBytes !== last.heapBytes || next.gcCount !== last.gcCount) samples.push(next);
  }, SAMPLE_MS);
  await load.ackAtRandom(random, settings.seconds);
  clearInterval(timer);
  const seconds = (performance.now() - windowStart) / 1000;
  const operations = load.answered - samples[0]!.operations;
  samples.push(sample());
  return {
    prefillMs,
    records: counted(LANE_STATS.RECORDS),
    operations,
    seconds,
    refused: load.refused,
    flushedRows: counted(LANE_STATS.FLUSHED_ROWS) - flushedBefore,
    batches: counted(LANE_STATS.BATCHES) - batchesBefore,
    pause: longestPause(samples),
    heap: heapGrowth(samples),
    samples,
  };
}

if (process.send !== undefined) {
  const result = await measure(JSON.parse(process.argv[2]!) as ShardLoadSettings);
  // Nothing is stopped: the changes of a benchmark need not be saved.
  process.send(result, () => process.exit(0));
}
