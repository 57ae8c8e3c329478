/** The journal as the supervisor sees it: read and checked at the start, kept while the service runs, ended at a stop. */
import { setTimeout as delay } from 'node:timers/promises';
import { makeDirectory } from '../directories.js';
import type { JournalSegments, ReplayOptions } from '../lane-options.js';
import { LANE_STATS } from '../stats.js';
import type { WorkersLog } from '../workers.js';
import { JournalKeeper, removeJournal } from './keeper.js';
import { type JournalContent, readJournal } from './reader.js';
import { journalSizes } from './sizes.js';
import { FRAME_BYTES, type JournalWriterOptions } from './writer.js';

const PROGRESS_INTERVAL_MS = 1000;
/** Looks at a journal that is being written, until one finds no damage. */
const LOOKS_MAX = 5;
const LOOK_AGAIN_MS = 100;

export type Durability = 'none' | 'process' | 'disk';

export interface JournalSettings {
  readonly directory: string;
  readonly durability: Durability;
  readonly shards: number;
  /** Of all files, in bytes; 0 = by the capacity. */
  readonly limitBytes: number;
  /** Records. */
  readonly capacity: number;
  readonly flushDelayMs: number;
  /** A damaged journal: refuse the start, or go on without what is damaged. */
  readonly damage: 'refuse' | 'skip';
  /** As in `--store`, without a password. */
  readonly store: string;
  /** A journal with changes of another store: refuse the start, or put them into this one. */
  readonly foreign: 'same' | 'any';
  readonly log: WorkersLog;
}

export class ServiceJournal {
  /** Null: there is nothing to replay. */
  readonly replay: ReplayOptions | null;
  readonly #settings: JournalSettings;
  readonly #content: JournalContent;
  readonly #keeper: JournalKeeper | null;
  readonly #segmentBytes: number;
  /** Of the store; null: not known. */
  #identity: number | null = null;

  private constructor(settings: JournalSettings, content: JournalContent, ring: () => void) {
    this.#settings = settings;
    this.#content = content;
    const { directory, shards, flushDelayMs, log } = settings;
    const isOn = settings.durability !== 'none';
    const isSynced = settings.durability === 'disk';
    this.replay = content.images === 0 ? null : { segments: content.segments, flushes: !isOn };
    const sizes = journalSizes(settings.limitBytes, settings.capacity, shards);
    this.#segmentBytes = sizes.segmentBytes;
    this.#keeper = isOn
      ? new JournalKeeper({ directory, shards, flushDelayMs, sync: isSynced, log, ring, ...sizes }, content)
      : null;
  }

  /**
   * Reads and checks what an earlier run left.
   * @param ring  wakes the shards
   * @throws Error if it is damaged and damage is to be refused, or of another format
   */
  static async open(settings: JournalSettings, ring: () => void): Promise<ServiceJournal> {
    const { directory, damage, log } = settings;
    const content = await readJournal(directory);
    for (const note of content.notes) log.info(note);
    if (content.damages.length > 0) {
      const list = content.damages.map((each) => `\n  ${each}`).join('');
      const whole = `${content.images} changes in ${content.segments.length} segments are whole`;
      if (damage === 'refuse') {
        throw new Error(
          `The journal in ${directory} is damaged: changes that were answered may be lost. ${whole}.${list}\nPut the files back if you have them. To start with what is whole, give --journal-damage skip. After a power failure this can be expected with --durability process, which promises nothing then.`,
        );
      }
      log.warn(
        `The journal in ${directory} is damaged; --journal-damage skip: ${whole}, and are taken.${list}`,
      );
    }
    return new ServiceJournal(settings, content, ring);
  }

  /** JOURNAL_STATS; null without a journal. */
  get stats(): Float64Array | null {
    return this.#keeper?.stats ?? null;
  }

  /**
   * Before anything is put back: the changes must be of this store.
   * @param identity  of the store (warm/store-generation.ts); null: it could not be asked
   * @throws Error if they are of another one, or that is not known
   */
  checkStore(identity: number | null): void {
    this.#identity = identity;
    const { directory, store, foreign, log } = this.#settings;
    const { images, live } = this.#content;
    const own = live?.store;
    if (images === 0 || own === undefined || own.identity === identity) return;
    const what = `The journal in ${directory} has ${images} changes for the store ${own.name}`;
    if (foreign === 'any') {
      log.warn(`${what}; --journal-store any: they are put into ${store}.`);
      return;
    }
    if (identity === null)
      throw new Error(`${what}, and ${store} does not answer which store it is. Start again when it does.`);
    throw new Error(
      `${what}, and ${store} is another one. Start once with that store and stop it, which leaves no journal; or give --journal-store any to put the changes into ${store}; or move the directory away to give them up.`,
    );
  }

