/**
 * One side of the engine benchmark in a process of its own: a heap that nobody else fills, compiled code that has seen
 * no other engine. Fills itself, then runs a round when it is told to, and sleeps in between.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { heap } from '../engine/heap.js';
import { slab } from '../engine/slab.js';
import { observeGc } from '../workers/gc-observer.js';
import { usersOfPartition } from '../workers/partition-memory.js';
import { AnswerChecksum } from './answer-checksum.js';
import { emptyStore, PartitionsSide } from './engine-partitions.js';
import { prefill, type Side } from './engine-side.js';
import { Block, type Mixture, OperationStream } from './engine-stream.js';
import { LruNestedSide, LruStringSide, MnemonistSide } from './peers-lru-cache.js';
import { hugePageBytes } from './process-memory.js';

export const SIDES = ['slab', 'heap', 'lru-string', 'lru-nested', 'mnemonist'] as const;
export type SideName = (typeof SIDES)[number];

export interface ChildSettings {
  readonly side: SideName;
  /** That are loaded at first. */
  readonly users: number;
  readonly channelsPerUser: number;
  /** Of which the operations choose; more than `users`. */
  readonly universeUsers: number;
  readonly partitions: number;
  /** Records that fit in, over those that are loaded. */
  readonly slack: number;
  /** All memory that the service has: with room for watched users, and touched at the start. */
  readonly isAsServed: boolean;
  readonly flushDelayMs: number;
  readonly seed: number;
}

export interface ChildReady {
  readonly prefillMs: number;
  readonly records: number;
  readonly rssGrowthBytes: number;
  /** Shared memory that was allocated, touched or not. */
  readonly sharedBytes: number;
  /** Of the process. */
  readonly hugeBytes: number;
}

/** Operations other than those of the settings' universe. */
export interface StreamOrder extends Mixture {
  readonly users: number;
  readonly seed: number;
}

export interface RoundOrder {
  readonly seconds: number;
  readonly batched: boolean;
  /** Goes on where the last round ended if it had the same. */
  readonly stream?: StreamOrder;
}

/** Runs blocks and answers with a checksum of their answers. */
export interface CheckOrder {
  readonly blocks: number;
  readonly repeatPercent: number;
  readonly stream: StreamOrder;
}

export interface CheckResult {
  readonly checksum: number;
  readonly hits: number;
  readonly misses: number;
}

export interface RoundResult {
  readonly operations: number;
  /** Of the side alone, without the making of operations. */
  readonly workMs: number;
  /** Processor time of the same, with that of the collector's threads: what others took does not count. */
  readonly cpuMs: number;
  readonly hits: number;
  readonly misses: number;
  readonly flushedRows: number;
  readonly records: number;
  readonly gcCount: number;
  readonly gcSumMs: number;
  readonly gcMaxMs: number;
  /** Of BLOCK_OPERATIONS operations, collections included. */
  readonly longestBlockMs: number;
  readonly rssBytes: number;
}

/** The default of `--max-watched`. */
const WATCHED_USERS = 1_000_000;

function createSide(settings: ChildSettings): Side {
  const records = settings.users * settings.channelsPerUser;
  if (settings.side === 'lru-string') return new LruStringSide(records);
  if (settings.side === 'mnemonist') return new MnemonistSide(records);
  if (settings.side === 'lru-nested') return new LruNestedSide(records, settings.universeUsers);
  const { partitions, slack, isAsServed } = settings;
  const recordsMax = Math.ceil((records / partitions) * slack);
  return new PartitionsSide({
    engine: settings.side === 'slab' ? slab : heap,
    partitions,
    recordsMax,
    usersMax: usersOfPartition(recordsMax),
    ...(isAsServed ? { watchedMax: Math.ceil(WATCHED_USERS / partitions), isTouched: true } : {}),
    flushDelayMs: settings.flushDelayMs,
    store: emptyStore,
  });
}

function rssAfterGc(): number {
  globalThis.gc?.();
  return process.memoryUsage.rss();
}

