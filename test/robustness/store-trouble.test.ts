/** A store that is slow, hangs, fails or is full: hits go on, the rest is refused in time, nothing is lost, it recovers. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { OP, operation, STATUS, Stream } from './frames.js';
import { until, Victim } from './victim.js';

const MIB = 2 ** 20;
const RESIDENT = 100;
const directory = mkdtempSync(join(tmpdir(), 'tidemark-robustness-'));
afterAll(() => rmSync(directory, { recursive: true }));

let victim: Victim;
afterEach(async () => {
  await victim.stop();
  expect(victim.log).not.toContain('bug');
});

/** Operations, all answered: their statuses. */
async function statusesOf(stream: Stream, operations: readonly Buffer[]): Promise<number[]> {
  stream.frames = [];
  stream.socket.send(Buffer.concat(operations));
  await until(
    () => stream.replies.filter(({ more }) => !more).length === operations.length,
    'all are answered',
  );
  return stream.replies.filter(({ more }) => !more).map(({ status }) => status);
}

function forUsers(op: number, first: number, count: number): Buffer[] {
  return Array.from({ length: count }, (_, i) =>
    operation(op, i, first + i, op === OP.list || op === OP.badge ? 0 : 1),
  );
}

describe('a store that does not answer loads', () => {
  it.each([
    ['hangs', 'LOAD_HANG', 1],
    ['fails', 'LOAD_ERROR_PERMILLE', 1000],
    ['is very slow', 'LOAD_DELAY_MS', 5000],
  ] as const)(
    'as it %s stops nobody who is in memory, and is over when it is over',
    async (_how, fault, value) => {
      victim = await Victim.start({ loadTimeout: '300ms', maxParked: '2k' });
      const resident = await Stream.open(victim.streamUrl, 'bin');
      await statusesOf(resident, forUsers(OP.list, 1, RESIDENT));
      await victim.fault(fault, value);
      const before = await victim.memory();
      const cold = await Promise.all(Array.from({ length: 8 }, () => Stream.open(victim.streamUrl, 'bin')));
      const PER_STREAM = 8000;
      cold.forEach((stream, index) => {
        for (let from = 0; from < PER_STREAM; from += 2000) {
          stream.socket.send(Buffer.concat(forUsers(OP.get, 1_000_000 * (index + 1) + from, 2000)));
        }
      });
      let mentions = 0;
      const ended = (): boolean => cold.every((stream) => stream.replies.length >= PER_STREAM);
      while (!ended()) {
        const statuses = await statusesOf(resident, forUsers(OP.mention, 1, RESIDENT));
        expect(statuses).toEqual(new Array(RESIDENT).fill(STATUS.ok));
        mentions++;
        expect(await victim.metric('tidemark_shard_parked')).toBeLessThanOrEqual(2000);
      }
      const refused = cold.flatMap(({ replies }) => replies.map(({ status }) => status));
      expect(refused).toHaveLength(cold.length * PER_STREAM);
      // `unknown` where the store was merely slow and the load came in time for another.
      expect(
        refused.filter((status) => status !== STATUS.busy && status !== STATUS.storeUnavailable),
      ).toEqual([]);
      expect(refused).toContain(STATUS.storeUnavailable);
      expect((await victim.memory()).rss - before.rss).toBeLessThan(100 * MIB);
      const http = await fetch(`${victim.url}/v1/users/99999999/badge`);
      expect(http.status).toBe(503);
      expect(await http.json()).toMatchObject({ code: 'store_unavailable' });

      await victim.fault(fault, 0);
      await until(
        async () => (await victim.call('GET', '/v1/users/1000000/badge')).status === 200,
        'cold users load',
      );
      const badge = await victim.call('GET', '/v1/users/1/badge');
      expect(badge.body).toEqual({ mention_count: mentions, unread_mention_channels: 1 });
      await until(async () => (await victim.metric('tidemark_shard_parked')) === 0, 'nobody waits');
      for (const stream of [resident, ...cold]) stream.raw.destroy();
      expect(await victim.stop(), victim.log).toEqual({ code: 0, signal: null });
    },
  );
});

