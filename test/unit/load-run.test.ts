import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { FrameBlaster } from '../../bench/frame-blaster.js';
import { httpBlast } from '../../bench/http-blaster.js';
import { type LoadOptions, load } from '../../bench/load.js';
import { RawSocket } from '../../bench/raw-socket.js';
import { formatSummary } from '../../bench/run-stats.js';
import { parseMix } from '../../bench/synthetic-workload.js';
import { checkResultFile, writeResult } from '../../bench/target-options.js';
import { WireWorkload } from '../../bench/wire-workload.js';
import { STATUS_BUSY, STATUS_OK } from '../../engine/messages.js';
import { TestServer } from './client-test-server.js';

let server: TestServer;

beforeEach(async () => {
  server = new TestServer();
  await server.start();
});
afterEach(() => server.stop());

function options(changes: Partial<LoadOptions>): LoadOptions {
  return {
    url: new URL(server.url),
    protocol: 'bin',
    rate: 5000,
    duration: 300,
    warmUp: 100,
    users: 100,
    channelsPerUser: 4,
    zipf: 0.9,
    mix: parseMix('ack=50,mention=30,get=10,list=5,badge=5'),
    opsPerFrame: 16,
    window: 256,
    seed: 1,
    ...changes,
  };
}

describe('load', () => {
  test.each(['bin', 'http'] as const)('open loop over %s sends what the rate says', async (protocol) => {
    const { run } = await load(options({ protocol, rate: 1000 }));
    expect(run.errors).toEqual({});
    expect(run.kinds.at(-1)).toMatchObject({ kind: 'all', operations: 300 });
    expect(run.kinds.map(({ kind }) => kind)).toEqual(['ack', 'mention', 'get', 'list', 'badge', 'all']);
    expect(formatSummary(run)).toMatch(/^operation +count +per second .*\nack +1\d\d .*no errors$/s);
  });

  test('closed loop, and a user with lists of many parts', async () => {
    server.partEntries = 2;
    const { run } = await load(options({ rate: Number.POSITIVE_INFINITY, mix: parseMix('ack=50,list=50') }));
    expect(run.errors).toEqual({});
    expect(run.kinds.at(-1)?.operations).toBeGreaterThan(300);
  });

  test('a service that stops answering for a while shows in the latencies of what was due meanwhile', async () => {
    const running = load(options({ rate: 1000, duration: 500, warmUp: 0 }));
    await new Promise((resolve) => setTimeout(resolve, 150));
    // The test's server shares this thread: nothing is answered, and nothing sent.
    for (const end = performance.now() + 150; performance.now() < end; );
    const { run } = await running;
    const all = run.kinds.at(-1)!;
    expect(all.operations).toBe(500);
    // Some 150 operations were due in the pause; the last tenth of all waited for most of it.
    expect(all.latencyMs.p90).toBeGreaterThan(30);
  });

  test('errors are counted by code', async () => {
    server.refuse = { count: 7, status: STATUS_BUSY };
    const { run } = await load(options({ warmUp: 0 }));
    expect(run.errors).toEqual({ busy: 7 });
  });

  test('of a file with two tokens the first is sent', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'tidemark-load-'));
    try {
      const tokenFile = join(folder, 'tokens');
      writeFileSync(tokenFile, 'new-token\nold-token\n');
      server.token = 'new-token';
      const { run } = await load(options({ tokenFile, duration: 50, warmUp: 0 }));
      expect(run.errors).toEqual({});
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });

  test('a lost connection is an error, not an endless wait', async () => {
    setTimeout(() => server.cutAll(), 100);
    const { run } = await load(options({ connections: 1, warmUp: 0 }));
    expect(Object.keys(run.errors)).toContain('connection closed 1006');
  });
});

describe('the frame blaster', () => {
  test('counts every answer once, in all three ways', async () => {
    const workload = new WireWorkload(50, 4);
    const sockets = [
      await RawSocket.open({ url: new URL(server.url) }),
      await RawSocket.open({ url: new URL(server.url) }),
    ];
    const blaster = new FrameBlaster({
      sockets,
      opsPerFrame: 10,
      fill: workload.ackNext,
      answers: 'service',
    });
    const all = await blaster.sendAll(20, 4);
    expect(all.operations).toBe(200);
    expect(all.statuses[STATUS_OK]).toBe(200);
    expect(server.users.size).toBe(50);
    expect(server.user(workload.userId(49)).entries.size).toBe(4);
    expect((await blaster.closedLoop(50, 2)).operations).toBeGreaterThan(0);
    const open = await blaster.openLoop(100, 200, 4);
    expect(open.operations).toBe(200);
    expect(open.latencyUs.totalCount).toBe(20);
    for (const socket of sockets) socket.close();
  });

  test('the channels of a user differ, and none repeats', async () => {
    const workload = new WireWorkload(1000, 32);
    const words = new Int32Array(8);
    const keys = new Set<string>();
    for (let i = 0; i < workload.records; i++) {
      workload.ackNext(words, 0, i);
      keys.add(`${words[2]} ${words[4]}`);
    }
    expect(keys.size).toBe(32_000);
  });
});

test('frames of every header length come back whole, in pieces or together', async () => {
  const socket = await RawSocket.open({ url: new URL(server.url), frameWords: 40_000 });
  const lengths: number[] = [];
  socket.onFrame = (_words, length) => lengths.push(length);
  // Pings: 8 words out, 4 words back.
  for (const operations of [1, 3, 31, 32, 500, 4095, 4096, 5000]) {
    const frame = socket.takeFrame();
    frame.words.fill(0);
    for (let i = 0; i < operations; i++) frame.words[i * 8] = 1;
    socket.send(frame, operations * 8);
  }
  await expect.poll(() => lengths).toEqual([4, 12, 124, 128, 2000, 16380, 16384, 20000]);
  socket.close();
});

test('HTTP: a long answer in many chunks, and an error that is named', async () => {
  for (let channel = 1; channel <= 5000; channel++) server.ack('7', BigInt(channel), 5n);
  const url = new URL(server.url);
  const next = () => ({ method: 'GET', path: '/v1/users/7/read-states', body: '' });
  const { requests } = await httpBlast({ url, connections: 2, durationMs: 200, next });
  expect(requests).toBeGreaterThan(0);
  const unknown = () => ({ method: 'GET', path: '/v1/users/7/read-states/9999', body: '' });
  await expect(httpBlast({ url, connections: 1, durationMs: 50, next: unknown })).rejects.toThrow(
    /404.*unknown_read_state/,
  );
});

describe('the file of a result', () => {
  let directory: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'tidemark-result-'));
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  test('is looked at before the run, and stays as it is until the end', async () => {
    const [made, kept] = [join(directory, 'new.json'), join(directory, 'old.json')];
    writeFileSync(kept, 'of before');
    for (const file of [made, kept, undefined]) await checkResultFile(file);
    expect(existsSync(made)).toBe(false);
    expect(readFileSync(kept, 'utf8')).toBe('of before');
    await writeResult(kept, { rate: 1 });
    expect(JSON.parse(readFileSync(kept, 'utf8'))).toEqual({ rate: 1 });
  });

  test('that cannot be written is said then', async () => {
    const file = join(directory, 'nowhere', 'result.json');
    await expect(checkResultFile(file)).rejects.toThrow(`--json=${file} cannot be written: ENOENT`);
    await expect(checkResultFile(directory)).rejects.toThrow(`--json=${directory} cannot be written: EISDIR`);
  });
});
