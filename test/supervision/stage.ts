/** A service in this process with the load and the checker of the torture on it, to be operated meanwhile. */
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readConfig } from '../../gateway/config.js';
import { Server } from '../../gateway/server.js';
import { workersOptions } from '../../gateway/workers-options.js';
import { startWorkers } from '../../workers/supervisor.js';
import type { Workers } from '../../workers/workers.js';
import { LOAD_DEFAULTS, Load, type LoadOptions } from '../torture/load.js';

export const SEED = Number(process.env.TORTURE_SEED ?? Date.now() % 1_000_000);

export interface StageOptions {
  /** Options of `serve`. */
  readonly serve?: Readonly<Record<string, string>>;
  readonly load?: Partial<LoadOptions>;
  /** With a `memory:` store: its switches. */
  readonly storeFaults?: SharedArrayBuffer;
}

export class Stage {
  directory = mkdtempSync(join(tmpdir(), 'tidemark-supervision-'));
  readonly warnings: string[] = [];
  readonly failures: Error[] = [];
  readonly load: Load;
  workers!: Workers;
  #server!: Server;
  readonly #serve: Readonly<Record<string, string>>;
  readonly #storeFaults: Pick<StageOptions, 'storeFaults'>;

  private constructor({ serve = {}, load = {}, storeFaults }: StageOptions) {
    this.#storeFaults = storeFaults === undefined ? {} : { storeFaults };
    this.#serve = { port: '0', capacity: '20k', partitions: '8', flushDelay: '200ms', ...serve };
    this.load = new Load({ ...LOAD_DEFAULTS, seed: SEED, ...load });
  }

  /** With its connections, and no load yet. */
  static async start(options: StageOptions = {}): Promise<Stage> {
    const stage = new Stage(options);
    await stage.#start();
    return stage;
  }

  get url(): URL {
    return new URL(`http://127.0.0.1:${this.#server.port}`);
  }

  async #start(): Promise<void> {
    const config = readConfig({ ...this.#serve, data: this.directory }, {});
    this.workers = await startWorkers({ ...workersOptions(config), ...this.#storeFaults });
    this.workers.onWarning = (message) => this.warnings.push(message);
    this.workers.onFailure = (error) => this.failures.push(error);
    this.#server = await Server.start(config, this.workers);
    if (!(await this.load.connect(this.url))) throw new Error('the service takes no connections');
  }

  async post(path: string, body: object): Promise<{ status: number; body: Record<string, unknown> }> {
    const response = await fetch(new URL(path, this.url), {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    return { status: response.status, body: (await response.json()) as Record<string, unknown> };
  }

  async get(path: string): Promise<Record<string, unknown>> {
    return (await (await fetch(new URL(path, this.url))).json()) as Record<string, unknown>;
  }

  /** No more load; everything is answered, and all users are listed once more. */
  async verify(): Promise<void> {
    await this.load.stop();
    if (!(await this.load.drain()) || !(await this.load.verifyAll()))
      throw new Error('the service went away');
  }

  async #stop(): Promise<void> {
    await this.#server.stop(5000);
    await this.workers.stop();
  }

  /** A clean stop, and a start from what it left. */
  async restart(): Promise<void> {
    await this.load.stop();
    await this.load.drain();
    await this.#stop();
    await this.load.lose('stopped');
    await this.#start();
  }

  /**
   * A start from what a kill -9 would have left at this moment: a copy of the files while nothing is in work. Nothing may
   * be on its way to the store, whose files could be copied in the middle of a write.
   */
  async crash(): Promise<void> {
    await this.load.stop();
    await this.load.drain();
    const copy = mkdtempSync(join(tmpdir(), 'tidemark-supervision-'));
    cpSync(this.directory, copy, { recursive: true, filter: (path) => !path.endsWith('.lock') });
    await this.#stop();
    await this.load.lose('killed');
    rmSync(this.directory, { recursive: true });
    this.directory = copy;
    await this.#start();
  }

  async end(): Promise<void> {
    await this.load.stop();
    await this.#stop();
    await this.load.lose('ended');
    rmSync(this.directory, { recursive: true });
  }
}

/** The violations, for a message. */
export function violationsOf({ load, warnings, failures }: Stage): string {
  const { violations } = load.checker;
  const texts = violations.slice(0, 3).map(({ text }) => text);
  return [`seed ${SEED}`, ...texts, ...warnings, ...failures.map(String)].join('\n');
}
