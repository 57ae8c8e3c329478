/**
 * Part 7: hit ratio and latencies over time from the first second after a start: cold, warm after a clean stop, and
 * after a kill -9 with the users who were active last loaded in the background. The store (LMDB) has everything.
 */
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sleep } from '../clock.js';
import { formatCount } from '../run-stats.js';
import { killChild, type Service, startService } from '../service-child.js';
import { prefill } from '../wire-session.js';
import type { Part, PartContext, PartResult } from './part.js';
import { TimedRun, type TimedSecond, workloadOf } from './timed-run.js';

const KINDS = ['warm', 'crash', 'cold'] as const;
/** Hot users are saved this often, so that a crash need not be waited for. */
const HOT_SECONDS = 5;
/** What a start takes from an earlier process, beside the store. */
const WARM_FILES = /^(partitions|hot-users|journal)/;

export interface ColdStartData {
  readonly records: number;
  readonly rate: number;
  readonly starts: { kind: (typeof KINDS)[number]; startMs: number; seconds: TimedSecond[] }[];
}

class ColdStart {
  readonly #context: PartContext;
  readonly #data = mkdtempSync(join(tmpdir(), 'tidemark-bench-cold-'));
  readonly #workload;
  readonly args: string[];
  #service: Service | undefined;

  constructor(context: PartContext) {
    this.#context = context;
    this.#workload = workloadOf((context.sizes?.[0] ?? (context.quick ? 0.1 : 1)) * 1e6);
    const capacity = String(Math.ceil(this.#workload.records * 1.1));
    this.args = ['--data', this.#data, '--capacity', capacity, '--hot-users-interval', `${HOT_SECONDS}s`];
  }

  get records(): number {
    return this.#workload.records;
  }

  async fill(): Promise<void> {
    this.#context.log(`filling the store with ${formatCount(this.records)} records`);
    this.#service = await startService([...this.args, '--save-timeout', '10m']);
    await prefill(this.#service.url, this.#workload);
    await this.#stop();
  }

  async #stop(): Promise<void> {
    const { child } = this.#service!;
    const ended = once(child, 'exit') as Promise<[number | null]>;
    child.kill('SIGTERM');
    const [code] = await ended;
    this.#service = undefined;
    if (code !== 0) throw new Error(`the service ended with ${code}`);
  }

  /** Load from the first second on. @param rate  operations a second */
  async measure(kind: (typeof KINDS)[number], rate: number): Promise<ColdStartData['starts'][number]> {
    const seconds = this.#context.quick ? 6 : 60;
    if (kind === 'cold') {
      for (const name of readdirSync(this.#data)) {
        if (WARM_FILES.test(name)) rmSync(join(this.#data, name), { recursive: true });
      }
    }
    this.#service = await startService(this.args);
    const { startMs } = this.#service;
    const run = TimedRun.of(this.#service, this.#workload);
    await run.load(seconds, rate, this.#workload.mixedWithLists);
    this.#context.log(
      `${kind}: ${(startMs / 1000).toFixed(2)} s to the first answer, hit ratio at first ${run.seconds[0]?.hitRatio}`,
    );
    return { kind, startMs, seconds: run.seconds };
  }

  /** As the load left it, or with everything in the store. */
  async afterwards(how: 'stop' | 'kill'): Promise<void> {
    if (how === 'stop') return this.#stop();
    await sleep((HOT_SECONDS + 1) * 1000);
    await killChild(this.#service!.child);
    this.#service = undefined;
  }

  async end(): Promise<void> {
    if (this.#service !== undefined) await killChild(this.#service.child);
    rmSync(this.#data, { recursive: true, force: true });
  }
}

export const coldStartPart: Part = {
  name: 'cold-start',
  title: 'After a start: cold, warm, and after a crash',
  async run(context): Promise<PartResult<ColdStartData>> {
    const cold = new ColdStart(context);
    // Changes go to the journal and the store here, and all users are asked for alike, which is the worst case.
    const rate = Math.round(context.rate / 10);
    try {
      await cold.fill();
      const starts: ColdStartData['starts'] = [];
      for (const kind of KINDS) {
        starts.push(await cold.measure(kind, rate));
        await cold.afterwards(kind === 'warm' ? 'kill' : 'stop');
      }
      const settings = {
        all: `serve ${cold.args.slice(2).join(' ')}, LMDB, one shard; ${formatCount(rate)} operations/s on users at random, one in five of them lists`,
      };
      const findings = starts.map(({ kind, startMs, seconds }) => {
        const full = seconds.findIndex(({ hitRatio }) => (hitRatio ?? 0) >= 0.99);
        const worst = Math.max(...seconds.map(({ p99 }) => p99));
        const until = full < 0 ? `not within ${seconds.length} s` : `in second ${full + 1}`;
        const measured = `first answer after ${(startMs / 1000).toFixed(2)} s; 99% hits ${until}; p99 of the worst second ${worst.toFixed(1)} ms`;
        return {
          what: `${kind} start, ${formatCount(cold.records)} records`,
          floor: '',
          measured,
          met: null,
        };
      });
      return { findings, skipped: [], settings, data: { records: cold.records, rate, starts } };
    } finally {
      await cold.end();
    }
  },
};
