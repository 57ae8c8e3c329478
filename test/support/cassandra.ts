/** Real Cassandra for test files: one node for all of them, a keyspace for each that asks. */
import { randomBytes } from 'node:crypto';
import { Client } from 'cassandra-driver';
import { describe, inject } from 'vitest';
import { createKeyspace } from '../../scripts/cassandra/keyspace.js';

const DATA_CENTER = 'datacenter1';

/** As `describe`, for tests that need Cassandra: skipped where it cannot run. */
export const describeCassandra: typeof describe.skip = describe.skipIf(inject('cassandraMissing') !== '');

/** `host:port` of each node of the Cassandra that all test files share. The first call takes its start, some seconds. */
export async function sharedCassandra(): Promise<readonly string[]> {
  const response = await fetch(inject('cassandraUrl'));
  const text = await response.text();
  if (!response.ok) throw new Error(text);
  return JSON.parse(text) as string[];
}

/** A client without a keyspace; shut it down. */
export function cassandraClient(contactPoints: readonly string[]): Client {
  return new Client({ contactPoints: [...contactPoints], localDataCenter: DATA_CENTER });
}

/** Makes a keyspace that nobody else has. @returns its name */
export async function newKeyspace(contactPoints: readonly string[], replicas = 1): Promise<string> {
  const keyspace = newName();
  const client = cassandraClient(contactPoints);
  try {
    await client.execute(
      `CREATE KEYSPACE ${keyspace} WITH replication = {'class': 'SimpleStrategy', 'replication_factor': ${replicas}}`,
    );
  } finally {
    await client.shutdown();
  }
  return keyspace;
}

/**
 * The text of a store in a keyspace that nobody else has, with its table.
 * @param contactPoints  of the cluster that makes them; default: the shared one
 * @param hosts          as in the text, for proxies before the nodes; default: `contactPoints`
 */
export async function newStoreUrl(
  contactPoints?: readonly string[],
  { hosts, replicas = 1 }: { readonly hosts?: readonly string[]; readonly replicas?: number } = {},
): Promise<string> {
  const points = contactPoints ?? (await sharedCassandra());
  const url = await createKeyspace(points, { keyspace: newName(), replicas });
  return hosts === undefined ? url : url.replace(points.join(','), hosts.join(','));
}

function newName(): string {
  return `test_${randomBytes(6).toString('hex')}`;
}
