/** Part 3: the longest pause and the tail against the size of the cache, both engines: a flat line and a rising one. */
import { totalmem } from 'node:os';
import { formatCount } from '../run-stats.js';
import { type Finding, judge, mergeBy, type Part, type PartContext, type PartResult, times } from './part.js';
import { ENGINES, type EngineName } from './sawtooth.js';
import { MEMORY_ONLY, summarizeRun, TimedRun, type TimedSummary } from './timed-run.js';

const SECONDS = 30;
/** Of an entry in objects with what the collector needs beside it; measured by part 1. */
const HEAP_ENTRY_BYTES = 330;
const MEMORY_MAX = 16 * 2 ** 30;

export interface PausePoint {
  readonly engine: EngineName;
  readonly records: number;
  readonly summary: TimedSummary;
}

export interface PausesData {
  readonly rate: number;
  readonly points: PausePoint[];
}

async function measurePoint(engine: EngineName, records: number, context: PartContext): Promise<PausePoint> {
  const run = await TimedRun.filled(engine, records, MEMORY_ONLY);
  try {
    const seconds = context.quick ? 4 : SECONDS;
    await run.load(3, context.rate);
    run.forget();
    await run.load(seconds, context.rate);
    return { engine, records, summary: summarizeRun(run) };
  } finally {
    await run.end();
  }
}

function findingsOf({ points }: PausesData, quick: boolean): Finding[] {
  const pauseOf = (records: number): number | undefined =>
    points.find((point) => point.engine === 'slab' && point.records === records)?.summary.gcWorst;
  const [small, large] = [pauseOf(1e6), pauseOf(64e6)];
  if (small === undefined || large === undefined) return [];
  // A shard that did not collect within the time has no pause to compare.
  const ratio = large === 0 ? 0 : large / small;
  const what = 'longest pause of a shard, 64 M records beside 1 M';
  return [judge(what, ratio, { atMost: 1.2, show: times }, !quick, ` (${large} and ${small} ms)`)];
}

export const pausesPart: Part = {
  name: 'pauses',
  title: 'Pauses against size',
  findingsOf: (data, quick) => findingsOf(data as PausesData, quick),
  merge: (before, now) => ({
    rate: (now as PausesData).rate,
    points: mergeBy(
      (before as PausesData).points,
      (now as PausesData).points,
      ({ engine, records }) => `${engine} ${records}`,
    ).sort((one, other) => one.records - other.records),
  }),
  async run(context): Promise<PartResult<PausesData>> {
    const points: PausePoint[] = [];
    const skipped: string[] = [];
    const sizes = context.sizes ?? (context.quick ? [0.5, 1] : [0.5, 1, 2, 4, 8, 16, 32, 64]);
    const memory = Math.min(MEMORY_MAX, totalmem() * 0.8);
    for (const millions of sizes) {
      for (const engine of ENGINES) {
        const records = millions * 1e6;
        if (engine === 'heap' && records * HEAP_ENTRY_BYTES > memory) {
          skipped.push(
            `pauses, heap at ${formatCount(records)} records: needs more than ${(memory / 2 ** 30).toFixed(0)} GiB`,
          );
          continue;
        }
        try {
          const point = await measurePoint(engine, records, context);
          points.push(point);
          const { p999, gcWorst } = point.summary;
          context.log(
            `${engine}, ${formatCount(records)}: p99.9 ${p999} ms, collections ${gcWorst} ms in a second`,
          );
        } catch (error) {
          skipped.push(
            `pauses, ${engine} at ${formatCount(records)} records failed: ${(error as Error).message}`,
          );
        }
      }
    }
    const data = { rate: context.rate, points };
    const settings = { both: `serve ${MEMORY_ONLY.join(' ')}, one shard, ${formatCount(context.rate)}/s` };
    return { findings: findingsOf(data, context.quick), skipped, settings, data };
  },
};
