import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { makeDirectory } from '../../workers/directories.js';

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'tidemark-directories-'));
});
afterEach(() => rmSync(root, { recursive: true }));

test('makes all that are missing, and none that is there', () => {
  const directory = join(root, 'a/b/c');
  makeDirectory(directory);
  writeFileSync(join(directory, 'file'), '');
  makeDirectory(directory);
  expect(statSync(join(directory, 'file')).isFile()).toBe(true);
});

test('names what is in its way', () => {
  const file = join(root, 'file');
  writeFileSync(file, '');
  expect(() => makeDirectory(file)).toThrow(`EEXIST: file already exists, mkdir '${file}'`);
  expect(() => makeDirectory(join(file, 'a/b'))).toThrow('ENOTDIR');
});

test.runIf(existsSync('/proc/self'))('ends where a directory takes no others', () => {
  expect(() => makeDirectory('/proc/tidemark')).toThrow(
    "ENOENT: no such file or directory, mkdir '/proc/tidemark'",
  );
  expect(() => makeDirectory('/proc/tidemark/a/b')).toThrow('/proc/tidemark');
});
