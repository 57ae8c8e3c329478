/**
 * Where read states live for good. The persister is the only caller; it passes words as they came through the
 * ring (engine/messages.ts), so that a store makes objects only where its driver needs them.
 */

/** All rows of one user that changed, to be written whole or not at all. Writing it twice does no harm. */
export interface WriteGroup {
  readonly userLo: number;
  readonly userHi: number;
  /** Of the user; written with the rows. */
  readonly version: number;
  readonly deletedVersion: number;
  /** Microseconds since 1970, strictly growing for each user: what is older never replaces what is newer. */
  readonly clockLo: number;
  readonly clockHi: number;
  /** First drop every row of the user older than the clock. */
  readonly wipe: boolean;
  /** `count` ROWs, one after the other (ROW.WORDS each); META_DELETED in a row's META deletes that row. */
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

export interface Store {
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
