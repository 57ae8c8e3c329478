/** The call with which lmdb-js begins a transaction, kept from being cut short by the end of its thread (thread-gate.ts). */
import type { RootDatabase } from 'lmdb';
import type { ThreadGate } from '../thread-gate.js';

/** Of lmdb-js 3, and no part of its documentation. */
interface Env {
  startWriting(...args: unknown[]): unknown;
}

/** To be called before anything is written. @throws Error if this lmdb-js has no such call */
export function guardBegin(db: RootDatabase<Uint8Array, Uint8Array>, gate: ThreadGate): void {
  const { env } = db as unknown as { readonly env?: Partial<Env> };
  const begin = env?.startWriting;
  if (env === undefined || begin === undefined)
    throw new Error('this version of lmdb-js has no startWriting');
  // It is the native class's and cannot be assigned to; lmdb-js looks it up at each call.
  const value = (...args: unknown[]): unknown => gate.within(() => begin.apply(env, args));
  Object.defineProperty(env, 'startWriting', { value });
}
