/** `tidemark schema`: the CQL of a Cassandra store, printed or applied. */
import { createClient, reasonOf } from '../workers/stores/cassandra-client.js';
import { checkSchema, keyspaceCql, readSchema, tableCql } from '../workers/stores/cassandra-schema.js';
import { CASSANDRA_PREFIX, readCassandraUrl, redactStore } from '../workers/stores/cassandra-url.js';
import { CommandError, ConfigError } from './config.js';

/** The statements that make keyspace and table. @throws ConfigError */
export function printSchema(store: string, replicas: number): string {
  const { keyspace, dataCentre } = settingsOf(store);
  return `${keyspaceCql(keyspace, dataCentre, replicas)}\n\n${tableCql(keyspace)}`;
}

/**
 * Makes what is missing.
 * @returns what was done, a line each
 * @throws ConfigError; CommandError if the store cannot be reached, or what is there is wrong
 */
export async function applySchema(store: string, replicas: number): Promise<string[]> {
  const settings = settingsOf(store);
  const { keyspace, dataCentre } = settings;
  const name = redactStore(store);
  const client = createClient(settings);
  try {
    await client.connect();
    const found = await readSchema(client, keyspace);
    const { missing, cql, wrong } = checkSchema(keyspace, dataCentre, replicas, found);
    if (wrong.length > 0) throw new Error(`${wrong.join('; ')}.`);
    const nodes = client.hosts.values().filter(({ datacenter }) => datacenter === dataCentre).length;
    if (found.replication === null && nodes < replicas) {
      throw new Error(
        `${dataCentre} has ${nodes} of ${replicas} nodes. Add nodes, or give --replicas ${nodes}.`,
      );
    }
    for (const statement of cql) await client.execute(statement);
    return missing.length === 0 ? ['nothing is missing'] : missing.map((what) => `made ${what}`);
  } catch (error) {
    throw new CommandError(`cannot make the schema in ${name}: ${reasonOf(error)}`);
  } finally {
    await client.shutdown();
  }
}

function settingsOf(store: string) {
  if (!store.startsWith(CASSANDRA_PREFIX)) {
    throw new ConfigError([
      `--store=${redactStore(store)} has no schema: only ${CASSANDRA_PREFIX}… has one.`,
    ]);
  }
  const { settings, problems } = readCassandraUrl(store);
  if (problems.length > 0)
    throw new ConfigError([`--store=${redactStore(store)} ${problems.join(', and ')}.`]);
  return settings;
}
