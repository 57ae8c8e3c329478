/** How README words what is in result files. */
import type { Finding } from '../../bench/suite/part.js';
import type { SavedPart } from '../../bench/suite/saved.js';

export interface Cell {
  readonly figure: string;
  readonly isMissed: boolean;
}

interface EngineFile {
  readonly rows: readonly { name: string; value: number; verdict: string }[];
  readonly raw: Record<string, { heap: { allocatedPerOperation: number }; pause: { count: number } }>;
}
interface WireFile {
  readonly findings: readonly { what: string; measured: string; met: boolean }[];
  readonly results: {
    readonly 'binary, clients that wait': { service: { median: number } };
    readonly http: { rates: { service: number[] } };
    readonly lists: { othersP999Ms: { quiet: number[]; listed: number[] } };
  };
}
interface SidesFile {
  readonly results: Record<string, { median: number }>;
}
interface ReplayFile {
  readonly ratio: number;
  readonly met: boolean;
}

interface StoreFile {
  readonly findings: readonly { what: string; ratio: { median: number }; met: boolean }[];
}
interface RestartFile {
  readonly findings: readonly { what: string; measured: string; met: boolean }[];
}
interface OperateFile {
  readonly findings: readonly { what: string; measured: string; met: boolean }[];
}
interface LargeUserFile {
  readonly results: Record<string, readonly { phase: string; quietMs: number; largeMs: number }[]>;
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >>> 1]!;
}

function engineRow(file: EngineFile, name: string): { value: number; isMissed: boolean } {
  const row = file.rows.find((other) => other.name.startsWith(name));
  if (row === undefined) throw new Error(`the file has no row ${name}`);
  return { value: row.value, isMissed: row.verdict === 'MISSED' };
}

function engineCell(name: string, show: (value: number) => string) {
  return (file: EngineFile): Cell => {
    const { value, isMissed } = engineRow(file, name);
    return { figure: show(value), isMissed };
  };
}

/** `6.66 (5 to 7)` and `1.82 s` begin with the figure. */
function wireCell(what: string, show: (value: number, file: WireFile) => string) {
  return (file: WireFile): Cell => {
    const finding = file.findings.find((other) => other.what.startsWith(what));
    if (finding === undefined) throw new Error(`the file has no finding ${what}`);
    return { figure: show(Number.parseFloat(finding.measured), file), isMissed: !finding.met };
  };
}

/** Of all findings of one kind, in their order. */
function storeCell(kind: string) {
  return ({ findings }: StoreFile): Cell => {
    const own = findings.filter(({ what }) => what.startsWith(kind));
    const figure = `${own.map(({ ratio }) => ratio.median.toFixed(2)).join(', ')} times`;
    return { figure, isMissed: own.some(({ met }) => !met) };
  };
}

function restartCell(start: string) {
  return ({ findings }: RestartFile): Cell => {
    const finding = findings.find(({ what }) => what.startsWith(start));
    if (finding === undefined) throw new Error(`the file has no finding ${start}`);
    return { figure: finding.measured.replace(/ \([^)]*\)$/, ''), isMissed: !finding.met };
  };
}

/** Of all findings that begin and end so, in their order. */
function operateCell(...wanted: readonly (readonly [start: string, end: string])[]) {
  return ({ findings }: OperateFile): Cell => {
    const own = wanted.map(([start, end]) => {
      const finding = findings.find(({ what }) => what.startsWith(start) && what.endsWith(end));
      if (finding === undefined) throw new Error(`the file has no finding ${start} ... ${end}`);
      return finding;
    });
    return {
      figure: own.map(({ measured }) => measured).join(', '),
      isMissed: own.some(({ met }) => !met),
    };
  };
}

function largeUserCell(store: string) {
  return ({ results }: LargeUserFile): Cell => {
    const windows = results[store]!;
    const ratios = [...new Set(windows.map(({ phase }) => phase))].map((phase) =>
      median(
        windows.filter((other) => other.phase === phase).map(({ quietMs, largeMs }) => largeMs / quietMs),
      ),
    );
    const figure = `${ratios.map((ratio) => ratio.toFixed(1)).join(', ')} times`;
    return { figure, isMissed: Math.max(...ratios) > 2 };
  };
}

const millions = (value: number): string => `${(value / 1e6).toFixed(2)} M operations/s`;

