/**
 * The users who were active last, in a file that is written again and again, so that a start after a crash can load
 * them before they are asked for. On the main thread; what the lanes do of it is in hot-block.ts and hot-loader.ts.
 */
import { join } from 'node:path';
import { hashUser } from '../../engine/hash.js';
import { LANE_STATS } from '../stats.js';
import type { WorkersLog } from '../workers.js';
import { readChecked, writeChecked } from './checked-file.js';
import { askForHotUsers, haveAnswered, readHotUsers } from './hot-block.js';

const FILE = 'hot-users';
const KIND = 'hot-users';
const POLL_MS = 500;
/** An id: low word, high word. */
export const USER_BYTES = 8;

/** Ids of the file by lane, in its order; null: there is none that can be used. */
export function readHotUsersFile(
  directory: string,
  lanes: number,
  partitions: number,
  log: WorkersLog,
): SharedArrayBuffer[] | null {
  let body: Buffer | null;
  try {
    body = readChecked(join(directory, FILE), KIND);
  } catch (error) {
    log.warn(`The hot users are not loaded: ${(error as Error).message}.`);
    return null;
  }
  if (body === null || body.length === 0) return null;
  const ofLanes: number[][] = Array.from({ length: lanes }, () => []);
  for (let at = 0; at + USER_BYTES <= body.length; at += USER_BYTES) {
    const [lo, hi] = [body.readInt32LE(at), body.readInt32LE(at + 4)];
    ofLanes[(hashUser(lo, hi) & (partitions - 1)) % lanes]!.push(lo, hi);
  }
  return ofLanes.map((words) => {
    const ids = new SharedArrayBuffer(words.length * 4);
    new Int32Array(ids).set(words);
    return ids;
  });
}

export class HotUsers {
  readonly #directory: string;
  readonly #stats: readonly Float64Array[];
  readonly #log: WorkersLog;
  #saveTimer: NodeJS.Timeout | null = null;
  #pollTimer: NodeJS.Timeout | null = null;
  #writing: Promise<void> = Promise.resolve();
  #stopped = false;

  /** @param stats  LANE_STATS of each lane */
  constructor(directory: string, stats: readonly Float64Array[], log: WorkersLog) {
    this.#directory = directory;
    this.#stats = stats;
    this.#log = log;
  }

  #sum(stat: number): number {
    return this.#stats.reduce((sum, stats) => sum + stats[stat]!, 0);
  }

  /** Resolves, and says what came of it, when the lanes have loaded what they were given. */
  async awaitLoaded(users: number): Promise<void> {
    const startedMs = performance.now();
    this.#log.info(`Loading ${users} hot users in the background.`);
    await this.#poll(() => this.#sum(LANE_STATS.HOT_USERS_LEFT) === 0);
    const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
    const skipped = this.#sum(LANE_STATS.HOT_USERS_SKIPPED);
    this.#log.info(
      `Loaded ${this.#sum(LANE_STATS.HOT_USERS_LOADED)} hot users in ${seconds} s; ${skipped} were there already, found no room or failed.`,
    );
  }

  /** Resolves when `done` says so; never after `stop`. */
  #poll(done: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      this.#pollTimer = setInterval(() => {
        if (!done()) return;
        clearInterval(this.#pollTimer!);
        resolve();
      }, POLL_MS);
      this.#pollTimer.unref();
    });
  }

  /** Saves every `intervalMs` what the lanes say. */
  saveEvery(intervalMs: number, blocks: readonly SharedArrayBuffer[], usersMaxOfPartition: number): void {
    const save = async (): Promise<void> => {
      askForHotUsers(blocks);
      await this.#poll(() => haveAnswered(blocks));
      this.#writing = this.#write(readHotUsers(blocks, usersMaxOfPartition));
      await this.#writing;
      schedule();
    };
    const schedule = (): void => {
      if (this.#stopped) return;
      this.#saveTimer = setTimeout(() => void save(), intervalMs);
      this.#saveTimer.unref();
    };
    schedule();
  }

  async #write(ids: Int32Array<ArrayBuffer>): Promise<void> {
    try {
      await writeChecked(join(this.#directory, FILE), KIND, new Uint8Array(ids.buffer));
    } catch (error) {
      this.#log.warn(`The hot users were not saved: ${(error as Error).message}`);
    }
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    if (this.#saveTimer !== null) clearTimeout(this.#saveTimer);
    if (this.#pollTimer !== null) clearInterval(this.#pollTimer);
    await this.#writing;
  }
}
