/**
 * The default store: LMDB, embedded. Lives on the persister's thread; its commits run on a thread of libuv's pool.
 *
 *     user row   user id, 8 bytes big-endian                                  version, deleted version
 *     row        user id, channel id, 8 bytes big-endian each, type, 1 byte   ROW without the channel
 *     format     one byte 0xff, above every id                                `tidemark-rows-1`
 *
 * I1  A user's rows are one range, in (channel, type) order. The values are the words of the messages, as they are.
 * I2  One transaction is in work at a time, and `write` calls take effect in the order in which they were made. One
 *     process has the directory (directory-lock.ts). So a group that was written late can only be late because its
 *     caller was: nothing older than what is stored arrives, and the clocks of the groups need not be stored. Only
 *     the two versions of the user row are compared, and never go back.
 * I3  A group is in one transaction. If a transaction fails, its halves are tried, so that a group fails alone;
 *     what follows of the same user in the same call then fails with it, so that no gap comes about.
 * I4  `write` resolves when the data is synced (no noSync, no overlappingSync).
 *
 * Measured (2 cores of an AMD EPYC, Node 20, ext4, 100,000 users of 50 rows, 490 to 720 MB; user rows not counted):
 *
 *     rows in one write          100    1,000    4,096    8,192   10,000   20,000
 *     1 random row a group    12,000   19,000   31,000   34,000   32,000   32,000 rows/s
 *       written to the disk     11.2      9.2      7.4      6.7      6.5      5.9 kB a row
 *       takes                      8       52      133      241      316      629 ms
 *     10 rows a group         27,000  102,000  122,000  158,000  142,000  207,000 rows/s
 *
 * 44,000 loads/s of users with 50 rows, 180,000 of one row; beside writes without a pause 31,000, the slowest 21 ms.
 * Dropping a user of 100,000 rows takes 120 ms and holds the event loop for up to 40 ms.
 *
 * The memory map begins at MAP_BYTES and lmdb-js doubles it, so that the disk is the limit (ENOSPC; EIO when a write was cut short).
 */
import { closeSync, openSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate, setTimeout } from 'node:timers/promises';
import { open, type RootDatabase } from 'lmdb';
import { assert, layout, META_DELETED, META_ENTRY_MASK, META_TYPE_MASK } from '../../engine/layout.js';
import { ENTRY, LOAD_KEY, LOAD_PART_ROWS, ROW } from '../../engine/messages.js';
import { makeDirectory } from '../directories.js';
import { lockDirectory } from './directory-lock.js';
import { guardBegin } from './lmdb-begin.js';
import type { RowSink, Store, StoreThread, UserRow, WriteGroup } from './store.js';

/** The value of a user row. Little-endian, as all values. */
const STORED_USER = layout({ VERSION: 1, DELETED_VERSION: 1 });

/** The value of a row is a ROW from here to its end: a layout that changes needs another FORMAT. */
const VALUE_AT = ENTRY.MESSAGE_LO;
const VALUE_WORDS = ROW.WORDS - VALUE_AT;
const VALUE_BYTES = VALUE_WORDS * 4;
assert(
  VALUE_AT === 2 && VALUE_WORDS === 8 && ENTRY.META === 5 && ROW.FINGERPRINT === 9,
  'ROW changed: another FORMAT',
);
const FORMAT = 'tidemark-rows-1';
const FORMAT_KEY = Uint8Array.of(0xff);

/** Bytes of keys. */
const USER_KEY = 8;
const ROW_KEY = 17;
const ROW_KEY_CHANNEL = 8;
const ROW_KEY_TYPE = 16;

/** Address space of the memory map at first. Costs nothing until it is used, and spares remaps while it grows. */
const MAP_BYTES = 2 ** 34;

/**
 * Free pages that a transaction reads from the free list, and that it keeps at hand for the next. They are no part
 * of lmdb-js's documentation. Without them each transaction sorts the whole free list: with 70,000 free pages (a user
 * of 100,000 rows was dropped) one of 100 rows took 57 ms of processor time, with them 3 ms.
 */
const FREE_PAGES = { maxFreeSpaceToLoad: 20_000, maxFreeSpaceToRetain: 10_000 };

/**
 * A transaction begins when all of it is noted. lmdb-js would begin after 1,000 instructions, beside the thread that notes
 * the others: if that thread ended there, its writer would wait for the rest for ever, with the store's lock. Begun whole, it
 * commits, and the thread's end waits for that.
 */
