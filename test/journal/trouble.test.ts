/** The real service with a journal that is damaged, too small, on a full disk or failing, and a store that is away. */
import { execFileSync } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { TidemarkClient, type TidemarkError } from '../../gateway/client/index.js';
import type { OptionName } from '../../gateway/config.js';
import { until, Victim } from '../robustness/victim.js';

type Options = Partial<Record<OptionName, string>>;

vi.setConfig({ testTimeout: 180_000, hookTimeout: 60_000 });

const MIB = 2 ** 20;
let directory: string;
let victim: Victim;
let clients: TidemarkClient[];
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'tidemark-trouble-'));
  clients = [];
});
afterEach(async () => {
  await kill();
  rmSync(directory, { recursive: true });
});

/** With a memory store and nothing that becomes due by itself, unless the options say otherwise. */
async function start(options: Options = {}): Promise<void> {
  victim = await Victim.start({
    data: join(directory, 'data'),
    flushDelay: '1h',
    loadTimeout: '60s',
    roomTimeout: '60s',
    ...options,
  });
}

async function kill(): Promise<void> {
  for (const client of clients.splice(0)) client.close();
  victim.kill();
  await victim.ended;
}

function open(triesMax?: number): TidemarkClient {
  const client = new TidemarkClient({
    url: victim.streamUrl,
    timeoutMs: 60_000,
    ...(triesMax === undefined ? {} : { triesMax }),
  });
  clients.push(client);
  return client;
}

const journal = (): string => join(directory, 'data', 'journal');

function journalBytes(): number {
  // One that has got another name since is left out: it is seen another time.
  return readdirSync(journal()).reduce((sum, name) => {
    const found = statSync(join(journal(), name), { throwIfNoEntry: false });
    return sum + (found?.isFile() === true ? found.size : 0); // a directory there is one of links to /dev/null: rehearsed-journal.ts
  }, 0);
}

function userId(i: number): string {
  return String(1_000_000 + i);
}

/** One ack of channel 1 for each of the users. @returns those that were answered, others' codes */
async function ackAll(
  client: TidemarkClient,
  users: number,
  message: number,
): Promise<{ done: number[]; codes: Set<string> }> {
  const done: number[] = [];
  const codes = new Set<string>();
  await Promise.all(
    Array.from({ length: users }, (_, i) =>
      client.ack(userId(i), '1', String(message)).then(
        () => done.push(i),
        (error: TidemarkError) => codes.add(error.code),
      ),
    ),
  );
  return { done, codes };
}

async function marksOf(client: TidemarkClient, users: readonly number[]): Promise<number[]> {
  const entries = await Promise.all(users.map((i) => client.get(userId(i), '1')));
  return entries.map((entry) => Number(entry?.lastMessageId ?? 0));
}

describe('a damaged journal', () => {
  it('refuses the start, saying what, where and what to do; --journal-damage skip takes what is whole', async () => {
    await start({ lanes: '1' }); // several frames in one file
    const client = open();
    await ackAll(client, 50, 1);
    for (let i = 0; i < 20; i++) await client.ack('7', '1', String(i + 1));
    await kill();
    const path = readdirSync(journal())
      .filter((name) => name.endsWith('.segment'))
      .map((name) => join(journal(), name))[0]!;
    const bytes = readFileSync(path);
    bytes[100]! ^= 4;
    writeFileSync(path, bytes);
    const refusal = await start().then(
      () => '',
      (error: Error) => error.message,
    );
    expect(refusal).toContain(
      `The journal in ${journal()} is damaged: changes that were answered may be lost.`,
    );
    expect(refusal).toContain(`${path}: byte 64: not a whole frame, but there is one behind it, at byte `);
    expect(refusal).toContain('To start with what is whole, give --journal-damage skip.');
    await start({ journalDamage: 'skip' });
    expect(victim.log).toContain('--journal-damage skip');
    // The first frame is lost, and what came later is not.
    expect((await open().get('7', '1'))?.lastMessageId).toBe('20');
    await victim.stop();
    await start();
    expect(victim.log).not.toContain('journal');
  });
});

describe('a journal for another store', () => {
  const store = (name: string): string => `lmdb:${join(directory, name)}`;

  it('refuses the start and stays; its own store takes it, also at another place', async () => {
    await start({ store: store('one') });
    await ackAll(open(), 20, 1);
    await kill();
    const refusal = await start({ store: store('two') }).then(
      () => '',
      (error: Error) => error.message,
    );
    expect(refusal).toContain(
      `has 20 changes for the store ${store('one')}, and ${store('two')} is another one.`,
    );
    expect(refusal).toContain('or give --journal-store any');
    renameSync(join(directory, 'one'), join(directory, 'moved'));
    await start({ store: store('moved') });
    expect(await marksOf(open(), [0, 19])).toEqual([1, 1]);
    await victim.stop();
    await start({ store: store('two') });
    expect(await marksOf(open(), [0, 19])).toEqual([0, 0]);
  });

  it('goes into this one with --journal-store any, and is of this one then', async () => {
    await start({ store: store('one') });
    await ackAll(open(), 20, 1);
    await kill();
    await start({ store: store('two'), journalStore: 'any' });
    expect(victim.log).toContain(`--journal-store any: they are put into ${store('two')}`);
    await kill();
    await start({ store: store('two') });
    expect(await marksOf(open(), [0, 19])).toEqual([1, 1]);
  });
});

