/**
 * The persister: takes loads and flushes of all shards from their rings to the store, and the answers back. It has
 * an event loop and a thread of its own (persister-thread.ts); nothing here blocks.
 *
 * I1  Each shard has its own bounds, for loads and for rows to be written, and the store has its own for each of
 *     both. What is beyond them stays in its ring, and a full ring is what the shard sees. So neither do loads
 *     starve flushes, nor one shard another.
 * I2  A user belongs to one shard, and its groups reach the store in the order in which they were sent
 *     (persister-writes.ts).
 * I3  Every message is answered once: when the answers ring is full, the answer waits for room. The place that
 *     `reserve` gives is filled before anything else runs.
 * I4  Asleep (doorbell) means: no ring has anything that could be taken. What is in work wakes the persister itself.
 * I5  A lane's rings are touched only while the lane is this persister's (engine/lane-control.ts, I4): one that takes the
 *     place of another gets them when the lanes have taken back what the other had.
 */
import type { MessagePort } from 'node:worker_threads';
import { Doorbell } from '../engine/doorbell.js';
import { LaneControl } from '../engine/lane-control.js';
import { PROBE_MS } from './circuit.js';
import { copyGroup, type PersisterShard, ShardEnd } from './persister-ends.js';
import { PersisterLoads } from './persister-loads.js';
import { PersisterWrites } from './persister-writes.js';
import { PERSISTER_STATS } from './stats.js';
import type { Store } from './stores/store.js';
import type { StoreMark } from './warm/store-generation.js';

/** What a persister thread is started with. */
export interface PersisterOptions {
  /** As in `--store`; see stores/open.ts. */
  readonly store: string;
  readonly shards: readonly PersisterShard[];
  /** Its number: 0, or how many came before it, which have ended. */
  readonly number: number;
  /** The persister's own; shards ring it after publishing. */
  readonly doorbell: SharedArrayBuffer;
  /** Closed before the thread is ended: a ThreadGate's. */
  readonly gate: SharedArrayBuffer;
  /** One block of PERSISTER_STATS. */
  readonly stats: SharedArrayBuffer;
  /** The starter's end: see PersisterOrder and PersisterReport. Must be in the transfer list. */
  readonly port: MessagePort;
  /** A load for which the store has done nothing for so long is given up; default 2 s. */
  readonly loadTimeoutMs?: number;
  /** The store's generation is raised at the start and at the stop; see warm/store-generation.ts. */
  readonly marksStore: boolean;
  /** Switchable faults of a `memory:` store (stores/memory.ts), for tests. */
  readonly faults?: SharedArrayBuffer;
}

/** To the persister. */
export interface PersisterOrder {
  /**
   * Finish all that is in the rings and in work, close the store, end the task. The shards must have stopped
   * producing, and must still take answers.
   */
  readonly stop: true;
}

/**
 * From the persister on `port`. First, once: the store is open, or why it is not (the task then returns). Later,
 * at most once a second: what the store complained about, for the log. The task itself returns the generation in which
 * it has left the store, or null.
 */
export type PersisterReport =
  | { readonly ready: true; readonly mark: StoreMark | null }
  | { readonly error: string }
  | { readonly warning: string };

/** What loads and writes have of the persister. */
export interface PersisterCore {
  readonly store: Store;
  /** PERSISTER_STATS */
  readonly stats: Float64Array;
  readonly isStopping: () => boolean;
  /** For the log, at most once a second: there may be many of the kind. */
  readonly complain: (error: unknown) => void;
  /** For the log. */
  readonly tell: (text: string) => void;
  /** Looks at the rings after whatever else the event loop has to do. */
  readonly wakeSoon: () => void;
  /** Ends when it is worth looking for room in the answers ring again. */
  readonly room: (shard: ShardEnd) => Promise<void>;
  /** Of a bug: ends the persister. */
  readonly fail: (error: unknown) => void;
}

/**
 * Loads of one shard in work. LMDB answers each within one turn of the event loop, so there they bound the turn;
 * at 2 ms a query, as over a network, they still allow 32,000 loads/s from each shard.
 */
export const LOADS_MAX = 64;

/** Rows of one shard that are taken and not answered: two full writes to LMDB, one in work and the next. */
export const SHARD_ROWS_MAX = 2 * 8192;

/** A shard that takes no answer for so long after a stop was ordered is dead. */
const STOP_PATIENCE_MS = 10_000;

const LOAD_TIMEOUT_MS = 2000;
const WARNING_INTERVAL_MS = 1000;

export class Persister {
  readonly #shards: ShardEnd[] = [];
  /** I5: those that are not this persister's yet. */
  #others: readonly PersisterShard[];
  readonly #number: number;
  readonly #doorbell: Doorbell;
  readonly #stats: Float64Array;
  readonly #loads: PersisterLoads;
  readonly #writes: PersisterWrites;
  #nextWarningMs = 0;
  /** The shard that is looked at first. */
  #turn = 0;
  #pumpsSoon = false;
  #stopOrderedMs = Number.POSITIVE_INFINITY;
  #end: () => void = () => {};
  #fail: (error: unknown) => void = () => {};
  /** Resolves when all is done after `stop`; rejects on a bug or when a shard takes no answers any more. */
  readonly ended: Promise<void>;