const BEGINS_WHOLE = { batchStartThreshold: Number.POSITIVE_INFINITY };

/** The files of lmdb-js begin with a page header of 24 bytes and this. */
const MAGIC = 0xbeefc0de;
const MAGIC_AT = 24;

/** Keys that a wipe collects before other work gets its turn: about 1 ms. */
const WIPE_SLICE_ROWS = 1024;

/** Rows of a load that are read before other work gets its turn: about 1 ms. */
const LOAD_SLICE_ROWS = 4 * LOAD_PART_ROWS;

/** Groups whose user rows are read before other work gets its turn: about 1 ms. */
const SLICE_GROUPS = 512;

/**
 * A commit that has not ended by now has met a disk that hangs, or a transaction that could not begin, which
 * lmdb-js never reports. Until it ends every write fails, for a later one must not overtake it (I2).
 */
const COMMIT_TIMEOUT_MS = 60_000;

/** See the table above: 10,000 are written hardly faster, and take 316 ms instead of 241. */
const WRITE_ROWS = 8192;

/** Transactions that may fail in one call of `write` before what fails is not tried in halves any more. */
const FAILED_COMMITS_MAX = 8;

export class LmdbStore implements Store {
  readonly loadsAtOnce = Number.POSITIVE_INFINITY; // each is answered within a turn of the event loop
  readonly writesAtOnce = 1;
  readonly rowsAWrite = WRITE_ROWS;
  readonly #directory: string;
  #db: RootDatabase<Uint8Array, Uint8Array> | null = null;
  #unlock: () => void = () => {};
  /** Ends when all writes that were asked for have ended. */
  #writes: Promise<unknown> = Promise.resolve();
  #commitHangs = false;
  readonly #key = new Uint8Array(ROW_KEY);
  /** Values of the transaction in work; grows to the largest. */
  #values = new Int32Array(0);

  constructor(
    directory: string,
    readonly thread: StoreThread = {},
  ) {
    this.#directory = directory;
  }

