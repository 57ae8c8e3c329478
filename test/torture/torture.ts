/**
 * Kills the service with -9 again and again, at random moments of its life, and proves after each start that it kept
 * its word (checker.ts says what that is). A life of the service is one of:
 * - load, and a kill at a random moment: most of the load is misses and evictions, and something is being flushed always;
 * - load, and a kill a few milliseconds after a burst;
 * - a kill during the start, so also during the replay of the journal;
 * - load, an orderly stop, and a kill during the stop;
 * - load and an orderly stop that is let finish.
 * In every third life all users are verified before the load goes on; in the others the load itself meets what the
 * kill left, and clients repeat what they got no answer for.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sleep } from '../../bench/clock.js';
import { Random } from '../../bench/random.js';
import type { Checker } from './checker.js';
import { LOAD_DEFAULTS, Load, type LoadOptions } from './load.js';
import { Operator } from './operator.js';
import { Server } from './server.js';

export interface TortureOptions extends Partial<Omit<LoadOptions, 'seed'>> {
  seed: number;
  /** Kills; orderly stops come on top. */
  kills: number;
  /** Lives, if there are not enough kills before. With 0 kills all of them end with an orderly stop. */
  lives?: number;
  /** Options of `serve`. Where there are several values, starts take another now and then. */
  serve: Record<string, readonly string[]>;
  /** How long the load lasts before a kill, at most. */
  lifeMs: number;
  /** Of all lives, how many end with an orderly stop. */
  stopShare: number;
  /** Lanes go from thread to thread all the time (operator.ts). */
  operates?: boolean;
  log: (line: string) => void;
}

export interface TortureResult {
  kills: number;
  /** Of these, during a start; and during an orderly stop. */
  startKills: number;
  stopKills: number;
  stops: number;
  /** Resizes and reloads that were begun. */
  orders: number;
  checker: Checker;
  directory: string;
  /** Sums over all lives of what the service counted before it was killed, as far as it was asked. */
  counters: Map<string, number>;
}

const COUNTED = ['hits_total', 'misses_total', 'evicted_users_total', 'flushed_rows_total'].map(
  (name) => `tidemark_shard_${name}`,
);
const LIFE_ANSWERS_MIN = 500;
/** At a start, an option with several values is chosen anew with this probability: many starts are with the same. */
const CHANGE_SHARE = 0.25;
/** A start that takes longer is one that hangs. */
const START_MS = 120_000;

export class Torture {
  readonly load: Load;
  readonly directory = mkdtempSync(join(tmpdir(), 'tidemark-torture-'));
  readonly #options: TortureOptions;
  readonly #random: Random;
  readonly #counters = new Map<string, number>();
  /** Options of the last start. */
  readonly #chosen = new Map<string, string>();
  /** How long starts took. */
  #startMs = 500;
  #kills = 0;
  #startKills = 0;
  #stopKills = 0;
  #stops = 0;
  #orders = 0;

  constructor(options: TortureOptions) {
    this.#options = options;
    this.#random = new Random(options.seed ^ 0x5eed);
    this.load = new Load({ ...LOAD_DEFAULTS, ...options });
  }

  /** Runs to the end, or to the first violation. */
  async run(): Promise<TortureResult> {
    const { kills, lives = 0, log } = this.#options;
    for (let life = 0; (this.#kills < kills || life < lives) && this.isFine; life++) {
      const startMs = performance.now();
      const how = await this.#live(life);
      const { checker } = this.load;
      log(
        `life ${life + 1}, ${Math.round(performance.now() - startMs)} ms, ${how}: ${this.#kills} kills, ${checker.answeredCount} operations answered, ${checker.lostCount} not, refused ${refusals(checker)}`,
      );
    }
    await this.#verifyTwice();
    return this.finish();
  }

  get isFine(): boolean {
    return this.load.checker.violations.length === 0;
  }

  /** What there is to tell; removes the folder unless there is something to look into. */
  finish(): TortureResult {
    const isKept = !this.isFine;
    if (!isKept) rmSync(this.directory, { recursive: true });
    return {
      kills: this.#kills,
      startKills: this.#startKills,
      stopKills: this.#stopKills,
      stops: this.#stops,
      orders: this.#orders,
      checker: this.load.checker,
      directory: isKept ? this.directory : '',
      counters: this.#counters,
    };
  }

  async connect(server: Started): Promise<void> {
    if (!(await this.load.connect(server.url))) throw gone(server.server, 'did not take connections');
  }

  /** Users with changes that the store does not have. */
  async unsavedUsers(server: Started): Promise<number> {
    const text = await (await fetch(new URL('/metrics', server.url))).text();
    const found = [...text.matchAll(/^tidemark_shard_dirty_users(?:\{[^}]*\})? (\d+)$/gm)];
    if (found.length === 0) throw new Error('there is no metric tidemark_shard_dirty_users');
    return found.reduce((sum, [, value]) => sum + Number(value), 0);
  }

  /** Kills a service, and verifies everything after a start, and once more after an orderly stop. */
  async killAndVerify(server: Started): Promise<void> {
    await this.#kill(server.server, 'killed');
    await this.#verifyTwice();
  }