  /**
   * @param store    open; the caller closes it after `ended`
   * @param warn     is told of failures of the store, at most one a second, and when it fails all and is back
   * @param probeMs  between two attempts while the store fails all
   */
  constructor(
    store: Store,
    options: Pick<PersisterOptions, 'shards' | 'number' | 'doorbell' | 'stats' | 'loadTimeoutMs'>,
    warn: (text: string) => void = () => {},
    probeMs: number = PROBE_MS,
  ) {
    this.#others = options.shards;
    this.#number = options.number;
    this.#doorbell = new Doorbell(options.doorbell);
    this.#stats = new Float64Array(options.stats);
    this.ended = new Promise((resolve, reject) => {
      this.#end = resolve;
      this.#fail = reject;
    });
    const core: PersisterCore = {
      store,
      stats: this.#stats,
      isStopping: () => this.#stopOrderedMs < Number.POSITIVE_INFINITY,
      complain: (error) => this.#complain(error, warn),
      tell: warn,
      wakeSoon: () => this.#wakeSoon(),
      room: (shard) => this.#room(shard),
      fail: (error) => this.#fail(error),
    };
    this.#loads = new PersisterLoads(core, options.loadTimeoutMs ?? LOAD_TIMEOUT_MS, probeMs);
    this.#writes = new PersisterWrites(core, probeMs);
  }

  /** Looks at the rings. To be called once at the start and for each wake-up. */
  wake(): void {
    try {
      this.#pump();
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Finishes everything, then `ended` resolves. */
  stop(): void {
    if (this.#stopOrderedMs === Number.POSITIVE_INFINITY) this.#stopOrderedMs = performance.now();
    this.wake();
  }

  /** As `wake`, after whatever else the event loop has to do: work that ends at once must not keep it for itself. */
  #wakeSoon(): void {
    if (this.#pumpsSoon) return;
    this.#pumpsSoon = true;
    setImmediate(() => {
      this.#pumpsSoon = false;
      this.wake();
    });
  }

  #pump(): void {
    this.#doorbell.rise();
    do {
      this.#takeShards();
      this.#takeInTurn((shard) => this.#takeLoad(shard));
      this.#takeInTurn((shard) => this.#takeFlush(shard));
      this.#writes.start();
      this.#doorbell.sleep();
    } while (this.#shards.some((shard) => this.#hasWork(shard)) || this.#others.some(this.#isOwn)); // I4; ends, for the bounds do
    let loads = 0;
    for (const shard of this.#shards) loads += shard.loadsInWork;
    this.#stats[PERSISTER_STATS.LOADS_IN_FLIGHT] = loads;
    if (this.#stopOrderedMs < Number.POSITIVE_INFINITY && this.#shards.every((shard) => shard.isIdle)) {
      for (const shard of this.#shards) shard.publish();
      this.#loads.end();
      this.#end();
    }
  }

  readonly #isOwn = ({ control, lane }: PersisterShard): boolean =>
    new LaneControl(control).persisterOf(lane) === this.#number;

  /** I5 */
  #takeShards(): void {
    if (this.#others.length === 0) return;
    const own = this.#others.filter(this.#isOwn);
    this.#others = this.#others.filter((shard) => !own.includes(shard));
    for (const shard of own) this.#shards.push(new ShardEnd(shard));
  }

  #mayLoad(shard: ShardEnd): boolean {
    return shard.loadsInWork < LOADS_MAX && this.#loads.hasPlace && shard.loads.refresh();
  }

  #mayFlush(shard: ShardEnd): boolean {
    return shard.rowsInWork < SHARD_ROWS_MAX && shard.flushes.refresh();
  }

  #hasWork(shard: ShardEnd): boolean {
    return this.#mayLoad(shard) || this.#mayFlush(shard);
  }

  /** Calls `take` for shard after shard, one message each, until none has any more that may be taken. */
  #takeInTurn(take: (shard: ShardEnd) => boolean): void {
    const shards = this.#shards;
    for (let without = 0; without < shards.length; ) {
      const shard = shards[this.#turn]!;
      this.#turn = (this.#turn + 1) % shards.length;
      without = take(shard) ? 0 : without + 1;
    }
  }

  #takeLoad(shard: ShardEnd): boolean {
    if (!this.#mayLoad(shard)) return false;
    const at = shard.loads.next();
    if (at < 0) return false;
    const { words, length } = shard.loads;
    const message = words.slice(at, at + length);
    shard.loads.release();
    this.#stats[PERSISTER_STATS.BEATS]! += 1; // many loads from a slow disk are one turn of the event loop
    this.#loads.start(shard, message);
    return true;
  }

  #takeFlush(shard: ShardEnd): boolean {
    if (!this.#mayFlush(shard)) return false;
    const at = shard.flushes.next();
    if (at < 0) return false;
    const group = copyGroup(shard, at);
    shard.flushes.release();
    this.#writes.add(group);
    return true;
  }

  async #room(shard: ShardEnd): Promise<void> {
    await shard.room();
    if (performance.now() - this.#stopOrderedMs > STOP_PATIENCE_MS) {
      throw new Error(`a shard has taken no answers for ${STOP_PATIENCE_MS} ms after the stop`);
    }
  }

  #complain(error: unknown, warn: (text: string) => void): void {
    const nowMs = performance.now();
    if (nowMs < this.#nextWarningMs) return;
    this.#nextWarningMs = nowMs + WARNING_INTERVAL_MS;
    warn(error instanceof Error ? error.message : String(error));
  }
}
