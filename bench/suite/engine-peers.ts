/**
 * The sides of the engine comparison, in Node, Go and Rust, behind one interface: each a process of its own with the
 * same environment, filled with the same users, that takes the same operations.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface, type Interface } from 'node:readline';
import type {
  CheckResult,
  ChildReady,
  ChildSettings,
  RoundResult,
  SideName,
  StreamOrder,
} from '../engine-child.js';
import { BenchProcess } from '../engine-processes.js';
import type { Tool } from './peer-tools.js';

export interface PeerSide {
  readonly name: string;
  readonly language: 'node' | 'go' | 'rust';
  /** Roughly, of a record: says which sides are in memory together. */
  readonly bytes: number;
  /** Evicts the record that was used longest ago, at once: its answers are then those of the others that do. */
  readonly strict: boolean;
  readonly recordsMax?: number;
  readonly settings: string;
}

/** A Map of V8 holds at most 2^24 keys. */
const MAP_KEYS_MAX = 16_777_216;

export const PEER_SIDES: readonly PeerSide[] = [
  {
    name: 'slab',
    language: 'node',
    bytes: 80,
    strict: false,
    settings:
      '32 partitions, batches of 64 with touch, LRU of users; loads, room and write-behind (30 s) included',
  },
  {
    name: 'heap',
    language: 'node',
    bytes: 330,
    strict: false,
    settings: 'the same engine in objects and Maps, keyed by hash; loads, room and write-behind included',
  },
  {
    name: 'lru-string',
    language: 'node',
    bytes: 480,
    strict: true,
    recordsMax: MAP_KEYS_MAX,
    settings: 'lru-cache 11.5.3, max = records, key "user:channel"; texts of ids made outside of the time',
  },
  {
    name: 'lru-nested',
    language: 'node',
    bytes: 330,
    strict: false,
    settings: 'lru-cache 11.5.3 of users, a Map of channels in each; texts made outside of the time',
  },
  {
    name: 'mnemonist',
    language: 'node',
    bytes: 450,
    strict: true,
    recordsMax: MAP_KEYS_MAX,
    settings: 'mnemonist 0.40.8 LRUMap, key "user:channel"; texts made outside of the time',
  },
  {
    name: 'go-map-list',
    language: 'go',
    bytes: 420,
    strict: true,
    settings: 'map[key]*list.Element sized at first, container/list, GOGC=100',
  },
  {
    name: 'go-otter',
    language: 'go',
    bytes: 420,
    strict: false,
    settings: 'otter v2.4.0, MaximumSize and InitialCapacity = records, values are pointers changed in place',
  },
  {
    name: 'rust-lru',
    language: 'rust',
    bytes: 130,
    strict: true,
    settings: 'lru 0.19 with ahash 0.8, get_mut and put; lto, one codegen unit',
  },
  {
    name: 'rust-quick-cache',
    language: 'rust',
    bytes: 130,
    strict: false,
    settings: 'quick_cache 0.7 unsync (one thread), ahash, get_mut',
  },
  {
    name: 'rust-moka',
    language: 'rust',
    bytes: 320,
    strict: false,
    settings: 'moka 0.12 sync, ahash, values Arc<Mutex> changed in place',
  },
  {
    name: 'rust-slab',
    language: 'rust',
    bytes: 90,
    strict: true,
    settings:
      'a slab by hand with the same batched touch, LRU of records, no loads, no write-behind: the upper bound',
  },
];

export interface EngineProcess {
  readonly ready: Omit<ChildReady, 'sharedBytes'>;
  round(seconds: number, stream: StreamOrder): Promise<RoundResult>;
  check(blocks: number, repeatPercent: number, stream: StreamOrder): Promise<CheckResult>;
  end(): Promise<void>;
}

/** Starts a side and fills it with `settings.users`. @param tool  of Go and Rust */
export async function startSide(
  { name, language }: PeerSide,
  settings: Omit<ChildSettings, 'side'>,
  tool: Tool | undefined,
): Promise<EngineProcess> {
  if (language === 'node') return startNodeSide({ ...settings, side: name as SideName });
  if (tool === undefined || 'reason' in tool) throw new Error(`${name} was not built`);
  const records = settings.users * settings.channelsPerUser;
  const lines = new LineProcess(tool.path, [name, String(records), String(settings.channelsPerUser)]);
  const ready = await lines.ask<ChildReady>(`fill ${settings.users}`);
  return {
    ready,
    round: (seconds, stream) => lines.ask(`round ${seconds} ${words(stream)} 0`),
    check: (blocks, repeatPercent, stream) => lines.ask(`check ${blocks} ${words(stream)} ${repeatPercent}`),
    end: () => lines.end(),
  };
}

function words({ users, zipf, coldPercent, seed }: StreamOrder): string {
  const { zetaN, eta, zeta2 } = zipf ?? { zetaN: 0, eta: 0, zeta2: 0 };
  return [users, zetaN, eta, zeta2, coldPercent, seed].join(' ');
}

async function startNodeSide(settings: ChildSettings): Promise<EngineProcess> {
  const child = new BenchProcess('engine-child.js', settings);
  const ready = await child.answer<ChildReady>();
  return {
    ready,
    round: (seconds, stream) => child.ask({ seconds, batched: true, stream }),
    check: (blocks, repeatPercent, stream) => child.ask({ blocks, repeatPercent, stream }),
    end: () => child.end(),
  };
}

/** A process that answers each line with a line of JSON. */
class LineProcess {
  readonly #child: ChildProcess;
  readonly #lines: Interface;
  readonly #name: string;

  constructor(file: string, args: string[]) {
    this.#name = `${file} ${args.join(' ')}`;
    this.#child = spawn(file, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#lines = createInterface(this.#child.stdout!);
  }

  async ask<T>(order: string): Promise<T> {
    const ended = new AbortController();
    const onExit = (code: number | null, signal: string | null): void =>
      ended.abort(new Error(`${this.#name} ended with ${signal ?? code} at: ${order}`));
    const onError = (error: Error): void => ended.abort(error);
    this.#child.once('exit', onExit).once('error', onError);
    try {
      const answer = once(this.#lines, 'line', { signal: ended.signal });
      this.#child.stdin!.write(`${order}\n`);
      return JSON.parse((await answer)[0] as string) as T;
    } catch (error) {
      throw ended.signal.aborted ? (ended.signal.reason as Error) : error;
    } finally {
      this.#child.off('exit', onExit).off('error', onError);
    }
  }

  async end(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = once(this.#child, 'exit');
    this.#child.stdin!.end();
    await ended;
  }
}
