/** `/admin/status` and its siblings against a running service. */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, openSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { AdminHistory, AdminStatus } from '../../gateway/admin/status-types.js';
import { Service } from '../contract/service.js';
import { type Gateway, startGateway } from './gateway-support.js';

const run = promisify(execFile);
const MAIN = fileURLToPath(new URL('../../gateway/main.js', import.meta.url));
const HOT_USER = '4242';

let gateway: Gateway;
beforeAll(async () => {
  gateway = await startGateway({ flushDelay: '1h' });
});
afterAll(() => gateway.close());

async function status(): Promise<AdminStatus> {
  return (await (await fetch(`${gateway.url}/admin/status`)).json()) as AdminStatus;
}

async function ack(user: string, channel: string): Promise<void> {
  const response = await fetch(`${gateway.url}/v1/users/${user}/read-states/${channel}/ack`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: '{"message_id":"9"}',
  });
  expect(response.status).toBe(200);
  await response.arrayBuffer();
}

async function eventually(good: (now: AdminStatus) => boolean, what: string): Promise<AdminStatus> {
  for (let i = 0; i < 200; i++) {
    const now = await status();
    if (good(now)) return now;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`in vain waited until ${what}`);
}

describe('admin status', () => {
  it('counts what is in the partitions, who owns them, and what is unsaved; flush now saves it', async () => {
    for (let user = 1; user <= 40; user++) await ack(String(user), '7');
    await (await fetch(`${gateway.url}/v1/users/1/read-states`)).arrayBuffer();
    const now = await eventually(
      ({ totals }) => totals.records === 40 && totals.unsaved_users === 40 && totals.oldest_unsaved_ms > 0,
      'all records show',
    );
    expect(now.partitions).toHaveLength(4);
    expect(now.partitions.map(({ shard }) => shard)).toEqual([0, 1, 0, 1]);
    expect(now.shards.map(({ partitions }) => partitions)).toEqual([
      [0, 2],
      [1, 3],
    ]);
    const sum = (values: number[]): number => values.reduce((total, value) => total + value, 0);
    expect(sum(now.partitions.map(({ records }) => records))).toBe(40);
    expect(sum(now.shards.map(({ users }) => users))).toBe(now.totals.users);
    expect(sum(now.partitions.map(({ unsaved_users }) => unsaved_users))).toBe(40);
    expect(now.totals.operations).toBe(41);
    expect(now.threads.map(({ thread }) => thread)).toEqual(['front', 'shard 0', 'shard 1', 'persister']);
    expect(now.settings.introspection).toBe(true);

    const ordered = await fetch(`${gateway.url}/admin/flush`, { method: 'POST' });
    expect(ordered.status).toBe(202);
    expect(await ordered.json()).toEqual({ unsaved_users: 40 });
    const saved = await eventually(({ totals }) => totals.unsaved_users === 0, 'all is saved');
    expect(saved.totals.oldest_unsaved_ms).toBe(0);
    expect(saved.store.written_rows).toBe(40);
    // A change after the order is not due before its time.
    await ack('1', '7000');
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect((await status()).totals.unsaved_users).toBe(1);
  });

  it('measures latencies by operation, from the ring to the answer', async () => {
    for (let i = 0; i < 100; i++) await ack('50', '7');
    const { latencies } = await status();
    const acks = latencies!.find(({ operation }) => operation === 'ack')!;
    const all = latencies![0]!;
    expect(all.operation).toBe('all');
    expect(acks.per_s).toBeGreaterThan(0);
    for (const { p50_ms, p90_ms, p99_ms, p999_ms, max_ms } of [all, acks]) {
      expect(p50_ms!).toBeGreaterThan(0);
      expect(p90_ms!).toBeGreaterThanOrEqual(p50_ms!);
      expect(p99_ms!).toBeGreaterThanOrEqual(p90_ms!);
      expect(p999_ms!).toBeGreaterThanOrEqual(p99_ms!);
      expect(max_ms).toBeGreaterThanOrEqual(p999_ms!);
      expect(max_ms).toBeLessThan(30_000);
    }
  });

  it('names hot users and channels', async () => {
    for (let round = 0; round < 30; round++)
      await Promise.all(Array.from({ length: 20 }, () => ack(HOT_USER, '8')));
    const { hot } = await status();
    expect(hot!.users[0]!.user_id).toBe(HOT_USER);
    expect(hot!.users[0]!.per_s).toBeGreaterThan(10);
    expect(hot!.channels[0]!.channel_id).toBe('8');
  });

  it('keeps a history, of which one can ask for what is new', async () => {
    const history = async (query = ''): Promise<AdminHistory> =>
      (await (await fetch(`${gateway.url}/admin/history${query}`)).json()) as AdminHistory;
    let all = await history();
    for (let i = 0; i < 200 && all.time_ms.length < 2; i++) {
      await new Promise((resolve) => setTimeout(resolve, 50));
      all = await history();
    }
    expect(all.time_ms.length).toBeGreaterThanOrEqual(2);
    expect(Math.max(...all.columns.operations_per_s.map((value) => value!))).toBeGreaterThan(0);
    for (const column of Object.values(all.columns)) expect(column).toHaveLength(all.time_ms.length);
    const last = all.time_ms.at(-1)!;
    for (const time of (await history(`?after_ms=${last}`)).time_ms) expect(time).toBeGreaterThan(last);
    for (const query of ['?after_ms=abc', '?after_ms=', '?a=1&after_ms', '?after_ms=-1', '?after_ms=1.5'])
      expect(await history(query), query).toMatchObject({
        code: 'invalid_request',
        errors: [{ path: 'after_ms', message: 'is not a whole number of ms since 1970' }],
      });
  });

  it('is shown by tidemark status, as text and as JSON', async () => {
    const text = (await run(process.execPath, [MAIN, 'status', '--url', gateway.url])).stdout;
    expect(text).toContain('operations/s');
    expect(text).toContain('shard 1');
    expect(text).toContain('ack');
    const json = (await run(process.execPath, [MAIN, 'status', '--json', '--url', gateway.url])).stdout;
    expect((JSON.parse(json) as AdminStatus).settings.partitions).toBe(4);
    const nobody = run(process.execPath, [MAIN, 'status', '--url', 'http://127.0.0.1:1']);
    await expect(nobody).rejects.toMatchObject({ code: 1 });
  });

  it.runIf(existsSync('/dev/full'))('is an error where it cannot be written, without a stack', async () => {
    const full = openSync('/dev/full', 'w');
    const status = spawn(process.execPath, [MAIN, 'status', '--url', gateway.url], {
      stdio: ['ignore', full, 'pipe'],
    });
    closeSync(full);
    let said = '';
    status.stderr!.on('data', (data: Buffer) => (said += data.toString()));
    const [code] = await once(status, 'close');
    expect([code, said]).toEqual([
      1,
      expect.stringMatching(/^tidemark: the output cannot be written: .*ENOSPC.*\n$/),
    ]);
  });
});

