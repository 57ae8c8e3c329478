/** Saved partitions: taken back by the next start after a clean stop, and by no other. */
import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { LAYOUT_VERSION } from '../../engine/layout.js';
import { readChecked, writeChecked } from '../../workers/warm/checked-file.js';
import { JsonDriver } from '../contract/json-driver.js';
import { type List, ServeProcess } from './serve-process.js';

/** A test starts several processes, and other tests run beside it. */
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

const directory = mkdtempSync(join(tmpdir(), 'tidemark-warm-'));
afterAll(() => rmSync(directory, { recursive: true }));

const SMALL: Record<string, string> = {
  '--shards': '2',
  '--partitions': '4',
  '--capacity': '10k',
  '--flush-delay': '1h',
};
const USERS = 12;
const IDS = Array.from({ length: USERS }, (_, i) => i + 1);
const COLD = 'The saved partitions are not used, this start is cold: ';

let data = '';
let service: ServeProcess;
beforeEach(() => {
  data = mkdtempSync(join(directory, 'data-'));
});
afterEach(async () => {
  await service.kill();
});

async function start(options: Record<string, string> = {}): Promise<void> {
  const all = { ...SMALL, '--data': data, ...options };
  service = await ServeProcess.start(...Object.entries(all).flat());
}

async function restart(options: Record<string, string> = {}): Promise<void> {
  expect(await service.stop()).toBe(0);
  await start(options);
}

/** Some users with some entries each. */
async function fill(): Promise<List[]> {
  await Promise.all(
    IDS.map(async (user) => {
      for (let channel = 1; channel <= 1 + (user % 3); channel++) await service.ack(user, channel, user);
      await service.mention(user, 9, 1000 + user);
    }),
  );
  return lists();
}

function lists(): Promise<List[]> {
  return Promise.all(IDS.map((user) => service.list(user)));
}

const isWarm = async (): Promise<boolean> => (await service.metric('tidemark_started_warm')) === 1;
const loads = (): Promise<number> => service.metric('tidemark_shard_loads_total');
const evictions = (): Promise<number> => service.metric('tidemark_shard_evicted_users_total');
const saved = (): string => join(data, 'partitions');

describe('a restart after a clean stop', () => {
  it('loads nothing: entries, versions, and the mentions that were counted, are there', async () => {
    await start();
    expect(await isWarm()).toBe(false);
    const before = await fill();
    await restart();
    expect(await isWarm()).toBe(true);
    expect(service.log).toMatch(/Warm start: \d+ MB of partitions/);
    expect(await lists()).toEqual(before);
    // Not the entry's latest mention: only the window of the partition knows it.
    await service.mention(1, 9, 2000);
    expect(await service.mention(1, 9, 1001)).toMatchObject({ applied: 0, duplicates: 1 });
    expect((await service.ack(2, 77, 5)).version).toBe(before[1]!.version + 1);
    expect(await loads()).toBe(0);
  });

  it('is warm with another number of shards, again and again, and what changed meanwhile is in it', async () => {
    await start();
    const before = await fill();
    let version = before[0]!.version;
    for (const shards of ['1', '3', '2']) {
      await restart({ '--shards': shards, '--ack-order': shards === '3' ? 'last-write' : 'forward' });
      expect(await isWarm()).toBe(true);
      const entry = await service.ack(1, 50, 100 + version);
      expect(entry.version).toBe(++version);
    }
    await restart();
    expect((await lists()).slice(1)).toEqual(before.slice(1));
    expect((await service.list(1)).version).toBe(version);
    expect(await loads()).toBe(0);
  });

  it('has forgotten who was subscribed', async () => {
    await start();
    await fill();
    const driver = await JsonDriver.open(`${service.url.replace('http', 'ws')}/v1/stream`);
    await driver.subscribe(['1', '2']);
    await service.ack(1, 1, 500);
    expect(await service.metric('tidemark_shard_events_total')).toBe(1);
    await restart();
    expect(await isWarm()).toBe(true);
    await service.ack(1, 1, 501);
    await service.ack(2, 1, 501);
    expect(await service.metric('tidemark_shard_events_total')).toBe(0);
  });

  it('evicts and flushes on: ticks go on where they were', async () => {
    const tight = { '--partitions': '1', '--shards': '1', '--capacity': '100', '--flush-delay': '100ms' };
    await start(tight);
    await fill();
    await restart(tight);
    expect(await isWarm()).toBe(true);
    const others = Array.from({ length: 100 }, (_, i) => 100 + i);
    await Promise.all(others.map((user) => service.ack(user, 1, user)));
    // A shard shows its gauges once a tick: what the last acks evicted is seen with the next one.
    await expect.poll(evictions, { timeout: 60_000 }).toBeGreaterThan(20);
    for (const user of [100, 150, 199]) {
      expect((await service.list(user)).entries[0]).toMatchObject({ last_message_id: String(user) });
    }
  });
});

describe('what was saved is not found again', () => {
  it('after a crash', async () => {
    await start();
    const before = await fill();
    await restart();
    expect(await isWarm()).toBe(true);
    await service.kill();
    await start();
    expect(await isWarm()).toBe(false);
    expect(await lists()).toEqual(before);
    expect(await loads()).toBeGreaterThan(0);
  });

  it('by a start that fails after it was removed, or by one that it does not suit', async () => {
    await start();
    await fill();
    expect(await service.stop()).toBe(0);
    await start({ '--capacity': '11k' });
    expect(await isWarm()).toBe(false);
    await service.kill();
    await start();
    expect(await isWarm()).toBe(false);
    expect(service.log).not.toContain('saved partitions');
  });
});

