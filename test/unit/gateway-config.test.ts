import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { Auth, readTokens } from '../../gateway/auth.js';
import { type ConfigError, type OptionName, readConfig } from '../../gateway/config.js';
import { requireNative } from '../../gateway/native.js';

const directory = mkdtempSync(join(tmpdir(), 'tidemark-config-'));
afterAll(() => rmSync(directory, { recursive: true }));

const TOKEN = '0123456789abcdef';
function fileOf(name: string, text: string): string {
  const file = join(directory, name);
  writeFileSync(file, text);
  return file;
}

function problemsOf(
  given: Partial<Record<OptionName, string>>,
  environment: Record<string, string> = {},
): string {
  try {
    readConfig(given, environment);
    return '';
  } catch (error) {
    return (error as ConfigError).problems.join('\n');
  }
}

describe('configuration', () => {
  it('has the documented defaults', () => {
    const config = readConfig({}, {});
    expect(config).toMatchObject({
      host: '127.0.0.1',
      port: 4040,
      partitions: 32,
      capacity: 1_000_000,
      store: 'lmdb:./data/store',
      flushDelay: 30_000,
      ackOrder: 'forward',
      engine: 'slab',
      logLevel: 'info',
      tokens: [],
    });
    expect(config.shards).toBeGreaterThanOrEqual(1);
    expect(config.shards).toBeLessThanOrEqual(32);
  });

  it('reads suffixes, and the environment where the command line says nothing', () => {
    const environment = { TIDEMARK_FLUSH_DELAY: '500ms', TIDEMARK_CAPACITY: '250k', TIDEMARK_PORT: '1' };
    expect(readConfig({ port: '2', maxFrame: '64kib' }, environment)).toMatchObject({
      port: 2,
      flushDelay: 500,
      capacity: 250_000,
      maxFrame: 65_536,
    });
    expect(readConfig({ capacity: '1.5m', flushDelay: '2m' }, {})).toMatchObject({
      capacity: 1_500_000,
      flushDelay: 120_000,
    });
  });

  it('reports all problems at once, each with the name, the value and a remedy', () => {
    const problems = problemsOf(
      { shards: '12', partitions: '8', host: '0.0.0.0', durability: 'ram' },
      { TIDEMARK_CAPACITY: 'lots' },
    );
    expect(problems.split('\n')).toHaveLength(4);
    expect(problems).toContain(
      '--shards=12 is more than the 8 partitions. Use at most 8, or start with --partitions 16 (a cold start).',
    );
    expect(problems).toContain('--host=0.0.0.0 is not loopback');
    expect(problems).toContain('--durability=ram is not one of none, process, disk');
    expect(problems).toContain('TIDEMARK_CAPACITY=lots is not a count');
  });

  it.each<[Partial<Record<OptionName, string>>, string]>([
    [{ partitions: '6' }, '--partitions=6 is no power of two. Use 4 or 8.'],
    [
      { capacity: '3000' },
      '--capacity=3000 gives each of the 32 partitions fewer than the 100 records of an ack_bulk. Use at least 3076, or --partitions 16.',
    ],
    [
      { capacity: '1', partitions: '1' },
      'of the 1 partitions fewer than the 100 records of an ack_bulk. Use at least 100.',
    ],
    [
      { partitions: '1', capacity: '17m' },
      '--capacity=17m is more than the 16777216 records of 1 partitions',
    ],
    [{ port: '65536' }, '--port=65536 is not a whole number from 0 to 65535'],
    [{ flushDelay: '30' }, '--flush-delay=30 is not a time'],
    [{ flushDelay: '2h' }, '--flush-delay=2h is not a time'],
    [{ engine: 'lru' }, '--engine=lru is not one of slab, heap'],
    [{ store: 'redis://x' }, '--store=redis://x is not lmdb:DIRECTORY'],
    [
      { shards: '4', journalLimit: '31mib' },
      '--journal-limit=31mib is too small for 8 lanes. Use at least 64mib',
    ],
    [{ tlsCert: 'x' }, '--tls-cert=x is given without --tls-key'],
    [{ authTokenFile: '/nowhere' }, '--auth-token-file=/nowhere cannot be read'],
  ])('refuses %j', (given, problem) => {
    expect(problemsOf(given)).toContain(problem);
  });

  it('listens elsewhere than loopback with a token file', () => {
    const authTokenFile = fileOf('token', `${TOKEN}\n`);
    expect(readConfig({ host: '0.0.0.0', authTokenFile }, {}).tokens).toEqual([TOKEN]);
    for (const host of ['localhost', '127.0.0.1', '127.8.9.10', '::1']) expect(problemsOf({ host })).toBe('');
    for (const host of ['::', '10.0.0.1', '127.evil.example', 'localhost.evil.example']) {
      expect(problemsOf({ host })).toContain('is not loopback');
    }
  });
});