  /**
   * What the journal has now, while it is written: files come and go, and a segment grows after its successor was read. What looks
   * like damage for that reason is gone at the next look. A journal that cannot be read is no damage: whoever asks waits until it can.
   */
  async readAgain(): Promise<JournalSegments> {
    const { directory, log } = this.#settings;
    let lastProblem = '';
    for (let look = 1; ; ) {
      try {
        const { segments, damages } = await readJournal(directory, true);
        if (damages.length === 0 || look++ === LOOKS_MAX) return { segments, damages };
      } catch (error) {
        const { message } = error as Error;
        if (message !== lastProblem)
          log.warn(
            `The journal cannot be read, and a partition waits for it: ${message}. It is tried again.`,
          );
        lastProblem = message;
      }
      await delay(LOOK_AGAIN_MS, undefined, { ref: false });
    }
  }

  writerOptions(shard: number): JournalWriterOptions | null {
    if (this.#keeper === null) return null;
    return {
      directory: this.#settings.directory,
      shard,
      run: this.#keeper.run,
      segmentBytes: this.#segmentBytes,
      sync: this.#settings.durability === 'disk',
      words: this.#keeper.words,
      frame: new SharedArrayBuffer(FRAME_BYTES),
    };
  }

  /** Begins to make the first files. */
  prepare(): void {
    this.prepared = this.#prepare();
    this.prepared.catch(() => {}); // whoever waits for it is told
  }

  /** Resolves when shards can start. Rejects with an Error that says why the journal cannot be begun. */
  prepared: Promise<void> = Promise.resolve();

  async #prepare(): Promise<void> {
    if (this.#keeper === null) return;
    const { directory } = this.#settings;
    try {
      makeDirectory(directory);
      await this.#keeper.prepare();
    } catch (error) {
      throw new Error(
        `The journal in ${directory} cannot be begun: ${(error as Error).message}. Make room or repair the disk, or start with --durability none.`,
      );
    }
  }

  /** When each shard is ready. */
  async begin(): Promise<void> {
    if (this.#keeper !== null) {
      const { store: name } = this.#settings;
      const identity = this.#identity;
      await this.#keeper.announce(identity === null ? undefined : { identity, name });
      this.#keeper.begin();
    } else if (this.#content.files.length > 0) {
      await removeJournal(this.#settings.directory);
    }
  }

  /** When the shards have ended. @param saved  the store has everything */
  async end(saved: boolean): Promise<void> {
    if (saved) await this.#keeper?.remove();
    else await this.#keeper?.close();
  }

  /** Says once a second how far the replay is. @param stats  LANE_STATS of each. @returns what ends that */
  showProgress(stats: readonly Float64Array[]): () => void {
    const { images } = this.#content;
    const { log } = this.#settings;
    if (images === 0) return () => {};
    const sum = (field: number): number => stats.reduce((total, each) => total + each[field]!, 0);
    const startedMs = performance.now();
    const say = (more: string): void =>
      log.info(`Put back from the journal: ${sum(LANE_STATS.REPLAYED_IMAGES)} of ${images} changes${more}.`);
    log.info(`The service did not end by a stop: ${images} changes in the journal are put back.`);
    const timer = setInterval(() => {
      const unsaved = sum(LANE_STATS.DIRTY_USERS);
      say(this.replay?.flushes === true ? `; ${unsaved} users are not in the store` : '');
    }, PROGRESS_INTERVAL_MS);
    return () => {
      clearInterval(timer);
      say(`, in ${((performance.now() - startedMs) / 1000).toFixed(1)} s`);
    };
  }

  /** A sentence about the changes of so many users that the store does not have, after a stop. */
  describeUnsaved(users: number): string {
    if (this.#keeper === null) return `the changes of ${users} users are lost.`;
    return `the changes of ${users} users are in the journal in ${this.#settings.directory}; nothing is lost, and the next start puts them back.`;
  }
}
