/**
 * The threads that run lanes: started, given lanes, relieved of them, replaced and ended. On the main thread.
 *
 * G1  A lane changes its thread by the old one's hand, or, when that has ended, by this one's.
 * G2  What an operator orders runs alone, one after another (`#alone`). A replacement waits for nothing: an order that is
 *     in the middle of something sees its lanes go to another thread, and goes on from there.
 * G3  A thread is ended only when no lane is its own or wanted by it.
 * G4  Two threads more than there are shards are started and wait (spares): a lane whose thread has ended needs only
 *     to be attached. Their code is that of the others.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { LaneBell, LaneControl, type LaneControlMemory, seatDoorbell } from '../engine/lane-control.js';
import { BackgroundCompiler, callFromBackground, leaveBackground, startInBackground } from './background.js';
import { spreadLanes } from './lane-counts.js';
import type { LaneOptions, ReplayOptions, ServiceOptions } from './lane-options.js';
import { Relapses } from './relapses.js';
import { ShardFigures } from './shard-figures.js';
import { ShardThread, type ThreadParts } from './shard-worker.js';
import { LANE_STATS } from './stats.js';
import { OperateError, type ShardView } from './workers.js';

const POLL_MS = 1;
/** A lane leaves its thread at the end of a turn; a turn is never so long. */
const HAND_OVER_TIMEOUT_MS = 30_000;
/** Another spare begins when its predecessor has worked off what had waited for it: both would want the processors. */
const SPARE_AFTER_MS = 100;
/** To load its code and to rehearse takes a second, in the background of busy processors some. */
const START_TIMEOUT_MS = 60_000;
/** In the background of processors that are never idle a thread would not get there: it is called out of it then. */
const BACKGROUND_MAX_MS = 10_000;
/**
 * From one lane to the next that goes over. A new thread meets what its rehearsal did not have (V8 compiles some of it anew),
 * and its cold caches: with all lanes at once, all would wait for that; so it begins with the load of one.
 */
const FIRST_MS = 150;
const NEXT_MS = 20;
const BUILD_FILE = './shard-thread.js';

export interface ShardGroupOptions extends ThreadParts {
  readonly service: ServiceOptions;
  readonly lanes: readonly LaneOptions[];
  readonly control: LaneControlMemory;
  readonly shards: number;
  /** A thread without a turn for so long is ended and replaced; 0: none is. */
  readonly hangTimeoutMs: number;
  /** A thread serves from now on, or may at any time: its number in the system. */
  readonly admit: (thread: number) => void;
  /** A thread that ended by itself and cannot be replaced. */
  readonly fail: (error: unknown) => void;
}

interface StartingThread {
  readonly thread: ShardThread;
  /** @throws OperateError if it does not get there */
  readonly ready: Promise<ShardThread>;
  isReady: boolean;
}

/** A second one for those who end before their predecessor's successor is ready: on busy processors that takes a second. */
const SPARES = 2;

/** Seats for as many threads as there are lanes, for their successors, for spares, and for one that has ended and has lanes still. */
export function seatsFor(lanes: number): number {
  return lanes * 2 + SPARES + 1;
}

