/** After a crash the users who were active last are loaded in the background. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, it, vi } from 'vitest';
import { readChecked } from '../../workers/warm/checked-file.js';
import { until } from '../contract/stage.js';
import { ServeProcess } from './serve-process.js';

/** A test starts several processes, and other tests run beside it. */
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

const directory = mkdtempSync(join(tmpdir(), 'tidemark-hot-'));
afterAll(() => rmSync(directory, { recursive: true }));

const USERS = 60;
const ENTRIES = 6;
const IDS = Array.from({ length: USERS }, (_, i) => i + 1);

let service: ServeProcess;
afterEach(() => service.kill());

/** A data directory with a store and hot users, left by a service that was killed. */
async function crashed(engine: string): Promise<string> {
  const data = mkdtempSync(join(directory, 'data-'));
  service = await ServeProcess.start(
    ...['--data', data, '--engine', engine, '--partitions', '4', '--shards', '2', '--capacity', '10k'],
    ...['--flush-delay', '0ms', '--hot-users-interval', '100ms', '--durability', 'none'],
  );
  for (let channel = 1; channel <= ENTRIES; channel++) {
    await Promise.all(IDS.map((user) => service.ack(user, channel, user)));
  }
  const stored = (): Promise<number> => service.metric('tidemark_shard_flushed_rows_total');
  await until(async () => (await stored()) === USERS * ENTRIES, 'all is stored');
  await until(() => savedUsers(data).length === USERS, 'the hot users are saved');
  await service.kill();
  return data;
}

function savedUsers(data: string): number[] {
  const path = join(data, 'hot-users');
  const body = existsSync(path) ? readChecked(path, 'hot-users')! : Buffer.alloc(0);
  return Array.from({ length: body.length / 8 }, (_, i) => body.readInt32LE(i * 8));
}

const loaded = (): Promise<number> => service.metric('tidemark_shard_hot_users_loaded_total');
const loads = (): Promise<number> => service.metric('tidemark_shard_loads_total');

async function untilLoaded(): Promise<void> {
  await until(async () => (await service.metric('tidemark_shard_hot_users_left')) === 0, 'all are looked at');
}

describe.each(['slab', 'heap'])('after a kill -9, --engine %s', (engine) => {
  it('they are loaded below the rate, and need no load when they are asked for', async () => {
    const data = await crashed(engine);
    expect(new Set(savedUsers(data))).toEqual(new Set(IDS));
    const rate = 20;
    const startMs = performance.now();
    const args = ['--data', data, '--engine', engine, '--partitions', '8', '--capacity', '20k'];
    service = await ServeProcess.start(...args, '--warm-rate', String(rate), '--shards', '2');
    expect(service.log).toContain(`Loading ${USERS} hot users in the background.`);
    let seen = 0;
    while (seen < USERS) {
      seen = await loaded();
      const elapsedS = (performance.now() - startMs) / 1000;
      expect(seen).toBeLessThanOrEqual(rate * elapsedS + 2);
    }
    await until(() => service.log.includes(`Loaded ${USERS} hot users in `), 'it says so');
    expect(await loads()).toBe(USERS);
    for (const list of await Promise.all(IDS.map((user) => service.list(user)))) {
      expect(list.entries.length).toBe(ENTRIES);
    }
    expect(await loads()).toBe(USERS);
  });
});

describe('hot users', () => {
  it('evict nobody: those who find no room are left out', async () => {
    const data = await crashed('slab');
    const args = ['--data', data, '--partitions', '1', '--shards', '1', '--capacity', '180'];
    service = await ServeProcess.start(...args);
    await untilLoaded();
    const records = (): Promise<number> => service.metric('tidemark_shard_records');
    await until(async () => (await records()) > 180 / 2, 'a good part of the room is taken');
    expect(await service.metric('tidemark_shard_hot_users_skipped_total')).toBe(USERS - (await loaded()));
    expect(await service.metric('tidemark_shard_evicted_users_total')).toBe(0);
    // Those on their way when the last room was taken find none.
    expect((await loads()) - (await loaded())).toBeLessThan(8);
  });

  it('are not loaded after a clean stop, with --warm-rate 0, or from a damaged file', async () => {
    const data = await crashed('slab');
    service = await ServeProcess.start('--data', data, '--warm-rate', '0');
    expect(service.log).not.toContain('hot users');
    await service.list(1);
    await service.stop();
    service = await ServeProcess.start('--data', data);
    expect(service.log).not.toContain('hot users');
    expect(await loads()).toBe(0);
    await service.kill();
    const path = join(data, 'hot-users');
    const bytes = readFileSync(path);
    bytes[bytes.length - 3]! ^= 1;
    writeFileSync(path, bytes);
    service = await ServeProcess.start('--data', data);
    expect(service.log).toContain(`The hot users are not loaded: ${path} is damaged`);
    expect(await service.metric('tidemark_shard_hot_users_left')).toBe(0);
    expect((await service.list(2)).entries.length).toBe(ENTRIES);
  });

  it('are not remembered with --hot-users 0', async () => {
    const data = mkdtempSync(join(directory, 'data-'));
    const args = ['--data', data, '--hot-users', '0', '--hot-users-interval', '100ms'];
    service = await ServeProcess.start(...args);
    await service.ack(1, 1, 1);
    await new Promise((resolve) => setTimeout(resolve, 1500));
    expect(existsSync(join(data, 'hot-users'))).toBe(false);
  });
});