  async open(): Promise<void> {
    try {
      makeDirectory(this.#directory);
      checkMagic(join(this.#directory, 'data.mdb'));
      this.#unlock = lockDirectory(this.#directory, 'store', this.thread.replaces);
    } catch (error) {
      throw new Error(`cannot open the store lmdb:${this.#directory}: ${messageOf(error)}`);
    }
    try {
      this.#db = open<Uint8Array, Uint8Array>({
        path: this.#directory,
        noSubdir: false,
        mapSize: MAP_BYTES,
        keyEncoding: 'binary',
        encoding: 'binary',
        overlappingSync: false,
        ...FREE_PAGES,
        ...BEGINS_WHOLE,
        // Otherwise a commit that fails leaves a rejected promise that nobody can catch.
        eventTurnBatching: false,
      });
      if (this.thread.gate !== undefined) guardBegin(this.#db, this.thread.gate);
      await this.#checkFormat(this.#db);
    } catch (error) {
      const db = this.#db;
      this.#db = null;
      await db?.close();
      this.#unlock();
      throw new Error(`cannot open the store lmdb:${this.#directory}: ${messageOf(error)}`);
    }
  }

  async #checkFormat(db: RootDatabase<Uint8Array, Uint8Array>): Promise<void> {
    const found = db.getBinary(FORMAT_KEY);
    if (found === undefined) {
      if (db.getKeysCount({ limit: 1 }) > 0) {
        throw new Error('it holds data that are not of Tidemark. Name another directory.');
      }
      const error = await this.#committed(db.put(FORMAT_KEY, Buffer.from(FORMAT)));
      if (error !== null) throw error;
      return;
    }
    const format = Buffer.from(found).toString('latin1');
    if (format !== FORMAT) {
      throw new Error(
        `its format is ${JSON.stringify(format)}, and this version of Tidemark reads ${JSON.stringify(FORMAT)}. ` +
          'Use the version that wrote it, or name another directory.',
      );
    }
  }

  #opened(): RootDatabase<Uint8Array, Uint8Array> {
    if (this.#db === null) throw new Error(`the store lmdb:${this.#directory} is not open`);
    return this.#db;
  }

  /**
   * Each part is a snapshot of its own: a long one would keep the pages that writes free meanwhile from being used.
   * So what is written while a user is loaded may be in one part and not in another.
   */
  async loadUser(userLo: number, userHi: number, sink: RowSink): Promise<UserRow> {
    const rows = new Int32Array(LOAD_PART_ROWS * ROW.WORDS);
    const bytes = new Uint8Array(rows.buffer);
    const end = Buffer.alloc(USER_KEY + 1, 0xff); // above the user's rows: a channel id begins below 0x80
    putId(end, 0, userLo, userHi);
    let start = Buffer.alloc(USER_KEY + 1); // above the user row
    putId(start, 0, userLo, userHi);
    for (let loaded = LOAD_PART_ROWS; ; loaded += LOAD_PART_ROWS) {
      let count = 0;
      let last: Uint8Array | null = null;
      for (const { key, value } of this.#opened().getRange({ start, end, limit: LOAD_PART_ROWS })) {
        takeRow(key, value, rows, bytes, count * ROW.WORDS);
        last = key;
        count++;
      }
      if (count > 0) await sink(rows, count);
      if (count < LOAD_PART_ROWS) break;
      start = Buffer.alloc(ROW_KEY + 1); // the very next key
      start.set(last!);
      if (loaded % LOAD_SLICE_ROWS === 0) await setImmediate();
    }
    return this.#userRow(userLo, userHi);
  }

  async loadRows(
    userLo: number,
    userHi: number,
    keys: Int32Array,
    count: number,
    sink: RowSink,
  ): Promise<UserRow> {
    const db = this.#opened();
    const rows = new Int32Array(Math.min(count, LOAD_PART_ROWS) * ROW.WORDS);
    const bytes = new Uint8Array(rows.buffer);
    const key = new Uint8Array(ROW_KEY);
    putId(key, 0, userLo, userHi);
    let found = 0;
    for (let i = 0; i < count; i++) {
      const at = i * LOAD_KEY.WORDS;
      putId(key, ROW_KEY_CHANNEL, keys[at + LOAD_KEY.CHANNEL_LO]!, keys[at + LOAD_KEY.CHANNEL_HI]!);
      key[ROW_KEY_TYPE] = keys[at + LOAD_KEY.TYPE]!;
      const value = db.getBinary(key);
      if (value !== undefined) takeRow(key, value, rows, bytes, found++ * ROW.WORDS);
      if (found === LOAD_PART_ROWS) {
        await sink(rows, found);
        found = 0;
        await setImmediate();
      }
    }
    if (found > 0) await sink(rows, found);
    return this.#userRow(userLo, userHi);
  }

  #userRow(userLo: number, userHi: number): UserRow {
    const key = this.#key.subarray(0, USER_KEY);
    putId(key, 0, userLo, userHi);
    const value = this.#opened().getBinary(key);
    if (value === undefined) return { version: 0, deletedVersion: 0 };
    const view = new DataView(value.buffer, value.byteOffset, value.byteLength);
    return {
      version: view.getUint32(STORED_USER.VERSION * 4, true),
      deletedVersion: view.getUint32(STORED_USER.DELETED_VERSION * 4, true),
    };
  }

  write(groups: readonly WriteGroup[]): Promise<readonly (Error | null)[]> {
    const done = this.#writes.then(() => this.#writeAll(groups));
    this.#writes = done;
    return done;
  }

