/** From the text of `--store` to a store. */
import { LmdbStore } from './lmdb.js';
import { MemoryStore } from './memory.js';
import type { Store } from './store.js';

const ALLOWED = 'lmdb:DIRECTORY, or memory: (for tests: nothing is kept)';

/**
 * The store that `text` names, not yet open.
 * @param faults  the fault switches of a `memory:` store (memory.ts), for tests
 * @throws Error that names the value and what is allowed
 */
export function createStore(text: string, faults?: SharedArrayBuffer): Store {
  if (text.startsWith('lmdb:') && text.length > 'lmdb:'.length)
    return new LmdbStore(text.slice('lmdb:'.length));
  if (text === 'memory:' || text.startsWith('memory:?')) {
    const store = new MemoryStore(faults);
    store.setFaults(text.slice('memory:?'.length));
    return store;
  }
  throw new Error(`--store=${text} is no store. Allowed are ${ALLOWED}.`);
}
