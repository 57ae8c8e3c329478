/**
 * Where read states live for good. The persister is the only caller; it passes words as they came through the
 * ring (engine/messages.ts), so that a store makes objects only where its driver needs them.
 */
import type { ThreadGate } from '../thread-gate.js';

/** All rows of one user that changed, to be written whole or not at all. Writing it twice does no harm. */
export interface WriteGroup {
  readonly userLo: number;
  readonly userHi: number;
  /** Of the user; written with the rows. */
  readonly version: number;
  /** 0 leaves what is stored; never 0 with `wipe`, which is a deletion. */
  readonly deletedVersion: number;
  /** Microseconds since 1970, strictly growing for each user: what is older never replaces what is newer. */
  readonly clockLo: number;
  readonly clockHi: number;
  /** First drop every row of the user older than the clock. */
  readonly wipe: boolean;
  /** `count` ROWs, no key twice, one after the other (ROW.WORDS each); META_DELETED in a row's META deletes that row; without META_STORED the store has none, and may do nothing. */
  readonly rows: Int32Array;
  readonly count: number;
}

/** What is known of the user itself; both 0 when the store has never seen the user. */
export interface UserRow {
  readonly version: number;
  readonly deletedVersion: number;
}

/** Takes `count` ROWs; the words are valid only during the call. Await it: the receiver may be full. */
export type RowSink = (rows: Int32Array, count: number) => Promise<void> | void;

/** Why a group could not be written when the store is well: something about the group itself. */
export class GroupRefused extends Error {}

/** The thread that opens a store. */
export interface StoreThread {
  /** Another thread of this process has had the store, and has ended without closing it. */
  readonly replaces?: boolean;
  /** Closed before the thread is ended; left out: nobody ends it. */
  readonly gate?: ThreadGate;
}

/**
 * A load that never ends is given up by the persister: its sink then rejects, and the store may go on or not.
 * `write` has to end by itself.
 */
export interface Store {
  /** Calls of `loadUser` and `loadRows` that may be in work at once. Looked at before each call: it may change. */
  readonly loadsAtOnce: number;
  /** Calls of `write` that may be in work at once, also with groups of one user. 1: in the order of the calls. */
  readonly writesAtOnce: number;
  /** A call of `write` is full with so many rows, fewer if they lie together (persister-writes.ts). It has at least one group. */
  readonly rowsAWrite: number;
  /** Opens or creates; rejects with an error that says what to do. */
  open(): Promise<void>;
  /** All rows in (channel, type) order, in parts of at most LOAD_PART_ROWS. */
  loadUser(userLo: number, userHi: number, sink: RowSink): Promise<UserRow>;
  /** The rows of `count` keys (LOAD_KEY.WORDS each) that exist, and the user row. */
  loadRows(userLo: number, userHi: number, keys: Int32Array, count: number, sink: RowSink): Promise<UserRow>;
  /** Stores the groups durably; for each, null or why it failed. Never rejects. */
  write(groups: readonly WriteGroup[]): Promise<readonly (Error | null)[]>;
  close(): Promise<void>;
}
