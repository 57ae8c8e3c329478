/**
 * Part 2, the picture of the project: the whole service in typed arrays (`--engine slab`) and the same in objects
 * (`--engine heap`), at the same open-loop rate, second by second. Both are filled and alive; they take turns of a
 * minute, so that what else the machine does meets both. Users come and go, as those of a chat product do: who comes
 * is loaded from the store, and whoever was asked for longest ago leaves the memory. So objects are made and dropped
 * all the time, and the collector has to look for them.
 */
import { formatCount } from '../run-stats.js';
import { type Finding, mergeBy, type Part, type PartContext, type PartResult } from './part.js';
import { MEMORY_ONLY, summarizeRun, TimedRun, type TimedSecond, type TimedSummary } from './timed-run.js';

export const ENGINES = ['slab', 'heap'] as const;
export type EngineName = (typeof ENGINES)[number];
const SEGMENT_SECONDS = 60;
/** Compiled code, and the nursery of the collector, come to rest. */
const WARM_UP_SECONDS = 5;
/** Users who are not there at one time, as a part of those who are. */
const ABSENT = 0.25;
/** Of which one is the list of a user who comes. */
const OPERATIONS_A_VISIT = 200;

export interface SawtoothSize {
  readonly records: number;
  readonly rate: number;
  readonly seconds: Record<EngineName, TimedSecond[]>;
  readonly summary: Record<EngineName, TimedSummary>;
}

export interface SawtoothData {
  readonly sizes: SawtoothSize[];
}

async function measureSize(records: number, context: PartContext): Promise<SawtoothSize> {
  const { log, rate, quick } = context;
  const total = quick ? 12 : Math.round(context.minutes * 60);
  const segment = quick ? 4 : Math.min(SEGMENT_SECONDS, total);
  const runs: Partial<Record<EngineName, { run: TimedRun; load: (seconds: number) => Promise<void> }>> = {};
  try {
    for (const engine of ENGINES) {
      log(`${formatCount(records)} records, ${engine}: filling`);
      const run = await TimedRun.filled(engine, records, MEMORY_ONLY, ABSENT);
      run.mayBeBusy = true;
      const visits = run.workload.visits(OPERATIONS_A_VISIT);
      const load = (seconds: number): Promise<void> => run.load(seconds, rate, visits);
      runs[engine] = { run, load };
      await load(WARM_UP_SECONDS);
      run.forget();
    }
    for (let done = 0; done < total; done += segment) {
      for (const engine of ENGINES) await runs[engine]!.load(Math.min(segment, total - done));
      log(`  ${Math.min(done + segment, total)} of ${total} s`);
    }
    const [slab, heap] = [runs.slab!.run, runs.heap!.run];
    const summary = { slab: summarizeRun(slab), heap: summarizeRun(heap) };
    return { records, rate, seconds: { slab: slab.seconds, heap: heap.seconds }, summary };
  } finally {
    for (const { run } of Object.values(runs)) await run.end();
  }
}

function findingsOf({ records, rate, summary }: SawtoothSize): Finding[] {
  return ENGINES.map((engine) => {
    const { p50, p99, p999, max, gcWorst, refused = 0 } = summary[engine];
    const ms = [p50, p99, p999, max].map((value) => String(Number(value.toPrecision(3)))).join(', ');
    return {
      what: `${engine}, ${formatCount(records)} records at ${formatCount(rate)}/s: p50, p99, p99.9, longest`,
      floor: '',
      measured: `${ms} ms; at most ${gcWorst.toPrecision(3)} ms of collection in a second${refused === 0 ? '' : `; ${formatCount(refused)} refused`}`,
      met: null,
    };
  });
}

export const sawtoothPart: Part = {
  name: 'sawtooth',
  title: 'Latency over time, typed arrays and objects',
  merge: (before, now) => ({
    sizes: mergeBy(
      (before as SawtoothData).sizes,
      (now as SawtoothData).sizes,
      ({ records }) => records,
    ).sort((one, other) => one.records - other.records),
  }),
  async run(context): Promise<PartResult<SawtoothData>> {
    const sizes: SawtoothSize[] = [];
    for (const millions of context.sizes ?? (context.quick ? [1] : [1, 4, 8])) {
      sizes.push(await measureSize(millions * 1e6, context));
    }
    const settings = {
      both: `serve ${MEMORY_ONLY.join(' ')}, one shard; acks, mentions, gets 7:2:1 of records at random, ${formatCount(context.rate)}/s; one in ${OPERATIONS_A_VISIT} is the list of a user who comes from the store (LMDB), where ${ABSENT * 100}% more users are than in memory`,
      slab: '--single-threaded-gc, as the launcher sets it',
      heap: 'all helper threads of the collector, as the launcher sets it',
    };
    const skipped = [
      'sawtooth, the Go peer behind the same protocol: there is no uWebSockets for Go, so it would be servers that are compared',
    ];
    return { findings: sizes.flatMap(findingsOf), skipped, settings, data: { sizes } };
  },
};
