/**
 * Starts and stops the worker threads, and gives the gateway its port to them. Piscina owns the threads: a pool for each,
 * with one task that runs as long as the thread does.
 */
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { createDoorbell } from '../engine/doorbell.js';
import { createLaneControl, LaneBell, type LaneControlMemory } from '../engine/lane-control.js';
import { assert } from '../engine/layout.js';
import { REQUEST, ROUTED } from '../engine/messages.js';
import { ringDepth } from '../engine/ring.js';
import { UndoLog } from '../engine/undo-log.js';
import { checkBuildOwner } from './build-owner.js';
import { makeDirectory } from './directories.js';
import { FrontRings } from './front-port.js';
import { createIntrospection, type IntrospectionMemory } from './introspection/lane-introspection.js';
import { ServiceJournal } from './journal/journal.js';
import { OP_FLUSH, OP_STOP } from './lane.js';
import { lanesFor, parkedOfLane } from './lane-counts.js';
import { createLaneMemory } from './lane-memory.js';
import {
  COLD_START,
  createRings,
  type LaneOptions,
  type LaneStart,
  laneSizes,
  partitionOptions,
  ringSizes,
  type ServiceOptions,
} from './lane-options.js';
import {
  allocatePartitions,
  type PartitionPlace,
  recordsOfPartition,
  usersOfPartition,
} from './partition-memory.js';
import { PersisterGroup, type PersisterGroupOptions } from './persister-group.js';
import { ShardGroup } from './shard-group.js';
import { seatsFor } from './shard-starter.js';
import { createStats, LANE_STATS, PARTITION_STATS, PERSISTER_STATS } from './stats.js';
import { redactStore } from './stores/cassandra-url.js';
import { lockDirectory } from './stores/directory-lock.js';
import { ownThread } from './thread-number.js';
import { goFirst } from './thread-priority.js';
import type { StoreMark } from './warm/store-generation.js';
import { WarmRestart } from './warm/warm-restart.js';
import {
  OperateError,
  type RingDepths,
  type ShardTotals,
  type ShardView,
  type Workers,
  type WorkersLog,
  type WorkersOptions,
} from './workers.js';

const SAVE_TIMEOUT_MS = 60_000;
const HANG_TIMEOUT_MS = 5000;
const NOT_FIRST =
  '--scheduling=rr: the system does not allow it. It needs Linux, and CAP_SYS_NICE or a limit RTPRIO of 1 (ulimit -r, LimitRTPRIO of systemd). Or leave it out';
/** Within the data directory. */
const JOURNAL_DIRECTORY = 'journal';

/**
 * Starts all threads; resolves when the store is open, what a journal kept is back and the shards run.
 * @throws Error that says what the store, the journal, the data directory or the kernel has
 */
export async function startWorkers(options: WorkersOptions): Promise<Workers> {
  const { shards, partitions, lanes = lanesFor(options.engine, shards, partitions) } = options;
  assert(lanes >= 1 && lanes <= partitions, `${lanes} lanes for ${partitions} partitions`);
  assert(shards >= 1 && shards <= lanes, `${shards} shards for ${lanes} lanes`);
  if (options.scheduling === 'rr' && !goFirst(ownThread())) throw new Error(NOT_FIRST);
  const unlock = lockData(options.data);
  try {
    return await startLocked({ ...options, lanes }, unlock);
  } catch (error) {
    unlock();
    throw error;
  }
}

/** With the number of lanes decided. */
type StartOptions = WorkersOptions & { readonly lanes: number };

function lockData(directory: string | undefined): () => void {
  if (directory === undefined) return () => {};
  try {
    makeDirectory(directory);
  } catch (error) {
    throw new Error(
      `cannot make the data directory ${directory}: ${(error as Error).message}. Name another with --data, or make it for the service's user`,
    );
  }
  return lockDirectory(directory, 'data');
}

async function openJournal(options: StartOptions, control: LaneControlMemory) {
  if (options.data === undefined) return null;
  const { durability = 'none', journalDamage: damage = 'refuse', log = SILENT, lanes } = options;
  const { journalStore: foreign = 'same' } = options;
  const store = redactStore(options.store);
  const { capacity, flushDelayMs, journalLimitBytes: limitBytes = 0 } = options;
  const bells = Array.from({ length: lanes }, (_, lane) => new LaneBell(control, lane));
  const directory = join(options.data, JOURNAL_DIRECTORY);
  const sizes = { shards: lanes, capacity, flushDelayMs, limitBytes };
  const settings = { directory, durability, damage, store, foreign, log, ...sizes };
  return await ServiceJournal.open(settings, () => {
    for (const bell of bells) bell.ring();
  });
}

