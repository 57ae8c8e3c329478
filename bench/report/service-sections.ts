/** What the report shows of the parts about the whole service: latency, scale, starts. */
import type { ColdStartData } from '../suite/cold-start.js';
import { type Distribution, type LatencyData, PERCENTILES } from '../suite/latency.js';
import type { ScaleData } from '../suite/scale.js';
import type { TimedSecond } from '../suite/timed-run.js';
import { FLOOR, HEAP, SLAB } from './palette.js';
import { decades, lineChart, type Series, shortNumber, stack } from './svg.js';
import { figure, table } from './table.js';

const LOAD_COLOURS = ['c3', 'c0', 'c4', 'c2', 'c5', 'c6', 'c1'];

/** As HdrHistogram draws them: each nine of the percentile as wide as the one before. */
function nines(percentile: number): number {
  return 1 / (1 - percentile / 100);
}

function curve({ ms, load, side }: Distribution, colour: string): Series {
  return {
    name: side === 'echo' ? 'echo' : `${load}%`,
    colour,
    dashed: side === 'echo',
    points: PERCENTILES.map((percentile, i) => [nines(percentile), Math.max(ms[i]!, 0.001)] as const),
  };
}

export function latencySection({ distributions, split, cores, capacity }: LatencyData): string {
  const x = {
    label: 'percentile',
    scale: 'log' as const,
    min: 1,
    max: nines(99.99),
    ticks: [0, 50, 90, 99, 99.9, 99.99].map(nines),
    format: (value: number) => `${Number((100 - 100 / value).toFixed(2))}%`,
  };
  const y = { label: 'ms', scale: 'log' as const, ...decades(distributions.flatMap(({ ms }) => ms)) };
  const ours = distributions.filter(({ side }) => side === 'service');
  const all = lineChart({
    title: `The service at parts of its capacity (${shortNumber(capacity)} operations/s)`,
    x,
    y,
    series: ours.map((one, i) => curve(one, LOAD_COLOURS[i % LOAD_COLOURS.length]!)),
  });
  const half = distributions.filter(({ load }) => load === 50);
  const beside = lineChart({
    title: 'At half of it, beside the bare echo at the same rate',
    x,
    y,
    series: half.map((one) => curve(one, one.side === 'echo' ? FLOOR : SLAB)),
  });
  const header = [
    'load',
    'side',
    ...PERCENTILES.filter((percentile) => percentile >= 50).map((p) => `p${p}`),
    'longest',
    'answered',
  ];
  const skip = PERCENTILES.findIndex((percentile) => percentile >= 50);
  const rows = distributions.map(({ load, side, ms, answeredShare }) => [
    `${load}%`,
    side,
    ...ms.slice(skip).map((value) => value.toFixed(2)),
    `${(answeredShare * 100).toFixed(0)}%`,
  ]);
  const splits = split.map(({ part, p50, p99, p999 }) => [
    part,
    ...[p50, p99, p999].map((value) => value.toFixed(3)),
  ]);
  const busy = Object.entries(cores).map(([name, share]) => [name, `${(share * 100).toFixed(0)}%`]);
  return [
    figure(stack('Latency by percentile', [all, beside])),
    table(header, rows),
    '<h3>Where the time goes, at half of the capacity</h3>',
    table(['from where to where', 'p50, ms', 'p99', 'p99.9'], splits),
    '<p class="soft">What the service adds to the echo is the way through the rings, the shard, and the front’s work on both; percentiles of parts do not add up to that of the whole.</p>',
    table(['thread', 'of a core'], busy),
  ].join('\n');
}

export function scaleSection({ points, capacities, models, records }: ScaleData): string {
  const rows = points.map(
    ({ shards, partitions, opsPerFrame, rate, frontNs, shardNs, generatorNs, predicted }) => [
      String(shards),
      String(partitions),
      String(opsPerFrame),
      shortNumber(rate),
      shortNumber(predicted),
      ...[frontNs, shardNs, generatorNs].map((ns) => ns.toFixed(0)),
    ],
  );
  const header = [
    'shards',
    'partitions',
    'in a frame',
    'operations/s',
    'model',
    'front, ns',
    'shards, ns',
    'generator, ns',
  ];
  const modelled = models.map(({ cores, shards, rate, bound }) => [
    String(cores),
    String(shards),
    shortNumber(rate),
    bound,
  ]);
  const sizes = capacities.map(({ records: capacity, startMs, residentBytes }) => [
    shortNumber(capacity),
    (startMs / 1000).toFixed(2),
    (residentBytes / 2 ** 30).toFixed(2),
    (residentBytes / capacity).toFixed(0),
  ]);
  return [
    `<h3>${shortNumber(records)} records on this machine, generator included</h3>`,
    table(header, rows),
    '<p class="soft">Two cores hold a generator, a front and a shard: more shards than one show here what they cost, not what they bring.</p>',
    '<h3>The model: the least of 1 / front, shards / shard and cores / all three</h3>',
    table(['cores', 'shards', 'operations/s', 'bound by'], modelled),
    '<p class="soft">It assumes users that are all alike, a generator on another machine, shards that do not slow each other down (memory bandwidth, caches), and a network that keeps up. One front thread is what bounds it.</p>',
    '<h3>Capacity</h3>',
    table(['records', 'start, s', 'resident, GiB', 'bytes a record'], sizes),
  ].join('\n');
}

const START_COLOURS = { cold: 'c3', warm: SLAB, crash: HEAP } as const;

export function coldStartSection({ starts, rate, records }: ColdStartData): string {
  const longest = Math.max(...starts.map(({ seconds }) => seconds.length));
  const x = { label: 'seconds since the start', scale: 'linear' as const, min: 0, max: longest };
  const series = (value: (second: TimedSecond) => number | null): Series[] =>
    starts.map(({ kind, seconds }) => ({
      name: kind,
      colour: START_COLOURS[kind],
      points: seconds.flatMap((second, at) => {
        const shown = value(second);
        return shown === null ? [] : [[at, shown] as const];
      }),
    }));
  const hits = lineChart({
    title: `Hits, ${shortNumber(records)} records, ${shortNumber(rate)} operations/s on users at random`,
    x,
    y: { label: '% of operations', scale: 'linear', min: 0, max: 100 },
    series: series(({ hitRatio }) => hitRatio && hitRatio * 100),
    height: 220,
  });
  const tails = lineChart({
    title: 'p99',
    x,
    y: {
      label: 'ms',
      scale: 'log',
      ...decades(starts.flatMap(({ seconds }) => seconds.map(({ p99 }) => p99))),
    },
    series: series(({ p99 }) => Math.max(p99, 0.001)),
    height: 220,
    bare: true,
  });
  return figure(stack('After a start', [hits, tails]));
}
