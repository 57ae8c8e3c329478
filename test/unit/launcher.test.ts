import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ROOT } from '../../scripts/repository.js';

/** An installation of its own, with a main.js that tells what it was started with. */
let root: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'tidemark launcher-'));
  mkdirSync(join(root, 'scripts'));
  mkdirSync(join(root, 'dist/gateway'), { recursive: true });
  copyFileSync(join(ROOT, 'scripts/tidemark'), join(root, 'scripts/tidemark'));
  const main = 'console.log(JSON.stringify([process.argv.slice(2), process.env.GLIBC_TUNABLES]));';
  writeFileSync(join(root, 'dist/gateway/main.js'), main);
});
afterEach(() => rmSync(root, { recursive: true }));

function start(tunables?: string, path = 'scripts/tidemark', args: string[] = []) {
  const env = { PATH: `${dirname(process.execPath)}:${process.env.PATH}`, GLIBC_TUNABLES: tunables };
  return spawnSync(join(root, path), args, { env, encoding: 'utf8' });
}

function told(...how: Parameters<typeof start>): [args: string[], tunables: string] {
  const { stdout, stderr } = start(...how);
  expect(stderr).toBe('');
  return JSON.parse(stdout) as [string[], string];
}

test('passes arguments on as they are', () => {
  const args = ['serve', '--data', 'a folder', '', '$HOME', '*'];
  expect(told(undefined, undefined, args)[0]).toEqual(args);
});

test.each([
  [['serve'], true],
  [['serve', '--engine', 'heap'], false],
  [['serve', '--engine=slab'], true],
])('gives %j the flags of its engine', (args, isSlab) => {
  writeFileSync(join(root, 'dist/gateway/main.js'), 'console.log(JSON.stringify([process.execArgv, ""]));');
  const [flags] = told(undefined, undefined, args);
  expect(flags.includes('--single-threaded-gc')).toBe(isSlab);
  expect(flags.includes('--no-memory-reducer')).toBe(isSlab);
  expect(flags.includes('--v8-pool-size=1')).toBe(isSlab);
  expect(flags.some((flag) => flag.startsWith('--min-semi-space-size='))).toBe(isSlab);
  expect(flags.some((flag) => flag.startsWith('--max-inlined-bytecode-size-cumulative='))).toBe(true);
});

test.each([
  [undefined, 'glibc.malloc.hugetlb=1'],
  ['', 'glibc.malloc.hugetlb=1'],
  ['glibc.malloc.arena_max=2', 'glibc.malloc.arena_max=2:glibc.malloc.hugetlb=1'],
  ['glibc.malloc.hugetlb=0', 'glibc.malloc.hugetlb=0'],
  ['glibc.malloc.hugetlb=2:glibc.malloc.arena_max=2', 'glibc.malloc.hugetlb=2:glibc.malloc.arena_max=2'],
])('turns the tunables %s into %s', (before, after) => {
  expect(told(before)[1]).toBe(after);
});

test('finds its folder through relative and absolute links', () => {
  // Deeper than scripts/, or a launcher that followed no link would find the folder by luck.
  mkdirSync(join(root, 'usr/local/bin'), { recursive: true });
  symlinkSync('../../../scripts/tidemark', join(root, 'usr/local/bin/relative'));
  symlinkSync(join(root, 'usr/local/bin/relative'), join(root, 'usr/absolute'));
  for (const link of ['usr/local/bin/relative', 'usr/absolute']) {
    expect(told(undefined, link, ['x'])[0], link).toEqual(['x']);
  }
});

test('says what to do when nothing is built', () => {
  rmSync(join(root, 'dist'), { recursive: true });
  const { status, stderr } = start();
  expect(status).toBe(1);
  expect(stderr).toBe(`tidemark: ${root}/dist/gateway/main.js is missing: run make build in ${root}\n`);
});

test('passes the exit status on', () => {
  writeFileSync(join(root, 'dist/gateway/main.js'), 'process.exit(42);');
  expect(start().status).toBe(42);
});