describe('introspection off', () => {
  it('leaves out what is measured for each operation', async () => {
    const without = await startGateway({ introspection: 'off' });
    try {
      await (await fetch(`${without.url}/v1/users/1/badge`)).arrayBuffer();
      const now = (await (await fetch(`${without.url}/admin/status`)).json()) as AdminStatus;
      expect(now).toMatchObject({
        latencies: null,
        hot: null,
        slow: null,
        settings: { introspection: false },
      });
      expect(now.totals.operations).toBe(1);
    } finally {
      await without.close();
    }
  });
});

describe('the slow log', () => {
  it('says what an operation waited for', async () => {
    const service = await Service.start({ store: 'memory:', shards: '1', capacity: '10k' });
    try {
      service.fault('LOAD_DELAY_MS', 60);
      expect((await fetch(`${service.url}/v1/users/77/read-states/5`)).status).toBe(404);
      await (await fetch(`${service.url}/v1/users/78/read-states`)).arrayBuffer();
      // An answer is out a moment before it is in the log.
      let slow: AdminStatus['slow'] = [];
      for (let i = 0; i < 200 && slow!.length < 2; i++) {
        await new Promise((resolve) => setTimeout(resolve, 25));
        ({ slow } = (await (await fetch(`${service.url}/admin/status`)).json()) as AdminStatus);
      }
      const get = slow!.find(({ user_id }) => user_id === '77')!;
      expect(get).toMatchObject({ operation: 'get', channel_id: '5', room_ms: 0, cursor_ms: 0 });
      expect(get.load_ms).toBeGreaterThanOrEqual(55);
      expect(get.total_ms).toBeGreaterThanOrEqual(get.load_ms + get.ring_ms);
      expect(Date.parse(get.ended)).toBeGreaterThan(Date.now() - 60_000);
      const list = slow!.find(({ user_id }) => user_id === '78')!;
      expect(list).toMatchObject({ operation: 'list', channel_id: null });
      expect(list.load_ms).toBeGreaterThanOrEqual(55);
      expect(slow!.map(({ total_ms }) => total_ms)).toEqual(
        slow!.map(({ total_ms }) => total_ms).sort((a, b) => b - a),
      );
    } finally {
      await service.stop();
    }
  });
});
