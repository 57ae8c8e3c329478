/**
 * One Cassandra for all test files of a run (vitest's globalSetup): started when the first file asks for it, killed
 * at the end. Files are processes of their own, so they ask over HTTP; cassandra.ts is their side.
 */
import { createServer } from 'node:http';
import type { TestProject } from 'vitest/node';
import { CassandraCluster } from '../../scripts/cassandra/cluster.js';
import { missingTools } from '../../scripts/cassandra/jars.js';

declare module 'vitest' {
  interface ProvidedContext {
    /** Why there is no Cassandra; empty: there is. */
    cassandraMissing: string;
    /** Answers with a JSON list of contact points, when the node is up. */
    cassandraUrl: string;
  }
}

/** @throws Error in CI if Cassandra cannot run: there its tests must not be skipped */
export default async function setup({ provide }: TestProject): Promise<() => Promise<void>> {
  const missing = missingTools();
  if (missing !== null && process.env.CI === 'true')
    throw new Error(`The Cassandra tests must not be skipped in CI, and there is ${missing}.`);
  provide('cassandraMissing', missing ?? '');
  if (missing !== null) console.log(`The Cassandra tests are skipped: ${missing}.`);

  let cluster: Promise<CassandraCluster> | null = null;
  const server = createServer((_, response) => {
    cluster ??= CassandraCluster.start({ durable: false });
    cluster.then(
      ({ contactPoints }) => response.end(JSON.stringify(contactPoints)),
      (error: Error) => response.writeHead(500).end(error.message),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  provide('cassandraUrl', `http://127.0.0.1:${(server.address() as { port: number }).port}`);

  return async () => {
    server.close();
    await (await cluster?.catch(() => null))?.end();
  };
}
