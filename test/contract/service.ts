/**
 * The real service within the test's process: workers on threads of their own, a real store, sockets on a free port.
 * What `serve` does, with two more handles: the faults of a `memory:` store, and a restart on the same directory.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type OptionName, readConfig } from '../../gateway/config.js';
import { Server } from '../../gateway/server.js';
import { workersOptions } from '../../gateway/workers-options.js';
import { createFaults, FAULTS } from '../../workers/stores/memory.js';
import { startWorkers } from '../../workers/supervisor.js';
import type { Workers } from '../../workers/workers.js';

export type Options = Partial<Record<OptionName, string>>;

type Fault = Exclude<keyof typeof FAULTS, 'WORDS'>;

/** For tests of everything but the limits: enough room, and patience for a busy machine. */
const DEFAULTS: Options = {
  port: '0',
  shards: '1',
  partitions: '2',
  capacity: '100k',
  store: 'memory:',
  flushDelay: '100ms',
  loadTimeout: '20s',
  roomTimeout: '20s',
  logLevel: 'silent',
};

/** The least there is, just enough for a bulk ack of 100: fewer users than `evictAll` (stage.ts) sends by. */
export const TINY: Options = { partitions: '1', capacity: '100' };

export class Service {
  readonly options: Options;
  readonly #directory: string;
  readonly #faults = createFaults();
  #server!: Server;
  #workers!: Workers;

  private constructor(options: Options) {
    this.options = { ...DEFAULTS, ...options };
    this.#directory = mkdtempSync(join(tmpdir(), 'tidemark-contract-'));
    if (this.options.store === 'lmdb:') this.options.store = `lmdb:${join(this.#directory, 'store')}`;
  }

  /** @param options  `store: 'lmdb:'` is a directory of this service alone */
  static async start(options: Options = {}): Promise<Service> {
    const service = new Service(options);
    await service.#start();
    return service;
  }

  get url(): string {
    return `http://127.0.0.1:${this.#server.port}`;
  }

  get streamUrl(): string {
    return `ws://127.0.0.1:${this.#server.port}/v1/stream`;
  }

  /** Subscriptions of connections that the service knows, closed ones left out. */
  get subscriptionCount(): number {
    return this.#server.front.subscriptions.count;
  }

  async #start(): Promise<void> {
    const config = readConfig(this.options, {});
    const { data: _, ...options } = workersOptions(config);
    this.#workers = await startWorkers({
      ...options,
      // Not with a store that lasts: a warm restart would hide what the store has.
      ...(config.store === 'memory:' ? { data: join(this.#directory, 'data') } : {}),
      storeFaults: this.#faults,
    });
    this.#server = await Server.start(config, this.#workers);
  }

  /** Sets a switch of the `memory:` store. */
  fault(name: Fault, value: number): void {
    Atomics.store(new Int32Array(this.#faults), FAULTS[name], value);
  }

  /** The sum of a metric over its labels, as `/metrics` says it. */
  async metric(name: string): Promise<number> {
    const text = await (await fetch(`${this.url}/metrics`)).text();
    const lines = text
      .split('\n')
      .filter((line) => line.startsWith(name) && /^[ {]/.test(line[name.length]!));
    if (lines.length === 0) throw new Error(`/metrics has no ${name}`);
    return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
  }

  async #stop(): Promise<void> {
    await this.#server.stop(5000);
    await this.#workers.stop();
  }

  /** A clean stop, and a start on the same directory. Connections are lost. */
  async restart(options: Options = {}): Promise<void> {
    await this.#stop();
    Object.assign(this.options, options);
    await this.#start();
  }

  async stop(): Promise<void> {
    await this.#stop();
    rmSync(this.#directory, { recursive: true });
  }
}