  async #writeAll(groups: readonly WriteGroup[]): Promise<readonly (Error | null)[]> {
    const results = new Array<Error | null>(groups.length).fill(null);
    const state: WriteState = { groups, results, failedUsers: new Map(), failedCommits: 0 };
    // Users lie together; the sort is stable, so the groups of one user stay in order.
    const order = groups.map((_, index) => index);
    order.sort((a, b) => compareUsers(groups[a]!, groups[b]!));
    let run: number[] = [];
    for (const index of order) {
      const group = groups[index]!;
      // A wipe finds what to drop in the store, so what came before it has to be there.
      if (group.wipe && run.length > 0 && compareUsers(groups[run.at(-1)!]!, group) === 0) {
        await this.#writeRun(state, run);
        run = [];
      }
      run.push(index);
    }
    await this.#writeRun(state, run);
    return results;
  }

  /** Commits the groups in one transaction, or its halves if that fails (I3). */
  async #writeRun(state: WriteState, run: readonly number[]): Promise<void> {
    const { groups, results, failedUsers } = state;
    const left = run.filter((index) => {
      results[index] = failedUsers.get(userOf(groups[index]!)) ?? null;
      return results[index] === null;
    });
    if (left.length === 0) return;
    const error = await this.#commit(left.map((index) => groups[index]!));
    if (error === null) return;
    state.failedCommits++;
    if (left.length === 1 || state.failedCommits >= FAILED_COMMITS_MAX) {
      for (const index of left) {
        results[index] = error;
        failedUsers.set(userOf(groups[index]!), error);
      }
      return;
    }
    const half = left.length >> 1;
    await this.#writeRun(state, left.slice(0, half));
    await this.#writeRun(state, left.slice(half));
  }

  async #commit(groups: readonly WriteGroup[]): Promise<Error | null> {
    if (this.#commitHangs) return this.#failure('an earlier commit has not ended');
    try {
      const db = this.#opened();
      db.resetReadTxn(); // the versions that are compared are those of the last commit
      const doomed: Uint8Array[] = [];
      for (const group of groups) if (group.wipe) await this.#collectRows(group, doomed);
      const userRows = await this.#userRows(groups);
      const words = groups.reduce((sum, { count }) => sum + count * VALUE_WORDS, 0);
      if (this.#values.length < words) this.#values = new Int32Array(words * 2);
      return await this.#committed(
        db.batch(() => {
          for (const key of doomed) void db.remove(key);
          this.#putGroups(db, groups, userRows);
        }),
      );
    } catch (error) {
      return this.#failure(messageOf(error));
    }
  }

  /** Adds the keys of all rows of the group's user to `keys`. */
  async #collectRows({ userLo, userHi }: WriteGroup, keys: Uint8Array[]): Promise<void> {
    const end = Buffer.alloc(USER_KEY + 1, 0xff);
    putId(end, 0, userLo, userHi);
    let start = Buffer.alloc(USER_KEY + 1);
    putId(start, 0, userLo, userHi);
    for (;;) {
      const before = keys.length;
      for (const key of this.#opened().getKeys({ start, end, limit: WIPE_SLICE_ROWS })) keys.push(key);
      if (keys.length - before < WIPE_SLICE_ROWS) return;
      start = Buffer.alloc(ROW_KEY + 1);
      start.set(keys.at(-1)!);
      await setImmediate();
    }
  }

  /** The user rows of the groups, one after the other: the versions of group and store, whichever is higher (I2). */
  async #userRows(groups: readonly WriteGroup[]): Promise<Int32Array> {
    const userRows = new Int32Array(groups.length * STORED_USER.WORDS);
    let row: UserRow = { version: 0, deletedVersion: 0 };
    for (const [index, group] of groups.entries()) {
      if (index % SLICE_GROUPS === SLICE_GROUPS - 1) await setImmediate();
      if (index === 0 || compareUsers(groups[index - 1]!, group) !== 0) {
        row = this.#userRow(group.userLo, group.userHi);
      }
      row = {
        version: Math.max(row.version, group.version >>> 0),
        deletedVersion: Math.max(row.deletedVersion, group.deletedVersion >>> 0),
      };
      userRows[index * STORED_USER.WORDS + STORED_USER.VERSION] = row.version;
      userRows[index * STORED_USER.WORDS + STORED_USER.DELETED_VERSION] = row.deletedVersion;
    }
    return userRows;
  }

  /**
   * Queues the writes of the groups. lmdb-js copies keys at once, and reads values until the transaction has ended.
   * Nothing here may throw: lmdb-js would commit what was queued before.
   */
  #putGroups(
    db: RootDatabase<Uint8Array, Uint8Array>,
    groups: readonly WriteGroup[],
    userRows: Int32Array,
  ): void {
    const userBytes = new Uint8Array(userRows.buffer);
    const values = this.#values;
    const bytes = new Uint8Array(values.buffer);
    const key = this.#key;
    const userKey = key.subarray(0, USER_KEY);
    let at = 0;
    let userAt = 0;
    for (const { userLo, userHi, rows, count } of groups) {
      putId(key, 0, userLo, userHi);
      void db.put(userKey, userBytes.subarray(userAt, userAt + STORED_USER.WORDS * 4));
      userAt += STORED_USER.WORDS * 4;
      for (let i = 0; i < count; i++) {
        const rowAt = i * ROW.WORDS;
        const meta = rows[rowAt + ENTRY.META]!;
        putId(key, ROW_KEY_CHANNEL, rows[rowAt + ENTRY.CHANNEL_LO]!, rows[rowAt + ENTRY.CHANNEL_HI]!);
        key[ROW_KEY_TYPE] = meta & META_TYPE_MASK;
        if ((meta & META_DELETED) !== 0) {
          void db.remove(key);
          continue;
        }
        for (let word = 0; word < VALUE_WORDS; word++) values[at + word] = rows[rowAt + VALUE_AT + word]!;
        values[at + ENTRY.META - VALUE_AT] = meta & META_ENTRY_MASK;
        void db.put(key, bytes.subarray(at * 4, at * 4 + VALUE_BYTES));
        at += VALUE_WORDS;
      }
    }
  }

  /** Null when the commit has succeeded, else why not. */
  async #committed(commit: PromiseLike<unknown>): Promise<Error | null> {
    const ended = Promise.resolve(commit).then(
      () => null,
      async (error: unknown) => {
        // lmdb-js tells the reason apart, as a promise that it rejects.
        const { commitError } = error as { commitError?: Promise<never> };
        const reason = await (commitError?.catch((cause: unknown) => cause) ?? error);
        return this.#failure(messageOf(reason));
      },
    );
    const timer = new AbortController();
    const timeout = setTimeout(COMMIT_TIMEOUT_MS, 'timeout' as const, { signal: timer.signal }).catch(
      () => null,
    );
    const result = await Promise.race([ended, timeout]);
    timer.abort();
    if (result !== 'timeout') return result;
    this.#commitHangs = true;
    void ended.then(() => {
      this.#commitHangs = false;
    });
    return this.#failure(`the commit has not ended within ${COMMIT_TIMEOUT_MS} ms`);
  }

  #failure(reason: string): Error {
    return new Error(`cannot write to the store lmdb:${this.#directory}: ${reason}`);
  }

  async close(): Promise<void> {
    await this.#writes;
    const db = this.#db;
    if (db === null) return;
    this.#db = null;
    if (!this.#commitHangs) await db.close(); // it would wait for the commit
    this.#unlock();
  }
}

