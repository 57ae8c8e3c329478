/**
 * Part 1: the engine on one thread, beside other caches in Node, Go and Rust. All sides are verified first: the same
 * operations must be answered alike (a checksum), without eviction by all, and with eviction by those that evict in
 * the same order. Then rounds of the sides take turns. Sides that do not fit into memory together run in groups, and
 * the slab is in each of them, so that every ratio is that of neighbours.
 */
import { totalmem } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { heap } from '../../engine/heap.js';
import { slab } from '../../engine/slab.js';
import { UNEVENNESS } from '../../workers/partition-memory.js';
import { checkSides } from '../engine-check.js';
import type { ChildSettings, RoundResult, StreamOrder } from '../engine-child.js';
import { rateOf } from '../engine-throughput.js';
import { formatCount } from '../run-stats.js';
import { ratioOf, type Spread, spreadOf } from '../spread.js';
import { zipfConstants } from '../zipf-portable.js';
import { type EngineProcess, PEER_SIDES, type PeerSide, startSide } from './engine-peers.js';
import { type Finding, judge, mergeBy, type Part, type PartContext, type PartResult, times } from './part.js';
import { goPeers, rustPeers, type Tool } from './peer-tools.js';

const CHANNELS_PER_USER = 32;
const PARTITIONS = 32;
const FLUSH_DELAY_MS = 30_000;
/** Of the machine's memory that the sides of a group may take together. */
const MEMORY_SHARE = 0.75;
const REST_MS = 200;
const HITS = [100, 90, 50] as const;
const DISTRIBUTIONS = ['uniform', 'zipf'] as const;

export interface EngineSideFigures {
  readonly rate: Spread;
  readonly cpuRate: Spread;
  /** The slab of the same group over this side, round by round. */
  readonly slabRatio: Spread;
  readonly hitShare: number;
  readonly gcMaxMs: number;
  readonly longestBlockMs: number;
}

export interface EngineConfig {
  readonly records: number;
  readonly distribution: (typeof DISTRIBUTIONS)[number];
  readonly hits: number;
  readonly sides: Record<string, EngineSideFigures>;
}

export interface EngineMemory {
  readonly records: number;
  readonly side: string;
  readonly bytesPerRecord: number;
  readonly hugeShare: number;
  readonly prefillMs: number;
}

export interface EngineData {
  readonly configs: EngineConfig[];
  readonly memory: EngineMemory[];
  readonly checksums: Record<string, number>;
}

function childSettings(records: number, seed: number, slack: number): Omit<ChildSettings, 'side'> {
  const users = Math.ceil(records / CHANNELS_PER_USER);
  return {
    users,
    channelsPerUser: CHANNELS_PER_USER,
    universeUsers: users * 2,
    partitions: PARTITIONS,
    slack,
    isAsServed: false,
    flushDelayMs: FLUSH_DELAY_MS,
    seed,
  };
}

/**
 * Uniform: over so many users that this share of them is resident. Zipf: over the users that fit, and what is to miss
 * is about users who never came before; what they push out makes some more miss.
 */
function streamOf(
  records: number,
  distribution: EngineConfig['distribution'],
  hits: number,
  seed: number,
): StreamOrder {
  const users = Math.ceil(records / CHANNELS_PER_USER);
  if (distribution === 'zipf') return { users, zipf: zipfConstants(users), coldPercent: 100 - hits, seed };
  return { users: Math.round((users * 100) / hits), zipf: null, coldPercent: 0, seed };
}

class EnginePart {
  readonly #context: PartContext;
  readonly #tools: Record<PeerSide['language'], Tool | undefined>;
  readonly skipped: string[] = [];
  readonly data: EngineData = { configs: [], memory: [], checksums: {} };
  #sides: PeerSide[] = [];

  constructor(context: PartContext) {
    this.#context = context;
    context.log('building the peers in Go and Rust');
    this.#tools = { node: undefined, go: goPeers(), rust: rustPeers() };
  }

