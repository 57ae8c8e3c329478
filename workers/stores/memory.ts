/**
 * A store in memory, for tests and demonstrations, with faults that a test switches while the persister runs on
 * its own thread: words of shared memory (FAULTS), which the text after `memory:?` sets at first. Nothing outlives
 * the process; what was written outlives `close`, so that a test can open the same object again.
 */
import { setTimeout } from 'node:timers/promises';
import { mix } from '../../engine/hash.js';
import { layout, META_DELETED, META_ENTRY_MASK, META_TYPE_MASK } from '../../engine/layout.js';
import { ENTRY, LOAD_KEY, LOAD_PART_ROWS, ROW } from '../../engine/messages.js';
import type { RowSink, Store, UserRow, WriteGroup } from './store.js';

/** Switches, and counters of the store. The names in lower case are the parameters of `memory:?`. */
export const FAULTS = layout({
  LOAD_DELAY_MS: 1,
  LOAD_ERROR_PERMILLE: 1, // of the loads fail, before any row
  LOAD_HANG: 1, // loads wait until it is 0 again
  LOAD_ROWS_THEN_ERROR: 1, // loads fail after their first part
  WRITE_DELAY_MS: 1,
  WRITE_ERROR_PERMILLE: 1, // of the groups fail
  WRITE_HANG: 1,
  LOADS: 1, // counter: loads begun
  WRITES: 1, // counter: groups stored
});
const SWITCHES = FAULTS.LOADS;

export function createFaults(): SharedArrayBuffer {
  return new SharedArrayBuffer(FAULTS.WORDS * 4);
}

const HANG_POLL_MS = 2;

interface StoredUser {
  version: number;
  deletedVersion: number;
  /** ROWs by channel and type. */
  readonly rows: Map<string, Int32Array>;
}

export class MemoryStore implements Store {
  readonly loadsAtOnce: number = Number.POSITIVE_INFINITY;
  readonly writesAtOnce: number = 1;
  readonly rowsAWrite: number = 8192;
  readonly #faults: Int32Array;
  readonly #users = new Map<string, StoredUser>();
  /** Chances taken so far: faults are the same in every run. */
  #draws = 0;

  /** @param faults  made by `createFaults`, or by this store if none is given */
  constructor(faults: SharedArrayBuffer = createFaults()) {
    this.#faults = new Int32Array(faults);
  }

  /** Sets switches from the query of a `memory:` text. @throws Error that names what is wrong with it */
  setFaults(query: string): void {
    for (const [name, text] of new URLSearchParams(query)) {
      const field = name.toUpperCase() as keyof typeof FAULTS;
      const value = Number(text);
      if (field === 'WORDS' || !((FAULTS[field] ?? SWITCHES) < SWITCHES)) {
        const names = Object.keys(FAULTS).slice(0, SWITCHES).join(', ').toLowerCase();
        throw new Error(`memory: has no fault "${name}". It has ${names}.`);
      }
      if (text === '' || !Number.isInteger(value) || value < 0 || value > 2 ** 31 - 1) {
        throw new Error(`memory: ${name}=${text} is not a whole number from 0.`);
      }
      this.#faults[FAULTS[field]] = value;
    }
  }

  async open(): Promise<void> {}

  async close(): Promise<void> {}