async function startLocked(options: StartOptions, unlock: () => void): Promise<Workers> {
  const { partitions, lanes: laneCount, log = SILENT } = options;
  const control = createLaneControl(seatsFor(laneCount), laneCount);
  const service = serviceOptions(options);
  const journal = await openJournal(options, control);
  journal?.prepare();
  const places = placesOf(service);
  const lanes = Array.from({ length: laneCount }, (_, lane) =>
    laneOptions(options, service, lane, places, journal),
  );
  const front = new FrontRings(
    lanes.map(({ rings }) => rings),
    control,
    service.frontDoorbell,
    Int32Array.from({ length: partitions }, (_, partition) => partition % laneCount),
  );
  const persisterStats = createStats(PERSISTER_STATS);
  const warm = openWarm(options, service, places, log, (journal?.replay ?? null) !== null);
  const persister = {
    store: options.store,
    shards: lanes.map(({ rings, lane }) => ({
      loads: rings.loads,
      flushes: rings.flushes,
      answers: rings.storeAnswers,
      control,
      lane,
    })),
    doorbell: service.persisterDoorbell,
    stats: persisterStats,
    loadTimeoutMs: options.loadTimeoutMs,
    marksStore: warm !== null,
    ...(options.storeFaults === undefined ? {} : { faults: options.storeFaults }),
  };
  const parts = { options, service, control, lanes, front, persister, warm, journal, unlock };
  const group = new WorkerGroup(parts, new Float64Array(persisterStats));
  const mark = await group.openStore();
  if (warm !== null) await group.checkJournal(mark);
  await group.startShards((await warm?.finish(mark?.generation ?? null)) ?? []);
  return group;
}

const SILENT: WorkersLog = { info: () => {}, warn: () => {} };

/** Null: nothing but the store outlives the process, or not even that. */
function openWarm(
  options: StartOptions,
  service: ServiceOptions,
  places: readonly PartitionPlace[],
  log: WorkersLog,
  hasJournal: boolean,
): WarmRestart | null {
  const { data, store } = options;
  if (data === undefined || store.startsWith('memory:')) return null;
  return new WarmRestart({ ...options, data }, partitionOptions(service), places, log, hasJournal);
}

function serviceOptions(options: StartOptions): ServiceOptions {
  const { partitions } = options;
  const recordsMax = recordsOfPartition(options.capacity, partitions);
  return {
    engine: options.engine,
    lanes: options.lanes,
    partitions,
    recordsMax,
    usersMax: usersOfPartition(recordsMax),
    watchedMax: Math.max(1, Math.ceil(options.watchedUsersMax / partitions)),
    lastWrite: options.ackOrder === 'last-write',
    flushDelayMs: options.flushDelayMs,
    loadTimeoutMs: options.loadTimeoutMs,
    roomTimeoutMs: options.roomTimeoutMs,
    parkedMax: parkedOfLane(options.parkedMax, options.shards, options.lanes),
    limits: { userPerS: options.limitUserPerS ?? 0, channelPerS: options.limitChannelPerS ?? 0 },
    frontDoorbell: createDoorbell(),
    persisterDoorbell: createDoorbell(),
    partitionStats: createStats(PARTITION_STATS, partitions),
  };
}

/** By partition; none with the heap engine. */
function placesOf(service: ServiceOptions): PartitionPlace[] {
  if (service.engine === 'heap') return [];
  return allocatePartitions(service.partitions, partitionOptions(service));
}

function laneOptions(
  options: StartOptions,
  service: ServiceOptions,
  lane: number,
  places: readonly PartitionPlace[],
  journal: ServiceJournal | null,
): LaneOptions {
  const { partitions, lanes, shards } = options;
  const owned = [];
  for (let index = lane; index < partitions; index += lanes)
    owned.push({ index, memory: null, byteOffset: 0, ...places[index] });
  return {
    lane,
    rings: createRings(ringSizes(shards, lanes)),
    memory: createLaneMemory(laneSizes(service)),
    undo: new SharedArrayBuffer(UndoLog.bytes()),
    stats: createStats(LANE_STATS),
    introspection: options.introspection === false ? null : createIntrospection(),
    owned,
    start: COLD_START,
    journal: journal?.writerOptions(lane) ?? null,
  };
}

