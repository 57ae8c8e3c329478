/**
 * Starts and stops the worker threads, and gives the gateway its port to them. Piscina owns the threads: one pool of
 * shards, one task each that runs as long as the service does, and one pool for the persister.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { MessageChannel, type MessagePort } from 'node:worker_threads';
import { Piscina } from 'piscina';
import { createDoorbell, Doorbell } from '../engine/doorbell.js';
import { assert } from '../engine/layout.js';
import { REQUEST, ROUTED } from '../engine/messages.js';
import { createRing, ringDepth } from '../engine/ring.js';
import { slab } from '../engine/slab.js';
import { FrontRings } from './front-port.js';
import { createIntrospection, type IntrospectionMemory } from './introspection/shard-introspection.js';
import { ServiceJournal } from './journal/journal.js';
import { allocatePartitions, type PartitionPlace, recordsOfPartition } from './partition-memory.js';
import type { PersisterOptions, PersisterOrder, PersisterReport } from './persister.js';
import { OP_FLUSH, OP_STOP } from './shard.js';
import {
  COLD_START,
  FLUSH_RING_WORDS,
  LOAD_RING_WORDS,
  partitionOptions,
  REPLY_RING_WORDS,
  REQUEST_RING_WORDS,
  type ShardMessage,
  type ShardOptions,
  type ShardStart,
  STORE_ANSWER_RING_WORDS,
} from './shard-options.js';
import { createStats, PARTITION_STATS, PERSISTER_STATS, SHARD_STATS } from './stats.js';
import { redactStore } from './stores/cassandra-url.js';
import { lockDirectory } from './stores/directory-lock.js';
import type { StoreMark } from './warm/store-generation.js';
import { WarmRestart } from './warm/warm-restart.js';
import type { RingDepths, Workers, WorkersLog, WorkersOptions } from './workers.js';

/**
 * Users that fit in: one for each 4 records. Chat users have some tens of channels, but those who are only mentioned
 * have one record or two; slots that are never used cost address space, not memory.
 */
const RECORDS_A_USER = 4;
/** A shard with objects needs more than V8 grants a thread by default. */
const HEAP_ENGINE_OLD_SPACE_MB = 16_384;
const SAVE_TIMEOUT_MS = 60_000;
/** Within the data directory. */
const JOURNAL_DIRECTORY = 'journal';

interface ShardParts {
  readonly options: ShardOptions;
  readonly toFront: MessagePort;
  readonly toPersister: MessagePort;
}

/**
 * Starts all threads; resolves when the store is open, what a journal kept is back and the shards run.
 * @throws Error that says what the store, the journal or the data directory has
 */
export async function startWorkers(options: WorkersOptions): Promise<Workers> {
  const { shards, partitions } = options;
  assert(shards >= 1 && shards <= partitions, `${shards} shards for ${partitions} partitions`);
  const unlock = lockData(options.data);
  try {
    return await startLocked(options, unlock);
  } catch (error) {
    unlock();
    throw error;
  }
}

function lockData(directory: string | undefined): () => void {
  if (directory === undefined) return () => {};
  try {
    mkdirSync(directory, { recursive: true });
  } catch (error) {
    throw new Error(`cannot make the data directory ${directory}: ${(error as Error).message}`);
  }
  return lockDirectory(directory, 'data');
}

async function openJournal(options: WorkersOptions, doorbells: readonly SharedArrayBuffer[]) {
  if (options.data === undefined) return null;
  const bells = doorbells.map((memory) => new Doorbell(memory));
  const { durability = 'none', journalDamage: damage = 'refuse', log = SILENT } = options;
  const { journalStore: foreign = 'same' } = options;
  const store = redactStore(options.store);
  const { shards, capacity, flushDelayMs, journalLimitBytes: limitBytes = 0 } = options;
  const directory = join(options.data, JOURNAL_DIRECTORY);
  const sizes = { shards, capacity, flushDelayMs, limitBytes };
  const settings = { directory, durability, damage, store, foreign, log, ...sizes };
  return await ServiceJournal.open(settings, () => {
    for (const bell of bells) bell.ring();
  });
}