export class ShardGroup {
  #options: ShardGroupOptions;
  readonly #control: LaneControl;
  readonly #figures: ShardFigures;
  readonly #relapses = new Relapses();
  readonly #compiler = new BackgroundCompiler();
  /** By shard number. */
  #threads: ShardThread[] = [];
  /** G4; the one that was started first is the first. */
  #spares: StartingThread[] = [];
  /** All that have a seat. */
  readonly #seated = new Set<ShardThread>();
  #file = new URL(BUILD_FILE, import.meta.url).href;
  #watch: NodeJS.Timeout | null = null;
  /** Of threads that have ended: their replacement, until it is done. */
  readonly #replacements = new Map<ShardThread, Promise<void>>();
  replaced = 0;
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
    const { shards, hangTimeoutMs, admit } = this.#options;
    const create = (seat: number): ShardThread => new ShardThread(this.#file, seat, this.#options, replay);
    for (let shard = 0; shard < shards; shard++) this.#threads.push(this.#startThread(create));
    await Promise.race([
      Promise.all(this.#threads.map(({ ready }) => ready)),
      Promise.all(this.#threads.map(({ done }) => done)),
    ]);
    for (const { ready } of this.#threads) admit(await ready);
    this.#prepareSpares(true);
    if (hangTimeoutMs > 0 && this.#isShared)
      this.#watch = setInterval(() => this.#lookForHangs(), hangTimeoutMs / 4).unref();
  }

  /**
   * Any thread can run any lane. Objects end with their thread: its lanes are reloaded by another, and a collection of many
   * of them stops it for as long as if it hung.
   */
  get #isShared(): boolean {
    return this.#options.service.engine === 'slab';
  }

  #startThread(create: (seat: number) => ShardThread): ShardThread {
    const seat = this.#freeSeat();
    this.#control.setEnds(seat, false);
    this.#control.setNeeded(seat, false);
    this.#control.setBackground(seat, 0);
    const thread = create(seat);
    this.#seated.add(thread);
    thread.done.catch((error: unknown) => this.#ended(thread, error));
    return thread;
  }

  #freeSeat(): number {
    const taken = new Set([...this.#seated].map(({ seat }) => seat));
    let seat = 0;
    while (taken.has(seat)) seat++;
    return seat;
  }

  #begin(file = this.#file, isUrgent = false): StartingThread {
    const thread = this.#startThread((seat) =>
      startInBackground(
        this.#control,
        seat,
        isUrgent,
        () => new ShardThread(file, seat, this.#options, null),
      ),
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
      this.#options.admit(await thread.ready);
      return thread;
    } catch (error) {
      await this.#destroy(thread);
      throw new OperateError(`a new thread did not start: ${(error as Error).message}`);
    } finally {
      long.catch(() => {});
      late.catch(() => {});
      given.abort();
    }
  }

  /** @param isUrgent  see background.ts */
  #prepareSpares(isUrgent: boolean): void {
    if (this.#spares.length === SPARES || this.#stopping) return;
    const spare = this.#begin(this.#file, isUrgent);
    this.#spares.push(spare);
    spare.ready.then(
      () => {
        spare.isReady = true;
        if (this.#spares.includes(spare)) this.#prepareSpares(isUrgent); // one after another
      },
      () => {
        this.#spares = this.#spares.filter((other) => other !== spare); // whoever needs one starts one
      },
    );
  }

  /** Ends threads that have no lanes, and are not among the spares any more. */
  async #drop(spares: readonly StartingThread[]): Promise<void> {
    await Promise.all(spares.map(({ thread }) => this.#destroy(thread)));
  }

  /** For lanes that nobody runs: it is ready as soon as may be. */
  #takeSpare(): Promise<ShardThread> {
    const { thread, ready } = this.#spares.shift() ?? this.#begin();
    callFromBackground(this.#control, thread.seat);
    this.#compiler.hurry(ready);
    return ready;
  }

  views(): readonly ShardView[] {
    return this.#threads.map(({ stats }, shard) => ({
      shard,
      lanes: this.#figures.lanesOf(shard),
      counts: this.#figures.countsOf(shard),
      thread: stats,
    }));
  }

  /** A persister has ended: lanes take back what they have on their way to it, and go to the one of this number. */
  recall(persister: number): void {
    for (const { lane } of this.#options.lanes) this.#control.wantPersister(lane, persister);
    this.#callAll();
  }

  #callAll(): void {
    for (const { seat } of this.#seated) {
      this.#control.call(seat);
      seatDoorbell(this.#options.control, seat).ring();
    }
  }

  /** Every lane has a thread, as far as is known, and none ends again and again. */
  get isWell(): boolean {
    return this.#replacements.size === 0 || !this.#relapses.areMany;
  }

  /** Ends a shard's thread wherever it is, as a crash would. */
  async kill(shard: number): Promise<void> {
    await this.#threads[shard]?.destroy();
  }

  #ended(thread: ShardThread, error: unknown): void {
    const hasThrown = !thread.wasDestroyed;
    if (this.#ending || !this.#seated.has(thread)) return;
    if (!this.#threads.includes(thread)) return;
    const replaced = this.#replace(thread, error, hasThrown).finally(() => {
      this.#replacements.delete(thread);
    });
    this.#replacements.set(thread, replaced);
  }

  /** Gives the lanes of a thread that has ended to another. */
  async #replace(dead: ShardThread, error: unknown, hasThrown: boolean): Promise<void> {
    const { warn } = this.#options;
    const endedMs = performance.now();
    try {
      await dead.destroy(); // G1: it may still be on its way to its end
      await delay(this.#relapses.note(endedMs));
      if (this.#ending) return;
      const heir = await this.#takeSpare();
      const shard = this.#threads.indexOf(dead);
      if (shard === -1 || this.#ending) return;
      this.#threads[shard] = heir;
      const lanes = this.#options.lanes.filter(({ lane }) => this.#control.ownerOf(lane) === dead.seat);
      const attached = lanes.map(({ stats }) => new Float64Array(stats)[LANE_STATS.ATTACHED]!);
      for (const { lane } of lanes) {
        if (hasThrown) this.#control.setSuspect(lane, true);
        this.#control.want(lane, heir.seat);
        this.#control.hand(lane, heir.seat); // G1
      }
      seatDoorbell(this.#options.control, heir.seat).ring();
      this.#seated.delete(dead);
      this.replaced++;
      void delay(SPARE_AFTER_MS).then(() => this.#prepareSpares(true));
      while (lanes.some(({ stats }, i) => new Float64Array(stats)[LANE_STATS.ATTACHED] === attached[i])) {
        if (this.#threads[shard] !== heir || this.#ending) return; // it has ended, too
        await delay(POLL_MS);
      }
      const ms = Math.round(performance.now() - endedMs);
      warn(
        `The thread of shard ${shard} has ended (${(error as Error).message}); another runs its ${lanes.length} lanes, after ${ms} ms.`,
      );
    } catch (failure) {
      this.#options.fail(failure);
    }
  }

  #lookForHangs(): void {
    const nowMs = performance.now();
    for (const thread of this.#threads) {
      const turns = this.#control.turnsOf(thread.seat);
      if (!thread.hangs(turns, nowMs, this.#options.hangTimeoutMs)) continue;
      this.#options.warn(
        `A shard's thread has done nothing for ${this.#options.hangTimeoutMs} ms: it is ended and replaced.`,
      );
      void thread.destroy();
    }
  }

  /** G2 */
  #alone<T>(run: () => Promise<T>): Promise<T> {
    const next = this.#last.then(() => {
      if (this.#stopping) throw new OperateError('the service is stopping.');
      if (!this.#isShared)
        throw new OperateError(
          '--engine heap keeps its entries as objects of one thread: they cannot go to another.',
        );
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
      const { lanes } = this.#options;
      if (!(Number.isInteger(shards) && shards >= 1 && shards <= lanes.length))
        throw new OperateError(
          `${shards} shards for ${lanes.length} lanes: give 1 to ${lanes.length}, or start with more --lanes.`,
        );
      while (this.#threads.length < shards) this.#threads.push(await this.#begin().ready);
      const owners = spreadLanes(this.#figures.shardOf, shards);
      const met = new Set(this.#figures.shardOf); // shards that run lanes already
      for (let lane = 0; lane < owners.length; lane++) {
        const shard = owners[lane]!;
        if (await this.#move(lane, shard)) await delay(met.has(shard) ? NEXT_MS : FIRST_MS);
        met.add(shard);
      }
      for (const thread of this.#threads.splice(shards)) await this.#endThread(thread);
    });
  }

  /** See `Workers.reload`. @param file  of the threads, as a URL */
  reload(file: string): Promise<void> {
    return this.#alone(async () => {
      // The idle time of the processors is for the successors.
      const late = this.#spares.filter(({ isReady }) => !isReady);
      this.#spares = this.#spares.filter(({ isReady }) => isReady);
      const dropped = this.#drop(late);
      const successors: ShardThread[] = [];
      try {
        for (const _ of this.#threads) successors.push(await this.#begin(file).ready);
      } catch (error) {
        for (const thread of successors) await this.#destroy(thread);
        await dropped;
        this.#prepareSpares(false);
        throw error;
      }
      this.#file = file;
      const spares = this.#spares.splice(0); // their code is that of before
      for (let shard = 0; shard < successors.length; shard++) {
        const old = this.#threads[shard]!;
        this.#threads[shard] = successors[shard]!;
        const lanes = this.#figures.lanesOf(shard);
        for (const [i, lane] of lanes.entries())
          if (await this.#move(lane, shard)) await delay(i === 0 ? FIRST_MS : NEXT_MS);
        await this.#endThread(old);
      }
      await Promise.all([dropped, this.#drop(spares)]);
      void delay(SPARE_AFTER_MS).then(() => this.#prepareSpares(false));
    });
  }

  /** Has a lane go over to a shard, whoever is its thread by then. @returns whether it had to */
  async #move(lane: number, shard: number): Promise<boolean> {
    const control = this.#control;
    const stats = new Float64Array(this.#options.lanes[lane]!.stats);
    const bell = new LaneBell(this.#options.control, lane);
    const deadlineMs = performance.now() + HAND_OVER_TIMEOUT_MS;
    let moved = false;
    for (;;) {
      const { seat } = this.#threads[shard]!;
      if (control.ownerOf(lane) === seat) break;
      const attached = stats[LANE_STATS.ATTACHED];
      control.want(lane, seat);
      bell.ring();
      while (stats[LANE_STATS.ATTACHED] === attached) {
        if (performance.now() > deadlineMs)
          throw new Error(`lane ${lane} was not handed over within ${HAND_OVER_TIMEOUT_MS} ms`);
        await delay(POLL_MS);
      }
      moved = true;
    }
    this.#figures.move(lane, shard);
    return moved;
  }

  async #endThread(thread: ShardThread): Promise<void> {
    this.#orderEnd(thread);
    await thread.done.catch(() => {}); // it has nothing any more
    await this.#destroy(thread);
  }

  #orderEnd({ seat }: ShardThread): void {
    this.#control.setEnds(seat, true);
    seatDoorbell(this.#options.control, seat).ring();
  }

  async #destroy(thread: ShardThread): Promise<void> {
    await thread.destroy();
    this.#seated.delete(thread);
  }

  /**
   * All lanes have been told to stop: resolves when they have, and the threads have ended. One that ends before its lanes
   * have stopped is replaced, and told, too.
   */
  async stop(): Promise<void> {
    await this.#last;
    this.#stopping = true;
    if (this.#watch !== null) clearInterval(this.#watch);
    await Promise.all(this.#threads.map((_, shard) => this.#stopShard(shard)));
  }

  async #stopShard(shard: number): Promise<void> {
    for (;;) {
      const thread = this.#threads[shard]!;
      this.#orderEnd(thread);
      try {
        await thread.done;
        return;
      } catch (error) {
        await this.#replacements.get(thread);
        if (this.#threads[shard] === thread) throw error;
      }
    }
  }

  /** Ends the threads, whatever they do. */
  async destroy(): Promise<void> {
    this.#ending = true;
    this.#stopping = true;
    if (this.#watch !== null) clearInterval(this.#watch);
    for (const { thread } of this.#spares) callFromBackground(this.#control, thread.seat);
    await Promise.all(this.#spares.map(({ ready }) => ready.catch(() => {})));
    await Promise.all([...this.#seated].map((thread) => thread.destroy()));
  }
}
