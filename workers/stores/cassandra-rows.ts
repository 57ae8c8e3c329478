/**
 * Words and what the driver takes and gives: the statements of the table, and their parameters from the words of
 * a ROW, and back. Nobody else makes objects of ids.
 */
import cassandra from 'cassandra-driver';
import {
  META_DELETED,
  META_FLAGS_MASK,
  META_FLAGS_SHIFT,
  META_TYPE_MASK,
  META_VIEWED_MASK,
  META_VIEWED_SHIFT,
} from '../../engine/layout.js';
import { ENTRY, LOAD_KEY, ROW } from '../../engine/messages.js';
import { TABLE } from './cassandra-schema.js';
import type { UserRow, WriteGroup } from './store.js';

const { Long, Tuple, unset } = cassandra.types;
export type Long = cassandra.types.Long;
type Row = cassandra.types.Row;

export interface Statement {
  readonly query: string;
  readonly params: readonly unknown[];
}

/** The text of each statement, all prepared. A timestamp that is not in a text is that of the request. */
export interface Texts {
  readonly loadUser: string;
  readonly loadRow: string;
  readonly loadRows: string;
  readonly loadStatics: string;
  readonly insert: string;
  readonly insertFirst: string;
  readonly insertStatics: string;
  readonly remove: string;
  readonly wipe: string;
}

const VALUES = 'message_id, mention_count, flags, last_viewed, version, last_pin_ms, mention_fingerprint';
const STATICS = 'user_version, deleted_version';
const KEY = 'user_id, channel_id, read_state_type';

export function textsOf(keyspace: string): Texts {
  const table = `${keyspace}.${TABLE}`;
  const load = `SELECT channel_id, read_state_type, ${VALUES}, ${STATICS} FROM ${table} WHERE user_id = ?`;
  const insert = (columns: string): string =>
    `INSERT INTO ${table} (${columns}) VALUES (${columns.replaceAll(/\w+/g, '?')})`;
  return {
    loadUser: load,
    loadRow: `${load} AND channel_id = ? AND read_state_type = ?`,
    loadRows: `${load} AND (channel_id, read_state_type) IN ?`,
    loadStatics: `SELECT DISTINCT user_id, ${STATICS} FROM ${table} WHERE user_id = ?`,
    insert: insert(`${KEY}, ${VALUES}`),
    insertFirst: insert(`${KEY}, ${VALUES}, ${STATICS}`),
    insertStatics: insert(`user_id, ${STATICS}`),
    remove: `DELETE FROM ${table} WHERE user_id = ? AND channel_id = ? AND read_state_type = ?`,
    wipe: `DELETE FROM ${table} USING TIMESTAMP ? WHERE user_id = ?`,
  };
}

export function longOf(lo: number, hi: number): Long {
  return Long.fromBits(lo, hi, false);
}

/** A partition key, as the server hashes it: eight bytes, big-endian. */
export function routingKeyOf(userLo: number, userHi: number): Buffer {
  const key = Buffer.allocUnsafe(8);
  key.writeInt32BE(userHi, 0);
  key.writeInt32BE(userLo, 4);
  return key;
}

/** The key of the row at `rows[at]` for a load. */
export function keyParams(user: Long, keys: Int32Array, at: number): unknown[] {
  return [
    user,
    longOf(keys[at + LOAD_KEY.CHANNEL_LO]!, keys[at + LOAD_KEY.CHANNEL_HI]!),
    keys[at + LOAD_KEY.TYPE]!,
  ];
}

/** `count` keys from `keys[at]` for an IN. */
export function keyTuples(keys: Int32Array, at: number, count: number): unknown[] {
  const tuples: unknown[] = [];
  for (let i = 0; i < count; i++, at += LOAD_KEY.WORDS) {
    const channel = longOf(keys[at + LOAD_KEY.CHANNEL_LO]!, keys[at + LOAD_KEY.CHANNEL_HI]!);
    tuples.push(new Tuple(channel, keys[at + LOAD_KEY.TYPE]!));
  }
  return tuples;
}

/** Drops what is older than the group's clock: a deletion wins over what has its own timestamp. */
export function wipeStatement(texts: Texts, user: Long, clock: Long): Statement {
  return { query: texts.wipe, params: [clock.subtract(Long.ONE), user] };
}

/** A deleted_version of 0 is left out, and leaves what is stored: never a null, which would be a tombstone. */
function staticParams({ version, deletedVersion }: WriteGroup): [number, unknown] {
  return [version | 0, deletedVersion === 0 ? unset : deletedVersion | 0];
}

export function staticsStatement(texts: Texts, user: Long, group: WriteGroup): Statement {
  return { query: texts.insertStatics, params: [user, ...staticParams(group)] };
}

/** The write or deletion of the group's row at `rows[at]`; an insert carries the statics of `statics`. */
export function rowStatement(
  texts: Texts,
  user: Long,
  rows: Int32Array,
  at: number,
  statics: WriteGroup | null,
): Statement {
  const meta = rows[at + ENTRY.META]!;
  const channel = longOf(rows[at + ENTRY.CHANNEL_LO]!, rows[at + ENTRY.CHANNEL_HI]!);
  const type = meta & META_TYPE_MASK;
  if ((meta & META_DELETED) !== 0) return { query: texts.remove, params: [user, channel, type] };
  const params: unknown[] = [
    user,
    channel,
    type,
    longOf(rows[at + ENTRY.MESSAGE_LO]!, rows[at + ENTRY.MESSAGE_HI]!),
    rows[at + ENTRY.MENTION_COUNT]!,
    (meta >>> META_FLAGS_SHIFT) & META_FLAGS_MASK,
    (meta >>> META_VIEWED_SHIFT) & META_VIEWED_MASK,
    rows[at + ENTRY.VERSION]!,
    longOf(rows[at + ENTRY.PIN_LO]!, rows[at + ENTRY.PIN_HI]!),
    rows[at + ROW.FINGERPRINT]!,
  ];
  if (statics === null) return { query: texts.insert, params };
  params.push(...staticParams(statics));
  return { query: texts.insertFirst, params };
}

/** False: the partition has only its statics, which come with no key. */
export function hasKey(row: Row): boolean {
  return row.channel_id !== null;
}

/** What was read as a ROW to `rows[at]`. A column that was added later is null in old rows. */
export function takeRow(row: Row, rows: Int32Array, at: number): void {
  const channel = row.channel_id as Long;
  const message = row.message_id as Long | null;
  const pin = row.last_pin_ms as Long | null;
  rows[at + ENTRY.CHANNEL_LO] = channel.low;
  rows[at + ENTRY.CHANNEL_HI] = channel.high;
  rows[at + ENTRY.MESSAGE_LO] = message?.low ?? 0;
  rows[at + ENTRY.MESSAGE_HI] = message?.high ?? 0;
  rows[at + ENTRY.MENTION_COUNT] = row.mention_count ?? 0;
  rows[at + ENTRY.META] =
    row.read_state_type |
    ((row.flags ?? 0) << META_FLAGS_SHIFT) |
    ((row.last_viewed ?? 0) << META_VIEWED_SHIFT);
  rows[at + ENTRY.VERSION] = row.version ?? 0;
  rows[at + ENTRY.PIN_LO] = pin?.low ?? 0;
  rows[at + ENTRY.PIN_HI] = pin?.high ?? 0;
  rows[at + ROW.FINGERPRINT] = row.mention_fingerprint ?? 0;
}

export function takeStatics(row: Row | undefined): UserRow {
  return {
    version: (row?.user_version ?? 0) >>> 0,
    deletedVersion: (row?.deleted_version ?? 0) >>> 0,
  };
}
