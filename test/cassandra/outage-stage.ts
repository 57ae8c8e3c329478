/**
 * What the tests of outages play on: real Cassandra, a proxy before each node, the real server as a process, and the
 * load and the checker of the torture test. Everybody of the load is in memory before an outage, so all of it is hits
 * and writes; strangers, who are not, are asked for at a steady pace.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'vitest';
import { sleep } from '../../bench/clock.js';
import { CassandraCluster, type ClusterOptions, CQL_PORT } from '../../scripts/cassandra/cluster.js';
import { createKeyspace } from '../../scripts/cassandra/keyspace.js';
import { CqlMeter } from '../support/cql-meter.js';
import { FaultProxy } from '../support/fault-proxy.js';
import { LOAD_DEFAULTS, Load } from '../torture/load.js';
import { Server } from '../torture/server.js';

/** Starts, drains and verifications may take so long on a busy machine. */
export const PATIENCE_MS = 120_000;
const POLL_MS = 20;
/** Between two strangers. */
const STRANGER_INTERVAL_MS = 50;
/** Four times what a load takes when each message is 300 ms on its way: on busy processors there is more to it. */
export const LOAD_TIMEOUT_MS = 2500;

/** Proxies are at 127.1.x.y, for nodes at 127.0.x.y. */
function proxyAddress(_index: number, address: string): string {
  return address.replace(/^127\.0\./, '127.1.');
}

export interface Asked {
  /** When it was sent, and until it was answered. */
  readonly atMs: number;
  readonly tookMs: number;
  readonly status: number;
  /** Of an error. */
  readonly code: string;
}

export interface StageOptions {
  readonly nodes?: number;
  readonly replicas?: number;
  /** More of the store's URL. */
  readonly store?: string;
  /** Options of `serve`. */
  readonly serve?: Readonly<Record<string, string>>;
  readonly users?: number;
  /** More of cassandra.yaml. */
  readonly settings?: ClusterOptions['settings'];
}

export class OutageStage {
  readonly cluster: CassandraCluster;
  readonly proxies: readonly FaultProxy[];
  readonly meter: CqlMeter;
  readonly store: string;
  readonly load: Load;
  server!: Server;
  url!: URL;
  readonly #options: StageOptions;
  readonly #directory = mkdtempSync(join(tmpdir(), 'tidemark-outage-'));
  #lives = 0;
  #stranger = 1n + (BigInt(Date.now()) << 20n);

  private constructor(
    cluster: CassandraCluster,
    proxies: readonly FaultProxy[],
    meter: CqlMeter,
    store: string,
    options: StageOptions,
  ) {
    this.cluster = cluster;
    this.proxies = proxies;
    this.meter = meter;
    this.store = store;
    this.#options = options;
    this.load = new Load({
      ...LOAD_DEFAULTS,
      seed: Date.now() % 1_000_000,
      users: options.users ?? 1000,
      channels: 4,
      sockets: 2,
      // The server closes an HTTP connection that is idle, as these are between two outages.
      httpSockets: 0,
    });
  }

  /** Starts everything, and brings everybody into memory. */
  static async start(options: StageOptions = {}): Promise<OutageStage> {
    const { nodes = 1, replicas = 1, store: more = '' } = options;
    const cluster = await CassandraCluster.start({
      nodes,
      cqlAddress: proxyAddress,
      settings: options.settings ?? {},
    });
    const meter = new CqlMeter();
    const port = CQL_PORT;
    const proxies = await Promise.all(
      cluster.nodes.map(({ address, options: { cqlAddress } }) =>
        FaultProxy.start({ host: cqlAddress, port }, { host: address, port }, meter.tap),
      ),
    );
    const store = await createKeyspace(cluster.contactPoints, { replicas });
    const stage = new OutageStage(cluster, proxies, meter, `${store}${more}`, options);
    try {
      await stage.startServer();
      await stage.play(1000);
      await stage.meetAll();
    } catch (error) {
      await stage.end();
      throw error;
    }
    return stage;
  }

