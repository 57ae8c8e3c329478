/**
 * Part 5: shards, partitions, operations in a frame, capacity; and a model of more cores than this machine has, held
 * against what was measured. The model has three numbers, each measured as processor time of threads: what an operation
 * takes of the front, of a shard, and of the load generator.
 *
 *   rate = the least of 1 / front, shards / shard, and cores / (front + shard + generator)
 *
 * It assumes that all users are alike, that a shard costs the same however many there are, and that memory and the
 * network keep up. There is one front thread, so it bounds what more cores can bring.
 */
import { cpus, totalmem } from 'node:os';
import { residentBytes } from '../process-memory.js';
import { formatCount } from '../run-stats.js';
import { killChild, startService } from '../service-child.js';
import { spreadOf } from '../spread.js';
import { prefill, withBlaster } from '../wire-session.js';
import type { WireWorkload } from '../wire-workload.js';
import type { Finding, Part, PartContext, PartResult } from './part.js';
import { splitTimes, threadTimes } from './thread-times.js';
import { MEMORY_ONLY, workloadOf } from './timed-run.js';

const PIPELINED = { connections: 16, window: 8 };
/** The most that the load generator keeps in flight. */
const IN_FLIGHT = 512;
const CAPACITY_BYTES = 66;
const MEMORY_MAX = 15.5 * 2 ** 30;

export interface ScalePoint {
  readonly what: 'shards' | 'partitions' | 'frame';
  readonly shards: number;
  readonly partitions: number;
  readonly opsPerFrame: number;
  readonly rate: number;
  /** Nanoseconds of processor time for an operation. */
  readonly frontNs: number;
  readonly shardNs: number;
  readonly generatorNs: number;
  readonly predicted: number;
}

export interface ScaleModel {
  readonly cores: number;
  readonly shards: number;
  readonly rate: number;
  readonly bound: string;
}

export interface ScaleData {
  readonly records: number;
  readonly points: ScalePoint[];
  readonly capacities: { records: number; startMs: number; residentBytes: number }[];
  readonly models: ScaleModel[];
}

type Cost = Pick<ScalePoint, 'frontNs' | 'shardNs' | 'generatorNs'>;

function predict({ frontNs, shardNs, generatorNs }: Cost, shards: number, cores: number): number {
  return Math.min(1e9 / frontNs, (shards * 1e9) / shardNs, (cores * 1e9) / (frontNs + shardNs + generatorNs));
}

/** The least number of shards that keep up with the front, if there are cores for them. The generator is elsewhere. */
function modelOf(cost: Cost, cores: number): ScaleModel {
  const shards = Math.min(cores - 1, Math.ceil(cost.shardNs / cost.frontNs));
  const [front, shard] = [1e9 / cost.frontNs, (shards * 1e9) / cost.shardNs];
  return {
    cores,
    shards,
    rate: Math.min(front, shard),
    bound: front <= shard ? 'the front thread' : 'the shards',
  };
}

async function measurePoint(
  context: PartContext,
  workload: WireWorkload,
  what: ScalePoint['what'],
  { shards = 1, partitions = 32, opsPerFrame = 64 },
): Promise<ScalePoint> {
  const capacity = String(Math.ceil(workload.records * 1.2));
  const args = ['--shards', String(shards), '--partitions', String(partitions), '--capacity', capacity];
  const { child, url } = await startService([...args, ...MEMORY_ONLY]);
  const pid = child.pid!;
  const { connections } = PIPELINED;
  const window = Math.min(IN_FLIGHT / opsPerFrame, 64);
  try {
    await prefill(url, workload);
    const points: Omit<ScalePoint, 'predicted'>[] = [];
    const roundMs = context.quick ? 700 : 4000;
    // The first round warms up.
    for (let round = 0; round <= (context.quick ? 1 : context.rounds); round++) {
      const before = threadTimes(pid);
      const own = process.cpuUsage();
      const { rate, operations } = await withBlaster(
        url,
        connections,
        workload.mixed,
        (blaster) => blaster.closedLoop(roundMs, window),
        { opsPerFrame },
      );
      const { user, system } = process.cpuUsage(own);
      const { frontMs, shardsMs } = splitTimes(pid, before, threadTimes(pid), shards);
      const nsOf = (ms: number): number => (ms * 1e6) / operations;
      const cost = {
        frontNs: nsOf(frontMs),
        shardNs: nsOf(shardsMs),
        generatorNs: nsOf((user + system) / 1000),
      };
      if (round > 0) points.push({ what, shards, partitions, opsPerFrame, rate, ...cost });
    }
    const middle = (name: 'rate' | 'frontNs' | 'shardNs' | 'generatorNs'): number =>
      spreadOf(points.map((point) => point[name])).median;
    const cost = {
      frontNs: middle('frontNs'),
      shardNs: middle('shardNs'),
      generatorNs: middle('generatorNs'),
    };
    const predicted = predict(cost, shards, cpus().length);
    context.log(
      `${shards} shards, ${partitions} partitions, frames of ${opsPerFrame}: ${formatCount(middle('rate'))}/s, model ${formatCount(predicted)}/s`,
    );
    return { ...points[0]!, ...cost, rate: middle('rate'), predicted };
  } finally {
    await killChild(child);
  }
}

export const scalePart: Part = {
  name: 'scale',
  title: 'Scale on one machine',
  async run(context): Promise<PartResult<ScaleData>> {
    const { quick } = context;
    const workload = workloadOf((context.sizes?.[0] ?? (quick ? 0.2 : 1)) * 1e6);
    const points: ScalePoint[] = [];
    for (const shards of quick ? [1, 2] : [1, 2, 4])
      points.push(await measurePoint(context, workload, 'shards', { shards }));
    for (const partitions of quick ? [] : [8, 128])
      points.push(await measurePoint(context, workload, 'partitions', { partitions }));
    for (const opsPerFrame of quick ? [8] : [1, 8, 256])
      points.push(await measurePoint(context, workload, 'frame', { opsPerFrame }));
    const capacities: ScaleData['capacities'] = [];
    const skipped: string[] = [];
    for (const millions of quick ? [1] : [1, 8, 32, 64, 128, 224]) {
      const records = millions * 1e6;
      if (records * CAPACITY_BYTES > Math.min(MEMORY_MAX, totalmem() * 0.85)) {
        skipped.push(`scale, a capacity of ${formatCount(records)}: does not fit into this machine`);
        continue;
      }
      const { child, startMs } = await startService(['--capacity', String(records)]);
      capacities.push({ records, startMs, residentBytes: residentBytes(child.pid!) });
      await killChild(child);
    }
    const models = [2, 16, 64].map((cores) => modelOf(points[0]!, cores));
    const off = points.filter(({ what }) => what === 'shards').map(({ rate, predicted }) => rate / predicted);
    const findings: Finding[] = [
      {
        what: 'measured rates over those of the model, shards 1, 2, 4',
        floor: '',
        measured: off.map((part) => part.toFixed(2)).join(', '),
        met: null,
      },
      ...models.map(({ cores, shards, rate, bound }) => ({
        what: `model: ${cores} cores, ${shards} shards, generator elsewhere`,
        floor: '',
        measured: `${(rate / 1e6).toFixed(1)} M operations/s, bound by ${bound}`,
        met: null,
      })),
    ];
    const settings = {
      all: `serve ${MEMORY_ONLY.join(' ')}; ${PIPELINED.connections} connections, ${IN_FLIGHT} operations in flight on each`,
    };
    return { findings, skipped, settings, data: { records: workload.records, points, capacities, models } };
  },
};