async function startLocked(options: WorkersOptions, unlock: () => void): Promise<Workers> {
  const { partitions, log = SILENT } = options;
  const frontDoorbell = createDoorbell();
  const persisterDoorbell = createDoorbell();
  const partitionStats = createStats(PARTITION_STATS, partitions);
  const doorbells = Array.from({ length: options.shards }, createDoorbell);
  const journal = await openJournal(options, doorbells);
  journal?.prepare();
  const parts = doorbells.map((doorbell, shard) =>
    shardParts(options, shard, { doorbell, frontDoorbell, persisterDoorbell, partitionStats }, journal),
  );
  const front = new FrontRings(
    parts.map(({ options: { rings, doorbell }, toFront }) => ({
      requests: rings.requests,
      replies: rings.replies,
      doorbell,
      port: toFront,
    })),
    frontDoorbell,
    Int32Array.from({ length: partitions }, (_, partition) => partition % options.shards),
  );
  const persisterStats = createStats(PERSISTER_STATS);
  const warm = openWarm(options, parts, log, (journal?.replay ?? null) !== null);
  const group = new WorkerGroup(
    options,
    front,
    parts,
    new Float64Array(persisterStats),
    warm,
    journal,
    unlock,
  );
  const mark = await group.startPersister({
    store: options.store,
    shards: parts.map(({ options: { rings, doorbell } }) => ({
      loads: rings.loads,
      flushes: rings.flushes,
      answers: rings.storeAnswers,
      doorbell,
    })),
    doorbell: persisterDoorbell,
    stats: persisterStats,
    loadTimeoutMs: options.loadTimeoutMs,
    marksStore: warm !== null,
    ...(options.storeFaults === undefined ? {} : { faults: options.storeFaults }),
  });
  if (warm !== null) await group.checkJournal(mark);
  await group.startShards((await warm?.finish(mark?.generation ?? null)) ?? []);
  return group;
}

const SILENT: WorkersLog = { info: () => {}, warn: () => {} };

/** Null: nothing but the store outlives the process, or not even that. */
function openWarm(
  options: WorkersOptions,
  parts: readonly ShardParts[],
  log: WorkersLog,
  hasJournal: boolean,
): WarmRestart | null {
  const { data, store } = options;
  if (data === undefined || store.startsWith('memory:')) return null;
  const places: PartitionPlace[] = [];
  for (const { options: shard } of parts) {
    for (const { index, memory, byteOffset } of shard.owned) {
      if (memory !== null) places[index] = { memory, byteOffset };
    }
  }
  return new WarmRestart({ ...options, data }, partitionOptions(parts[0]!.options), places, log, hasJournal);
}

function shardParts(
  options: WorkersOptions,
  shard: number,
  shared: Pick<ShardOptions, 'doorbell' | 'frontDoorbell' | 'persisterDoorbell' | 'partitionStats'>,
  journal: ServiceJournal | null,
): ShardParts {
  const recordsMax = recordsOfPartition(options.capacity, options.partitions);
  const sizes = {
    recordsMax,
    usersMax: Math.ceil(recordsMax / RECORDS_A_USER),
    watchedMax: Math.max(1, Math.ceil(options.watchedUsersMax / options.partitions)),
    lastWrite: options.ackOrder === 'last-write',
  };
  const indexes = [];
  for (let index = shard; index < options.partitions; index += options.shards) indexes.push(index);
  const bytes = slab.sharedBytes({
    ...sizes,
    flushDelayTicks: 0,
    retryFirstTicks: 1,
    retryMaxTicks: 1,
    touchTicks: 0,
  });
  const places = options.engine === 'slab' ? allocatePartitions(indexes.length, bytes) : null;
  const owned = indexes.map((index, i) => ({ index, memory: null, byteOffset: 0, ...places?.[i] }));
  const front = new MessageChannel();
  const persister = new MessageChannel();
  return {
    toFront: front.port1,
    toPersister: persister.port1,
    options: {
      ...sizes,
      engine: options.engine,
      rings: {
        requests: createRing(REQUEST_RING_WORDS),
        replies: createRing(REPLY_RING_WORDS),
        loads: createRing(LOAD_RING_WORDS),
        flushes: createRing(FLUSH_RING_WORDS),
        storeAnswers: createRing(STORE_ANSWER_RING_WORDS),
      },
      ...shared,
      frontPort: front.port2,
      persisterPort: persister.port2,
      stats: createStats(SHARD_STATS),
      introspection: options.introspection === false ? null : createIntrospection(),
      limits: { userPerS: options.limitUserPerS ?? 0, channelPerS: options.limitChannelPerS ?? 0 },
      shards: options.shards,
      shard,
      partitions: options.partitions,
      owned,
      flushDelayMs: options.flushDelayMs,
      loadTimeoutMs: options.loadTimeoutMs,
      roomTimeoutMs: options.roomTimeoutMs,
      parkedMax: options.parkedMax,
      start: COLD_START,
      journal: journal?.writerOptions(shard) ?? null,
      replay: journal?.replay ?? null,
    },
  };
}

