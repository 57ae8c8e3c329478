/** From the text of `--store` to a store. */
import { CASSANDRA_PREFIX, readCassandraUrl, redactStore } from './cassandra-url.js';
import type { Store, StoreThread } from './store.js';

const ALLOWED =
  'lmdb:DIRECTORY, cassandra://HOST,HOST:9042/KEYSPACE?dc=DATACENTRE, or memory: (for tests: nothing is kept)';

/**
 * The store that `text` names, not yet open. The driver of another is not loaded: that of Cassandra takes 50 ms of a processor.
 * @param faults  the fault switches of a `memory:` store (memory.ts), for tests
 * @throws Error that names the value, without a password, and what is allowed
 */
export async function createStore(
  text: string,
  faults?: SharedArrayBuffer,
  thread: StoreThread = {},
): Promise<Store> {
  if (text.startsWith('lmdb:') && text.length > 'lmdb:'.length) {
    const { LmdbStore } = await import('./lmdb.js');
    return new LmdbStore(text.slice('lmdb:'.length), thread);
  }
  if (text.startsWith(CASSANDRA_PREFIX)) {
    const { settings, problems } = readCassandraUrl(text);
    if (problems.length > 0) throw new Error(`--store=${redactStore(text)} ${problems.join(', and ')}.`);
    const { CassandraStore } = await import('./cassandra.js');
    return new CassandraStore(settings);
  }
  if (text === 'memory:' || text.startsWith('memory:?')) {
    const { MemoryStore } = await import('./memory.js');
    const store = new MemoryStore(faults);
    store.setFaults(text.slice('memory:?'.length));
    return store;
  }
  throw new Error(`--store=${redactStore(text)} is no store. Allowed are ${ALLOWED}.`);
}