  /** On a directory of its own: what it knows, it knows from the store. */
  async startServer(): Promise<void> {
    const serve = {
      data: join(this.#directory, String(++this.#lives)),
      store: this.store,
      capacity: '200k',
      shards: '1',
      partitions: '4',
      'flush-delay': '200ms',
      'load-timeout': `${LOAD_TIMEOUT_MS}ms`,
      'room-timeout': '20s',
      'max-parked': '65536',
      ...this.#options.serve,
    };
    this.server = new Server(Object.entries(serve).flatMap(([name, value]) => [`--${name}`, value]));
    const url = await this.server.ready;
    if (url === undefined) throw new Error(`the server did not start:\n${this.server.log}`);
    this.url = url;
    if (!(await this.load.connect(url)))
      throw new Error(`the server took no connections:\n${this.server.log}`);
  }

  /** The load of some time; all of it is answered at the end. */
  async play(ms: number): Promise<void> {
    this.load.start();
    await sleep(ms);
    await this.#pause();
  }

  async #pause(): Promise<void> {
    await this.load.stop();
    if (!(await this.load.drain())) throw new Error(`the server is gone:\n${this.server.log}`);
  }

  /** Lists all users, also those who have done nothing yet: after that all are in memory, whole. */
  async meetAll(): Promise<void> {
    for (const id of this.load.userIds) this.load.checker.user(id);
    if (!(await this.load.verifyAll())) throw new Error(`the server is gone:\n${this.server.log}`);
    this.#expectRight();
  }

  #expectRight(): void {
    const { violations } = this.load.checker;
    expect(
      violations.slice(0, 3).map(({ text }) => text),
      this.server.log.slice(-2000),
    ).toEqual([]);
  }

  /**
   * Load while `outage` runs, and strangers. No operation of the load may be refused, and all are answered.
   * @returns how the strangers fared
   */
  async playDuring(outage: () => Promise<void>): Promise<Asked[]> {
    const before = new Map(this.load.checker.refusedCounts);
    const answered = this.load.checker.answeredCount;
    this.load.start();
    let goesOn = true;
    const asked: Promise<Asked>[] = [];
    const strangers = (async () => {
      while (goesOn) {
        const one = this.#askStranger();
        one.catch(() => {}); // seen below
        asked.push(one);
        await sleep(STRANGER_INTERVAL_MS);
      }
    })();
    try {
      await outage();
    } finally {
      goesOn = false;
      await strangers;
      await this.#pause();
    }
    const all = await Promise.all(asked);
    expect(this.load.checker.refusedCounts).toEqual(before);
    expect(this.load.checker.answeredCount - answered).toBeGreaterThan(1000);
    this.#expectRight();
    return all;
  }

  async #askStranger(): Promise<Asked> {
    const atMs = performance.now();
    const response = await fetch(new URL(`/v1/users/${++this.#stranger}/badge`, this.url));
    const body = (await response.json()) as { code?: string };
    return { atMs, tookMs: performance.now() - atMs, status: response.status, code: body.code ?? '' };
  }

  /** Waits until the store has everything. */
  async drained(): Promise<void> {
    await this.until(
      async () => (await this.metric('tidemark_shard_dirty_users')) === 0,
      'the backlog has drained',
    );
  }

  /** Waits until a stranger is answered. */
  async answersStrangers(): Promise<void> {
    await this.until(async () => (await this.#askStranger()).status === 200, 'strangers are answered');
  }

  async metric(name: string): Promise<number> {
    const text = await (await fetch(new URL('/metrics', this.url))).text();
    const lines = text
      .split('\n')
      .filter((line) => line.startsWith(`${name} `) || line.startsWith(`${name}{`));
    if (lines.length === 0) throw new Error(`there is no metric ${name}`);
    return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
  }

  async until(condition: () => boolean | Promise<boolean>, what: string): Promise<void> {
    const deadline = performance.now() + PATIENCE_MS;
    while (!(await condition())) {
      if (performance.now() > deadline) {
        throw new Error(`in vain waited until ${what}:\n${this.server.log.slice(-2000)}`);
      }
      await sleep(POLL_MS);
    }
  }

  /** When the store has everything: kills the server, and compares what another knows with what was answered. */
  async expectAllStored(): Promise<void> {
    await this.drained();
    await this.server.kill();
    await this.load.lose('killed, when the store had everything');
    await this.startServer();
    await this.meetAll();
  }

  /** No trouble any more, also after a test that failed in the middle of one. */
  async recover(): Promise<void> {
    for (const proxy of this.proxies) await proxy.heal();
    for (const node of this.cluster.nodes) {
      node.thaw();
      if (!node.isRunning) node.start();
    }
    await this.cluster.ready();
  }

  async end(): Promise<void> {
    await this.server?.kill();
    await this.load.lose('the end');
    await Promise.all(this.proxies.map((proxy) => proxy.stop()));
    await this.cluster.end();
    rmSync(this.#directory, { recursive: true, force: true });
  }
}