/** Starts cold for the reason; everything is there all the same. */
async function expectCold(
  reason: string,
  before: List[],
  options: Record<string, string> = {},
): Promise<void> {
  await start(options);
  expect(service.log).toContain(`${COLD}${reason}`);
  expect(await isWarm()).toBe(false);
  expect(await lists()).toEqual(before);
  expect(await loads()).toBe(USERS);
}

describe('saved partitions are refused', () => {
  let before: List[];
  beforeEach(async () => {
    await start();
    before = await fill();
    expect(await service.stop()).toBe(0);
  });

  it.each([
    ['--capacity', '11k', '--capacity, in records of a partition, was 2575 and is 2833.'],
    ['--partitions', '8', '--partitions was 4 and is 8.'],
    ['--max-watched', '1k', '--max-watched, in users of a partition, was 250000 and is 250.'],
    ['--engine', 'heap', '--engine was slab and is heap.'],
  ])('with %s %s', async (option, value, reason) => {
    await expectCold(reason, before, { [option]: value });
  });

  it('with another store', async () => {
    const store = `lmdb:${join(data, 'other')}`;
    await start({ '--store': store });
    expect(service.log).toContain(`${COLD}--store was lmdb:${data}/store and is ${store}.`);
    expect((await service.list(1)).entries).toEqual([]);
  });

  it('after another process has used the store', async () => {
    const elsewhere = mkdtempSync(join(directory, 'elsewhere-'));
    const store = { '--store': `lmdb:${data}/store` };
    await start({ ...store, '--data': elsewhere });
    const changed = await service.ack(1, 1, 9999);
    await service.stop();
    await start(store);
    expect(service.log).toContain(`${COLD}the store was used since they were saved`);
    expect((await service.list(1)).entries).toContainEqual(changed);
  });

  it('beside a journal', async () => {
    const kept = join(directory, 'kept');
    cpSync(saved(), kept, { recursive: true });
    await start();
    const changed = await service.ack(1, 1, 9999);
    await service.kill();
    cpSync(kept, saved(), { recursive: true });
    await start();
    expect(service.log).toContain(`${COLD}there is a journal beside them`);
    expect(await isWarm()).toBe(false);
    expect((await service.list(1)).entries).toContainEqual(changed);
    expect((await lists()).slice(1)).toEqual(before.slice(1));
  });

  it('of another layout', async () => {
    const path = join(saved(), 'manifest');
    const manifest = JSON.parse(readChecked(path, 'partitions')!.toString()) as object;
    const other = { ...manifest, layoutVersion: LAYOUT_VERSION + 1 };
    await writeChecked(path, 'partitions', Buffer.from(JSON.stringify(other)));
    await expectCold('the layout of the memory (another version of Tidemark) was', before);
  });

  it.each(['3.partition', 'manifest'])('with a flipped byte in %s', async (name) => {
    const path = join(saved(), name);
    const bytes = readFileSync(path);
    const at = Math.floor(bytes.length * 0.7);
    bytes[at] = bytes[at]! ^ 0x10;
    writeFileSync(path, bytes);
    await expectCold(`${path} is damaged: its checksum does not match.`, before);
    // The memory into which they were read before they were refused is as new.
    await Promise.all(IDS.map((user) => service.ack(user, 5000, 1)));
    await restart();
    expect(await isWarm()).toBe(true);
    expect((await service.list(1)).version).toBe(before[0]!.version + 1);
  });

  it('with a file that was cut short', async () => {
    const path = join(saved(), '1.partition');
    truncateSync(path, readFileSync(path).length - 1);
    await expectCold(`${path} ends at byte`, before);
  });

  it('with a file missing', async () => {
    rmSync(join(saved(), '2.partition'));
    await expectCold("ENOENT: no such file or directory, open '", before);
  });

  it('without a manifest: those are leftovers, and go', async () => {
    rmSync(join(saved(), 'manifest'));
    await start();
    expect(await isWarm()).toBe(false);
    expect(await lists()).toEqual(before);
    expect(() => readdirSync(saved())).toThrow('ENOENT');
  });
});

describe('a stop', () => {
  it('says that objects are not saved', async () => {
    await start({ '--engine': 'heap' });
    await fill();
    expect(await service.stop()).toBe(0);
    expect(service.log).toContain('the next start is cold: --engine heap keeps objects.');
  });

  it('that finds the disk full is clean; the next start is cold', async () => {
    await start({ '--capacity': '200k' });
    const before = await fill();
    // Enough for the store, not for a partition; EFBIG is to the one what ENOSPC is to the other.
    execFileSync('prlimit', ['--pid', String(service.child.pid), '--fsize=400000:unlimited']);
    expect(await service.stop()).toBe(0);
    expect(service.log).toContain('The partitions are not saved, the next start is cold: EFBIG');
    expect(() => readdirSync(saved())).toThrow('ENOENT');
    await start({ '--capacity': '200k' });
    expect(await isWarm()).toBe(false);
    expect(await lists()).toEqual(before);
  });
});
