import { describe, expect, it } from 'vitest';
import {
  checkSchema,
  type FoundColumn,
  keyspaceCql,
  tableCql,
} from '../../workers/stores/cassandra-schema.js';

const REPLICATION = { class: 'org.apache.cassandra.locator.NetworkTopologyStrategy', dc1: '3' };

/** What a server says of the table that `tableCql` makes. */
const COLUMNS: FoundColumn[] = [
  ['user_id', 'bigint', 'partition_key', 0],
  ['channel_id', 'bigint', 'clustering', 0],
  ['read_state_type', 'tinyint', 'clustering', 1],
  ['message_id', 'bigint', 'regular', -1],
  ['mention_count', 'int', 'regular', -1],
  ['flags', 'smallint', 'regular', -1],
  ['last_viewed', 'int', 'regular', -1],
  ['version', 'int', 'regular', -1],
  ['last_pin_ms', 'bigint', 'regular', -1],
  ['mention_fingerprint', 'int', 'regular', -1],
  ['user_version', 'int', 'static', -1],
  ['deleted_version', 'int', 'static', -1],
].map(([column_name, type, kind, position]) => ({ column_name, type, kind, position }) as FoundColumn);

const check = (columns: FoundColumn[], replication: Record<string, string> | null = REPLICATION) =>
  checkSchema('k', 'dc1', 3, { replication, columns });

describe('checkSchema', () => {
  it('finds nothing wrong with what is right, also with columns of others', () => {
    expect(check(COLUMNS)).toEqual({ missing: [], cql: [], wrong: [] });
    const other = { column_name: 'note', type: 'text', kind: 'regular', position: -1 };
    expect(check([...COLUMNS, other])).toEqual({ missing: [], cql: [], wrong: [] });
    expect(check(COLUMNS, { class: 'SimpleStrategy', replication_factor: '1' }).wrong).toEqual([]);
  });

  it('makes keyspace and table', () => {
    expect(check([], null)).toEqual({
      missing: ['the keyspace k', 'the table k.read_states'],
      cql: [keyspaceCql('k', 'dc1', 3), tableCql('k')],
      wrong: [],
    });
    expect(keyspaceCql('k', "it's", 2)).toContain("'it''s': 2}");
    expect(check([])).toMatchObject({ missing: ['the table k.read_states'], cql: [tableCql('k')] });
  });

  it('adds columns that are missing', () => {
    const left = COLUMNS.filter(
      ({ column_name: name }) => name !== 'last_pin_ms' && name !== 'deleted_version',
    );
    expect(check(left)).toEqual({
      missing: [
        'the column last_pin_ms of the table k.read_states',
        'the column deleted_version of the table k.read_states',
      ],
      cql: [
        'ALTER TABLE k.read_states ADD last_pin_ms bigint;',
        'ALTER TABLE k.read_states ADD deleted_version int static;',
      ],
      wrong: [],
    });
  });

  it('says what it cannot repair', () => {
    const changed = (name: string, change: Partial<FoundColumn>): FoundColumn[] =>
      COLUMNS.map((column) => (column.column_name === name ? { ...column, ...change } : column));
    expect(check(changed('version', { type: 'bigint' })).wrong).toEqual([
      'the column version of the table k.read_states is regular bigint, not regular int',
    ]);
    expect(check(changed('user_version', { kind: 'regular' })).wrong).toHaveLength(1);
    expect(check(COLUMNS.filter(({ column_name: name }) => name !== 'channel_id')).wrong).toEqual([
      'the table k.read_states has no key column channel_id',
    ]);
    const swapped = changed('channel_id', { position: 1 }).map((column) =>
      column.column_name === 'read_state_type' ? { ...column, position: 0 } : column,
    );
    expect(check(swapped).wrong).toEqual([
      'the table k.read_states is clustered by read_state_type, channel_id, not channel_id, read_state_type',
    ]);
    expect(check(COLUMNS, { class: 'NetworkTopologyStrategy', dc2: '3' }).wrong).toEqual([
      'the keyspace k has no replicas in dc1, but in dc2: change dc= or ALTER KEYSPACE',
    ]);
  });
});