  get settings(): Record<string, string> {
    return Object.fromEntries(this.#sides.map(({ name, settings }) => [name, settings]));
  }

  chooseSides(): void {
    for (const language of ['go', 'rust'] as const) {
      const tool = this.#tools[language];
      if (tool !== undefined && 'reason' in tool)
        this.skipped.push(`engine, peers in ${language}: ${tool.reason}`);
    }
    const { sides } = this.#context;
    this.#sides = PEER_SIDES.filter(({ name, language }) => {
      if (name !== 'slab' && sides?.includes(name) === false) return false;
      const tool = this.#tools[language];
      return tool === undefined || 'path' in tool;
    });
  }

  #start(side: PeerSide, settings: Omit<ChildSettings, 'side'>): Promise<EngineProcess> {
    return startSide(side, settings, this.#tools[side.language]);
  }

  /** @throws Error if two sides answer the same operations differently */
  async verify(): Promise<void> {
    this.#context.log('verifying that all sides give the same answers');
    checkSides([slab, heap]);
    const records = 16_384;
    const users = records / CHANNELS_PER_USER;
    for (const distribution of DISTRIBUTIONS) {
      const stream = streamOf(records / 4, distribution, 100, this.#context.seed);
      await this.#compare(`${distribution}, nothing evicted`, this.#sides, records, stream, users / 4);
    }
    const strict = this.#sides.filter((side) => side.strict);
    for (const distribution of DISTRIBUTIONS) {
      const stream = streamOf(records, distribution, 90, this.#context.seed);
      await this.#compare(`${distribution}, 10% evicted`, strict, records, stream, users);
    }
  }

  async #compare(
    what: string,
    sides: readonly PeerSide[],
    records: number,
    stream: StreamOrder,
    loaded: number,
  ): Promise<void> {
    if (sides.length === 0) return; // none of those that were asked for evicts in this order
    const checksums = new Map<string, number>();
    for (const side of sides) {
      // Our engines need room for the unevenness of the hash, so that nothing is evicted.
      const settings = { ...childSettings(records, this.#context.seed, side.strict ? 1 : 4), partitions: 4 };
      const process = await this.#start(side, { ...settings, users: side.strict ? settings.users : loaded });
      checksums.set(side.name, (await process.check(64, 10, stream)).checksum);
      await process.end();
    }
    const all = [...new Set(checksums.values())];
    if (all.length !== 1) {
      throw new Error(`${what}: answers differ: ${[...checksums].map((pair) => pair.join(' ')).join(', ')}`);
    }
    this.data.checksums[what] = all[0]!;
  }

  async size(
    records: number,
    distributions: readonly EngineConfig['distribution'][],
    hits: readonly number[],
  ) {
    const groups = this.#groupsOf(records);
    for (const [number, group] of groups.entries()) {
      const processes = new Map<string, EngineProcess>();
      try {
        for (const side of group) {
          const process = await this.#startFilled(side, records);
          if (process === undefined) continue;
          processes.set(side.name, process);
          if (number > 0 && side.name === 'slab') continue;
          const { ready } = process;
          this.data.memory.push({
            records,
            side: side.name,
            bytesPerRecord: ready.rssGrowthBytes / ready.records,
            hugeShare: ready.hugeBytes / ready.rssGrowthBytes,
            prefillMs: ready.prefillMs,
          });
        }
        for (const distribution of distributions) {
          for (const share of hits) await this.#measure(processes, records, distribution, share);
        }
      } finally {
        await Promise.all([...processes.values()].map((process) => process.end()));
      }
    }
  }

  /** A side that cannot be filled (memory) is left out, and the others go on. */
  async #startFilled(side: PeerSide, records: number): Promise<EngineProcess | undefined> {
    const { log, seed } = this.#context;
    try {
      const process = await this.#start(side, childSettings(records, seed, 1));
      const seconds = (process.ready.prefillMs / 1000).toFixed(1);
      log(`${formatCount(records)} records, ${side.name}: filled in ${seconds} s`);
      return process;
    } catch (error) {
      this.#leaveOut(side.name, records, error);
      return undefined;
    }
  }

  #leaveOut(name: string, records: number, error: unknown): void {
    if (name === 'slab') throw error;
    this.skipped.push(
      `engine, ${name} at ${formatCount(records)} records FAILED: ${(error as Error).message}`,
    );
  }

  #groupsOf(records: number): PeerSide[][] {
    const budget = totalmem() * MEMORY_SHARE;
    const [first, ...rest] = this.#sides as [PeerSide, ...PeerSide[]];
    const groups: PeerSide[][] = [];
    let left = 0;
    for (const side of records > 40_000_000 ? [] : rest) {
      const bytes = side.bytes * records;
      const size = formatCount(records);
      if (records > (side.recordsMax ?? records)) {
        this.skipped.push(`engine, ${side.name} at ${size} records: a Map of V8 holds at most 2^24 keys`);
      } else if (bytes + first.bytes * records > budget) {
        this.skipped.push(
          `engine, ${side.name} at ${size} records: needs some ${(bytes / 2 ** 30).toFixed(0)} GiB`,
        );
      } else if (groups.length === 0 || bytes > left) {
        groups.push([first, side]);
        left = budget - first.bytes * records - bytes;
      } else {
        groups.at(-1)!.push(side);
        left -= bytes;
      }
    }
    if (records > 40_000_000)
      this.skipped.push(`engine, peers at ${formatCount(records)} records: slab only`);
    return groups.length === 0 ? [[first]] : groups;
  }

  async #measure(
    processes: Map<string, EngineProcess>,
    records: number,
    distribution: EngineConfig['distribution'],
    hits: number,
  ): Promise<void> {
    const { quick, log, seed } = this.#context;
    const rounds = quick ? 3 : this.#context.rounds;
    const seconds = quick ? 0.5 : 2;
    const warmUpSeconds = quick ? 1.5 : 5;
    const stream = streamOf(records, distribution, hits, seed);
    const results = new Map<string, RoundResult[]>([...processes.keys()].map((name) => [name, []]));
    // The first round warms up, and is not counted: at 8 M records the slab was still being compiled after half a second.
    for (let round = 0; round <= rounds; round++) {
      for (const [name, process] of processes) {
        try {
          const result = await process.round(round === 0 ? warmUpSeconds : seconds, stream);
          if (round > 0) results.get(name)!.push(result);
        } catch (error) {
          this.#leaveOut(name, records, error);
          processes.delete(name);
          results.delete(name);
        }
        await delay(REST_MS);
      }
    }
    const slabRates = results.get('slab')!.map(rateOf);
    let config = this.data.configs.find(
      (other) => other.records === records && other.distribution === distribution && other.hits === hits,
    );
    if (config === undefined) {
      config = { records, distribution, hits, sides: {} };
      this.data.configs.push(config);
    }
    for (const [name, own] of results) {
      if (name === 'slab' && config.sides.slab !== undefined) continue;
      config.sides[name] = figuresOf(own, slabRates);
    }
    const rates = [...results].map(
      ([name, own]) => `${name} ${(spreadOf(own.map(rateOf)).median / 1e6).toFixed(2)}`,
    );
    log(`  ${distribution}, ${hits}% hits, M operations/s: ${rates.join(', ')}`);
  }

  /** With the room that the service gives, since that is what an operator pays for. */
  async memoryFinding(records: number): Promise<Finding> {
    const side = this.#sides[0]!;
    const settings = { ...childSettings(records, this.#context.seed, UNEVENNESS), isAsServed: true };
    const process = await this.#start(side, settings);
    await process.end();
    const bytes = process.ready.rssGrowthBytes / process.ready.records;
    const show = (value: number): string => `${value.toFixed(1)} bytes`;
    return judge(
      `memory of a record, slab, ${formatCount(records)} records`,
      bytes,
      { atMost: 60, show },
      !this.#context.quick,
    );
  }

  ratioFinding(records: number, peer: string, atLeast: number): Finding[] {
    const config = this.data.configs.find(
      (other) => other.records === records && other.distribution === 'uniform' && other.hits === 90,
    );
    const ratio = config?.sides[peer]?.slabRatio;
    if (ratio === undefined) return [];
    const what = `engine, slab beside ${peer}, ${formatCount(records)} records, uniform, 90% hits`;
    const spread = ` (${ratio.min.toFixed(2)} to ${ratio.max.toFixed(2)})`;
    return [judge(what, ratio.median, { atLeast, show: times }, !this.#context.quick, spread)];
  }
}

function figuresOf(rounds: readonly RoundResult[], slabRates: readonly number[]): EngineSideFigures {
  const hits = rounds.reduce((sum, round) => sum + round.hits, 0);
  const misses = rounds.reduce((sum, round) => sum + round.misses, 0);
  return {
    rate: spreadOf(rounds.map(rateOf)),
    cpuRate: spreadOf(rounds.map(({ operations, cpuMs }) => (operations / cpuMs) * 1000)),
    slabRatio: ratioOf(slabRates, rounds.map(rateOf)),
    hitShare: hits / (hits + misses),
    gcMaxMs: Math.max(...rounds.map(({ gcMaxMs }) => gcMaxMs)),
    longestBlockMs: Math.max(...rounds.map(({ longestBlockMs }) => longestBlockMs)),
  };
}

function mergeData(before: EngineData, now: EngineData): EngineData {
  const configs = mergeBy(before.configs, now.configs, (config) =>
    [config.records, config.distribution, config.hits].join(),
  ).sort((one, other) => one.records - other.records);
  const memory = mergeBy(before.memory, now.memory, ({ records, side }) => `${records} ${side}`);
  return {
    configs,
    memory: memory.sort((one, other) => one.records - other.records),
    checksums: now.checksums,
  };
}

export const enginePart: Part = {
  name: 'engine',
  title: 'Engine, one thread',
  merge: (before, now) => mergeData(before as EngineData, now as EngineData),
  async run(context): Promise<PartResult<EngineData>> {
    const part = new EnginePart(context);
    part.chooseSides();
    await part.verify();
    const sizes = (context.sizes ?? (context.quick ? [0.5] : [1, 8, 32, 64])).map(
      (millions) => millions * 1e6,
    );
    const distributions = context.quick ? (['uniform'] as const) : DISTRIBUTIONS;
    for (const records of sizes) await part.size(records, distributions, context.quick ? [90] : HITS);
    const judged = sizes.includes(8e6) ? 8e6 : sizes[0]!;
    const findings = [
      ...part.ratioFinding(judged, 'rust-lru', 1),
      ...part.ratioFinding(judged, 'go-map-list', 5),
      await part.memoryFinding(judged),
    ];
    return { findings, skipped: part.skipped, settings: part.settings, data: part.data };
  },
};
