/** What an operator can do wrong at a start: it ends at once, with a line that says what, and how to mend it. */
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { Victim } from './victim.js';

const MAIN = fileURLToPath(new URL('../../gateway/main.js', import.meta.url));
const directory = mkdtempSync(join(tmpdir(), 'tidemark-starts-'));
afterAll(() => rmSync(directory, { recursive: true }));

/** Ends by itself; its exit code and all that it said. */
function serve(...args: string[]): Promise<{ code: number | null; text: string }> {
  const child = spawn(
    process.execPath,
    [MAIN, 'serve', '--port', '0', '--shards', '1', '--capacity', '10k', ...args],
    {
      cwd: directory,
      timeout: 20_000,
    },
  );
  let text = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (data: Buffer) => (text += data.toString()));
  return new Promise((resolve) => child.on('close', (code) => resolve({ code, text })));
}

describe('a start', () => {
  it('with many wrong options names them all at once, and no stack', async () => {
    const { code, text } = await serve(
      ...[
        '--port',
        '70000',
        '--partitions',
        '12',
        '--capacity',
        '0',
        '--store',
        'mysql://x',
        '--flush-delay',
        '5 days',
      ],
      ...[
        '--durability',
        'perhaps',
        '--engine',
        'v8',
        '--host',
        '0.0.0.0',
        '--max-body',
        '1tb',
        '--tls-cert',
        'x',
      ],
    );
    expect(code).toBe(2);
    const names = [
      'port',
      'partitions',
      'capacity',
      'store',
      'flush-delay',
      'durability',
      'engine',
      'host',
      'max-body',
      'tls-cert',
    ];
    for (const name of names) expect(text).toMatch(new RegExp(`^tidemark: --${name}=`, 'm'));
    expect(text.trim().split('\n')).toHaveLength(names.length);
  });

  it.each([
    ['is empty', '', 'has no token'],
    ['has only blank lines', '\n \r\n\t\n', 'has no token'],
    ['has a short token', 'a-token-that-is-long-enough\nshort\n', 'has a token of 5 characters'],
  ])('with a token file that %s', async (_what, content, message) => {
    const file = join(directory, 'tokens');
    writeFileSync(file, content);
    const { code, text } = await serve('--store', 'memory:', '--auth-token-file', file);
    expect(code).toBe(2);
    expect(text).toContain(message);
    expect(text).not.toContain('    at ');
  });

  it('with a token file that is a directory, or not there', async () => {
    for (const file of [directory, join(directory, 'nothing')]) {
      const { code, text } = await serve('--store', 'memory:', '--auth-token-file', file);
      expect(code).toBe(2);
      expect(text).toContain(`--auth-token-file=${file} cannot be read`);
    }
  });

  it('with data where no directory can be', async () => {
    const file = join(directory, 'file');
    writeFileSync(file, '');
    const { code, text } = await serve('--data', join(file, 'data'));
    expect(code).toBe(1);
    expect(text).toContain(`cannot make the data directory ${join(file, 'data')}: ENOTDIR`);
    expect(text).toContain('Name another with --data');
    expect(text.trim().split('\n')).toHaveLength(1);
  });

  it.runIf(existsSync('/proc/self'))('with data where no directory can be', async () => {
    const { code, text } = await serve('--data', '/proc/tidemark/data');
    expect(code).toBe(1);
    expect(text).toContain('cannot make the data directory /proc/tidemark/data: ENOENT');
  });

  it.each([
    ['noise', Buffer.alloc(100_000, 'noise')],
    ['zeros', Buffer.alloc(100_000)],
    ['a few bytes', Buffer.from('x')],
  ])('with a store whose file is %s', async (what, content) => {
    const store = join(directory, what);
    mkdirSync(store);
    writeFileSync(join(store, 'data.mdb'), content);
    const { code, text } = await serve('--store', `lmdb:${store}`);
    expect(code).toBe(1);
    expect(text).toContain(
      `cannot open the store lmdb:${store}: ${store}/data.mdb is damaged, or not of lmdb-js`,
    );
  });

  it('with the data of another that runs', async () => {
    const data = join(directory, 'shared');
    const victim = await Victim.start({ store: `lmdb:${data}` });
    const { code, text } = await serve('--store', `lmdb:${data}`);
    expect(code).toBe(1);
    expect(text).toContain(`is in use by the process ${victim.child.pid}`);
    expect((await victim.call('POST', '/v1/users/1/read-states/2/ack', { message_id: '3' })).status).toBe(
      200,
    );
    // Killed, it is no obstacle.
    victim.kill();
    await victim.ended;
    const next = await Victim.start({ store: `lmdb:${data}` });
    expect(await next.stop()).toEqual({ code: 0, signal: null });
  });
});

describe('a log that nobody reads any more', () => {
  it('does not stop the service', async () => {
    const victim = await Victim.start({ flushDelay: '0ms' });
    victim.child.stdout!.destroy();
    victim.child.stderr!.destroy();
    await victim.fault('WRITE_ERROR_PERMILLE', 1000); // a warning each second
    for (let i = 0; i < 25; i++) {
      await victim.call('POST', `/v1/users/${i + 1}/read-states/2/ack`, { message_id: '3' });
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    expect((await victim.call('GET', '/healthz')).status).toBe(200);
    await victim.fault('WRITE_ERROR_PERMILLE', 0);
    expect(await victim.stop(), victim.log).toEqual({ code: 0, signal: null });
  });
});
