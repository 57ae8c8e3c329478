/**
 * What outlives the process beside the store, in the order in which a start and a stop need it. One for a service, on the
 * main thread.
 *
 * I1  The image (image.ts) is removed before anything is served, whether it was used or not: what is served from then on
 *     is not in it.
 */
import { join } from 'node:path';
import type { PartitionOptions } from '../../engine/partition.js';
import { makeDirectory } from '../directories.js';
import { COLD_START, type LaneStart } from '../lane-options.js';
import type { PartitionPlace } from '../partition-memory.js';
import { LANE_STATS } from '../stats.js';
import type { WorkersLog, WorkersOptions } from '../workers.js';
import { FlushClock } from './flush-clock.js';
import { createHotBlock } from './hot-block.js';
import { HotUsers, readHotUsersFile, USER_BYTES } from './hot-users.js';
import { imageSettings, PartitionImage, type ReadImage } from './image.js';

const IMAGE_DIRECTORY = 'partitions';

function megabytes(bytes: number): string {
  return `${Math.round(bytes / 1e6)} MB`;
}

export class WarmRestart {
  readonly #options: WorkersOptions & { readonly lanes: number };
  readonly #directory: string;
  readonly #log: WorkersLog;
  readonly #image: PartitionImage;
  /** By partition; none with the heap engine. */
  readonly #places: readonly PartitionPlace[];
  readonly #clock: Promise<FlushClock>;
  readonly #read: Promise<ReadImage | null>;
  readonly #hasJournal: boolean;
  readonly #startedMs = performance.now();
  #readMs = 0;
  #blocks: readonly SharedArrayBuffer[] = [];
  #hotUsers: HotUsers | null = null;
  #cleaned: Promise<void> = Promise.resolve();
  /** This start found partitions that fit. */
  startedWarm = false;