describe('tokens', () => {
  it('are the lines of the file, and too short ones are refused', () => {
    expect(readTokens(fileOf('two', `${TOKEN}\n\n ${TOKEN}2 \n`))).toEqual([TOKEN, `${TOKEN}2`]);
    expect(() => readTokens(fileOf('empty', '\n'))).toThrow('has no token');
    expect(() => readTokens(fileOf('short', 'secret\n'))).toThrow(
      'a token of 6 characters; 16 are the least',
    );
  });

  it('are compared whole', () => {
    const auth = new Auth([TOKEN, 'another-token-of-this-server']);
    expect(auth.admits(`Bearer ${TOKEN}`)).toBe(true);
    expect(auth.admits('bearer another-token-of-this-server')).toBe(true);
    for (const header of [
      '',
      'Bearer ',
      'Bearer',
      TOKEN,
      `Basic ${TOKEN}`,
      `Bearer ${TOKEN}x`,
      `Bearer ${TOKEN.slice(1)}`,
      `Bearer ${TOKEN.slice(0, -1)}g`,
    ]) {
      expect(auth.admits(header), header).toBe(false);
    }
    expect(new Auth([]).admits('')).toBe(true);
  });
});

describe('uWebSockets', () => {
  it('must be native', () => {
    expect(() => requireNative(Array.prototype.map, 'v20')).not.toThrow();
    expect(() => requireNative(() => 1, 'v24.1.0')).toThrow(
      /no native build for Node v24\.1\.0 .* npm install uWebSockets\.js@/,
    );
  });
});

describe('the admin side of the configuration', () => {
  const tokens = (): string => fileOf('admin-tokens', `${TOKEN}\n`);
  const authTokenFile = (): string => fileOf('service-tokens', `${TOKEN}\n`);

  it('is on where it is loopback or has a token, and off elsewhere', () => {
    expect(readConfig({}, {})).toMatchObject({ admin: true, adminTokens: [], adminHost: '127.0.0.1' });
    expect(readConfig({ admin: 'off' }, {})).toMatchObject({ admin: false });
    const open = { host: '0.0.0.0', authTokenFile: authTokenFile() };
    expect(readConfig(open, {})).toMatchObject({ admin: false });
    expect(readConfig({ ...open, adminTokenFile: tokens() }, {})).toMatchObject({
      admin: true,
      adminTokens: [TOKEN],
    });
    const apart = { ...open, adminPort: '4041', adminHost: '127.0.0.1' };
    expect(readConfig(apart, {})).toMatchObject({ admin: true, adminHost: '127.0.0.1', adminPort: 4041 });
  });

  it('is off beside service tokens on the same port, and says what would help', () => {
    const shared = { authTokenFile: authTokenFile() };
    const { admin, adminOffReason } = readConfig(shared, {});
    expect(admin).toBe(false);
    expect(adminOffReason).toMatch(/^--auth-token-file=.* on the same port, .* Give --admin-token-file, or/);
    const on = { admin: true, adminOffReason: null };
    expect(readConfig({ ...shared, adminTokenFile: tokens() }, {})).toMatchObject(on);
    expect(readConfig({ ...shared, adminPort: '4041' }, {})).toMatchObject(on);
    expect(readConfig({ ...shared, admin: 'off' }, {})).toMatchObject({ admin: false, adminOffReason: null });
    expect(problemsOf({ ...shared, admin: 'on' })).toContain('--admin=on with --auth-token-file=');
  });

  it('is refused where anyone could operate the service', () => {
    const open = { host: '0.0.0.0', authTokenFile: authTokenFile(), admin: 'on' };
    expect(problemsOf(open)).toContain('--admin=on with --host=0.0.0.0, which is not loopback');
    expect(problemsOf({ adminPort: '1', adminHost: '10.0.0.1', admin: 'on' })).toContain(
      '--admin-host=10.0.0.1',
    );
    expect(problemsOf({ adminHost: '127.0.0.2' })).toContain('without --admin-port');
    expect(problemsOf({ adminTokenFile: '/nowhere' })).toContain(
      '--admin-token-file=/nowhere cannot be read',
    );
    expect(problemsOf({ adminTokenFile: fileOf('short', 'abc') })).toContain('16 are the least');
  });

  it('has limits only with the hot keys that they need', () => {
    expect(problemsOf({ limitUser: '100', introspection: 'off' })).toContain('--limit-user=100 needs');
    expect(readConfig({ limitUser: '1k' }, {})).toMatchObject({ limitUser: 1000, limitChannel: 0 });
  });
});
