/**
 * The threads that run lanes: started, given lanes, relieved of them and ended. On the main thread.
 *
 * G1  Each lane is some live thread's at all times; it changes its thread only by the old one's hand.
 * G2  Whatever changes threads or lanes runs alone, one after another (`#alone`).
 * G3  A thread is ended only when no lane is its own or wanted by it.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { MessageChannel, type MessagePort } from 'node:worker_threads';
import { Piscina } from 'piscina';
import { LaneBell, LaneControl, type LaneControlMemory, seatDoorbell } from '../engine/lane-control.js';
import { spreadLanes } from './lane-counts.js';
import type {
  LaneOptions,
  ReplayOptions,
  ServiceOptions,
  ShardMessage,
  ShardOptions,
} from './lane-options.js';
import { ShardFigures } from './shard-figures.js';
import { createStats, LANE_STATS, THREAD_STATS } from './stats.js';
import { OperateError, type ShardView } from './workers.js';

/** A shard with objects needs more than V8 grants a thread by default. */
const HEAP_ENGINE_OLD_SPACE_MB = 16_384;
const POLL_MS = 1;
/** A lane leaves its thread at the end of a turn; a turn is never so long. */
const HAND_OVER_TIMEOUT_MS = 10_000;

export interface ShardGroupOptions {
  readonly service: ServiceOptions;
  readonly lanes: readonly LaneOptions[];
  readonly control: LaneControlMemory;
  readonly shards: number;
  /** Takes the front's end of a thread's port. */
  readonly listen: (port: MessagePort) => void;
  /** Takes the persister's end of a thread's port. */
  readonly givePersister: (port: MessagePort) => void;
  readonly warn: (message: string) => void;
  /** A thread that ended by itself. */
  readonly fail: (error: unknown) => void;
}

/** Seats for as many threads as there are lanes, and for their successors. */
export function seatsFor(lanes: number): number {
  return lanes * 2;
}

/** One thread that runs lanes. */
class ShardThread {
  readonly stats = new Float64Array(createStats(THREAD_STATS));
  readonly ready: Promise<void>;
  readonly done: Promise<void>;
  readonly #pool: Piscina;
  readonly #toFront: MessagePort;
  #setReady: () => void = () => {};

  constructor(
    readonly seat: number,
    { service, lanes, control, listen, givePersister, warn }: ShardGroupOptions,
    replay: ReplayOptions | null,
  ) {
    const front = new MessageChannel();
    const persister = new MessageChannel();
    this.#toFront = front.port1;
    this.ready = new Promise((resolve) => {
      this.#setReady = resolve;
    });
    front.port1.on('message', (message: ShardMessage) => {
      if (message === 'ready') this.#setReady();
      else if (message !== null) warn(message.warning);
    });
    listen(front.port1);
    givePersister(persister.port1);
    this.#pool = new Piscina({
      filename: new URL('./shard-thread.js', import.meta.url).href,
      minThreads: 1,
      maxThreads: 1,
      idleTimeout: Number.POSITIVE_INFINITY,
      atomics: 'disabled',
      recordTiming: false,
      ...(service.engine === 'heap'
        ? { resourceLimits: { maxOldGenerationSizeMb: HEAP_ENGINE_OLD_SPACE_MB } }
        : {}),
    });
    const task: ShardOptions = {
      service,
      lanes,
      control,
      seat,
      stats: this.stats.buffer as SharedArrayBuffer,
      replay,
      frontPort: front.port2,
      persisterPort: persister.port2,
    };
    this.done = this.#pool.run(task, { transferList: [front.port2, persister.port2] }) as Promise<void>;
  }

  async destroy(): Promise<void> {
    this.#toFront.close();
    await this.#pool.destroy();
  }
}

export class ShardGroup {
  #options: ShardGroupOptions;
  readonly #control: LaneControl;
  readonly #figures: ShardFigures;
  /** By shard number. */
  #threads: ShardThread[] = [];
  /** No threads are changed any more. */
  #stopping = false;
  /** The threads are being ended: that their tasks end is no failure. */
  #ending = false;
  #last: Promise<void> = Promise.resolve();