describe('a data directory', () => {
  it('belongs to one process', async () => {
    await start();
    const { pid } = victim.child;
    const first = victim;
    await expect(start()).rejects.toThrow(`is in use by the process ${pid}`);
    victim = first;
    expect((await ackAll(open(), 1, 1)).done).toEqual([0]);
  });
});

describe('bulk acks', () => {
  it('are there whole or not at all after a kill', async () => {
    await start({ capacity: '20k' });
    const users = 8;
    const channels = Array.from({ length: 100 }, (_, i) => String(i + 1));
    const answered = new Array<number>(users).fill(0);
    const client = open(1);
    let isOver = false;
    const writers = answered.map(async (_, user) => {
      for (let message = 1; !isOver; message++) {
        const items = channels.map((channelId) => ({ channelId, messageId: String(message) }));
        try {
          await client.ackBulk(userId(user), items);
          answered[user] = message;
        } catch {
          return;
        }
      }
    });
    await until(() => answered.every((message) => message >= 20), 'there is something to lose');
    victim.kill();
    isOver = true;
    await victim.ended;
    await kill();
    await Promise.all(writers);
    await start({ capacity: '20k' });
    const reader = open();
    for (const [user, message] of answered.entries()) {
      const { entries } = await reader.list(userId(user));
      const marks = new Set(entries.map(({ lastMessageId }) => Number(lastMessageId)));
      expect([entries.length, marks.size]).toEqual([100, 1]);
      expect([...marks][0]! - message).toBeGreaterThanOrEqual(0);
      expect([...marks][0]! - message).toBeLessThanOrEqual(1);
    }
  });
});

describe('a store that is away', () => {
  it('for long: the journal stays within its limit as what is unsaved is carried over; all is there after a kill', async () => {
    const limit = { capacity: '10k', partitions: '2', lanes: '1', journalLimit: '8mib' };
    await start({ ...limit, flushDelay: '100ms' });
    await victim.fault('WRITE_HANG', 1);
    const client = open();
    const users = 2000;
    let largest = 0;
    let round = 0;
    // Two and a half times the limit.
    while ((await victim.metric('tidemark_shard_journal_bytes_total')) < 20 * MIB) {
      round++;
      const { done, codes } = await ackAll(client, users, round);
      expect([done.length, [...codes]]).toEqual([users, []]);
      largest = Math.max(largest, journalBytes());
    }
    expect(largest).toBeLessThanOrEqual(8 * MIB + 8192);
    const carried = 'tidemark_shard_journal_carried_images_total';
    await until(async () => (await victim.metric(carried)) > users, 'the metric says so');
    await kill();
    await start(limit);
    const all = Array.from({ length: users }, (_, i) => i);
    expect(new Set(await marksOf(open(), all))).toEqual(new Set([round]));
  });

  it('and more unsaved than the limit holds: changes are refused, reads go on, and it ends with the outage', async () => {
    await start({ capacity: '200k', partitions: '2', lanes: '1', journalLimit: '8mib', flushDelay: '100ms' });
    await victim.fault('WRITE_HANG', 1);
    const client = open(1);
    const channels = Array.from({ length: 100 }, (_, i) => String(i + 1));
    const saved = new Map<number, number>();
    const codes = new Set<string>();
    for (let round = 1; codes.size === 0 && round < 10; round++) {
      const items = channels.map((channelId) => ({ channelId, messageId: String(round) }));
      for (let first = 0; first < 1000; first += 50) {
        await Promise.all(
          Array.from({ length: 50 }, (_, i) =>
            client.ackBulk(userId(first + i), items).then(
              () => saved.set(first + i, round),
              (error: TidemarkError) => codes.add(error.code),
            ),
          ),
        );
      }
    }
    expect([...codes]).toEqual(['journal_unavailable']);
    const answer = await victim.call('POST', `/v1/users/${userId(1)}/read-states/1/ack`, {
      message_id: '99',
    });
    expect(answer).toMatchObject({ status: 503, body: { code: 'journal_unavailable', errors: [] } });
    const some = [...saved.keys()].slice(0, 100);
    const marks = await marksOf(client, some);
    for (const [i, mark] of marks.entries()) expect(mark).toBeGreaterThanOrEqual(saved.get(some[i]!)!);
    expect(victim.log).toContain('has reached its limit of 8388608 bytes');
    expect(await victim.metric('tidemark_journal_blocked{reason="full"}')).toBe(1);
    expect(await victim.metric('tidemark_shard_journal_unavailable_total')).toBeGreaterThan(0);
    await victim.fault('WRITE_HANG', 0);
    await until(
      async () => (await ackAll(client, 1, 100)).done.length === 1,
      'changes are taken again',
      90_000,
    );
    const blocked = 'tidemark_journal_blocked{reason="full"}';
    await until(async () => (await victim.metric(blocked)) === 0, 'the metric says so');
  });

  it('at a stop: exit code 1, the journal stays, and the next start has everything', async () => {
    await start({ saveTimeout: '1s' });
    await victim.fault('WRITE_HANG', 1);
    expect((await ackAll(open(), 100, 5)).done).toHaveLength(100);
    for (const client of clients.splice(0)) client.close();
    expect(await victim.stop()).toEqual({ code: 1, signal: null });
    expect(victim.log).toContain('the changes of 100 users are in the journal in ');
    expect(victim.log).toContain('nothing is lost, and the next start puts them back.');
    await start();
    expect(
      new Set(
        await marksOf(
          open(),
          Array.from({ length: 100 }, (_, i) => i),
        ),
      ),
    ).toEqual(new Set([5]));
  });
});

