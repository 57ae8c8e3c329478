/** What the report shows of each part. */

import type { EngineConfig, EngineData } from '../suite/engine.js';
import { PEER_SIDES } from '../suite/engine-peers.js';
import type { PausesData } from '../suite/pauses.js';
import type { RedisData, RedisSide } from '../suite/redis.js';
import type { SawtoothData, SawtoothSize } from '../suite/sawtooth.js';
import type { TimedSecond } from '../suite/timed-run.js';
import { HEAP, LANGUAGE_COLOURS, SLAB } from './palette.js';
import { type Bar, barChart, decades, lineChart, type Series, shortNumber, stack } from './svg.js';
import { figure, table } from './table.js';

function millions(value: number): string {
  return (value / 1e6).toFixed(2);
}

function colourOfSide(name: string): string {
  if (name === 'slab') return SLAB;
  if (name === 'heap') return HEAP;
  return LANGUAGE_COLOURS[PEER_SIDES.find((side) => side.name === name)?.language ?? 'node'];
}

export function engineSection(data: EngineData): string {
  const parts: string[] = [];
  for (const config of data.configs.filter(
    ({ hits, distribution }) => hits === 90 && distribution === 'uniform',
  )) {
    parts.push(figure(engineBars(config)));
  }
  const names = PEER_SIDES.map(({ name }) => name).filter((name) =>
    data.configs.some(({ sides }) => name in sides),
  );
  const header = ['records', 'keys', 'hits', ...names];
  const rows = data.configs.map(({ records, distribution, hits, sides }) => [
    shortNumber(records),
    distribution,
    `${hits}%`,
    ...names.map((name) => {
      const side = sides[name];
      return side === undefined
        ? ''
        : `${millions(side.rate.median)}<small>${(side.hitShare * 100).toFixed(0)}% hit</small>`;
    }),
  ]);
  parts.push('<h3>Million operations/s (median of rounds), and what really hit</h3>', table(header, rows));
  const memory = data.memory.map(({ records, side, bytesPerRecord, hugeShare, prefillMs }) => [
    shortNumber(records),
    side,
    bytesPerRecord.toFixed(0),
    `${Math.round(Math.min(1, hugeShare) * 100)}%`,
    (prefillMs / 1000).toFixed(1),
  ]);
  parts.push(
    '<h3>Memory</h3>',
    table(['records', 'side', 'bytes a record', 'on huge pages', 'filled in, s'], memory),
  );
  const stalls = data.configs.flatMap(({ records, distribution, hits, sides }) =>
    Object.entries(sides).map(([name, side]) => [
      shortNumber(records),
      `${distribution}, ${hits}%`,
      name,
      side.gcMaxMs.toFixed(1),
      side.longestBlockMs.toFixed(1),
    ]),
  );
  const pauses = table(
    ['records', 'keys, hits', 'side', 'longest collection, ms', 'longest 2,048 operations, ms'],
    stalls,
  );
  parts.push(
    `<details><summary>Longest pauses, as the runtime tells them and as the work shows them</summary>${pauses}</details>`,
  );
  return parts.join('\n');
}

function engineBars({ records, sides }: EngineConfig): string {
  const bars: Bar[] = Object.entries(sides)
    .sort(([, one], [, other]) => other.rate.median - one.rate.median)
    .map(([name, { rate, slabRatio }]) => ({
      name,
      value: rate.median / 1e6,
      low: rate.min / 1e6,
      high: rate.max / 1e6,
      colour: colourOfSide(name),
      note: `${millions(rate.median)}${name === 'slab' ? '' : `; slab is ${slabRatio.median.toFixed(2)} times that`}`,
    }));
  return barChart(
    `${shortNumber(records)} records, uniform keys, 90% hits, one thread`,
    'million operations/s; the line is from the least to the most of the rounds',
    bars,
  );
}

const PERCENTILES = [
  ['p50', 'c3'],
  ['p99', 'c4'],
  ['p999', 'c6'],
  ['max', HEAP],
] as const;
const PERCENTILE_NAMES = { p50: 'p50', p99: 'p99', p999: 'p99.9', max: 'longest' } as const;
/** Points of a line in the picture: more cannot be told apart. */
const POINTS_MAX = 360;

/** The picture: latency and collections of objects above, of typed arrays below, on the same axes. */
export function sawtoothPicture(size: SawtoothSize): string {
  const all = Object.values(size.seconds).flat();
  const y = decades(all.flatMap(({ p50, max, shardGc }) => [p50, max, shardGc ?? 0]));
  const charts = (['heap', 'slab'] as const).map((engine) => {
    const title =
      engine === 'heap'
        ? `${shortNumber(size.records)} read states as objects (--engine heap), ${shortNumber(size.rate)} operations/s`
        : 'The same in typed arrays over shared memory (--engine slab, the default)';
    return overTime(title, size.seconds[engine], y);
  });
  return stack(`Latency over time at ${shortNumber(size.records)} read states`, charts);
}