  async #loadFaults(): Promise<void> {
    Atomics.add(this.#faults, FAULTS.LOADS, 1);
    await this.#pause(FAULTS.LOAD_DELAY_MS, FAULTS.LOAD_HANG);
    if (this.#fails(FAULTS.LOAD_ERROR_PERMILLE)) throw new Error('memory: a load was told to fail');
  }

  async #pause(delay: number, hang: number): Promise<void> {
    const delayMs = Atomics.load(this.#faults, delay);
    if (delayMs > 0) await setTimeout(delayMs);
    while (Atomics.load(this.#faults, hang) !== 0) await setTimeout(HANG_POLL_MS);
  }

  #fails(permille: number): boolean {
    const rate = Atomics.load(this.#faults, permille);
    return (mix(++this.#draws) >>> 0) % 1000 < rate;
  }

  async loadUser(userLo: number, userHi: number, sink: RowSink): Promise<UserRow> {
    await this.#loadFaults();
    const user = this.#users.get(idKey(userLo, userHi));
    await this.#deliver([...(user?.rows.values() ?? [])].sort(compareRows), sink);
    return userRow(user);
  }

  async loadRows(
    userLo: number,
    userHi: number,
    keys: Int32Array,
    count: number,
    sink: RowSink,
  ): Promise<UserRow> {
    const wanted: string[] = [];
    for (let at = 0; at < count * LOAD_KEY.WORDS; at += LOAD_KEY.WORDS) {
      const channel = idKey(keys[at + LOAD_KEY.CHANNEL_LO]!, keys[at + LOAD_KEY.CHANNEL_HI]!);
      wanted.push(`${channel}:${keys[at + LOAD_KEY.TYPE]}`);
    }
    await this.#loadFaults();
    const user = this.#users.get(idKey(userLo, userHi));
    await this.#deliver(
      wanted.flatMap((key) => user?.rows.get(key) ?? []),
      sink,
    );
    return userRow(user);
  }

  async #deliver(rows: readonly Int32Array[], sink: RowSink): Promise<void> {
    const part = new Int32Array(LOAD_PART_ROWS * ROW.WORDS);
    for (let from = 0; from < rows.length; from += LOAD_PART_ROWS) {
      const taken = rows.slice(from, from + LOAD_PART_ROWS);
      taken.forEach((row, index) => {
        part.set(row, index * ROW.WORDS);
      });
      await sink(part, taken.length);
      if (Atomics.load(this.#faults, FAULTS.LOAD_ROWS_THEN_ERROR) !== 0) {
        throw new Error('memory: a load was told to fail after its first rows');
      }
    }
  }

  async write(groups: readonly WriteGroup[]): Promise<readonly (Error | null)[]> {
    await this.#pause(FAULTS.WRITE_DELAY_MS, FAULTS.WRITE_HANG);
    return groups.map((group) => {
      if (this.#fails(FAULTS.WRITE_ERROR_PERMILLE)) return new Error('memory: a write was told to fail');
      this.#store(group);
      Atomics.add(this.#faults, FAULTS.WRITES, 1);
      return null;
    });
  }

  #store({ userLo, userHi, version, deletedVersion, wipe, rows, count }: WriteGroup): void {
    const id = idKey(userLo, userHi);
    const user = this.#users.get(id) ?? {
      version: 0,
      deletedVersion: 0,
      rows: new Map<string, Int32Array>(),
    };
    this.#users.set(id, user);
    user.version = Math.max(user.version, version >>> 0);
    user.deletedVersion = Math.max(user.deletedVersion, deletedVersion >>> 0);
    if (wipe) user.rows.clear();
    for (let at = 0; at < count * ROW.WORDS; at += ROW.WORDS) {
      const row = rows.slice(at, at + ROW.WORDS);
      const meta = row[ENTRY.META]!;
      const key = `${idKey(row[ENTRY.CHANNEL_LO]!, row[ENTRY.CHANNEL_HI]!)}:${meta & META_TYPE_MASK}`;
      row[ENTRY.META] = meta & META_ENTRY_MASK;
      if ((meta & META_DELETED) !== 0) user.rows.delete(key);
      else user.rows.set(key, row);
    }
  }
}

function idKey(lo: number, hi: number): string {
  return `${hi}:${lo}`;
}

function userRow(user: StoredUser | undefined): UserRow {
  return { version: user?.version ?? 0, deletedVersion: user?.deletedVersion ?? 0 };
}

function compareRows(a: Int32Array, b: Int32Array): number {
  return (
    a[ENTRY.CHANNEL_HI]! - b[ENTRY.CHANNEL_HI]! ||
    (a[ENTRY.CHANNEL_LO]! >>> 0) - (b[ENTRY.CHANNEL_LO]! >>> 0) ||
    (a[ENTRY.META]! & META_TYPE_MASK) - (b[ENTRY.META]! & META_TYPE_MASK)
  );
}