  constructor(options: ShardGroupOptions) {
    this.#options = options;
    this.#control = new LaneControl(options.control);
    const { lanes, shards } = options;
    this.#figures = new ShardFigures(
      lanes.map(({ stats }) => new Float64Array(stats)),
      lanes.map(({ lane }) => lane % shards),
    );
    for (const { lane } of lanes) {
      this.#control.want(lane, lane % shards);
      this.#control.hand(lane, lane % shards);
    }
  }

  /**
   * Resolves when each thread runs and its part of an earlier journal is back.
   * @param lanes  with what they start from
   */
  async start(lanes: readonly LaneOptions[], replay: ReplayOptions | null): Promise<void> {
    this.#options = { ...this.#options, lanes };
    for (let seat = 0; seat < this.#options.shards; seat++)
      this.#threads.push(this.#startThread(seat, replay));
    await Promise.race([
      Promise.all(this.#threads.map(({ ready }) => ready)),
      Promise.all(this.#threads.map(({ done }) => done)),
    ]);
  }

  #startThread(seat: number, replay: ReplayOptions | null): ShardThread {
    this.#control.setEnds(seat, false);
    const thread = new ShardThread(seat, this.#options, replay);
    thread.done.catch((error: unknown) => {
      if (this.#threads.includes(thread) && !this.#ending) this.#options.fail(error);
    });
    return thread;
  }

  views(): readonly ShardView[] {
    return this.#threads.map(({ stats }, shard) => ({
      shard,
      lanes: this.#figures.lanesOf(shard),
      counts: this.#figures.countsOf(shard),
      thread: stats,
    }));
  }

  /** G2 */
  #alone<T>(run: () => Promise<T>): Promise<T> {
    const next = this.#last.then(() => {
      if (this.#stopping) throw new OperateError('the service is stopping.');
      return run();
    });
    this.#last = next.then(
      () => {},
      () => {},
    );
    return next;
  }

  /** See `Workers.resize`. */
  resize(shards: number): Promise<void> {
    return this.#alone(async () => {
      const { service, lanes } = this.#options;
      if (service.engine === 'heap')
        throw new OperateError(
          '--engine heap keeps its entries as objects of one thread: they cannot go to another.',
        );
      if (!(Number.isInteger(shards) && shards >= 1 && shards <= lanes.length))
        throw new OperateError(
          `${shards} shards for ${lanes.length} lanes: give 1 to ${lanes.length}, or start with more --lanes.`,
        );
      await this.#resize(shards);
    });
  }

  async #resize(shards: number): Promise<void> {
    const before = this.#threads.length;
    for (let shard = before; shard < shards; shard++) this.#threads.push(await this.#newThread());
    const owners = spreadLanes(this.#figures.shardOf, shards);
    for (let lane = 0; lane < owners.length; lane++) await this.#move(lane, owners[lane]!);
    for (const thread of this.#threads.splice(shards)) await this.#endThread(thread);
  }

  /** A thread that is ready to take lanes. @throws OperateError if it does not get there */
  async #newThread(): Promise<ShardThread> {
    const thread = this.#startThread(this.#freeSeat(), null);
    try {
      await Promise.race([thread.ready, thread.done]);
      return thread;
    } catch (error) {
      await thread.destroy();
      throw new OperateError(`a new thread did not start: ${(error as Error).message}`);
    }
  }

  #freeSeat(): number {
    const taken = new Set(this.#threads.map(({ seat }) => seat));
    let seat = 0;
    while (taken.has(seat)) seat++;
    return seat;
  }

  /** Has a lane go over to a shard. */
  async #move(lane: number, shard: number): Promise<void> {
    const { seat } = this.#threads[shard]!;
    const control = this.#control;
    if (control.ownerOf(lane) === seat) return;
    const stats = new Float64Array(this.#options.lanes[lane]!.stats);
    const attached = stats[LANE_STATS.ATTACHED]!;
    control.want(lane, seat);
    new LaneBell(this.#options.control, lane).ring();
    const deadlineMs = performance.now() + HAND_OVER_TIMEOUT_MS;
    while (stats[LANE_STATS.ATTACHED] === attached) {
      if (performance.now() > deadlineMs)
        throw new Error(`lane ${lane} was not handed over within ${HAND_OVER_TIMEOUT_MS} ms`);
      await delay(POLL_MS);
    }
    this.#figures.move(lane, shard);
  }

  async #endThread(thread: ShardThread): Promise<void> {
    this.#orderEnd(thread);
    await thread.done;
    await thread.destroy();
  }

  #orderEnd({ seat }: ShardThread): void {
    this.#control.setEnds(seat, true);
    seatDoorbell(this.#options.control, seat).ring();
  }

  /** All lanes have been told to stop: resolves when they have, and the threads have ended. */
  async stop(): Promise<void> {
    this.#stopping = true;
    await this.#last;
    for (const thread of this.#threads) this.#orderEnd(thread);
    await Promise.all(this.#threads.map(({ done }) => done));
  }

  /** Ends the threads, whatever they do. */
  async destroy(): Promise<void> {
    this.#ending = true;
    await Promise.all(this.#threads.map((thread) => thread.destroy()));
  }
}
