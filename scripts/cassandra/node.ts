/** One Cassandra node: a process, its folder, its address. */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { ROOT } from '../repository.js';
import { javaArguments, type Machine } from './java-flags.js';

const TEMPLATES = join(ROOT, 'scripts/cassandra');
const START_TIMEOUT_MS = 180_000;
const STOP_TIMEOUT_MS = 30_000;
const POLL_MS = 50;
const LOG_LINES_SHOWN = 20;

export interface NodeOptions {
  readonly clusterName: string;
  /** Position on the ring, -2^63 to 2^63-1. */
  readonly token: bigint;
  readonly seeds: readonly string[];
  readonly address: string;
  /** Where clients are told to find it: its own address, or a proxy's. The port is the same. */
  readonly cqlAddress: string;
  readonly cqlPort: number;
  readonly folder: string;
  readonly classPath: string;
  readonly machine: Machine;
  /** False: quicker, and not to be killed if its data is still wanted. */
  readonly durable: boolean;
  /** 0 to 19: the processor goes first to what has less. */
  readonly niceness: number;
  /** More lines of cassandra.yaml. */
  readonly settings: Readonly<Record<string, string | number | boolean>>;
}

/** The commit log is on disk before each answer. */
const DURABLE = 'batch';
/**
 * Cassandra's default: the answer comes at once, and kill -9 of the process loses what was answered in the last
 * 100 ms, for a part of the log counts only once its mark is written.
 */
const QUICK = 'periodic\ncommitlog_sync_period: 1000ms';
/** Changes of the schema only in the commit log, which is replayed when the schema has been read. */
const QUICK_SCHEMA = { 'cassandra.test.flush_local_schema_changes': 'false' };

/** Told of processes, so that none outlives its owner. */
export interface ProcessWatcher {
  started(pid: number): void;
  ended(pid: number): void;
}

export class CassandraNode {
  readonly options: NodeOptions;
  readonly #watcher: ProcessWatcher;
  #child: ChildProcess | null = null;
  #ended: Promise<void> = Promise.resolve();

  constructor(options: NodeOptions, watcher: ProcessWatcher) {
    this.options = options;
    this.#watcher = watcher;
  }

  get address(): string {
    return this.options.address;
  }

  get isRunning(): boolean {
    return this.#child !== null;
  }

  /** 0 = not running. */
  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  /** What the process of the last start said. */
  get logFile(): string {
    return join(this.options.folder, 'node.log');
  }

  /** Starts the process, on the data that it has. Wait for `accepts`. */
  start(): void {
    if (this.isRunning) throw new Error(`the node ${this.address} runs already`);
    const { folder, classPath, machine, durable, niceness } = this.options;
    mkdirSync(folder, { recursive: true });
    const yaml = join(folder, 'cassandra.yaml');
    writeFileSync(yaml, this.#yaml());
    const log = openSync(this.logFile, 'w');
    const child = spawn(
      'nice', // becomes java
      [
        '-n',
        String(niceness),
        'java',
        ...javaArguments(machine, classPath, {
          'cassandra.config': pathToFileURL(yaml).href,
          'cassandra.storagedir': folder,
          'logback.configurationFile': join(TEMPLATES, 'logback.xml'),
          ...(durable ? {} : QUICK_SCHEMA),
        }),
        'org.apache.cassandra.service.CassandraDaemon',
      ],
      // A group of its own: Ctrl-C is for the owner, who then stops the nodes.
      { stdio: ['ignore', log, log], detached: true, cwd: folder },
    );
    closeSync(log);
    this.#child = child;
    if (child.pid !== undefined) {
      this.#watcher.started(child.pid);
      if (niceness > 0) lowerGroup(child.pid, niceness);
    }
    this.#ended = new Promise((resolve) => {
      const end = (): void => {
        if (child.pid !== undefined) this.#watcher.ended(child.pid);
        if (this.#child === child) this.#child = null;
        resolve();
      };
      child.once('exit', end);
      child.once('error', end);
    });
  }

  /** Resolves when clients can connect. @throws Error with the end of the log, if it ends or takes 3 minutes */
  async accepts(): Promise<void> {
    const deadline = performance.now() + START_TIMEOUT_MS;
    while (!(await canConnect(this.address, this.options.cqlPort))) {
      const problem = !this.isRunning
        ? 'ended'
        : performance.now() > deadline
          ? 'is not ready in time'
          : null;
      if (problem !== null) throw new Error(`Cassandra on ${this.address} ${problem}:\n${this.#logEnd()}`);
      await delay(POLL_MS);
    }
  }

  /** kill -9. Resolves when the process is gone. */
  async kill(): Promise<void> {
    this.#child?.kill('SIGKILL');
    await this.#ended;
  }

  /** Freezes the process, as a long pause would: connections stay open and nothing answers. */
  freeze(): void {
    this.#child?.kill('SIGSTOP');
  }

  thaw(): void {
    this.#child?.kill('SIGCONT');
  }

  /** Drains and stops; killed after half a minute. */
  async stop(): Promise<void> {
    const child = this.#child;
    child?.kill('SIGTERM');
    const timer = setTimeout(() => child?.kill('SIGKILL'), STOP_TIMEOUT_MS);
    await this.#ended;
    clearTimeout(timer);
  }

  /** Its process may go on without this one. */
  release(): void {
    this.#child?.unref();
  }

  /** Forgets the data of a node that does not run. */
  erase(): void {
    if (this.isRunning) throw new Error(`the node ${this.address} runs`);
    rmSync(this.options.folder, { recursive: true, force: true });
  }

  #yaml(): string {
    const { clusterName, token, seeds, address, cqlAddress, cqlPort, folder, durable } = this.options;
    const values: Record<string, string> = {
      CLUSTER_NAME: clusterName,
      TOKEN: String(token),
      SEEDS: seeds.join(','),
      ADDRESS: address,
      CQL_ADDRESS: cqlAddress,
      CQL_PORT: String(cqlPort),
      FOLDER: folder,
      COMMITLOG_SYNC: durable ? DURABLE : QUICK,
    };
    const filled = readFileSync(join(TEMPLATES, 'cassandra.yaml'), 'utf8').replace(
      /^([^#].*?)\$\{(\w+)\}/gm,
      (_, before: string, name: string) => `${before}${values[name]!}`,
    );
    const more = Object.entries(this.options.settings).map(([name, value]) => `${name}: ${value}\n`);
    return `${filled}${more.join('')}`;
  }

  #logEnd(): string {
    return readFileSync(this.logFile, 'utf8').trimEnd().split('\n').slice(-LOG_LINES_SHOWN).join('\n');
  }
}

/** Where the system shares out the processor by sessions first, a process is nice only within its own. */
function lowerGroup(pid: number, niceness: number): void {
  const file = `/proc/${pid}/autogroup`;
  if (existsSync(file)) writeFileSync(file, String(niceness));
}

/** Whether something listens there. */
export function canConnect(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    const end = (isOpen: boolean): void => {
      socket.destroy();
      resolve(isOpen);
    };
    socket.once('connect', () => end(true));
    socket.once('error', () => end(false));
  });
}