/** By how a row begins; the file has the shape that its command writes. */
const CELLS: readonly [start: string, cell: (file: never) => Cell][] = [
  [
    'engine, operations on 8 M entries',
    engineCell('slab / lru-cache', (value) => `${value.toFixed(1)} times`),
  ],
  ['engine, beside the same in objects', engineCell('slab / heap', (value) => `${value.toFixed(1)} times`)],
  ['a batch, beside one', engineCell('slab batched', (value) => `${value.toFixed(2)} times`)],
  ['memory of an entry', engineCell('memory a record', (value) => `${value.toFixed(1)} bytes`)],
  [
    'longest collector pause of a loaded shard',
    (file: EngineFile): Cell => {
      const rows = ['1,000,000', '8,000,000'].map((size) =>
        engineRow(file, `longest GC pause, slab shard, ${size} records`),
      );
      return {
        figure: rows.map(({ value }) => `${value.toFixed(2)} ms`).join(', '),
        isMissed: rows.some(({ isMissed }) => isMissed),
      };
    },
  ],
  [
    'garbage of a shard for an operation',
    (file: EngineFile): Cell => {
      const { heap } = file.raw['shard-slab-1000000--max-semi-space-size=1']!;
      const { isMissed } = engineRow(file, 'heap growth, slab shard');
      const bytes = heap.allocatedPerOperation.toFixed(2).replace('-0.00', '0.00');
      return { figure: `${bytes} bytes`, isMissed };
    },
  ],
  [
    'whole server without journal, binary frames',
    wireCell('binary, of the bare echo', (value, { results }) => {
      return `${value.toFixed(2)} times, ${millions(results['binary, clients that wait'].service.median)}`;
    }),
  ],
  [
    'HTTP ack, beside a bare POST',
    wireCell('HTTP ack, of the bare POST', (value, { results }) => {
      const rate = Math.round(median(results.http.rates.service) / 1000) * 1000;
      return `${value.toFixed(2)} times, ${rate.toLocaleString('en-US')}/s`;
    }),
  ],
  ['open loop at half the rate', wireCell('open loop at half', (value) => `${value.toFixed(1)} times`)],
  ['list of 7,713 entries', wireCell('list of 7,713', (value) => `${value.toFixed(1)} ms`)],
  [
    "others' p99.9",
    wireCell('others’ p99.9', (_, { results }) => {
      const { quiet, listed } = results.lists.othersP999Ms;
      return `${median(listed.map((tail, round) => tail / quiet[round]!)).toFixed(1)} times`;
    }),
  ],
  ['start with room for 8 M', wireCell('start, to the first', (value) => `${value.toFixed(1)} s`)],
  [
    'updates for each row written',
    ({ ratio, met }: ReplayFile): Cell => ({ figure: (1 / ratio).toFixed(0), isMissed: !met }),
  ],
  ['flushes to Cassandra', storeCell('flush')],
  ['misses on Cassandra', storeCell('miss')],
  ['warm start with 8 M entries', restartCell('warm start, saved partitions in the page cache')],
  ['start after `kill -9`', restartCell('start after kill -9')],
  [
    "100 ends of a shard's thread",
    operateCell(['kill to service again', 'p50'], ['kill to service again', 'p99']),
  ],
  [
    '100 of them 0.2 to 1.2 s apart',
    operateCell(['in a row, kill to service again', 'p50'], ['in a row, kill to service again', 'p99']),
  ],
  ["18 ends of both shards' threads at once", operateCell(['at once', 'p50, p99'])],
  ['all these ends: answered writes lost', operateCell(['kills: of', 'out of order'])],
  ['all these ends: operations refused', operateCell(['kills: of', 'refused'])],
  ['resize 1 to 4', operateCell(['resize 1 to 4, 2, 1: longest', ''], ['moves: of', 'refused'])],
  ['20 reloads', operateCell(['20 reloads: longest', ''], ['moves: of', 'refused'])],
  ['both: answered writes lost', operateCell(['moves: of', 'out of order'])],
  ['beside a user with 100,000 entries, LMDB', largeUserCell('lmdb')],
  ['beside a user with 100,000 entries, Cassandra', largeUserCell('cassandra')],
  [
    'what is always on to look inside',
    ({ results }: SidesFile): Cell => {
      const medians = Object.values(results).map((load) => load.median);
      const figure = `${medians.map((each) => each.toFixed(3)).join(', ')} times`;
      return { figure, isMissed: Math.min(...medians) < 0.97 };
    },
  ],
  [
    '`--durability process`, throughput',
    ({ results }: SidesFile): Cell => {
      const medians = Object.values(results).map((load) => load.median);
      const [worst, best] = [Math.min(...medians), Math.max(...medians)];
      return { figure: `${worst.toFixed(2)}, ${best.toFixed(2)}`, isMissed: worst < 0.75 };
    },
  ],
];

/** Of a file of `make bench`: the finding of the same words, without its spread. */
function suiteCell(what: string, parts: readonly SavedPart[]): Cell {
  const findings = parts.flatMap(({ result }): readonly Finding[] => result?.findings ?? []);
  const finding = findings.find((other) => other.what === what);
  if (finding === undefined) throw new Error(`the file has no finding "${what}"`);
  return { figure: finding.measured.replace(/ \([^)]*\)$/, ''), isMissed: finding.met === false };
}

/** What a row of README must say by its result file. @throws Error if it cannot be known */
export function cellOf(what: string, file: unknown): Cell {
  if (Array.isArray(file)) return suiteCell(what, file as SavedPart[]);
  const cell = CELLS.find(([start]) => what.startsWith(start))?.[1];
  if (cell === undefined) throw new Error(`nothing is known of the row "${what}"`);
  return cell(file as never);
}
