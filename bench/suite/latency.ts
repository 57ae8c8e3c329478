/**
 * Part 6: open loop from a tenth of what the service can do to more than that, whole distributions, beside a bare echo
 * at the same rates: the floor of this stack. And where the remaining time goes, by the service's own histogram from
 * the request ring to the answer.
 */
import type { Histogram } from 'hdr-histogram-js';
import { startEcho } from '../child.js';
import { createHistogram, formatCount, latencyMs } from '../run-stats.js';
import { httpGet, killChild } from '../service-child.js';
import { spreadOf } from '../spread.js';
import { settledOpenLoop, withBlaster } from '../wire-session.js';
import { judge, type Part, type PartContext, type PartResult, times } from './part.js';
import { splitTimes, threadTimes } from './thread-times.js';
import { MEMORY_ONLY, TimedRun } from './timed-run.js';

const PIPELINED = { connections: 16, window: 8 };
/** In flight on a connection at most, as the wire benchmark. */
const OPEN_LOOP_FRAMES = 60;
const OPS_PER_FRAME = 64;
/** The service tells latencies of the last ten seconds: nothing older must be in them. */
const WATCHED_SECONDS = 11;
const LOADS = [10, 25, 50, 75, 90, 100, 110] as const;
export const PERCENTILES = [0, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 99.95, 99.99] as const;

type SideName = 'service' | 'echo';

export interface Distribution {
  readonly side: SideName;
  /** Percent of the capacity of the service. */
  readonly load: number;
  /** Milliseconds at PERCENTILES, and the longest. */
  readonly ms: readonly number[];
  /** Of the operations that were due in the time. */
  readonly answeredShare: number;
}

/** At half of the capacity. */
export interface LatencySplit {
  readonly part: string;
  readonly p50: number;
  readonly p99: number;
  readonly p999: number;
}

export interface LatencyData {
  readonly records: number;
  /** Operations a second, the highest rate of clients that keep the service busy. */
  readonly capacity: number;
  readonly distributions: Distribution[];
  readonly split: LatencySplit[];
  /** Of a core, at half of the capacity. */
  readonly cores: Record<string, number>;
}

class LatencyPart {
  readonly #context: PartContext;
  readonly #run: TimedRun;
  readonly #urls: Record<SideName, URL>;
  readonly #seconds: number;
  #capacity = 0;
  readonly #split: LatencySplit[] = [];
  #cores: Record<string, number> = {};

  constructor(context: PartContext, run: TimedRun, echo: URL) {
    this.#context = context;
    this.#run = run;
    this.#urls = { service: run.service.url, echo };
    this.#seconds = context.quick ? 1.5 : 10;
  }

