/**
 * `tidemark load`: synthetic load. Open loop at a rate: operations go out when they are due, however slowly answers
 * come, and latencies count from then. With `--rate max` the loop is closed: as many in flight as `--window` says, and
 * latencies count from the sending.
 */
import { Command, InvalidArgumentError, Option } from 'commander';
import { ACK_EXTRA, REQUEST } from '../engine/messages.js';
import { nowUs, sleep, yieldToEvents } from './clock.js';
import { ANY_CONNECTION, type Driver, drain, IN_FLIGHT_MAX, openDriver } from './driver.js';
import { formatSummary, machine, RunStats, type RunSummary } from './run-stats.js';
import { parseMix, Workload, type WorkloadOptions } from './synthetic-workload.js';
import {
  addTargetOptions,
  checkResultFile,
  connectionCount,
  decimal,
  durationOption,
  rateOrMax,
  readToken,
  type TargetOptions,
  wholeNumber,
  writeResult,
} from './target-options.js';

export interface LoadOptions extends TargetOptions {
  /** Operations a second; Infinity: as many as the service answers. */
  rate: number;
  duration: number;
  warmUp: number;
  users: number;
  channelsPerUser: number;
  zipf: number;
  mix: WorkloadOptions['mix'];
  opsPerFrame: number;
  /** With `rate` Infinity: operations in flight over all connections. */
  window: number;
  seed: number;
}

export interface LoadResult {
  machine: Record<string, unknown>;
  protocol: string;
  connections: number;
  rate: number | 'max';
  workload: WorkloadOptions;
  opsPerFrame: number;
  run: RunSummary;
}

const MIX_DEFAULT = 'ack=50,mention=30,get=10,list=5,badge=5';

export function loadCommand(): Command {
  const command = addTargetOptions(
    new Command('load').description('put synthetic load on a running service and measure it'),
  )
    .addOption(new Option('--rate <ops>', 'operations a second, or max').argParser(rateOrMax).default(10_000))
    .addOption(durationOption('--duration', 'how long it is measured', '10s'))
    .addOption(durationOption('--warm-up', 'load before that, not measured', '2s'))
    .option('--users <count>', 'users', wholeNumber(1, 1e9), 10_000)
    .option('--channels-per-user <count>', 'channels of each', wholeNumber(1, 1e5), 32)
    .option('--zipf <exponent>', 'how uneven users are; 0 = all alike', decimal(0, 10), 0.99)
    .addOption(
      new Option('--mix <shares>', 'operations')
        .argParser(mixOrError)
        .default(parseMix(MIX_DEFAULT), MIX_DEFAULT),
    )
    .option('--ops-per-frame <count>', 'with the binary protocol', wholeNumber(1, 1600), 64)
    .option('--window <count>', 'operations in flight with --rate max', wholeNumber(1, IN_FLIGHT_MAX), 4_096)
    .option('--seed <number>', 'of users, channels and kinds', wholeNumber(0, 2 ** 31 - 1), 1)
    .addHelpText('after', '\nDurations: 500ms, 3s, 10m, 1h. Exits with 1 on errors.');
  return command.action(async (options: LoadOptions) => {
    try {
      await checkResultFile(options.json);
      const result = await load(options);
      process.stdout.write(`${formatSummary(result.run)}\n`);
      await writeResult(options.json, result);
      if (Object.keys(result.run.errors).length > 0) process.exitCode = 1;
    } catch (error) {
      process.stderr.write(`load: ${(error as Error).message}\n`);
      process.exitCode = 1;
    }
  });
}

function mixOrError(text: string): WorkloadOptions['mix'] {
  try {
    return parseMix(text);
  } catch (error) {
    throw new InvalidArgumentError((error as Error).message);
  }
}

/** @throws Error when there is no connection */
export async function load(options: LoadOptions): Promise<LoadResult> {
  const { users, channelsPerUser, zipf, mix, seed, rate, url, protocol } = options;
  const workloadOptions: WorkloadOptions = { users, channelsPerUser, zipfExponent: zipf, mix, seed };
  const connections = connectionCount(options);
  const stats = new RunStats();
  const token = await readToken(options.tokenFile);
  const opsPerFrame = Number.isFinite(rate)
    ? Math.min(options.opsPerFrame, Math.ceil(rate))
    : options.opsPerFrame;
  const driver = await openDriver(protocol, { url, token, connections, opsPerFrame, stats });
  try {
    const generator = new Generator(driver, new Workload(workloadOptions));
    const run = Number.isFinite(rate)
      ? (ms: number) => generator.openLoop(ms, rate)
      : (ms: number) => generator.closedLoop(ms, options.window);
    if (options.warmUp > 0) {
      await run(options.warmUp);
      await drain(driver, stats);
      stats.reset();
    }
    const startUs = nowUs();
    await run(options.duration);
    await drain(driver, stats);
    const seconds = (nowUs() - startUs) / 1e6;
    return {
      machine: machine(),
      protocol,
      connections,
      rate: Number.isFinite(rate) ? rate : 'max',
      workload: workloadOptions,
      opsPerFrame,
      run: stats.summary(seconds),
    };
  } finally {
    driver.close();
  }
}

class Generator {
  readonly #driver: Driver;
  readonly #workload: Workload;
  readonly #words = new Int32Array(REQUEST.WORDS + ACK_EXTRA.WORDS);

  constructor(driver: Driver, workload: Workload) {
    this.#driver = driver;
    this.#workload = workload;
  }

  #submit(intendedUs: number): void {
    this.#workload.write(this.#words, 0);
    this.#driver.submit(ANY_CONNECTION, this.#words, REQUEST.WORDS, this.#workload.kind, intendedUs);
  }

  /** A service that is too slow for the rate gets the rest late, and the latencies say so. */
  async openLoop(forMs: number, rate: number): Promise<void> {
    const startUs = nowUs();
    const total = Math.floor((forMs / 1000) * rate);
    const intervalUs = 1e6 / rate;
    for (let sent = 0; sent < total; ) {
      const due = Math.min(total, Math.floor((nowUs() - startUs) / intervalUs) + 1);
      // Some at a time, so that answers are read in between also when it is late.
      const until = Math.min(due, sent + 4096);
      while (sent < until && this.#driver.hasRoom()) this.#submit(startUs + sent++ * intervalUs);
      this.#driver.flush();
      const waitMs = (startUs + sent * intervalUs - nowUs()) / 1000;
      await (waitMs > 1.5 ? sleep(waitMs - 1) : yieldToEvents());
    }
  }

  async closedLoop(forMs: number, window: number): Promise<void> {
    const endUs = nowUs() + forMs * 1000;
    for (let now = nowUs(); now < endUs; now = nowUs()) {
      while (this.#driver.inFlight < window && this.#driver.hasRoom()) this.#submit(now);
      this.#driver.flush();
      await yieldToEvents();
    }
  }
}
