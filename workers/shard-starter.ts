/**
 * Threads for lanes, before they have any: their seats, their start in the background, and the spares. On the main thread.
 *
 * T1  A seat is its thread's until `destroy`: nobody names it any more then.
 * T2  Two threads more than there are shards are started and wait (spares): a lane whose thread has ended needs only
 *     to be attached. Their code is that of the others.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { LaneControl } from '../engine/lane-control.js';
import { assert } from '../engine/layout.js';
import { BackgroundCompiler, callFromBackground, leaveBackground, startInBackground } from './background.js';
import type { LaneOptions, ReplayOptions } from './lane-options.js';
import { ShardThread, type ThreadParts } from './shard-worker.js';
import { OperateError } from './workers.js';

/** To load its code and to rehearse takes a second, in the background of busy processors some. */
const START_TIMEOUT_MS = 60_000;
/** In the background of processors that are never idle a thread would not get there: it is called out of it then. */
const BACKGROUND_MAX_MS = 10_000;
/** See scripts/bundle-threads.ts. */
const BUILD_FILE = './shard-thread.cjs';
/** A second one for those who end before their predecessor's successor is ready: on busy processors that takes a second. */
const SPARES = 2;

/** Seats for as many threads as there are lanes, for their successors, for spares, and for one that has ended and has lanes still. */
export function seatsFor(lanes: number): number {
  return lanes * 2 + SPARES + 1;
}

export interface StartedThread {
  readonly thread: ShardThread;
  /** @throws OperateError if it does not get there */
  readonly ready: Promise<ShardThread>;
  isReady: boolean;
}

export class ShardStarter {
  /** Of threads that are started from now on, as a URL. */
  file = new URL(BUILD_FILE, import.meta.url).href;
  #parts: ThreadParts;
  readonly #admit: (thread: number) => void;
  readonly #ended: (thread: ShardThread, error: unknown) => void;
  readonly #control: LaneControl;
  readonly #compiler = new BackgroundCompiler();
  readonly #seated = new Map<number, ShardThread>();
  /** T2; the one that was started first is the first. */
  #spares: StartedThread[] = [];
  #stopping = false;

  /**
   * @param admit  a thread serves from now on, or may at any time: its number in the system
   * @param ended  a thread that is no spare has ended by itself
   */
  constructor(
    parts: ThreadParts,
    admit: (thread: number) => void,
    ended: (thread: ShardThread, error: unknown) => void,
  ) {
    this.#parts = parts;
    this.#admit = admit;
    this.#ended = ended;
    this.#control = new LaneControl(parts.control);
  }