  async #openLoop(
    side: SideName,
    opsPerSecond: number,
    seconds = this.#seconds,
  ): Promise<{ latencyUs: Histogram; rate: number }> {
    return withBlaster(
      this.#urls[side],
      PIPELINED.connections,
      this.#run.workload.mixed,
      (blaster) => settledOpenLoop(blaster, seconds * 1000, opsPerSecond / OPS_PER_FRAME, OPEN_LOOP_FRAMES),
      { answers: side },
    );
  }

  async measure(): Promise<{ data: LatencyData; tailRatios: number[] }> {
    const { log, quick } = this.#context;
    const rounds = quick ? 1 : 3;
    const rates: number[] = [];
    for (let round = 0; round < rounds; round++) {
      const { rate } = await withBlaster(
        this.#urls.service,
        PIPELINED.connections,
        this.#run.workload.mixed,
        (blaster) => blaster.closedLoop(this.#seconds * 500, PIPELINED.window),
      );
      rates.push(rate);
    }
    this.#capacity = spreadOf(rates).median;
    log(`capacity: ${formatCount(this.#capacity)} operations/s`);
    const distributions: Distribution[] = [];
    const tailRatios: number[] = [];
    for (const load of quick ? [10, 50, 100] : LOADS) {
      const opsPerSecond = (this.#capacity * load) / 100;
      const all = { service: createHistogram(), echo: createHistogram() };
      const answered = { service: 0, echo: 0 };
      for (let round = 0; round < rounds; round++) {
        const tails: Partial<Record<SideName, number>> = {};
        for (const side of ['echo', 'service'] as const) {
          const watch = load === 50 && side === 'service' && round === rounds - 1;
          const { latencyUs, rate } = await (watch
            ? this.#watched(() => this.#openLoop(side, opsPerSecond, WATCHED_SECONDS))
            : this.#openLoop(side, opsPerSecond));
          all[side].add(latencyUs);
          answered[side] += Math.min(1, rate / opsPerSecond) / rounds;
          tails[side] = latencyMs(latencyUs).p999;
        }
        if (load === 50) tailRatios.push(tails.service! / tails.echo!);
      }
      for (const side of ['echo', 'service'] as const) {
        const ms = PERCENTILES.map((percentile) => at(all[side], percentile));
        ms.push(all[side].maxValue / 1000);
        distributions.push({ side, load, ms, answeredShare: answered[side] });
        if (load === 50)
          this.#split.push(
            splitOf(side === 'echo' ? 'bare echo, client to client' : 'service, client to client', all[side]),
          );
      }
      log(`${load}%: p99.9 echo ${at(all.echo, 99.9)} ms, service ${at(all.service, 99.9)} ms`);
    }
    const { records } = this.#run.workload;
    const data = { records, capacity: this.#capacity, distributions, split: this.#split, cores: this.#cores };
    return { data, tailRatios };
  }

  /** Notes what the service itself saw while `work` ran, and which threads were busy with it. */
  async #watched<T>(work: () => Promise<T>): Promise<T> {
    const pid = this.#run.service.child.pid!;
    const before = threadTimes(pid);
    const own = process.cpuUsage();
    const start = performance.now();
    const result = await work();
    const elapsedMs = performance.now() - start;
    const { user, system } = process.cpuUsage(own);
    const { frontMs, shardsMs, othersMs } = splitTimes(pid, before, threadTimes(pid), 1);
    this.#cores = {
      front: frontMs / elapsedMs,
      shard: shardsMs / elapsedMs,
      'other threads of the service': othersMs / elapsedMs,
      'load generator': (user + system) / 1000 / elapsedMs,
    };
    const { body } = await httpGet(this.#run.service.url, '/admin/status');
    const status = JSON.parse(body) as { latencies: { p50_ms: number; p99_ms: number; p999_ms: number }[] };
    const { p50_ms: p50, p99_ms: p99, p999_ms: p999 } = status.latencies[0]!;
    this.#split.push({ part: 'in the shard: from the request ring to the answer', p50, p99, p999 });
    return result;
  }
}

function at(histogram: Histogram, percentile: number): number {
  return histogram.getValueAtPercentile(percentile) / 1000;
}

function splitOf(part: string, histogram: Histogram): LatencySplit {
  return { part, p50: at(histogram, 50), p99: at(histogram, 99), p999: at(histogram, 99.9) };
}

export const latencyPart: Part = {
  name: 'latency',
  title: 'Latency from a tenth of the capacity to more than all of it',
  async run(context): Promise<PartResult<LatencyData>> {
    const records = (context.sizes?.[0] ?? (context.quick ? 0.5 : 8)) * 1e6;
    const run = await TimedRun.filled('slab', records, MEMORY_ONLY);
    const echo = await startEcho();
    try {
      const { data, tailRatios } = await new LatencyPart(context, run, echo.url).measure();
      const { median, min, max } = spreadOf(tailRatios);
      const spread = ` (${min.toFixed(2)} to ${max.toFixed(2)})`;
      const what = 'open loop at half of the capacity, p99.9 beside the bare echo';
      const findings = [judge(what, median, { atMost: 1.5, show: times }, !context.quick, spread)];
      const settings = {
        service: `serve ${MEMORY_ONLY.join(' ')}, one shard; frames of ${OPS_PER_FRAME} operations on ${PIPELINED.connections} connections`,
        echo: 'uWebSockets with nothing behind it (bench/bare-echo.ts), the same frames',
      };
      return { findings, skipped: [], settings, data };
    } finally {
      await run.end();
      await killChild(echo.child);
    }
  },
};