class Child {
  readonly #side: Side;
  readonly #channelsPerUser: number;
  #stream: OperationStream;
  #streamOrder: StreamOrder | undefined;
  readonly #block = new Block();
  #gcCount = 0;
  #gcSumMs = 0;
  #gcMaxMs = 0;
  readonly ready: ChildReady;

  constructor(settings: ChildSettings) {
    observeGc((pauseMs) => {
      this.#gcCount++;
      this.#gcSumMs += pauseMs;
      this.#gcMaxMs = Math.max(this.#gcMaxMs, pauseMs);
    });
    const universe = { users: settings.universeUsers, channelsPerUser: settings.channelsPerUser };
    this.#stream = new OperationStream(universe, settings.seed);
    this.#channelsPerUser = settings.channelsPerUser;
    const rssBefore = rssAfterGc();
    const start = performance.now();
    const side = createSide(settings);
    this.#side = side;
    prefill(side, universe, settings.users, settings.flushDelayMs);
    const prefillMs = performance.now() - start;
    this.ready = {
      prefillMs,
      records: side.recordCount,
      rssGrowthBytes: rssAfterGc() - rssBefore,
      sharedBytes: side instanceof PartitionsSide ? side.sharedBytes : 0,
      hugeBytes: hugePageBytes(process.pid),
    };
  }

  check({ blocks, repeatPercent, stream: order }: CheckOrder): CheckResult {
    const universe = { users: order.users, channelsPerUser: this.#channelsPerUser };
    const stream = new OperationStream(universe, order.seed, repeatPercent, order);
    const block = this.#block;
    const side = this.#side;
    const before = { ...side.counts };
    const checksum = new AnswerChecksum();
    for (let i = 0; i < blocks; i++) {
      stream.fill(block);
      if (side.wantsTexts) block.makeTexts();
      side.run(block, true);
      checksum.take(block);
    }
    const hits = side.counts.hits - before.hits;
    return { checksum: checksum.value, hits, misses: side.counts.misses - before.misses };
  }

  async round({ seconds, batched, stream }: RoundOrder): Promise<RoundResult> {
    if (stream !== undefined && !isDeepStrictEqual(stream, this.#streamOrder)) {
      const universe = { users: stream.users, channelsPerUser: this.#channelsPerUser };
      this.#stream = new OperationStream(universe, stream.seed, 0, stream);
      this.#streamOrder = stream;
    }
    await this.#seeCollections();
    this.#gcCount = 0;
    this.#gcSumMs = 0;
    this.#gcMaxMs = 0;
    const block = this.#block;
    const side = this.#side;
    const before = { ...side.counts };
    let [operations, workMs, cpuUs, longestBlockMs] = [0, 0, 0, 0];
    while (workMs < seconds * 1000) {
      this.#stream.fill(block);
      if (side.wantsTexts) block.makeTexts();
      const cpu = process.cpuUsage();
      const start = performance.now();
      side.run(block, batched);
      const blockMs = performance.now() - start;
      workMs += blockMs;
      longestBlockMs = Math.max(longestBlockMs, blockMs);
      const { user, system } = process.cpuUsage(cpu);
      cpuUs += user + system;
      operations += block.count;
    }
    await this.#seeCollections();
    return {
      operations,
      workMs,
      cpuMs: cpuUs / 1000,
      hits: side.counts.hits - before.hits,
      misses: side.counts.misses - before.misses,
      flushedRows: side.counts.flushedRows - before.flushedRows,
      records: side.recordCount,
      gcCount: this.#gcCount,
      gcSumMs: this.#gcSumMs,
      gcMaxMs: this.#gcMaxMs,
      longestBlockMs,
      rssBytes: process.memoryUsage.rss(),
    };
  }

  /** The collector's entries arrive on the event loop. */
  #seeCollections(): Promise<void> {
    return delay(20);
  }
}

if (process.send !== undefined) {
  const child = new Child(JSON.parse(process.argv[2]!) as ChildSettings);
  // Nobody is there to be told that the parent is gone.
  const tell = (message: object): void => void process.send!(message, () => {});
  process.on('message', async (order: RoundOrder | CheckOrder) =>
    tell('blocks' in order ? child.check(order) : await child.round(order)),
  );
  process.on('disconnect', () => process.exit(0));
  tell(child.ready);
}