  /** All that have a seat, whatever they do. */
  get seated(): readonly ShardThread[] {
    return [...this.#seated.values()];
  }

  /** T2: those that are ready. */
  get readySpares(): number {
    return this.#spares.filter(({ isReady }) => isReady).length;
  }

  /** The thread of a seat. */
  at(seat: number): ShardThread | undefined {
    return this.#seated.get(seat);
  }

  /**
   * The first, which begin in the foreground with the lanes that name their seats: 0 and so on.
   * @param lanes  with what they start from
   */
  startFirst(count: number, lanes: readonly LaneOptions[], replay: ReplayOptions | null): ShardThread[] {
    this.#parts = { ...this.#parts, lanes };
    const create = (seat: number): ShardThread => new ShardThread(this.file, seat, this.#parts, replay);
    return Array.from({ length: count }, () => this.#start(create));
  }

  #start(create: (seat: number) => ShardThread): ShardThread {
    const seat = this.#freeSeat();
    this.#control.setEnds(seat, false);
    this.#control.setNeeded(seat, false);
    this.#control.setBackground(seat, 0);
    const thread = create(seat);
    this.#seated.set(seat, thread);
    thread.done.catch((error: unknown) => {
      if (this.#seated.get(seat) !== thread) return;
      if (this.#spares.some((spare) => spare.thread === thread)) void this.#lose(thread);
      else this.#ended(thread, error);
    });
    return thread;
  }

  #freeSeat(): number {
    let seat = 0;
    while (this.#seated.has(seat)) seat++;
    assert(seat < this.#parts.control.seats, 'there is no seat for another thread');
    return seat;
  }

  /** @param isUrgent  see background.ts */
  begin(file = this.file, isUrgent = false): StartedThread {
    const thread = this.#start((seat) =>
      startInBackground(this.#control, seat, isUrgent, () => new ShardThread(file, seat, this.#parts, null)),
    );
    const ready = this.#whenReady(thread);
    if (!isUrgent) this.#compiler.begin(ready);
    return { thread, ready, isReady: false };
  }

  /** A thread that is ready to take lanes. @throws OperateError if it does not get there */
  async #whenReady(thread: ShardThread): Promise<ShardThread> {
    const given = new AbortController();
    const { signal } = given;
    const long = delay(BACKGROUND_MAX_MS, undefined, { ref: false, signal }).then(() => {
      leaveBackground(this.#control, thread.seat);
      this.#compiler.hurry(Promise.race([thread.ready, thread.done]));
    });
    const late = delay(START_TIMEOUT_MS, undefined, { ref: false, signal }).then(() => {
      throw new Error(`it was not ready within ${START_TIMEOUT_MS} ms`);
    });
    try {
      await Promise.race([thread.ready, thread.done, late]);
      leaveBackground(this.#control, thread.seat);
      this.#admit(await thread.ready);
      return thread;
    } catch (error) {
      await this.destroy(thread);
      throw new OperateError(`a new thread did not start: ${(error as Error).message}`);
    } finally {
      long.catch(() => {});
      late.catch(() => {});
      given.abort();
    }
  }

  /** @param isUrgent  see background.ts */
  prepareSpares(isUrgent: boolean): void {
    if (this.#spares.length >= SPARES || this.#stopping) return;
    const spare = this.begin(this.file, isUrgent);
    this.#spares.push(spare);
    spare.ready.then(
      () => {
        spare.isReady = true;
        if (this.#spares.includes(spare)) this.prepareSpares(isUrgent); // one after another
      },
      () => void this.#lose(spare.thread),
    );
  }

  /** A spare that has ended is none: whoever needs one starts one. */
  #lose(thread: ShardThread): Promise<void> {
    this.#spares = this.#spares.filter((spare) => spare.thread !== thread);
    return this.destroy(thread);
  }

  /**
   * For lanes that nobody runs: it is ready as soon as may be. It can have ended again by then, like any thread.
   * @throws OperateError if it does not get there
   */
  takeSpare(): Promise<ShardThread> {
    const { thread, ready } = this.#spares.shift() ?? this.begin();
    callFromBackground(this.#control, thread.seat);
    this.#compiler.hurry(ready);
    return ready;
  }

  /** They are spares no more. @param isReady  only those that are, or are not */
  releaseSpares(isReady: boolean): ShardThread[] {
    const released = this.#spares.filter((spare) => spare.isReady === isReady);
    this.#spares = this.#spares.filter((spare) => spare.isReady !== isReady);
    return released.map(({ thread }) => thread);
  }

  /** Ends threads that no lane names (T1). */
  async destroy(...threads: readonly ShardThread[]): Promise<void> {
    await Promise.all(
      threads.map(async (thread) => {
        await thread.destroy();
        if (this.#seated.get(thread.seat) === thread) this.#seated.delete(thread.seat);
      }),
    );
  }

  /** No more spares. */
  stop(): void {
    this.#stopping = true;
  }

  /** Ends all threads, whatever they do. */
  async destroyAll(): Promise<void> {
    this.stop();
    for (const { thread } of this.#spares) callFromBackground(this.#control, thread.seat);
    await Promise.all(this.#spares.map(({ ready }) => ready.catch(() => {})));
    await Promise.all(this.seated.map((thread) => thread.destroy()));
  }
}
