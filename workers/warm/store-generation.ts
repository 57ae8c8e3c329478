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
 */
import { randomInt } from 'node:crypto';
import { splitHigh, splitLow } from '../../engine/ids.js';
import type { Store } from '../stores/store.js';

/** By how much the number grows at most: by chance, so that two histories of a store do not meet at one number. */
const STEP_MAX = 512;

const IDENTITY_MAX = 2 ** 32;

/** Between two attempts of a start to raise the number. */
const RETRY_MS = 1000;

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
    const { version, deletedVersion } = await this.#store.loadRows(0, 0, new Int32Array(0), 0, () => {});
    const next = ((version >>> 0) + randomInt(1, STEP_MAX)) >>> 0;
    const identity = deletedVersion >>> 0 || this.#identity || randomInt(1, IDENTITY_MAX);
    const clockUs = Date.now() * 1000;
    const [error] = await this.#store.write([
      {
        userLo: 0,
        userHi: 0,
        version: next,
        deletedVersion: identity,
        clockLo: splitLow(clockUs),
        clockHi: splitHigh(clockUs),
        wipe: false,
        rows: new Int32Array(0),
        count: 0,
      },
    ]);
    if (error instanceof Error) throw error;
    this.#current = next;
    this.#identity = identity;
    return version >>> 0;
  }
}
