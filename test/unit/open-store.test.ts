import { describe, expect, it } from 'vitest';
import { CassandraStore } from '../../workers/stores/cassandra.js';
import { LmdbStore } from '../../workers/stores/lmdb.js';
import { createFaults, FAULTS, MemoryStore } from '../../workers/stores/memory.js';
import { createStore } from '../../workers/stores/open.js';

describe('createStore', () => {
  it('knows lmdb:, cassandra: and memory:', async () => {
    expect(await createStore('lmdb:./data/store')).toBeInstanceOf(LmdbStore);
    expect(await createStore('memory:')).toBeInstanceOf(MemoryStore);
    expect(await createStore('cassandra://h1,h2:9042/k?dc=d')).toBeInstanceOf(CassandraStore);
  });

  it('says what is wrong with a cassandra: text, without the password', async () => {
    await expect(createStore('cassandra://me:secret@h/k')).rejects.toThrow(
      '--store=cassandra://me:***@h/k has no dc=DATACENTRE',
    );
  });

  it('sets the faults of memory:', async () => {
    const faults = createFaults();
    await createStore('memory:?load_delay_ms=20&write_error_permille=500&load_hang=1', faults);
    const words = new Int32Array(faults);
    expect(words[FAULTS.LOAD_DELAY_MS]).toBe(20);
    expect(words[FAULTS.WRITE_ERROR_PERMILLE]).toBe(500);
    expect(words[FAULTS.LOAD_HANG]).toBe(1);
    expect(words[FAULTS.WRITE_HANG]).toBe(0);
  });

  it.each(['', 'lmdb', 'lmdb:', './data', 'memory', 'memory:x', 'redis://host', 'cassandra:h'])(
    'refuses %j and names it',
    async (text) => {
      await expect(createStore(text)).rejects.toThrow(
        `--store=${text} is no store. Allowed are lmdb:DIRECTORY`,
      );
    },
  );

  it.each([
    ['memory:?slow=1', 'memory: has no fault "slow". It has load_delay_ms,'],
    ['memory:?loads=1', 'memory: has no fault "loads"'],
    ['memory:?words=1', 'memory: has no fault "words"'],
    ['memory:?load_delay_ms=-1', 'memory: load_delay_ms=-1 is not a whole number from 0'],
    ['memory:?load_delay_ms=', 'memory: load_delay_ms= is not a whole number'],
    ['memory:?load_delay_ms=1.5', 'memory: load_delay_ms=1.5 is not'],
  ])('refuses %j', async (text, message) => {
    await expect(createStore(text)).rejects.toThrow(message);
  });
});