  /**
   * Begins to read what there is; `finish` says what came of it.
   * @param hasJournal  there are changes in a journal: a clean stop leaves none
   */
  constructor(
    options: WorkersOptions & { readonly data: string; readonly lanes: number },
    partitionOptions: PartitionOptions,
    places: readonly PartitionPlace[],
    log: WorkersLog,
    hasJournal: boolean,
  ) {
    this.#options = options;
    this.#directory = options.data;
    this.#log = log;
    this.#places = places;
    const settings = imageSettings(options.engine, options.partitions, partitionOptions, options.store);
    this.#image = new PartitionImage(join(options.data, IMAGE_DIRECTORY), settings, partitionOptions);
    makeDirectory(options.data);
    this.#hasJournal = hasJournal;
    this.#read = this.#image.read(places);
    void this.#read.then(() => {
      this.#readMs = performance.now() - this.#startedMs;
    });
    this.#clock = FlushClock.open(options.data, log);
    this.#clock.catch(() => {}); // awaited in `finish`
  }

  /**
   * Decides whether the start is warm; afterwards the image is gone.
   * @param generation  of the store when it was opened; null: not known
   * @returns what each lane is started with
   */
  async finish(generation: number | null): Promise<readonly LaneStart[]> {
    const read = await this.#read;
    const clock = await this.#clock;
    let tick = COLD_START.tick;
    if (read !== null) {
      const reason = this.#refusal(read, generation);
      if (!('refused' in read) && reason === null) {
        this.startedWarm = true;
        tick = read.tick;
        const seconds = (this.#readMs / 1000).toFixed(2);
        this.#log.info(`Warm start: ${megabytes(read.bytes)} of partitions, read within ${seconds} s.`);
      } else {
        this.#image.clear(this.#places);
        this.#log.warn(`The saved partitions are not used, this start is cold: ${reason}.`);
      }
    }
    await this.#image.remove();
    this.#cleaned = this.#image.removeFiles().catch((error: Error) => {
      this.#log.warn(`${this.#image.directory} cannot be removed: ${error.message}`);
    });
    const hotUsers = this.#hotUsersToLoad();
    this.#blocks = this.#createBlocks();
    return Array.from({ length: this.#options.lanes }, (_, lane) => ({
      tick,
      restored: this.startedWarm,
      clockFloorUs: clock.floorUs,
      clockLimit: clock.shared,
      hotBlock: this.#blocks[lane] ?? null,
      hotUsers: hotUsers?.[lane] ?? null,
      hotUsersPerSecond: (this.#options.warm?.usersPerSecond ?? 0) / this.#options.lanes,
    }));
  }

  #refusal(read: ReadImage, generation: number | null): string | null {
    if ('refused' in read) return read.refused;
    if (this.#hasJournal) return 'there is a journal beside them, with changes that they may lack';
    if (generation === null) return 'the store does not say whether it was used since';
    if (generation === read.generation) return null;
    return `the store was used since they were saved (it is at ${generation}, not at ${read.generation})`;
  }

  #hotUsersToLoad(): SharedArrayBuffer[] | null {
    const { lanes, partitions, warm } = this.#options;
    if (this.startedWarm || warm === undefined || warm.usersPerSecond === 0) return null;
    return readHotUsersFile(this.#directory, lanes, partitions, this.#log);
  }

  get #hotUsersOfPartition(): number {
    return Math.ceil((this.#options.warm?.hotUsersMax ?? 0) / this.#options.partitions);
  }

  #createBlocks(): SharedArrayBuffer[] {
    const { lanes, partitions } = this.#options;
    if (this.#hotUsersOfPartition === 0) return [];
    return Array.from({ length: lanes }, (_, lane) =>
      createHotBlock(Math.ceil((partitions - lane) / lanes), this.#hotUsersOfPartition),
    );
  }

  /** The lanes run. @param starts  what `finish` has given; @param stats  LANE_STATS of each */
  async watch(starts: readonly LaneStart[], stats: readonly Float64Array[]): Promise<void> {
    this.#hotUsers = new HotUsers(this.#directory, stats, this.#log);
    // Before they are loaded, those who are resident are fewer, and not the hottest.
    const toLoad = starts.reduce((sum, { hotUsers }) => sum + (hotUsers?.byteLength ?? 0) / USER_BYTES, 0);
    if (toLoad > 0) await this.#hotUsers.awaitLoaded(toLoad);
    if (this.#blocks.length > 0) {
      const { hotUsersIntervalMs } = this.#options.warm!;
      this.#hotUsers.saveEvery(hotUsersIntervalMs, this.#blocks, this.#hotUsersOfPartition);
    }
  }

  /** To be called before `save`, and in any case. */
  async stop(): Promise<void> {
    await this.#hotUsers?.stop();
    await (await this.#clock).stop();
    await this.#cleaned;
  }

  /**
   * After a stop at which the store took everything; no thread is left. That it fails is no error of the stop.
   * @param generation  of the store when it was closed; null: not known
   */
  async save(stats: readonly Float64Array[], generation: number | null): Promise<void> {
    if (this.#places.length === 0) {
      this.#log.info('The partitions are not saved, the next start is cold: --engine heap keeps objects.');
      return;
    }
    if (generation === null) {
      this.#log.warn('The partitions are not saved, the next start is cold: the store could not be marked.');
      return;
    }
    const startedMs = performance.now();
    const tick = stats.reduce(
      (latest, { [LANE_STATS.TICK]: own }) => later(latest, own!),
      stats[0]![LANE_STATS.TICK]!,
    );
    try {
      const bytes = await this.#image.save(this.#places, tick, generation);
      const seconds = ((performance.now() - startedMs) / 1000).toFixed(2);
      this.#log.info(`Saved the partitions, the next start is warm: ${megabytes(bytes)} in ${seconds} s.`);
    } catch (error) {
      this.#log.warn(`The partitions are not saved, the next start is cold: ${(error as Error).message}`);
    }
  }
}

/** Ticks wrap. */
function later(a: number, b: number): number {
  return ((a - b) | 0) >= 0 ? a : b;
}