interface GroupParts {
  readonly options: StartOptions;
  readonly service: ServiceOptions;
  readonly control: LaneControlMemory;
  readonly lanes: readonly LaneOptions[];
  readonly front: FrontRings;
  readonly persister: PersisterGroupOptions['thread'];
  readonly warm: WarmRestart | null;
  readonly journal: ServiceJournal | null;
  readonly unlock: () => void;
}

class WorkerGroup implements Workers {
  readonly port: FrontRings;
  readonly laneStats: readonly Float64Array[];
  readonly partitionStats: Float64Array;
  readonly introspection: readonly IntrospectionMemory[];
  onFailure: (error: Error) => void = () => {};
  onWarning: (message: string) => void = () => {};
  readonly #lanes: readonly LaneOptions[];
  readonly #shards: ShardGroup;
  readonly #persister: PersisterGroup;
  readonly #saveTimeoutMs: number;
  readonly #warm: WarmRestart | null;
  readonly #journal: ServiceJournal | null;
  readonly #unlock: () => void;
  /** The threads are being ended: that their tasks end is no failure. */
  #ending = false;

  constructor(
    { options, service, control, lanes, front, persister, warm, journal, unlock }: GroupParts,
    readonly persisterStats: Float64Array,
  ) {
    this.#warm = warm;
    this.onWarning = (options.log ?? SILENT).warn;
    this.port = front;
    this.#journal = journal;
    this.#unlock = unlock;
    this.#lanes = lanes;
    this.#saveTimeoutMs = options.saveTimeoutMs ?? SAVE_TIMEOUT_MS;
    this.laneStats = lanes.map(({ stats }) => new Float64Array(stats));
    this.partitionStats = new Float64Array(service.partitionStats);
    this.introspection = lanes.flatMap(({ introspection }) => introspection ?? []);
    const hangTimeoutMs = options.hangTimeoutMs ?? HANG_TIMEOUT_MS;
    this.#shards = new ShardGroup({
      service,
      lanes,
      control,
      shards: options.shards,
      hangTimeoutMs,
      admit: (thread) => {
        if (options.scheduling === 'rr' && !goFirst(thread))
          this.onWarning(`The thread ${thread} of a shard has no real-time policy: the system refuses it.`);
      },
      readJournal: async () => (await this.#journal?.readAgain()) ?? { segments: [], damages: [] },
      warn: (message) => this.onWarning(message),
      fail: (error) => this.#fail(error),
    });
    this.#persister = new PersisterGroup({
      thread: persister,
      isReplaceable: outlivesThread(options),
      hangTimeoutMs,
      recall: (number) => this.#shards.recall(number),
      warn: (message) => this.onWarning(message),
      fail: (error) => this.#fail(error),
    });
  }

  #fail(error: unknown): void {
    if (!this.#ending) this.onFailure(error instanceof Error ? error : new Error(String(error)));
  }

  get startedWarm(): boolean {
    return this.#warm?.startedWarm ?? false;
  }

  /** Resolves with its mark when the store is open; rejects with what the store said. */
  async openStore(): Promise<StoreMark | null> {
    try {
      return await this.#persister.open();
    } catch (error) {
      await this.#abandon();
      throw error;
    }
  }

  async #abandon(): Promise<void> {
    this.#ending = true;
    await this.#warm?.stop();
    await Promise.all([this.#shards.destroy(), this.#persister.destroy()]);
    await this.#journal?.end(false);
  }

  /** @throws Error if the journal has changes of another store */
  async checkJournal(mark: StoreMark | null): Promise<void> {
    try {
      this.#journal?.checkStore(mark?.identity ?? null);
    } catch (error) {
      await this.#persister.stop();
      await this.#abandon();
      throw error;
    }
  }

  /**
   * Resolves when each lane runs and its part of an earlier journal is back.
   * @param starts  of each; COLD_START for those that are missing
   */
  async startShards(starts: readonly LaneStart[]): Promise<void> {
    try {
      await this.#journal?.prepared;
      const endProgress = this.#journal?.showProgress(this.laneStats);
      const lanes = this.#lanes.map((own) => ({ ...own, start: starts[own.lane] ?? COLD_START }));
      await this.#shards.start(lanes, this.#journal?.replay ?? null).finally(endProgress);
      await this.#journal?.begin();
    } catch (error) {
      await this.#abandon();
      throw error;
    }
    void this.#warm?.watch(starts, this.laneStats);
  }

  shards(): readonly ShardView[] {
    return this.#shards.views();
  }

  pastShards(): readonly ShardTotals[] {
    return this.#shards.pastTotals();
  }

  resize(shards: number): Promise<void> {
    return this.#shards.resize(shards);
  }

  async reload(directory?: string): Promise<void> {
    const file =
      directory === undefined
        ? new URL('./shard-thread.cjs', import.meta.url)
        : pathToFileURL(resolve(directory, 'workers/shard-thread.cjs'));
    if (!existsSync(file)) throw new OperateError(`there is no ${fileURLToPath(file)}: build it first.`);
    if (directory !== undefined) checkBuildOwner(resolve(directory), fileURLToPath(file));
    await this.#shards.reload(file.href);
  }

  killShard(shard: number): Promise<void> {
    return this.#shards.kill(shard);
  }

  killPersister(): Promise<void> {
    return this.#persister.kill();
  }

  get replacedPersisters(): number {
    return this.#persister.replaced;
  }

  get replacedThreads(): number {
    return this.#shards.replaced;
  }

  get spareThreads(): number {
    return this.#shards.spares;
  }

  get isWell(): boolean {
    return this.#shards.isWell && this.#persister.isWell;
  }

  get journalStats(): Float64Array | null {
    return this.#journal?.stats ?? null;
  }

  ringDepths(): readonly RingDepths[] {
    return this.#lanes.map(({ rings }) => ({
      requests: ringDepth(rings.requests),
      replies: ringDepth(rings.replies),
      loads: ringDepth(rings.loads),
      flushes: ringDepth(rings.flushes),
      store_answers: ringDepth(rings.storeAnswers),
    }));
  }

  flushNow(): boolean {
    const order = orderOf(OP_FLUSH);
    return this.#lanes.map(({ lane }) => this.port.order(lane, order)).every((told) => told);
  }

  async stop(): Promise<void> {
    const timeout = delay(this.#saveTimeoutMs, 'late', { ref: false });
    const outcome = await Promise.race([this.#stopLanes(), timeout]);
    const unsaved = this.laneStats.reduce((sum, stats) => sum + stats[LANE_STATS.DIRTY_USERS]!, 0);
    const stopped = this.#persister.stop();
    stopped.catch(() => {}); // late, it is ended
    const generation = outcome === 'late' ? null : await Promise.race([stopped, timeout]);
    this.#ending = true;
    await Promise.all([this.#shards.destroy(), this.#persister.destroy()]);
    await this.#warm?.stop();
    await this.#journal?.end(outcome !== 'late');
    if (outcome === 'late') {
      this.#unlock();
      const what = this.#journal?.describeUnsaved(unsaved) ?? `the changes of ${unsaved} users are lost.`;
      throw new Error(
        `The store did not take all writes within ${this.#saveTimeoutMs / 1000} s of the stop: ${what}`,
      );
    }
    await this.#warm?.save(this.laneStats, typeof generation === 'number' ? generation : null);
    this.#unlock(); // not before: a start beside it would take the files away that are being written
  }

  async #stopLanes(): Promise<void> {
    const order = orderOf(OP_STOP);
    for (const { lane } of this.#lanes) while (!this.#ending && !this.port.order(lane, order)) await delay(1);
    if (!this.#ending) await this.#shards.stop();
  }
}

/** What the store has is there when the thread that wrote it has ended. */
function outlivesThread({ store, storeFaults }: StartOptions): boolean {
  return !store.startsWith('memory:') || storeFaults !== undefined;
}

/** A message to a lane that is no client's operation. */
function orderOf(op: number): number[] {
  const order = new Array<number>(ROUTED.WORDS + REQUEST.WORDS).fill(0);
  order[ROUTED.WORDS + REQUEST.HEAD] = op;
  return order;
}