class WorkerGroup implements Workers {
  readonly port: FrontRings;
  readonly shardStats: readonly Float64Array[];
  readonly partitionStats: Float64Array;
  readonly introspection: readonly IntrospectionMemory[];
  onFailure: (error: Error) => void = () => {};
  onWarning: (message: string) => void = () => {};
  readonly #parts: readonly ShardParts[];
  readonly #shardPool: Piscina;
  readonly #persisterPool: Piscina;
  #shardTasks: Promise<void>[] = [];
  /** The generation of the store at the end; see warm/store-generation.ts. */
  #persisterTask: Promise<number | null> = Promise.resolve(null);
  #persisterPort: MessagePort | null = null;
  readonly #saveTimeoutMs: number;
  readonly #warm: WarmRestart | null;
  readonly #journal: ServiceJournal | null;
  readonly #unlock: () => void;
  /** The threads are being ended: that their tasks end is no failure. */
  #ending = false;

  constructor(
    options: WorkersOptions,
    front: FrontRings,
    parts: readonly ShardParts[],
    readonly persisterStats: Float64Array,
    warm: WarmRestart | null,
    journal: ServiceJournal | null,
    unlock: () => void,
  ) {
    this.#warm = warm;
    this.onWarning = (options.log ?? SILENT).warn;
    this.port = front;
    this.#journal = journal;
    this.#unlock = unlock;
    this.#parts = parts;
    this.#saveTimeoutMs = options.saveTimeoutMs ?? SAVE_TIMEOUT_MS;
    this.shardStats = parts.map((part) => new Float64Array(part.options.stats));
    this.partitionStats = new Float64Array(parts[0]!.options.partitionStats);
    this.introspection = parts.flatMap(({ options: { introspection } }) => introspection ?? []);
    this.#shardPool = pool(
      './shard-thread.js',
      parts.length,
      options.engine === 'heap' ? HEAP_ENGINE_OLD_SPACE_MB : null,
    );
    this.#persisterPool = pool('./persister-thread.js', 1, null);
  }

  get startedWarm(): boolean {
    return this.#warm?.startedWarm ?? false;
  }

  /** Resolves with its mark when the store is open; rejects with what the store said. */
  async startPersister(options: Omit<PersisterOptions, 'port' | 'ports'>): Promise<StoreMark | null> {
    const { port1, port2 } = new MessageChannel();
    const ports = this.#parts.map(({ toPersister }) => toPersister);
    this.#persisterPort = port1;
    const opened = new Promise<StoreMark | null>((resolve, reject) => {
      port1.on('message', (report: PersisterReport) => {
        if ('ready' in report) resolve(report.mark);
        else if ('error' in report) reject(new Error(report.error));
        else this.onWarning(report.warning);
      });
    });
    this.#persisterTask = this.#run(this.#persisterPool, { ...options, port: port2, ports }, [
      port2,
      ...ports,
    ]);
    try {
      return await opened;
    } catch (error) {
      for (const { options: shard } of this.#parts) shard.persisterPort.close();
      await this.#abandon();
      throw error;
    }
  }

  async #abandon(): Promise<void> {
    this.#ending = true;
    this.#persisterPort?.close();
    await this.#warm?.stop();
    await Promise.all([this.#shardPool.destroy(), this.#persisterPool.destroy()]);
    for (const { toFront } of this.#parts) toFront.close();
    await this.#journal?.end(false);
  }

  /** @throws Error if the journal has changes of another store */
  async checkJournal(mark: StoreMark | null): Promise<void> {
    try {
      this.#journal?.checkStore(mark?.identity ?? null);
    } catch (error) {
      this.#persisterPort!.postMessage({ stop: true } satisfies PersisterOrder);
      await this.#persisterTask;
      await this.#abandon();
      throw error;
    }
  }

  /**
   * Resolves when each shard runs and its part of an earlier journal is back.
   * @param starts  of each; COLD_START for those that are missing
   */
  async startShards(starts: readonly ShardStart[]): Promise<void> {
    try {
      await this.#journal?.prepared;
      const endProgress = this.#journal?.showProgress(this.shardStats);
      await this.#runShards(starts).finally(endProgress);
      await this.#journal?.begin();
    } catch (error) {
      await this.#abandon();
      throw error;
    }
    void this.#warm?.watch(starts, this.shardStats);
  }

  async #runShards(starts: readonly ShardStart[]): Promise<void> {
    const ready = this.#parts.map(
      ({ toFront }) =>
        new Promise<void>((resolve) =>
          toFront.on('message', (message: ShardMessage) => {
            if (message === 'ready') resolve();
            else if (message !== null) this.onWarning(message.warning);
          }),
        ),
    );
    this.#shardTasks = this.#parts.map(({ options }, shard) =>
      this.#run(this.#shardPool, { ...options, start: starts[shard] ?? COLD_START }, [
        options.frontPort,
        options.persisterPort,
      ]),
    );
    await Promise.race([Promise.all(ready), Promise.all(this.#shardTasks)]);
  }

  #run<T>(threads: Piscina, task: object, transferList: MessagePort[]): Promise<T> {
    const done = threads.run(task, { transferList }) as Promise<T>;
    done.catch((error: unknown) => {
      if (!this.#ending) this.onFailure(error instanceof Error ? error : new Error(String(error)));
    });
    return done;
  }

  get journalStats(): Float64Array | null {
    return this.#journal?.stats ?? null;
  }

  ringDepths(): readonly RingDepths[] {
    return this.#parts.map(({ options: { rings } }) => ({
      requests: ringDepth(rings.requests),
      replies: ringDepth(rings.replies),
      loads: ringDepth(rings.loads),
      flushes: ringDepth(rings.flushes),
      store_answers: ringDepth(rings.storeAnswers),
    }));
  }

  flushNow(): boolean {
    const order = orderOf(OP_FLUSH);
    return this.#parts.map((_, shard) => this.port.order(shard, order)).every((told) => told);
  }

  async stop(): Promise<void> {
    const order = orderOf(OP_STOP);
    for (let shard = 0; shard < this.#parts.length; shard++) {
      while (!this.port.order(shard, order)) await delay(1);
    }
    const timeout = delay(this.#saveTimeoutMs, 'late', { ref: false });
    const outcome = await Promise.race([Promise.all(this.#shardTasks), timeout]);
    const unsaved = this.shardStats.reduce((sum, stats) => sum + stats[SHARD_STATS.DIRTY_USERS]!, 0);
    this.#persisterPort!.postMessage({ stop: true } satisfies PersisterOrder);
    const generation = outcome === 'late' ? null : await Promise.race([this.#persisterTask, timeout]);
    this.#ending = true;
    this.#persisterPort!.close();
    for (const { toFront } of this.#parts) toFront.close();
    await Promise.all([this.#shardPool.destroy(), this.#persisterPool.destroy()]);
    await this.#warm?.stop();
    await this.#journal?.end(outcome !== 'late');
    if (outcome === 'late') {
      this.#unlock();
      const what = this.#journal?.describeUnsaved(unsaved) ?? `the changes of ${unsaved} users are lost.`;
      throw new Error(
        `The store did not take all writes within ${this.#saveTimeoutMs / 1000} s of the stop: ${what}`,
      );
    }
    await this.#warm?.save(this.shardStats, typeof generation === 'number' ? generation : null);
    this.#unlock(); // not before: a start beside it would take the files away that are being written
  }
}

/** A message to a shard that is no client's operation. */
function orderOf(op: number): number[] {
  const order = new Array<number>(ROUTED.WORDS + REQUEST.WORDS).fill(0);
  order[ROUTED.WORDS + REQUEST.HEAD] = op;
  return order;
}

function pool(file: string, threads: number, oldSpaceMb: number | null): Piscina {
  return new Piscina({
    filename: new URL(file, import.meta.url).href,
    minThreads: threads,
    maxThreads: threads,
    idleTimeout: Number.POSITIVE_INFINITY,
    atomics: 'disabled',
    recordTiming: false,
    ...(oldSpaceMb === null ? {} : { resourceLimits: { maxOldGenerationSizeMb: oldSpaceMb } }),
  });
}
