/** `tidemark serve` as a process: signals, exit codes, TLS, what it says. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { get } from 'node:https';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { TEST_CERTIFICATE, TEST_KEY } from '../support/certificate.js';
import { until } from './gateway-support.js';

const MAIN = fileURLToPath(new URL('../../gateway/main.js', import.meta.url));
const directory = mkdtempSync(join(tmpdir(), 'tidemark-serve-'));
const children: ChildProcess[] = [];
afterAll(() => {
  for (const child of children) child.kill('SIGKILL');
  rmSync(directory, { recursive: true });
});

interface Run {
  readonly child: ChildProcess;
  readonly exit: Promise<number | null>;
  text: string;
  /** The `url` of the line that says it is ready. */
  url(): Promise<string>;
}

function start(...args: string[]): Run {
  const child = spawn(process.execPath, [MAIN, ...args], {
    cwd: directory,
    env: { ...process.env, TIDEMARK_LOG_LEVEL: 'info' },
  });
  children.push(child);
  const run: Run = {
    child,
    text: '',
    exit: new Promise((resolve) => child.on('exit', resolve)),
    async url() {
      await until(() => run.text.includes('"msg":"ready"') || child.exitCode !== null, 'it is ready');
      return (JSON.parse(run.text.split('\n').find((line) => line.includes('"ready"'))!) as { url: string })
        .url;
    },
  };
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (data: Buffer) => {
      run.text += data.toString();
    });
  }
  return run;
}

const SMALL = ['--port', '0', '--shards', '1', '--partitions', '2', '--capacity', '10k'];

describe('tidemark serve', () => {
  it('serves, stops at SIGTERM with 0, and has everything in the store at the next start', async () => {
    const args = [
      'serve',
      ...SMALL,
      '--data',
      join(directory, 'data'),
      '--flush-delay',
      '1h',
      '--drain',
      '50ms',
    ];
    const first = start(...args);
    const url = await first.url();
    const acked = await fetch(`${url}/v1/users/1/read-states/2/ack`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{"message_id":"3"}',
    });
    const entry = await acked.json();
    first.child.kill('SIGTERM');
    expect(await first.exit).toBe(0);
    expect(first.text).toContain('draining for 50 ms');
    expect(first.text).toContain('"msg":"stopped"');

    const second = start(...args);
    const answer = await fetch(`${await second.url()}/v1/users/1/read-states/2`);
    expect(await answer.json()).toEqual(entry);
    second.child.kill('SIGINT');
    expect(await second.exit).toBe(0);
  });

  it('ends at once with 1 at a second signal', async () => {
    const run = start('serve', ...SMALL, '--store', 'memory:');
    await run.url();
    run.child.kill('SIGSTOP'); // so that both signals are there when it goes on
    run.child.kill('SIGTERM');
    run.child.kill('SIGINT');
    run.child.kill('SIGCONT');
    expect(await run.exit).toBe(1);
    expect(run.text).toContain('stopping at once');
  });

  it('says all that is wrong with its options and ends with 2', async () => {
    const run = start('serve', '--shards', '12', '--partitions', '8', '--host', '0.0.0.0', '--capacity', 'x');
    expect(await run.exit).toBe(2);
    expect(run.text.trim().split('\n')).toHaveLength(3);
    for (const args of [['serve', '--what'], ['what'], ['serve', 'what']]) {
      expect(await start(...args).exit, args.join(' ')).toBe(2);
    }
  });

  it('ends with 1 when the port is taken, and says so', async () => {
    const other = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => other.on('listening', resolve));
    const { port } = other.address() as AddressInfo;
    const run = start('serve', ...SMALL, '--store', 'memory:', '--port', String(port));
    expect(await run.exit).toBe(1);
    expect(run.text).toContain(`--port=${port} at 127.0.0.1 cannot be listened at`);
    other.close();
  });

  it('shows help and version', async () => {
    const help = start('serve', '--help');
    expect(await help.exit).toBe(0);
    for (const option of ['--flush-delay', '--ack-order', '--max-connections', 'TIDEMARK_FLUSH_DELAY']) {
      expect(help.text).toContain(option);
    }
    const version = start('--version');
    expect(await version.exit).toBe(0);
    expect(version.text).toMatch(/^\d+\.\d+\.\d+\n$/);
  });

  it('speaks TLS with a certificate, and refuses what is none', async () => {
    const [key, cert] = [join(directory, 'key.pem'), join(directory, 'cert.pem')];
    writeFileSync(key, TEST_KEY);
    writeFileSync(cert, TEST_CERTIFICATE);
    const run = start('serve', ...SMALL, '--store', 'memory:', '--tls-key', key, '--tls-cert', cert);
    const url = await run.url();
    expect(url).toMatch(/^https:/);
    const status = await new Promise((resolve, reject) => {
      get(`${url}/healthz`, { rejectUnauthorized: false }, (response) => resolve(response.statusCode)).on(
        'error',
        reject,
      );
    });
    expect(status).toBe(200);
    run.child.kill('SIGTERM');
    expect(await run.exit).toBe(0);

    writeFileSync(join(directory, 'no.pem'), 'no');
    const wrong = start(
      'serve',
      ...SMALL,
      '--store',
      'memory:',
      '--tls-key',
      join(directory, 'no.pem'),
      '--tls-cert',
      cert,
    );
    expect(await wrong.exit).toBe(1);
    expect(wrong.text).toContain('are no certificate chain and its key');
  });
});
