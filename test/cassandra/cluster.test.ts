/** The Cassandra that the other tests rely on: starts, keeps its data over kill -9, leaves no process behind. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { CassandraCluster } from '../../scripts/cassandra/cluster.js';
import { until } from '../contract/stage.js';
import { cassandraClient, describeCassandra, newKeyspace, sharedCassandra } from '../support/cassandra.js';

const START_MS = 240_000;

describeCassandra('a node of its own', () => {
  let cluster: CassandraCluster;
  beforeAll(async () => {
    cluster = await CassandraCluster.start();
  }, START_MS);
  afterAll(() => cluster.end());

  it(
    'has what was written before it was killed, and refuses connections until it is back',
    async () => {
      const keyspace = await newKeyspace(cluster.contactPoints);
      const writer = cassandraClient(cluster.contactPoints);
      await writer.execute(`CREATE TABLE ${keyspace}.t (id int PRIMARY KEY)`);
      for (let id = 0; id < 100; id++) await writer.execute(`INSERT INTO ${keyspace}.t (id) VALUES (${id})`);
      const node = cluster.nodes[0]!;
      const folder = node.options.folder;
      await node.kill();
      await writer.shutdown();
      expect(node.isRunning).toBe(false);
      const early = cassandraClient(cluster.contactPoints);
      await expect(early.connect()).rejects.toThrow();
      await early.shutdown();

      node.start();
      await cluster.ready();
      const reader = cassandraClient(cluster.contactPoints);
      const { rowLength } = await reader.execute(`SELECT id FROM ${keyspace}.t`);
      expect(rowLength).toBe(100);
      await reader.shutdown();
      expect(existsSync(folder)).toBe(true);
    },
    START_MS,
  );
});

describeCassandra('nodes whose owner is killed', () => {
  it('are killed, and their folder goes', async () => {
    const owner = spawn(process.execPath, [
      fileURLToPath(new URL('./cluster-owner-child.js', import.meta.url)),
    ]);
    const [line] = (await once(owner.stdout, 'data')) as [Buffer];
    const { pid, folder } = JSON.parse(line.toString()) as { pid: number; folder: string };
    process.kill(pid, 0);
    expect(existsSync(folder)).toBe(true);
    owner.kill('SIGKILL');
    await until(() => !isAlive(pid) && !existsSync(folder), 'the node and its folder are gone');
  });
});

describeCassandra('the shared Cassandra', () => {
  it(
    'is one for all',
    async () => {
      const [one, other] = await Promise.all([sharedCassandra(), sharedCassandra()]);
      expect(one).toEqual(other);
      expect(await newKeyspace(one)).not.toBe(await newKeyspace(other));
    },
    START_MS,
  );
});

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
