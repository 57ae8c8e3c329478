/** Users that are held, and why. */
import type { Cursor, UserSlot } from '../../engine/partition.js';
import type { Snapshot } from './fake-store.js';
import type { ModelEntry, Operation } from './partition-model.js';

export interface Load {
  readonly user: UserSlot;
  readonly id: bigint;
  readonly all: boolean;
  readonly keys: string[];
  readonly waiting: Operation[];
  /** Taken when the load was asked for, or when it is answered: a store may do either. */
  snapshot: Snapshot | null;
  rows: Int32Array[] | null;
  /** The user row, which comes with the last of the rows. */
  versions: [number, number];
  attempts: number;
}
export interface Listing {
  readonly user: UserSlot;
  readonly id: bigint;
  readonly operation: Operation;
  readonly waiting: Operation[];
  readonly cursor: Cursor;
  readonly expected: ModelEntry[];
  readonly mentions: number;
  readonly mentioned: number;
  collected: boolean;
}
