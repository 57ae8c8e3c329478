/** The persister's thread: a Piscina task that ends when it is told to stop. */
import type { PersisterOptions } from './persister.js';

export default async function persisterTask(_options: PersisterOptions): Promise<void> {}
