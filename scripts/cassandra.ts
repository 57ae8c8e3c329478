/**
 * `make cassandra [NODES=3]` and `make cassandra-stop`: real Cassandra on 127.0.0.1 and behind, for development.
 * Its data stays in .cache/cassandra, one folder for each number of nodes.
 */
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { addressBehind, CassandraCluster, CQL_PORT } from './cassandra/cluster.js';
import { CACHE, missingTools } from './cassandra/jars.js';
import { canConnect } from './cassandra/node.js';

const FIRST_ADDRESS = '127.0.0.1';
/** What runs: a list of processes, each with its folder. */
const RUNNING = join(CACHE, 'running.json');
const STOP_TIMEOUT_MS = 30_000;
const POLL_MS = 100;

interface Process {
  readonly pid: number;
  readonly address: string;
  readonly folder: string;
}

function running(): Process[] {
  if (!existsSync(RUNNING)) return [];
  return (JSON.parse(readFileSync(RUNNING, 'utf8')) as Process[]).filter(isAlive);
}

/** A pid alone may be somebody else's by now; the folder is on the command line of the node. */
function isAlive({ pid, folder }: Process): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(folder);
  } catch {
    return false;
  }
}

async function start(nodes: number): Promise<void> {
  const before = running();
  if (before.length > 0) {
    if (before.length !== nodes)
      throw new Error(`${describe(before.length)} of it run. Stop them first: make cassandra-stop`);
    console.log(
      `cassandra: runs already, ${describe(nodes)}: ${before.map(({ address }) => address).join(', ')}`,
    );
    return;
  }
  if (await canConnect(FIRST_ADDRESS, CQL_PORT))
    throw new Error(`something else listens at ${FIRST_ADDRESS}:${CQL_PORT}. Stop it first.`);
  const since = performance.now();
  // The guard kills the nodes if this process is interrupted before it releases them.
  const cluster = await CassandraCluster.start({
    nodes,
    firstAddress: FIRST_ADDRESS,
    folder: join(CACHE, `nodes-${nodes}`),
  });
  writeFileSync(
    RUNNING,
    JSON.stringify(
      cluster.nodes.map(
        ({ pid, address, options: { folder } }) => ({ pid, address, folder }) satisfies Process,
      ),
    ),
  );
  cluster.release();
  const hosts = Array.from({ length: nodes }, (_, index) => addressBehind(FIRST_ADDRESS, index)).join(',');
  console.log(`cassandra: ${describe(nodes)} up after ${((performance.now() - since) / 1000).toFixed(1)} s
  use   make run ARGS='--store "cassandra://${hosts}:${CQL_PORT}/tidemark?dc=datacenter1"'
  data  ${join(CACHE, `nodes-${nodes}`)}
  stop  make cassandra-stop`);
}

async function stop(): Promise<void> {
  const processes = running();
  for (const { pid } of processes) process.kill(pid, 'SIGTERM');
  const deadline = performance.now() + STOP_TIMEOUT_MS;
  while (processes.some(isAlive)) {
    if (performance.now() > deadline)
      for (const { pid } of processes.filter(isAlive)) process.kill(pid, 'SIGKILL');
    await delay(POLL_MS);
  }
  rmSync(RUNNING, { force: true });
  console.log(
    processes.length === 0 ? 'cassandra: does not run' : `cassandra: ${describe(processes.length)} stopped`,
  );
}

function describe(nodes: number): string {
  return nodes === 1 ? '1 node' : `${nodes} nodes`;
}

const [order, nodes = '1'] = process.argv.slice(2);
try {
  const missing = order === 'start' ? missingTools() : null;
  if (missing !== null) throw new Error(missing);
  if (order === 'start') await start(Number(nodes));
  else if (order === 'stop') await stop();
  else throw new Error('say start [NODES] or stop');
} catch (error) {
  console.error(`cassandra: ${(error as Error).message}`);
  process.exitCode = 1;
}
