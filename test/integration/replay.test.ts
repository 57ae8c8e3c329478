import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Random } from '../../bench/random.js';
import { MODEL_DEFAULTS } from '../../bench/reader-model.js';
import { type ReplayOptions, replay } from '../../bench/replay.js';
import { TestServer } from '../unit/client-test-server.js';

let server: TestServer;
let folder: string;
let output: string[];

beforeEach(async () => {
  server = new TestServer();
  await server.start();
  folder = mkdtempSync(join(tmpdir(), 'tidemark-replay-'));
  output = [];
});
afterEach(async () => {
  await server.stop();
  rmSync(folder, { recursive: true });
});

/** Messages of a few users who talk fast, name each other and mark some of it unread. */
function traceLines(count: number): string {
  const random = new Random(7);
  const lines: string[] = [];
  for (let i = 0; i < count; i++) {
    const id = String(1000 + i);
    const author = { id: String(1 + random.below(20)) };
    const channel = String(1 + random.below(4));
    const mentions = random.below(3) === 0 ? [{ id: String(1 + random.below(25)) }] : [];
    const d = { id, channel_id: channel, author, mentions, timestamp_ms: i * 700 };
    lines.push(JSON.stringify({ op: 0, s: i, t: 'MESSAGE_CREATE', d }));
    if (random.below(10) === 0) {
      const ack = { user_id: author.id, channel_id: channel, message_id: String(1000 + random.below(i + 1)) };
      const extra = random.below(2) === 0 ? { mention_count: 3, manual: true } : {};
      lines.push(JSON.stringify({ op: 0, s: i, t: 'MESSAGE_ACK', d: { ...ack, ...extra } }));
    }
    if (random.below(50) === 0) lines.push(JSON.stringify({ op: 0, t: 'TYPING_START', d: {} }), '');
  }
  return lines.join('\n');
}

function options(changes: Partial<ReplayOptions> = {}): ReplayOptions {
  const { burstMs: burst, viewMs: view, idleMs: idle, ...model } = MODEL_DEFAULTS;
  const url = new URL(server.url);
  const speed = Number.POSITIVE_INFINITY;
  return { ...model, burst, view, idle, url, protocol: 'bin', speed, userOffset: 0, ...changes };
}

function write(text: string | Buffer): string {
  const file = join(folder, 'trace');
  writeFileSync(file, text);
  return file;
}

test.each(['bin', 'http'] as const)('over %s the service ends as simulated', async (protocol) => {
  const file = write(gzipSync(traceLines(3000)));
  const result = await replay(file, options({ protocol, connections: 5 }), (text) => output.push(text));
  expect(output.at(-1)).toMatch(/^state: [\d,]+ entries of 25 users, all as expected$/);
  expect(result).toMatchObject({ differenceCount: 0, messages: 3000, users: 25 });
  expect(result.run.errors).toEqual({});
  expect(result.run.suppressed).toBeGreaterThan(0);
  const kinds = result.run.kinds.map(({ kind }) => kind);
  expect(kinds).toEqual(['ack', 'mention', 'list', 'all']);
});

test('a service that lost something is found out', async () => {
  const file = write(traceLines(200));
  const ended = replay(file, options(), (text) => {
    // The table comes before the state is compared.
    if (output.length === 0) server.user('3').entries.get('2/0')!.mentions += 1;
    output.push(text);
  });
  expect(await ended).toMatchObject({ differenceCount: 1 });
  expect(output.at(-1)).toMatch(/^ {2}user 3 channel 2: \d+ mentions, should be \d+$/);
});

test('refused operations are errors by code', async () => {
  const file = write(traceLines(200));
  const opened = replay(file, options(), () => {});
  // After the look at the first users, which is one frame.
  await expect.poll(() => server.frames.length, { interval: 0 }).toBeGreaterThan(0);
  server.refuse.count = 3;
  expect((await opened).run.errors).toEqual({ busy: 3 });
});

test('a service that is not fresh is refused, unless the users are moved', async () => {
  const file = write(traceLines(100));
  server.ack('4', 1n, 5n);
  await expect(replay(file, options(), () => {})).rejects.toThrow(
    /not fresh: user 4 of the trace has 1 read states.*--user-offset/,
  );
  const result = await replay(file, options({ userOffset: 1000 }), () => {});
  expect(result.differenceCount).toBe(0);
  expect(server.users.has('1004')).toBe(true);
});

test('no service, no file and a broken file say so', async () => {
  const file = write(`${traceLines(10)}\n{"t":"MESSAGE_CREATE","d":{"id":"1"}}`);
  await expect(replay(join(folder, 'none'), options(), () => {})).rejects.toThrow('ENOENT');
  await expect(replay(file, options(), () => {})).rejects.toThrow(
    /trace:\d+: a MESSAGE_CREATE without channel_id/,
  );
  const cut = write(gzipSync(traceLines(1000)).subarray(0, 5000));
  await expect(replay(cut, options(), () => {})).rejects.toThrow(/unexpected end of file after line \d+/);
  const gone = replay(write(traceLines(10)), options({ url: new URL('http://127.0.0.1:1') }), () => {});
  await expect(gone).rejects.toThrow(/no connection to http:\/\/127.0.0.1:1: .*ECONNREFUSED/);
  server.token = 'secret';
  await expect(replay(write(traceLines(10)), options(), () => {})).rejects.toThrow(/401 Unauthorized/);
});

test('a file without line ends is refused before it is read whole', async () => {
  const line = Buffer.alloc(20 * 1024 * 1024, 'x');
  const file = write(Buffer.concat([Buffer.from(`${traceLines(1)}\n`), line, line, Buffer.from('\n')]));
  await expect(replay(file, options(), () => {})).rejects.toThrow(
    /trace:2: a line of more than \d+ characters/,
  );
});

test('a speed keeps the recorded pace, and limit ends it', async () => {
  const file = write(traceLines(100));
  const result = await replay(file, options({ speed: 100, limit: 40, readers: false }), () => {});
  expect(result.messages).toBe(40);
  expect(result.run.seconds).toBeGreaterThan((39 * 0.7) / 100);
  expect(result.run.seconds).toBeLessThan((39 * 0.7) / 100 + 2);
});
