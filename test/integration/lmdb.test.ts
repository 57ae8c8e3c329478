/** What is particular to LMDB: its directory, other processes, crashes, a full disk. */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { open } from 'lmdb';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { LmdbStore } from '../../workers/stores/lmdb.js';

const CHILD = fileURLToPath(new URL('./lmdb-child.js', import.meta.url));

let directory: string;
let children: ChildProcessWithoutNullStreams[] = [];
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'tidemark-lmdb-'));
});
afterEach(async () => {
  for (const child of children) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
  children = [];
  rmSync(directory, { recursive: true, force: true });
});

/** Starts lmdb-child.ts; `lines` are what it says, parsed. */
function start(mode: string, shell?: string) {
  const node = [process.execPath, CHILD, directory, mode];
  const child =
    shell === undefined
      ? spawn(node[0]!, node.slice(1))
      : spawn('/bin/sh', ['-c', `${shell}; exec "$@"`, 'sh', ...node]);
  children.push(child);
  child.stderr.resume();
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async (): Promise<unknown> => {
    const line = await lines.next();
    return line.done === true ? undefined : JSON.parse(line.value);
  };
  return { child, next };
}

async function rowsOf(store: LmdbStore, user: number): Promise<number> {
  let rows = 0;
  await store.loadUser(user, 0, (_words, count) => {
    rows += count;
  });
  return rows;
}

describe('a thread with an LMDB store', () => {
  it('can be ended at any instant, and nothing happens to the process', async () => {
    const { next } = start('end');
    expect(await next()).toBe('ended');
  }, 60_000);
});

describe('the directory of an LMDB store', () => {
  it('is made, with what lies above it', async () => {
    const store = new LmdbStore(join(directory, 'a', 'b.c'));
    await store.open();
    await store.close();
    expect(readdirSync(join(directory, 'a', 'b.c')).sort()).toEqual(['data.mdb', 'lock.mdb']);
  });

  it('is refused when it is a file', async () => {
    const file = join(directory, 'file');
    writeFileSync(file, '');
    await expect(new LmdbStore(file).open()).rejects.toThrow(`cannot open the store lmdb:${file}: EEXIST`);
  });

  it('is refused to a second store in the same process, and free again after close', async () => {
    const first = new LmdbStore(directory);
    await first.open();
    const second = new LmdbStore(directory);
    await expect(second.open()).rejects.toThrow(`is in use by the process ${process.pid}`);
    await second.close();
    expect(await rowsOf(first, 1)).toBe(0);
    await first.close();
    await second.open();
    await second.close();
  });

  it('is refused while another process has it, and free after that was killed', async () => {
    const { child, next } = start('hold');
    expect(await next()).toBe('open');
    const store = new LmdbStore(directory);
    await expect(store.open()).rejects.toThrow(`is in use by the process ${child.pid}`);
    child.kill('SIGKILL');
    await once(child, 'exit');
    await store.open();
    await store.close();
    expect(readdirSync(directory).filter((name) => name.endsWith('.lock'))).toEqual([]);
  });

  it('is free when the pid of its owner is in use again by another process', async () => {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').replaceAll('-', '').trim();
    const otherBoot = '0'.repeat(32);
    writeFileSync(join(directory, `tidemark-${process.pid}-1-${boot}-0badcafe.lock`), '');
    writeFileSync(join(directory, `tidemark-1-1-${otherBoot}-0badcafe.lock`), '');
    const store = new LmdbStore(directory);
    await store.open();
    await store.close();
  });

  it('is refused when it has another format', async () => {
    const db = open({ path: directory, noSubdir: false, keyEncoding: 'binary', encoding: 'binary' });
    await db.put(Uint8Array.of(0xff), Buffer.from('tidemark-rows-99'));
    await db.close();
    await expect(new LmdbStore(directory).open()).rejects.toThrow(
      'its format is "tidemark-rows-99", and this version of Tidemark reads "tidemark-rows-1"',
    );
  });

  it('is refused when it holds data of others, and is free afterwards', async () => {
    const db = open({ path: directory, noSubdir: false, keyEncoding: 'binary', encoding: 'binary' });
    await db.put(Buffer.from('a key'), Buffer.from('a value'));
    await db.close();
    const store = new LmdbStore(directory);
    for (const _ of [1, 2]) await expect(store.open()).rejects.toThrow('not of Tidemark');
  });

  it('is refused when its data file is none', async () => {
    mkdirSync(join(directory, 'data.mdb'));
    await expect(new LmdbStore(directory).open()).rejects.toThrow(`cannot open the store lmdb:${directory}:`);
  });
});

describe('an LMDB store', () => {
  it('has all that was confirmed, whole groups, after a kill -9', async () => {
    const { child, next } = start('write');
    expect(await next()).toBe('open');
    const confirmed: number[] = [];
    while (confirmed.length < 700) confirmed.push(...((await next()) as number[]));
    child.kill('SIGKILL');
    for (let rest = await next(); rest !== undefined; rest = await next())
      confirmed.push(...(rest as number[]));
    // Its output ends before it does, and as long as it lives the directory is its own.
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');

    const store = new LmdbStore(directory);
    await store.open();
    for (const user of confirmed) expect(await rowsOf(store, user)).toBe(20);
    // What was on its way is there as a whole call, or not at all.
    const next7 = Array.from({ length: 7 }, (_, i) => confirmed.at(-1)! + 1 + i);
    const found = await Promise.all(next7.map((user) => rowsOf(store, user)));
    expect([0, 20]).toContain(found[0]);
    expect(new Set(found).size).toBe(1);
    await store.close();
  });

  it('fails the group that finds no room, with what follows of its user, and says so', async () => {
    // The largest file: 8,000 blocks of 512 or 1,024 bytes. The large group needs 20 MB.
    const { child, next } = start('full', "trap '' XFSZ; ulimit -f 8000");
    expect(await next()).toBe('open');
    const failed = expect.stringMatching(
      /^cannot write to the store lmdb:.*(Input\/output error|File too large)/,
    );
    expect(await next()).toEqual([null, failed, failed, null]);
    expect(await next()).toEqual([null]);
    if (child.exitCode === null) await once(child, 'exit');
    expect(child.exitCode).toBe(0);

    const store = new LmdbStore(directory);
    await store.open();
    expect(await Promise.all([1, 2, 3, 4].map((user) => rowsOf(store, user)))).toEqual([10, 0, 10, 10]);
    expect(await store.loadUser(2, 0, () => {})).toEqual({ version: 0, deletedVersion: 0 });
    await store.close();
  });

  it('writes nothing, and says so, when it is closed', async () => {
    const store = new LmdbStore(directory);
    const group = { userLo: 1, userHi: 0, version: 1, deletedVersion: 0, clockLo: 1, clockHi: 0 };
    const results = await store.write([{ ...group, wipe: false, rows: new Int32Array(0), count: 0 }]);
    expect(results.map((error) => error?.message)).toEqual([expect.stringContaining('is not open')]);
    await expect(store.loadUser(1, 0, () => {})).rejects.toThrow('is not open');
  });
});
