/** The service as a process: a clean stop answers what is in flight, flushes everything and exits with 0. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { BinaryDriver } from './binary-driver.js';
import type { Driver } from './driver.js';
import { HttpDriver } from './http-driver.js';
import { JsonDriver } from './json-driver.js';
import { message, newIds, until } from './stage.js';

const MAIN = fileURLToPath(new URL('../../gateway/main.js', import.meta.url));
const directory = mkdtempSync(join(tmpdir(), 'tidemark-contract-stop-'));
const children: ChildProcess[] = [];
afterAll(() => {
  for (const child of children) child.kill('SIGKILL');
  rmSync(directory, { recursive: true });
});

interface Process {
  readonly child: ChildProcess;
  readonly url: string;
  readonly exit: Promise<number | null>;
}

async function serve(...args: string[]): Promise<Process> {
  const child = spawn(process.execPath, [MAIN, 'serve', '--port', '0', ...args], { cwd: directory });
  children.push(child);
  const exit = new Promise<number | null>((resolve) => child.on('exit', resolve));
  let text = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (data: Buffer) => {
      text += data.toString();
    });
  }
  const ready = () => text.split('\n').find((line) => line.includes('"msg":"ready"'));
  await until(() => ready() !== undefined || child.exitCode !== null, 'it is ready');
  if (ready() === undefined) throw new Error(text);
  return { child, exit, url: (JSON.parse(ready()!) as { url: string }).url };
}

const streamOf = (url: string): string => `${url.replace('http', 'ws')}/v1/stream`;

describe.each(['slab', 'heap'])('SIGTERM, --engine %s', (engine) => {
  const args = [
    '--shards',
    '2',
    '--partitions',
    '4',
    '--capacity',
    '20k',
    '--engine',
    engine,
    '--load-timeout',
    '60s',
  ];

  it('answers what is in flight, and a restart on the same directory shows all that was answered', async () => {
    const data = join(directory, `data-${engine}`);
    const first = await serve(...args, '--data', data, '--flush-delay', '1h');
    const drivers: Driver[] = [
      await JsonDriver.open(streamOf(first.url)),
      new BinaryDriver(first.url),
      new HttpDriver(first.url),
    ];
    await (drivers[1] as BinaryDriver).ping();
    const users = newIds(3000);
    // One frame each: the service has taken all of it when it answers the first.
    const calls = [0, 1].map((i) => users.map((user) => drivers[i]!.mention(String(i + 1), [user])));
    await Promise.race(calls.map(([call]) => call));
    await Promise.all(calls.map((ofDriver) => ofDriver[0]));
    first.child.kill('SIGTERM');
    for (const ofDriver of calls) {
      const answers = await Promise.allSettled(ofDriver);
      for (const answer of answers) {
        expect(answer.status === 'fulfilled' ? answer.value : answer.reason).toMatchObject({
          applied: 1,
          failed: [],
        });
      }
    }
    expect(await (drivers[0] as JsonDriver).closed).toBe(1001);
    expect(await first.exit).toBe(0);
    for (const driver of drivers) driver.close();

    const second = await serve(...args, '--data', data);
    const reader = new BinaryDriver(second.url);
    const lists = await Promise.all(users.map((user) => reader.list(user)));
    for (const { entries, version } of lists) {
      expect(version).toBe(2);
      expect(entries).toMatchObject([
        { id: '1', mention_count: 1 },
        { id: '2', mention_count: 1 },
      ]);
    }
    reader.close();
    second.child.kill('SIGTERM');
    expect(await second.exit).toBe(0);
  });

  it('under traffic of all protocols: whatever was answered is there, nothing is half done', async () => {
    const data = join(directory, `traffic-${engine}`);
    const first = await serve(...args, '--data', data, '--flush-delay', '50ms');
    const drivers: Driver[] = [
      new HttpDriver(first.url),
      await JsonDriver.open(streamOf(first.url)),
      new BinaryDriver(first.url),
    ];
    const users = newIds(50);
    const marks = new Map<string, number>();
    let stopping = false;
    let refused = 0;
    const traffic = drivers.map(async (driver, i) => {
      for (let step = 1; !stopping || step < 50; step++) {
        const round = users.map(async (user) => {
          const key = `${user} ${i + 1}`;
          try {
            await driver.ack(user, String(i + 1), message(step));
            marks.set(key, Math.max(marks.get(key) ?? 0, step));
          } catch {
            refused++;
          }
        });
        await Promise.all(round);
        if (refused > 0) return;
      }
    });
    await until(() => marks.size === users.length * drivers.length, 'all have written');
    first.child.kill('SIGTERM');
    stopping = true;
    expect(await first.exit).toBe(0);
    for (const driver of drivers) driver.close();
    await Promise.all(traffic);

    const second = await serve(...args, '--data', data);
    const reader = new BinaryDriver(second.url);
    for (const user of users) {
      const { entries } = await reader.list(user);
      expect(entries).toHaveLength(drivers.length);
      for (const entry of entries) {
        const step = marks.get(`${user} ${entry.id}`)!;
        // The last one may have been done without an answer: the connection was closed.
        expect([message(step), message(step + 1)]).toContain(entry.last_message_id);
      }
    }
    reader.close();
    second.child.kill('SIGTERM');
    expect(await second.exit).toBe(0);
  });
});