  /** What is left has to survive an orderly stop too: then the store alone has it. */
  async #verifyTwice(): Promise<void> {
    for (let i = 0; i < 2 && this.isFine; i++) {
      const server = await this.started();
      await this.connect(server);
      await this.#verifyConnected(server);
      await this.#terminate(server);
    }
  }

  #args(): string[] {
    const args = ['--data', this.directory];
    for (const [name, values] of Object.entries(this.#options.serve)) {
      const before = this.#chosen.get(name);
      const value =
        before === undefined || this.#random.fraction() < CHANGE_SHARE
          ? values[this.#random.below(values.length)]!
          : before;
      this.#chosen.set(name, value);
      args.push(`--${name}`, value);
    }
    return args;
  }

  /** @returns how it ended */
  async #live(life: number): Promise<string> {
    const random = this.#random;
    const isClean = this.#options.kills === 0;
    if (!isClean && random.below(6) === 0) return this.#killStart();
    const server = await this.started();
    await this.connect(server);
    if (life % 3 === 2) await this.#verifyConnected(server);
    await this.load.retryLost();
    if (!this.isFine) return this.#kill(server.server, 'killed');
    this.load.start();
    const operator =
      this.#options.operates === true
        ? new Operator(server.url, new Random(this.#options.seed + life))
        : null;
    const how = await this.#endUnderLoad(server, isClean);
    await operator?.stop();
    this.#orders += operator?.orders ?? 0;
    return how;
  }

  async #endUnderLoad(server: Started, isClean: boolean): Promise<string> {
    const random = this.#random;
    const { checker } = this.load;
    const before = checker.answeredCount;
    await sleep(20 + random.fraction() * this.#options.lifeMs);
    // Also on a slow machine most lives have something to lose.
    const least = before + (random.below(4) === 0 ? 0 : LIFE_ANSWERS_MIN);
    while (checker.answeredCount < least && this.load.connected) await sleep(5);
    if (server.server.hasEnded) throw gone(server.server, 'ended by itself');
    await this.#count(server.url);
    if (isClean || random.fraction() < this.#options.stopShare) return this.#stop(server, isClean);
    if (random.below(3) > 0) return this.#kill(server.server, 'killed');
    this.load.burst();
    await sleep(random.fraction() * 12);
    return this.#kill(server.server, 'killed after a burst');
  }

  async #stop(server: Started, isClean: boolean): Promise<string> {
    const random = this.#random;
    if (random.below(2) === 0) {
      await this.load.stop();
      return this.#terminate(server);
    }
    const ended = server.server.terminate();
    await (isClean ? ended : sleep(random.fraction() * 300));
    if (!server.server.hasEnded) {
      this.#stopKills++;
      return this.#kill(server.server, 'killed during a stop');
    }
    await this.load.lose('stopped under load');
    await this.#checkStop(server, ended);
    return 'stopped under load';
  }

  async #killStart(): Promise<string> {
    const server = new Server(this.#args());
    await Promise.race([sleep(this.#random.fraction() * this.#startMs * 1.1), server.ended]);
    if (server.hasEnded) throw gone(server, 'did not start');
    this.#startKills++;
    return this.#kill(server, 'killed during a start');
  }

  async #kill(server: Server, how: string): Promise<string> {
    this.#kills++;
    await server.kill();
    await this.load.lose(`${how} (kill ${this.#kills})`);
    return how;
  }

  async started(): Promise<Started> {
    const server = new Server(this.#args());
    const timer = setTimeout(() => void server.kill(), START_MS);
    const url = await server.ready;
    clearTimeout(timer);
    if (url === undefined) throw gone(server, 'did not start');
    this.#startMs = performance.now() - server.startedMs;
    return { server, url };
  }

  async #verifyConnected(server: Started): Promise<void> {
    if (!(await this.load.verifyAll())) throw gone(server.server, 'went away while it was asked');
  }

  async #terminate(server: Started): Promise<string> {
    const ended = server.server.terminate();
    await ended;
    await this.load.lose('stopped');
    await this.#checkStop(server, ended);
    return 'stopped';
  }

  async #checkStop(server: Started, ended: ReturnType<Server['terminate']>): Promise<void> {
    const { code, signal } = await ended;
    this.#stops++;
    if (code !== 0) throw gone(server.server, `ended with ${signal ?? code} when it was stopped`);
  }

  /** What it has counted so far: proof that the load is what it is meant to be. */
  async #count(url: URL): Promise<void> {
    const text = await fetch(new URL('/metrics', url)).then(
      (response) => response.text(),
      () => '',
    );
    for (const line of text.split('\n')) {
      const [, name, value] = /^(\w+)(?:\{[^}]*\})? (\S+)$/.exec(line) ?? [];
      if (name === undefined || !COUNTED.includes(name)) continue;
      this.#counters.set(name, (this.#counters.get(name) ?? 0) + Number(value));
    }
  }
}

export interface Started {
  readonly server: Server;
  readonly url: URL;
}

function gone(server: Server, what: string): Error {
  return new Error(`the service ${what}:\n${server.log.slice(-4000)}`);
}

function refusals(checker: Checker): string {
  const counts = [...checker.refusedCounts].map(([code, count]) => `${code} ${count}`);
  return counts.length === 0 ? 'none' : counts.join(', ');
}

/** The violations with all that is needed to look into them. */
export function report(result: TortureResult, options: TortureOptions): string {
  const { checker, directory } = result;
  const head = `${checker.violations.length} violations, seed ${options.seed}, kill ${result.kills}; data kept in ${directory}`;
  const text = [head, ...checker.violations.slice(0, 5).map((violation) => violation.text)].join('\n');
  if (directory !== '') writeFileSync(join(directory, 'violations.txt'), text);
  return text;
}