function overTime(title: string, seconds: readonly TimedSecond[], y: { min: number; max: number }): string {
  const step = Math.ceil(seconds.length / POINTS_MAX);
  const series: Series[] = [
    {
      name: 'collections of the shard',
      colour: 'c7',
      bars: true,
      points: seconds.map(({ shardGc }, second) => [second, shardGc ?? 0] as const),
    },
    ...PERCENTILES.map(([name, colour]) => ({
      name: PERCENTILE_NAMES[name],
      colour,
      points: downsample(seconds, name, step),
    })),
  ];
  return lineChart({
    title,
    x: { label: 'seconds of load', scale: 'linear', min: 0, max: Math.max(1, seconds.length) },
    y: { label: 'ms', scale: 'log', ...y },
    series,
    width: 860,
    height: 260,
  });
}

/** The worst of each `step` seconds. */
function downsample(
  seconds: readonly TimedSecond[],
  name: 'p50' | 'p99' | 'p999' | 'max',
  step: number,
): [number, number][] {
  const points: [number, number][] = [];
  for (let at = 0; at < seconds.length; at += step) {
    points.push([at, Math.max(...seconds.slice(at, at + step).map((second) => second[name]))]);
  }
  return points;
}

export function sawtoothSection(data: SawtoothData): string {
  const rows = data.sizes.flatMap(({ records, summary }) =>
    (['slab', 'heap'] as const).map((engine) => {
      const { p50, p99, p999, max, gcWorst, gcShare, refused = 0 } = summary[engine];
      return [
        shortNumber(records),
        engine,
        ...[p50, p99, p999, max, gcWorst].map((value) => value.toFixed(2)),
        `${(gcShare * 100).toFixed(1)}%`,
        String(refused),
      ];
    }),
  );
  const header = [
    'records',
    'engine',
    'p50, ms',
    'p99',
    'p99.9',
    'longest',
    'collections, most in a second',
    'of the time',
    'refused',
  ];
  return [...data.sizes.map((size) => figure(sawtoothPicture(size))), table(header, rows)].join('\n');
}

export function pausesSection({ points, rate }: PausesData): string {
  const series = (name: 'gcWorst' | 'p999', dashed: boolean): Series[] =>
    (['heap', 'slab'] as const).map((engine) => ({
      name: `${engine}, ${name === 'p999' ? 'p99.9' : 'collections'}`,
      colour: engine === 'slab' ? SLAB : HEAP,
      dashed,
      dots: true,
      points: points
        .filter((point) => point.engine === engine)
        .map(({ records, summary }) => [records, Math.max(summary[name], 0.01)] as const),
    }));
  const all = points.flatMap(({ summary }) => [Math.max(summary.gcWorst, 0.01), summary.p999]);
  const sizes = [...new Set(points.map(({ records }) => records))];
  return figure(
    lineChart({
      title: `Longest time in collections within a second, and p99.9, at ${shortNumber(rate)} operations/s`,
      x: { label: 'records', scale: 'log', min: Math.min(...sizes), max: Math.max(...sizes), ticks: sizes },
      y: { label: 'ms', scale: 'log', ...decades(all) },
      series: [...series('gcWorst', false), ...series('p999', true)],
    }),
  );
}

export function redisSection({ sides, memory, records }: RedisData): string {
  const chart = (kind: RedisSide['kind'], title: string): string => {
    const bars = sides
      .filter((side) => side.kind === kind)
      .map(({ name, rate, tidemarkRatio }) => ({
        name,
        value: rate.median,
        low: rate.min,
        high: rate.max,
        colour: name.startsWith('tidemark') ? SLAB : name.startsWith('redis') ? HEAP : 'c2',
        note: `${shortNumber(rate.median)}/s${name.startsWith('tidemark') ? '' : `; we do ${tidemarkRatio.median.toFixed(2)} times`}`,
      }));
    return figure(
      barChart(title, 'operations/s; the line is from the least to the most of the rounds', bars),
    );
  };
  const client = sides.map(({ name, clientShare }) => [name, `${Math.round(clientShare * 100)}% of a core`]);
  const rows = memory.map(({ name, residentBytes, usedBytes }) => [
    name,
    (residentBytes / 1e6).toFixed(0),
    (residentBytes / records).toFixed(0),
    usedBytes === null ? '' : (usedBytes / records).toFixed(0),
  ]);
  return [
    chart('pipelined', '16 connections, 8 times 64 operations in flight on each'),
    chart('single', '64 connections, one request in flight on each: HTTP against RESP'),
    `<h3>Memory for ${shortNumber(records)} entries, 32 a user</h3>`,
    table(['server', 'resident, MB', 'bytes an entry', 'of its own count'], rows),
    `<details><summary>What the generator took</summary>${table(['side', 'generator'], client)}</details>`,
  ].join('\n');
}