/** A file system of its own that can be filled. @returns null where that is not allowed */
function mount(mib: number): string | null {
  const path = join(directory, 'mount');
  mkdirSync(path);
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${mib}m`, 'tmpfs', path], { stdio: 'pipe' });
    return path;
  } catch {
    return null;
  }
}

describe('a disk', () => {
  it('that is full: changes are refused, reads go on, and it goes on by itself when there is room', async (context) => {
    const path = mount(30);
    if (path === null) {
      console.log('A test of a full disk is skipped: mounting a tmpfs takes root.');
      context.skip();
      return;
    }
    const options = { data: path, capacity: '10k', partitions: '2', lanes: '1', journalLimit: '64mib' };
    await start(options);
    try {
      writeFileSync(join(path, 'filler'), Buffer.alloc(64 * MIB - 1));
    } catch (error) {
      expect((error as NodeJS.ErrnoException).code).toBe('ENOSPC');
    }
    try {
      const client = open(1);
      const users = 2000;
      let codes = new Set<string>();
      let round = 0;
      const marks = new Array<number>(users).fill(0);
      while (codes.size === 0) {
        const result = await ackAll(client, users, ++round);
        for (const i of result.done) marks[i] = round;
        ({ codes } = result);
        if (round > 500) break;
      }
      expect([...codes]).toEqual(['journal_unavailable']);
      expect(victim.log).toContain('ENOSPC');
      expect(await victim.metric('tidemark_journal_blocked{reason="failed"}')).toBe(1);
      expect(await marksOf(client, [0, 1, 2])).toEqual(marks.slice(0, 3));
      expect((await victim.call('GET', '/readyz')).status).toBe(200);
      rmSync(join(path, 'filler'));
      await until(
        async () => (await ackAll(client, 1, 9999)).done.length === 1,
        'changes are taken again',
        90_000,
      );
      marks[0] = 9999;
      await until(() => victim.log.includes('goes on'), 'it is in the log');
      await kill();
      await start(options);
      const after = await marksOf(
        open(),
        Array.from({ length: users }, (_, i) => i),
      );
      for (const [i, mark] of after.entries()) expect(mark).toBeGreaterThanOrEqual(marks[i]!);
    } finally {
      await kill();
      execFileSync('umount', ['-l', path]);
    }
  });

  it.each(['and works again', 'until the service is killed'])(
    'that fails in the middle of a write, %s: what was answered is there, the rest is journal_unavailable',
    async (then) => {
      const options = { capacity: '50k', partitions: '2', lanes: '1' };
      await start(options);
      const client = open(1);
      const users = 1000;
      const marks = new Array<number>(users).fill(0);
      const round = async (message: number): Promise<Set<string>> => {
        const { done, codes } = await ackAll(client, users, message);
        for (const i of done) marks[i] = message;
        return codes;
      };
      expect((await round(1)).size).toBe(0);
      // Writes behind that byte of any file fail, and one across it is cut short.
      const limitFiles = (bytes: string): void => {
        execFileSync('prlimit', ['--pid', String(victim.child.pid), `--fsize=${bytes}:unlimited`]);
      };
      limitFiles(then === 'and works again' ? '100000' : '60'); // 60: no other segment can be begun either
      let codes = new Set<string>();
      for (let message = 2; codes.size === 0 && message < 50; message++) codes = await round(message);
      expect([...codes]).toEqual(['journal_unavailable']);
      const failures = 'tidemark_shard_journal_failures_total';
      await until(async () => (await victim.metric(failures)) > 0, 'the metric says so');
      expect(victim.log).toContain('The journal could not be written: EFBIG');
      const seen = await marksOf(client, [0, 1, 2]);
      for (const [i, mark] of seen.entries()) expect(mark).toBeGreaterThanOrEqual(marks[i]!);
      if (then === 'and works again') {
        limitFiles('unlimited');
        await until(
          async () => (await ackAll(client, 1, 100)).done.length === 1,
          'changes are taken again',
          90_000,
        );
        expect((await round(101)).size).toBe(0);
      }
      await kill();
      await start(options);
      const after = await marksOf(
        open(),
        Array.from({ length: users }, (_, i) => i),
      );
      if (then === 'and works again') expect(after).toEqual(marks);
      for (const [i, mark] of after.entries()) expect(mark).toBeGreaterThanOrEqual(marks[i]!);
    },
  );
});
