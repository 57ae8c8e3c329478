/** The answer in three sentences, from what was measured. */
import type { EngineData } from '../suite/engine.js';
import type { Finding } from '../suite/part.js';
import type { PausesData } from '../suite/pauses.js';
import type { SavedPart } from '../suite/saved.js';
import type { SawtoothData } from '../suite/sawtooth.js';
import { shortNumber } from './svg.js';

export function dataOf<T>(parts: readonly SavedPart[], name: SavedPart['name']): T | undefined {
  return parts.find((part) => part.name === name)?.result?.data as T | undefined;
}

export function answer(parts: readonly SavedPart[]): string[] {
  return [
    engineSentence(dataOf<EngineData>(parts, 'engine')),
    pauseSentence(dataOf<SawtoothData>(parts, 'sawtooth'), dataOf<PausesData>(parts, 'pauses')),
    floorSentence(parts.flatMap(({ result }) => result?.findings ?? [])),
  ];
}

function engineSentence(data: EngineData | undefined): string {
  const uniform =
    data?.configs.filter(({ hits, distribution }) => hits === 90 && distribution === 'uniform') ?? [];
  const config = uniform.find(({ records }) => records === 8e6) ?? uniform[0];
  if (config === undefined) return 'How fast the engine is beside other caches was not measured in this run.';
  const beside = (name: string, as: string): string => {
    const ratio = config.sides[name]?.slabRatio.median;
    return ratio === undefined ? '' : `, ${ratio.toFixed(2)} times ${as}`;
  };
  const rate = ((config.sides.slab?.rate.median ?? 0) / 1e6).toFixed(2);
  return (
    `With ${shortNumber(config.records)} read states, one thread of TypeScript over typed arrays does ${rate} M operations/s` +
    `${beside('heap', 'the same engine in objects')}${beside('lru-string', 'lru-cache')}` +
    `${beside('go-map-list', 'Go with a map and a list')}${beside('rust-lru', 'Rust’s lru with ahash')}` +
    `${beside('rust-slab', 'a slab by hand in Rust')}.`
  );
}

function pauseSentence(sawtooth: SawtoothData | undefined, pauses: PausesData | undefined): string {
  const size = sawtooth?.sizes.at(-1);
  if (size === undefined)
    return 'What the collector does to latencies over time was not measured in this run.';
  const { slab, heap } = size.summary;
  const largest = pauses?.points.filter(({ engine }) => engine === 'slab').at(-1);
  const flat =
    largest === undefined
      ? ''
      : `, and with ${shortNumber(largest.records)} records it is ${largest.summary.gcWorst.toFixed(1)} ms`;
  return (
    `At ${shortNumber(size.rate)} operations/s on ${shortNumber(size.records)} records the collector takes at most ` +
    `${slab.gcWorst.toFixed(1)} ms of any second from a shard, in objects up to ${heap.gcWorst.toFixed(0)} ms${flat}; p99.9 is ` +
    `${slab.p999.toFixed(1)} ms, in objects ${heap.p999.toFixed(1)} ms.`
  );
}

function floorSentence(findings: readonly Finding[]): string {
  const judged = findings.filter(({ met }) => met !== null);
  const missed = judged.filter(({ met }) => met === false);
  if (judged.length === 0) return 'No floors were judged: this was a short look, whose figures say little.';
  if (missed.length === 0) return `All ${judged.length} floors that were judged are met.`;
  const list = missed
    .map(({ what, measured, floor }) => `${what} (${measured}; the floor is ${floor})`)
    .join('; ');
  return `${judged.length - missed.length} of ${judged.length} floors are met; missed: ${list}.`;
}
