/**
 * Starts Cassandra on loopback addresses. No process outlives its owner unless it is released: a guard, a shell that
 * reads from a pipe, kills what still runs when the pipe closes.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Client, policies, types } from 'cassandra-driver';
import { ROOT } from '../repository.js';
import { prepareJars } from './jars.js';
import type { Machine } from './java-flags.js';
import { CassandraNode, canConnect, type ProcessWatcher } from './node.js';

export const CQL_PORT = 9042;
const STORAGE_PORT = 7000;
const NODES_MAX = 9;
const TOGETHER_TIMEOUT_MS = 120_000;
const POLL_MS = 100;
/** Replicated to three nodes by Cassandra itself: read at ALL, it tells that all of up to three answer each other. */
const REPLICATED =
  "SELECT id FROM system_distributed.repair_history WHERE keyspace_name = '-' AND columnfamily_name = '-' LIMIT 1";

export interface ClusterOptions {
  /** Default 1. */
  readonly nodes?: number;
  /** Node i gets the i-th address behind this one; default: a free block of 127.0.x.y. */
  readonly firstAddress?: string;
  /** Default: a temporary one, removed at the end. */
  readonly folder?: string;
  /** Default `small`. */
  readonly machine?: Machine;
  /** Default true: a node that is killed has all that it answered. Otherwise it is quicker. */
  readonly durable?: boolean;
  /** Default 0. 19: it takes only the processor time that nobody else wants, as if it had a machine of its own. */
  readonly niceness?: number;
  /** Where clients are to find node number `index`, from 0: for a proxy before each. Default: at its address. */
  readonly cqlAddress?: (index: number, address: string) => string;
  /** More lines of cassandra.yaml: name and value. */
  readonly settings?: Readonly<Record<string, string | number | boolean>>;
  /** Called when the processes run; they are not ready then. */
  readonly onStarted?: (cluster: CassandraCluster) => void;
}

/** `127.0.1.250` and 3 -> `127.0.1.253` */
export function addressBehind(first: string, index: number): string {
  const dot = first.lastIndexOf('.') + 1;
  return `${first.slice(0, dot)}${Number(first.slice(dot)) + index}`;
}

export class CassandraCluster {
  readonly nodes: readonly CassandraNode[];
  readonly #guard: Guard;
  readonly #temporary: string | null;

  private constructor(nodes: readonly CassandraNode[], guard: Guard, temporary: string | null) {
    this.nodes = nodes;
    this.#guard = guard;
    this.#temporary = temporary;
  }

  /** Starts the nodes; resolves when clients can connect to all of them and they see each other. */
  static async start(options: ClusterOptions = {}): Promise<CassandraCluster> {
    const { nodes: count = 1, machine = 'small', durable = true, cqlAddress } = options;
    if (!Number.isInteger(count) || count < 1 || count > NODES_MAX)
      throw new Error(`${count} nodes: use 1 to ${NODES_MAX}`);
    const classPath = await prepareJars();
    const first = options.firstAddress ?? (await freeAddresses(count));
    const temporary =
      options.folder === undefined ? mkdtempSync(join(tmpdir(), 'tidemark-cassandra-')) : null;
    const guard = new Guard(temporary);
    const folder = options.folder ?? temporary!;
    const addresses = Array.from({ length: count }, (_, index) => addressBehind(first, index));
    const nodes = addresses.map(
      (address, index) =>
        new CassandraNode(
          {
            clusterName: 'tidemark',
            token: (2n ** 64n * BigInt(index)) / BigInt(count) - 2n ** 63n,
            // All of them: then each may be the first.
            seeds: addresses,
            address,
            cqlAddress: cqlAddress?.(index, address) ?? address,
            cqlPort: CQL_PORT,
            folder: join(folder, `node-${index + 1}`),
            classPath,
            machine,
            durable,
            niceness: options.niceness ?? 0,
            settings: options.settings ?? {},
          },
          guard,
        ),
    );
    const cluster = new CassandraCluster(nodes, guard, temporary);
    try {
      for (const node of nodes) node.start();
      options.onStarted?.(cluster);
      await cluster.ready();
    } catch (error) {
      await cluster.end();
      throw error;
    }
    return cluster;
  }

  /** `host:port` of each node, for clients. */
  get contactPoints(): string[] {
    return this.nodes.map(({ options: { cqlAddress, cqlPort } }) => `${cqlAddress}:${cqlPort}`);
  }

  /** Resolves when clients can connect to all nodes that run, and, if all run, these see each other. */
  async ready(): Promise<void> {
    const running = this.nodes.filter((node) => node.isRunning);
    await Promise.all(running.map((node) => node.accepts()));
    if (running.length === this.nodes.length && running.length > 1)
      await Promise.all(running.map((node) => seesAll(node)));
  }

  /** Kills all nodes, and forgets the data if the folder is temporary. */
  async end(): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.kill()));
    this.#guard.release();
    if (this.#temporary !== null) rmSync(this.#temporary, { recursive: true, force: true });
  }

  /** The nodes may go on without this process. */
  release(): void {
    this.#guard.release();
    for (const node of this.nodes) node.release();
  }
}

/** Resolves when the node, as coordinator, gets an answer from every replica. */
async function seesAll(node: CassandraNode): Promise<void> {
  const contactPoint = `${node.address}:${node.options.cqlPort}`;
  const client = new Client({
    contactPoints: [contactPoint],
    localDataCenter: 'datacenter1',
    policies: {
      loadBalancing: new policies.loadBalancing.AllowListPolicy(
        new policies.loadBalancing.RoundRobinPolicy(),
        [contactPoint],
      ),
    },
  });
  const deadline = performance.now() + TOGETHER_TIMEOUT_MS;
  try {
    for (;;) {
      try {
        await client.execute(REPLICATED, [], { consistency: types.consistencies.all });
        return;
      } catch (error) {
        if (performance.now() > deadline)
          throw new Error(`the node ${node.address} does not see the others: ${(error as Error).message}`);
      }
      await delay(POLL_MS);
    }
  } finally {
    await client.shutdown();
  }
}

/** The first of `count` addresses at which nothing listens on Cassandra's ports. */
async function freeAddresses(count: number): Promise<string> {
  for (let tries = 0; tries < 100; tries++) {
    const first = `127.0.${randomInt(1, 255)}.${randomInt(1, 255 - count)}`;
    const taken = await Promise.all(
      Array.from({ length: count }, (_, index) => addressBehind(first, index)).flatMap((address) =>
        [CQL_PORT, STORAGE_PORT].map((port) => canConnect(address, port)),
      ),
    );
    if (!taken.includes(true)) return first;
  }
  throw new Error(`no free address in 127.0.0.0/16 for the ports ${CQL_PORT} and ${STORAGE_PORT}`);
}

/** guard.sh, told of each process. */
class Guard implements ProcessWatcher {
  readonly #shell: ChildProcess;

  constructor(folder: string | null) {
    this.#shell = spawn(
      'sh',
      [join(ROOT, 'scripts/cassandra/guard.sh'), ...(folder === null ? [] : [folder])],
      {
        stdio: ['pipe', 'ignore', 'ignore'],
        detached: true,
      },
    );
    this.#shell.stdin!.on('error', () => {});
    this.#shell.unref();
    (this.#shell.stdin as unknown as { unref(): void }).unref();
  }

  started(pid: number): void {
    this.#shell.stdin!.write(`started ${pid}\n`);
  }

  ended(pid: number): void {
    this.#shell.stdin!.write(`ended ${pid}\n`);
  }

  release(): void {
    this.#shell.stdin!.end('release\n');
  }
}