/**
 * lmdb-js ends the process with a segmentation fault when the file is not LMDB's, and says nothing.
 * @throws Error if that is so
 */
function checkMagic(file: string): void {
  let descriptor: number;
  try {
    descriptor = openSync(file, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return; // LMDB makes it
    throw error;
  }
  try {
    const found = Buffer.alloc(MAGIC_AT + 4);
    const bytes = readSync(descriptor, found, 0, found.length, 0);
    if (bytes > 0 && found.readUInt32LE(MAGIC_AT) !== MAGIC) {
      throw new Error(
        `${file} is damaged, or not of lmdb-js. Put a backup in its place, or name another directory.`,
      );
    }
  } finally {
    closeSync(descriptor);
  }
}

interface WriteState {
  readonly groups: readonly WriteGroup[];
  readonly results: (Error | null)[];
  /** Users of whom a group has failed in this call, and why. */
  readonly failedUsers: Map<string, Error>;
  failedCommits: number;
}

function userOf({ userLo, userHi }: WriteGroup): string {
  return `${userHi}:${userLo}`;
}

function compareUsers(a: WriteGroup, b: WriteGroup): number {
  return a.userHi - b.userHi || (a.userLo >>> 0) - (b.userLo >>> 0);
}

/** An id, big-endian, to `key[at]`. */
function putId(key: Uint8Array, at: number, lo: number, hi: number): void {
  key[at] = hi >>> 24;
  key[at + 1] = hi >>> 16;
  key[at + 2] = hi >>> 8;
  key[at + 3] = hi;
  key[at + 4] = lo >>> 24;
  key[at + 5] = lo >>> 16;
  key[at + 6] = lo >>> 8;
  key[at + 7] = lo;
}

function wordAt(key: Uint8Array, at: number): number {
  return (key[at]! << 24) | (key[at + 1]! << 16) | (key[at + 2]! << 8) | key[at + 3]!;
}

/** What is stored under `key` as a ROW to `rows[at]`; `bytes` is the same memory. */
function takeRow(key: Uint8Array, value: Uint8Array, rows: Int32Array, bytes: Uint8Array, at: number): void {
  assert(
    key.length === ROW_KEY && value.length === VALUE_BYTES,
    `a row of ${key.length} and ${value.length} bytes`,
  );
  rows[at + ENTRY.CHANNEL_HI] = wordAt(key, ROW_KEY_CHANNEL);
  rows[at + ENTRY.CHANNEL_LO] = wordAt(key, ROW_KEY_CHANNEL + 4);
  bytes.set(value, (at + VALUE_AT) * 4);
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
