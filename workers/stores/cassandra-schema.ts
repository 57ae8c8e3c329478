/**
 * The table of read states in Cassandra: what makes it, and what is wrong with one that is there.
 *
 * A partition is a user, its rows are the user's read states in (channel, type) order. The two static columns are
 * the user's own. Every regular column of a row is always written, with 0 for nothing: a null would be a tombstone.
 * 32-bit words are `int`, so versions and fingerprints above 2^31 look negative in cqlsh.
 */

import type { CqlClient } from './cassandra-client.js';

export const TABLE = 'read_states';

interface Column {
  readonly name: string;
  readonly type: string;
  readonly kind: 'partition_key' | 'clustering' | 'regular' | 'static';
  readonly meaning: string;
}

const COLUMNS: readonly Column[] = [
  { name: 'user_id', type: 'bigint', kind: 'partition_key', meaning: 'snowflake' },
  { name: 'channel_id', type: 'bigint', kind: 'clustering', meaning: 'snowflake' },
  { name: 'read_state_type', type: 'tinyint', kind: 'clustering', meaning: '0 = channel' },
  { name: 'message_id', type: 'bigint', kind: 'regular', meaning: 'last message read, 0 = none' },
  { name: 'mention_count', type: 'int', kind: 'regular', meaning: '0 to 2^31-1' },
  { name: 'flags', type: 'smallint', kind: 'regular', meaning: '8 bits' },
  { name: 'last_viewed', type: 'int', kind: 'regular', meaning: 'last_viewed + 1, 0 = never' },
  { name: 'version', type: 'int', kind: 'regular', meaning: "the user's version at the last change" },
  { name: 'last_pin_ms', type: 'bigint', kind: 'regular', meaning: 'ms since 1970, 0 = never' },
  { name: 'mention_fingerprint', type: 'int', kind: 'regular', meaning: 'of the latest mention, 0 = none' },
  { name: 'user_version', type: 'int', kind: 'static', meaning: 'of the latest change of any row' },
  { name: 'deleted_version', type: 'int', kind: 'static', meaning: 'of the latest deletion; null = never' },
];

export function keyspaceCql(keyspace: string, dataCentre: string, replicas: number): string {
  const name = dataCentre.replaceAll("'", "''");
  return `CREATE KEYSPACE IF NOT EXISTS ${keyspace} WITH replication = {'class': 'NetworkTopologyStrategy', '${name}': ${replicas}};`;
}

export function tableCql(keyspace: string): string {
  const width = Math.max(...COLUMNS.map(({ name }) => name.length));
  const lines = COLUMNS.map(({ name, type, kind, meaning }) => {
    const column = `${name.padEnd(width)} ${type}${kind === 'static' ? ' static' : ''},`;
    return `  ${column.padEnd(width + 16)} -- ${meaning}`;
  });
  return [
    `CREATE TABLE IF NOT EXISTS ${keyspace}.${TABLE} (`,
    ...lines,
    '  PRIMARY KEY (user_id, channel_id, read_state_type)',
    `) WITH compaction = {'class': 'LeveledCompactionStrategy'}`,
    `  AND comment = 'Tidemark: one partition a user, one row a read state';`,
  ].join('\n');
}

/** A row of system_schema.columns. */
export interface FoundColumn {
  readonly column_name: string;
  readonly type: string;
  readonly kind: string;
  readonly position: number;
}

export interface Found {
  /** Of system_schema.keyspaces; null when there is no such keyspace. */
  readonly replication: Record<string, string> | null;
  /** Of the table; none when there is no such table. */
  readonly columns: readonly FoundColumn[];
}

export interface Check {
  /** What is missing and `cql` makes. */
  readonly missing: readonly string[];
  readonly cql: readonly string[];
  /** What is there and must not be as it is: nothing of ours repairs that. */
  readonly wrong: readonly string[];
}

/** What is there of keyspace and table. */
export async function readSchema(client: Pick<CqlClient, 'execute'>, keyspace: string): Promise<Found> {
  const keyspaces = await client.execute(
    'SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = ?',
    [keyspace],
    { prepare: true },
  );
  const columns = await client.execute(
    'SELECT column_name, type, kind, position FROM system_schema.columns WHERE keyspace_name = ? AND table_name = ?',
    [keyspace, TABLE],
    { prepare: true },
  );
  return {
    replication: (keyspaces.rows[0]?.replication as Record<string, string> | undefined) ?? null,
    columns: columns.rows as unknown as FoundColumn[],
  };
}

/** What of the schema is missing or wrong, given what was found. */
export function checkSchema(keyspace: string, dataCentre: string, replicas: number, found: Found): Check {
  const missing: string[] = [];
  const cql: string[] = [];
  const wrong: string[] = [];
  const table = `${keyspace}.${TABLE}`;
  if (found.replication === null) {
    missing.push(`the keyspace ${keyspace}`);
    cql.push(keyspaceCql(keyspace, dataCentre, replicas));
  } else if (isWithout(found.replication, dataCentre)) {
    const centres = Object.keys(found.replication).filter((name) => name !== 'class');
    wrong.push(
      `the keyspace ${keyspace} has no replicas in ${dataCentre}, but in ${centres.join(', ')}: change dc= or ALTER KEYSPACE`,
    );
  }
  if (found.columns.length === 0) {
    missing.push(`the table ${table}`);
    cql.push(tableCql(keyspace));
    return { missing, cql, wrong };
  }
  const keys = COLUMNS.filter(({ kind }) => kind === 'partition_key' || kind === 'clustering');
  for (const column of COLUMNS) {
    const { name, type, kind } = column;
    const there = found.columns.find(({ column_name }) => column_name === name);
    if (there === undefined) {
      if (keys.includes(column)) wrong.push(`the table ${table} has no key column ${name}`);
      else {
        missing.push(`the column ${name} of the table ${table}`);
        cql.push(`ALTER TABLE ${table} ADD ${name} ${type}${kind === 'static' ? ' static' : ''};`);
      }
    } else if (there.type !== type || there.kind !== kind) {
      wrong.push(
        `the column ${name} of the table ${table} is ${there.kind} ${there.type}, not ${kind} ${type}`,
      );
    }
  }
  const clustering = keys.filter(({ kind }) => kind === 'clustering').map(({ name }) => name);
  const order = found.columns
    .filter(({ kind }) => kind === 'clustering')
    .sort((a, b) => a.position - b.position)
    .map(({ column_name }) => column_name);
  if (wrong.length === 0 && order.join() !== clustering.join()) {
    wrong.push(`the table ${table} is clustered by ${order.join(', ')}, not ${clustering.join(', ')}`);
  }
  return { missing, cql, wrong };
}

/** SimpleStrategy knows no data centres: its replicas may be anywhere. */
function isWithout(replication: Record<string, string>, dataCentre: string): boolean {
  return (
    (replication.class ?? '').endsWith('NetworkTopologyStrategy') &&
    !(Number.parseInt(replication[dataCentre] ?? '0', 10) > 0)
  );
}
