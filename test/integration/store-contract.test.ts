/** The contract of stores, on those that need nothing but this machine. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe } from 'vitest';
import { LmdbStore } from '../../workers/stores/lmdb.js';
import { MemoryStore } from '../../workers/stores/memory.js';
import { storeContract } from '../support/store-contract.js';

const directories: string[] = [];
afterAll(() => {
  for (const directory of directories) rmSync(directory, { recursive: true, force: true });
});

describe('store lmdb', () => {
  storeContract(() => {
    const directory = mkdtempSync(join(tmpdir(), 'tidemark-store-'));
    directories.push(directory);
    return () => new LmdbStore(directory);
  });
});

describe('store memory', () => {
  storeContract(() => {
    const store = new MemoryStore();
    return () => store;
  });
});
