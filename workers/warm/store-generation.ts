/**
 * Which store this is, and which state of it saved partitions belong to. The store keeps two numbers as the versions
 * of user 0, whom nobody can name.
 *
 * The generation: each start and each clean stop raise it. So partitions that were saved with a number fit only if no
 * process, here or on another machine, has used the store since, and no backup has taken its place.
 *
 * The identity: drawn once, at the first start with the store. So a journal is known to be of another store, and that of
 * a store which moved or was put back from a backup is not.
 *
 * I1  The generation that a stop writes is written when all else is, and the one that a start writes before all else.
 * I2  A mark is later than the one before it also for a store that goes by clocks, whatever the wall clocks of their hosts
 *     say: each has its clock in a row, as the message of channel MARK_CHANNEL, for the next.
 */
import { randomInt } from 'node:crypto';
import { joinWords, splitHigh, splitLow } from '../../engine/ids.js';
import { ENTRY, LOAD_KEY, ROW } from '../../engine/messages.js';
import type { Store, UserRow } from '../stores/store.js';

/** By how much the number grows at most: by chance, so that two histories of a store do not meet at one number. */
const STEP_MAX = 512;

const IDENTITY_MAX = 2 ** 32;

const MARK_CHANNEL = 1;

/** Between two attempts of a start to raise the number. */
const RETRY_MS = 1000;

interface Mark extends UserRow {
  /** 0: it has none. */
  readonly clockUs: number;
}

/** What a store says of itself. */
export interface StoreMark {
  readonly generation: number;
  /** Never 0. */
  readonly identity: number;
}

export class StoreGeneration {
  readonly #store: Store;
  readonly #warn: (text: string) => void;
  #current = 0;
  #identity = 0;
  #retry: NodeJS.Timeout | null = null;

  /** @param store  open */
  constructor(store: Store, warn: (text: string) => void) {
    this.#store = store;
    this.#warn = warn;
  }

  /**
   * Raises the number: from here on what was saved before does not fit. If the store cannot do it now, it is tried again
   * until it can.
   * @returns the generation that was there, and the identity; null: not known
   */
  async claim(): Promise<StoreMark | null> {
    try {
      const generation = await this.#raise();
      return { generation, identity: this.#identity };
    } catch (error) {
      this.#warn(`The store could not be marked as used: ${(error as Error).message}`);
      this.#retry = setTimeout(() => void this.claim(), RETRY_MS);
      return null;
    }
  }

  /** After the last write. @returns the generation that saved partitions belong to; null: the store could not be marked */
  async seal(): Promise<number | null> {
    if (this.#retry !== null) clearTimeout(this.#retry);
    try {
      await this.#raise();
      return this.#current;
    } catch (error) {
      this.#warn(`The store could not be marked: ${(error as Error).message}`);
      return null;
    }
  }

  /** @returns the generation that was there */
  async #raise(): Promise<number> {
    const { version, deletedVersion, clockUs: lastUs } = await this.#read();
    const next = ((version >>> 0) + randomInt(1, STEP_MAX)) >>> 0;
    const identity = deletedVersion >>> 0 || this.#identity || randomInt(1, IDENTITY_MAX);
    const clockUs = Math.max(Date.now() * 1000, lastUs + 1); // I2
    const row = new Int32Array(ROW.WORDS);
    row[ROW.ENTRY + ENTRY.CHANNEL_LO] = MARK_CHANNEL;
    row[ROW.ENTRY + ENTRY.MESSAGE_LO] = splitLow(clockUs);
    row[ROW.ENTRY + ENTRY.MESSAGE_HI] = splitHigh(clockUs);
    const [error] = await this.#store.write([
      {
        userLo: 0,
        userHi: 0,
        version: next,
        deletedVersion: identity,
        clockLo: splitLow(clockUs),
        clockHi: splitHigh(clockUs),
        wipe: false,
        rows: row,
        count: 1,
      },
    ]);
    if (error instanceof Error) throw error;
    // Of a build that left no clock.
    if ((await this.#read()).version >>> 0 !== next)
      throw new Error('it was marked by a host whose clock is ahead of this one');
    this.#current = next;
    this.#identity = identity;
    return version >>> 0;
  }

  async #read(): Promise<Mark> {
    const key = new Int32Array(LOAD_KEY.WORDS);
    key[LOAD_KEY.CHANNEL_LO] = MARK_CHANNEL;
    let clockUs = 0;
    const user = await this.#store.loadRows(0, 0, key, 1, (rows) => {
      clockUs = joinWords(rows[ROW.ENTRY + ENTRY.MESSAGE_LO]!, rows[ROW.ENTRY + ENTRY.MESSAGE_HI]!);
    });
    return { ...user, clockUs };
  }
}
