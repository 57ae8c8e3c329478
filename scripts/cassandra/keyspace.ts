/** A keyspace with our table, for tests and benchmarks. */
import { Client } from 'cassandra-driver';
import { keyspaceCql, tableCql } from '../../workers/stores/cassandra-schema.js';

const DATA_CENTER = 'datacenter1';

export interface KeyspaceOptions {
  /** Default `tidemark`. */
  readonly keyspace?: string;
  /** Default 1. */
  readonly replicas?: number;
}

/**
 * Makes the keyspace and the table.
 * @param contactPoints  `host:port` each, of nodes that answer
 * @returns the text for `--store`
 */
export async function createKeyspace(
  contactPoints: readonly string[],
  { keyspace = 'tidemark', replicas = 1 }: KeyspaceOptions = {},
): Promise<string> {
  const client = new Client({ contactPoints: [...contactPoints], localDataCenter: DATA_CENTER });
  try {
    await client.execute(keyspaceCql(keyspace, DATA_CENTER, replicas));
    await client.execute(tableCql(keyspace));
  } finally {
    await client.shutdown();
  }
  return `cassandra://${contactPoints.join(',')}/${keyspace}?dc=${DATA_CENTER}`;
}
