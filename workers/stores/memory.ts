/**
 * A store in memory, for tests and demonstrations, with faults that a test switches while the persister runs on
 * its own thread: words of shared memory (FAULTS), which the text after `memory:?` sets at first. Nothing outlives
 * the process; what was written outlives `close`, so that a test can open the same object again. With faults of the
 * caller's it is kept in their memory, too: a thread that opens the store after the end of another finds it.
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
  BUG: 1, // BUG_*: the next write does that, once
  LOADS: 1, // counter: loads begun
  WRITES: 1, // counter: groups stored
  KEPT: 1, // words of the groups that follow, one after the other: KEPT_GROUP, its rows
});
const KEPT_GROUP = layout({
  USER_LO: 1,
  USER_HI: 1,
  VERSION: 1,
  DELETED_VERSION: 1,
  WIPE: 1,
  COUNT: 1,
});
const KEPT_BYTES_MAX = 2 ** 29;
const SWITCHES = FAULTS.LOADS;
export const BUG_THROWS = 1;
export const BUG_HANGS = 2;
export const BUG_FILLS_HEAP = 3;

export function createFaults(): SharedArrayBuffer {
  return new SharedArrayBuffer(FAULTS.WORDS * 4, { maxByteLength: KEPT_BYTES_MAX });
}

const HANG_POLL_MS = 2;

interface StoredUser {
  version: number;
  deletedVersion: number;
  /** ROWs by channel and type. */
  readonly rows: Map<string, Int32Array>;
}

type StoredGroup = Omit<WriteGroup, 'clockLo' | 'clockHi'>;

export class MemoryStore implements Store {
  readonly loadsAtOnce: number = Number.POSITIVE_INFINITY;
  readonly writesAtOnce: number = 1;
  readonly rowsAWrite: number = 8192;
  readonly #faults: Int32Array;
  readonly #users = new Map<string, StoredUser>();
  /** Chances taken so far: faults are the same in every run. */
  #draws = 0;

  /** Null: nothing is kept beyond the thread. */
  readonly #kept: SharedArrayBuffer | null;

  /** @param faults  made by `createFaults`; left out, there are none but those of `setFaults` */
  constructor(faults?: SharedArrayBuffer) {
    this.#kept = faults ?? null;
    this.#faults = new Int32Array(faults ?? createFaults());
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

  async open(): Promise<void> {
    if (this.#kept === null) return;
    const words = new Int32Array(this.#kept);
    const end = FAULTS.WORDS + words[FAULTS.KEPT]!;
    this.#users.clear();
    for (let at: number = FAULTS.WORDS; at < end; ) {
      const count = words[at + KEPT_GROUP.COUNT]!;
      const rowsAt = at + KEPT_GROUP.WORDS;
      this.#store({
        userLo: words[at + KEPT_GROUP.USER_LO]!,
        userHi: words[at + KEPT_GROUP.USER_HI]!,
        version: words[at + KEPT_GROUP.VERSION]!,
        deletedVersion: words[at + KEPT_GROUP.DELETED_VERSION]!,
        wipe: words[at + KEPT_GROUP.WIPE] !== 0,
        rows: words.slice(rowsAt, rowsAt + count * ROW.WORDS),
        count,
      });
      at = rowsAt + count * ROW.WORDS;
    }
  }

  /** It counts when KEPT does: a thread that ends in between has not written it. */
  #keep(kept: SharedArrayBuffer, group: StoredGroup): void {
    const at = FAULTS.WORDS + Atomics.load(this.#faults, FAULTS.KEPT);
    const end = at + KEPT_GROUP.WORDS + group.count * ROW.WORDS;
    if (kept.byteLength < end * 4) kept.grow(Math.min(end * 8, KEPT_BYTES_MAX));
    const words = new Int32Array(kept);
    words[at + KEPT_GROUP.USER_LO] = group.userLo;
    words[at + KEPT_GROUP.USER_HI] = group.userHi;
    words[at + KEPT_GROUP.VERSION] = group.version;
    words[at + KEPT_GROUP.DELETED_VERSION] = group.deletedVersion;
    words[at + KEPT_GROUP.WIPE] = group.wipe ? 1 : 0;
    words[at + KEPT_GROUP.COUNT] = group.count;
    words.set(group.rows.subarray(0, group.count * ROW.WORDS), at + KEPT_GROUP.WORDS);
    Atomics.store(this.#faults, FAULTS.KEPT, end - FAULTS.WORDS);
  }

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

  #runIntoBug(): void {
    const bug = Atomics.exchange(this.#faults, FAULTS.BUG, 0);
    if (bug === BUG_THROWS) throw new Error('memory: a write was told to throw');
    while (bug === BUG_HANGS);
    for (const hoard: number[][] = []; bug === BUG_FILLS_HEAP; )
      hoard.push(new Array(1e5).fill(hoard.length + 0.5));
  }

  async write(groups: readonly WriteGroup[]): Promise<readonly (Error | null)[]> {
    this.#runIntoBug();
    await this.#pause(FAULTS.WRITE_DELAY_MS, FAULTS.WRITE_HANG);
    return groups.map((group) => {
      if (this.#fails(FAULTS.WRITE_ERROR_PERMILLE)) return new Error('memory: a write was told to fail');
      if (this.#kept !== null) this.#keep(this.#kept, group);
      this.#store(group);
      Atomics.add(this.#faults, FAULTS.WRITES, 1);
      return null;
    });
  }

  #store({ userLo, userHi, version, deletedVersion, wipe, rows, count }: StoredGroup): void {
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