describe('a store that takes no writes', () => {
  it('loses nothing: calls go on, a warning says why, and all is written when it takes them again', async () => {
    victim = await Victim.start({ flushDelay: '100ms', saveTimeout: '10s' });
    await victim.fault('WRITE_ERROR_PERMILLE', 1000);
    const stream = await Stream.open(victim.streamUrl, 'bin');
    const users = 500;
    for (let round = 0; round < 5; round++) {
      const statuses = await statusesOf(stream, forUsers(OP.mention, 1, users));
      expect(statuses).toEqual(new Array(users).fill(STATUS.ok));
    }
    await until(async () => (await victim.metric('tidemark_shard_flush_failures_total')) > 0, 'writes fail');
    await until(() => victim.log.includes('a write was told to fail'), 'it is in the log');
    await until(async () => (await victim.metric('tidemark_shard_dirty_users')) === users, 'none is written');
    await victim.fault('WRITE_ERROR_PERMILLE', 0);
    await until(async () => (await victim.metric('tidemark_shard_dirty_users')) === 0, 'all is written');
    expect(await victim.metric('tidemark_persister_written_rows_total')).toBeGreaterThanOrEqual(users);
    stream.raw.destroy();
    expect(await victim.stop(), victim.log).toEqual({ code: 0, signal: null });
  });

  it.each([
    ['WRITE_ERROR_PERMILLE', 'none', 'lost.'],
    ['WRITE_HANG', 'none', 'lost.'],
    ['WRITE_HANG', 'process', 'in the journal in '],
  ] as const)(
    '(%s, --durability %s) ends a stop with 1 and where the changes of how many users are, within its time',
    async (fault, durability, where) => {
      victim = await Victim.start({ saveTimeout: '1s', flushDelay: '1h', durability });
      await victim.fault(fault, 1000);
      const stream = await Stream.open(victim.streamUrl, 'bin');
      await statusesOf(stream, forUsers(OP.mention, 1, 30));
      expect(await victim.stop()).toEqual({ code: 1, signal: null });
      expect(stream.closeCode).toBe(1001);
      expect(victim.log).toContain('The store did not take all writes within 1 s of the stop');
      expect(victim.log).toContain(`the changes of 30 users are ${where}`);
    },
  );

  it('does not keep a second SIGTERM from ending it at once', async () => {
    victim = await Victim.start({ saveTimeout: '5m', flushDelay: '1h' });
    await victim.fault('WRITE_HANG', 1);
    await victim.call('POST', '/v1/users/1/read-states/2/ack', { message_id: '3' });
    victim.child.kill('SIGTERM');
    await until(() => victim.log.includes('stopping: answering'), 'it stops');
    victim.child.kill('SIGTERM');
    expect(await victim.ended).toEqual({ code: 1, signal: null });
    expect(victim.log).toContain('SIGTERM again: stopping at once');
  });
});

describe('a full disk', () => {
  /** The largest file that the process may write; EFBIG is to LMDB what ENOSPC is. */
  const limitFiles = (bytes: string): void => {
    execFileSync('prlimit', ['--pid', String(victim.child.pid), `--fsize=${bytes}:unlimited`]);
  };

  // lmdb-js 3.5.6 now and then corrupts its native heap when many commits have failed, and the process ends in malloc
  // (5 of 24 runs failed; docs/operations.md). That is not what is tested here, so an attempt that met it is repeated.
  it('stops no call, loses nothing, and is over when there is room again', {
    retry: 3,
    timeout: 60_000,
  }, async () => {
    const data = mkdtempSync(join(directory, 'full-'));
    victim = await Victim.start({
      data,
      store: `lmdb:${data}`,
      flushDelay: '100ms',
      saveTimeout: '10s',
      durability: 'none',
    });
    await victim.call('POST', '/v1/users/1/read-states/1/ack', { message_id: '1' });
    await until(async () => (await victim.metric('tidemark_shard_dirty_users')) === 0, 'the store works');
    limitFiles('65536');
    const stream = await Stream.open(victim.streamUrl, 'bin');
    const users = 3000;
    expect(await statusesOf(stream, forUsers(OP.mention, 1, users))).toEqual(
      new Array(users).fill(STATUS.ok),
    );
    await until(async () => (await victim.metric('tidemark_shard_flush_failures_total')) > 0, 'writes fail');
    await until(() => victim.log.includes('cannot write to the store'), 'it is in the log');
    expect(await statusesOf(stream, forUsers(OP.mention, 1, users))).toEqual(
      new Array(users).fill(STATUS.ok),
    );
    expect(await statusesOf(stream, forUsers(OP.get, 1_000_000, 10))).toEqual(
      new Array(10).fill(STATUS.unknown),
    );
    limitFiles('unlimited');
    await until(async () => (await victim.metric('tidemark_shard_dirty_users')) === 0, 'all is written');
    stream.raw.destroy();
    expect(await victim.stop(), victim.log).toEqual({ code: 0, signal: null });

    victim = await Victim.start({ data, store: `lmdb:${data}` });
    const again = await Stream.open(victim.streamUrl, 'bin');
    await statusesOf(again, forUsers(OP.badge, 1, users));
    expect(again.replies.map(({ count }) => count)).toEqual(new Array(users).fill(2));
    again.raw.destroy();
  });
});
