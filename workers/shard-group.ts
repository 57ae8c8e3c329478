/**
 * Which thread runs which lanes: given to it, taken from it, given to another when it has ended. On the main thread.
 *
 * G1  A lane changes its thread by the old one's hand, or, when that has ended, by this one's.
 * G2  What an operator orders runs alone, one after another (`#alone`). A replacement waits for nothing: an order that is
 *     in the middle of something sees its lanes go to another thread, and goes on from there.
 * G3  A thread is ended only when no lane is its own or wanted by it. One that ends by itself is replaced if one is, whether
 *     it is the present thread of a shard, or one that its successor is still relieving.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { LaneBell, LaneControl, seatDoorbell } from '../engine/lane-control.js';
import { spreadLanes } from './lane-counts.js';
import type { LaneOptions, ReplayOptions } from './lane-options.js';
import { Relapses } from './relapses.js';
import { ShardFigures } from './shard-figures.js';
import { ShardStarter } from './shard-starter.js';
import type { ShardThread, ThreadParts } from './shard-worker.js';
import { LANE_STATS } from './stats.js';
import { OperateError, type ShardTotals, type ShardView } from './workers.js';

const POLL_MS = 1;
/** A lane leaves its thread at the end of a turn; a turn is never so long. */
const HAND_OVER_TIMEOUT_MS = 30_000;
/** Another spare begins when its predecessor has worked off what had waited for it: both would want the processors. */
const SPARE_AFTER_MS = 100;
/**
 * From one lane to the next that goes over. A new thread meets what its rehearsal did not have (V8 compiles some of it anew),
 * and its cold caches: with all lanes at once, all would wait for that; so it begins with the load of one.
 */
const FIRST_MS = 150;
const NEXT_MS = 20;

export interface ShardGroupOptions extends ThreadParts {
  readonly shards: number;
  /** A thread without a turn for so long is ended and replaced; 0: none is. */
  readonly hangTimeoutMs: number;
  /** A thread serves from now on, or may at any time: its number in the system. */
  readonly admit: (thread: number) => void;
  /** A thread that ended by itself and cannot be replaced. */
  readonly fail: (error: unknown) => void;
}

export class ShardGroup {
  readonly #options: ShardGroupOptions;
  readonly #control: LaneControl;
  readonly #figures: ShardFigures;
  readonly #starter: ShardStarter;
  readonly #relapses = new Relapses();
  /** By shard number. */
  readonly #threads: ShardThread[] = [];
  #watch: NodeJS.Timeout | null = null;
  /** Of threads that have ended: their replacement, until it is done. */
  readonly #replacements = new Map<ShardThread, Promise<void>>();
  replaced = 0;
  /** No order is begun any more. */
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
    this.#starter = new ShardStarter(options, options.admit, (thread, error) => this.#ended(thread, error));
  }

  /**
   * Resolves when each thread runs and its part of an earlier journal is back.
   * @param lanes  with what they start from
   */
  async start(lanes: readonly LaneOptions[], replay: ReplayOptions | null): Promise<void> {
    const { shards, hangTimeoutMs, admit } = this.#options;
    for (const thread of this.#starter.startFirst(shards, lanes, replay))
      this.#install(this.#threads.length, thread);
    await Promise.race([
      Promise.all(this.#threads.map(({ ready }) => ready)),
      Promise.all(this.#threads.map(({ done }) => done)),
    ]);
    for (const { ready } of this.#threads) admit(await ready);
    this.#starter.prepareSpares(true);
    if (hangTimeoutMs > 0 && this.#isShared)
      this.#watch = setInterval(() => this.#lookForHangs(), hangTimeoutMs / 4).unref();
  }

  /** A thread has the number of a shard from now on. */
  #install(shard: number, thread: ShardThread): void {
    this.#threads[shard] = thread;
    this.#figures.follow(shard, thread.stats);
  }

  /**
   * Any thread can run any lane. Objects end with their thread: its lanes are reloaded by another, and a collection of many
   * of them stops it for as long as if it hung.
   */
  get #isShared(): boolean {
    return this.#options.service.engine === 'slab';
  }

  views(): readonly ShardView[] {
    return this.#threads.map((_, shard) => ({
      ...this.#figures.totalsOf(shard),
      lanes: this.#figures.lanesOf(shard),
    }));
  }

  /** Of numbers that no thread has any more. */
  pastTotals(): readonly ShardTotals[] {
    const totals: ShardTotals[] = [];
    for (let shard = this.#threads.length; shard < this.#figures.shardsEver; shard++)
      totals.push(this.#figures.totalsOf(shard));
    return totals;
  }

  /** Threads that are ready, and wait for lanes. */
  get spares(): number {
    return this.#starter.readySpares;
  }

  /** A persister has ended: lanes take back what they have on their way to it, and go to the one of this number. */
  recall(persister: number): void {
    for (const { lane } of this.#options.lanes) this.#control.wantPersister(lane, persister);
    this.#callAll();
  }

  #callAll(): void {
    for (const { seat } of this.#starter.seated) {
      this.#control.call(seat);
      this.#ring(seat);
    }
  }

  #ring(seat: number): void {
    seatDoorbell(this.#options.control, seat).ring();
  }

  /** Every lane has a thread, as far as is known, and none ends again and again. */
  get isWell(): boolean {
    return this.#replacements.size === 0 || !this.#relapses.areMany;
  }

  /** Ends a shard's thread wherever it is, as a crash would. */
  async kill(shard: number): Promise<void> {
    await this.#threads[shard]?.destroy();
  }

  /** Lanes that name a thread: its own, and those that it is to have. */
  #lanesOf({ seat }: ShardThread): LaneOptions[] {
    return this.#options.lanes.filter(
      ({ lane }) => this.#control.ownerOf(lane) === seat || this.#control.wantedOf(lane) === seat,
    );
  }

  #ended(thread: ShardThread, error: unknown): void {
    const hasThrown = !thread.wasDestroyed;
    if (this.#ending) return;
    // One without lanes is looked at by whoever has started it.
    if (!this.#threads.includes(thread) && this.#lanesOf(thread).length === 0) return;
    const replaced = this.#replace(thread, error, hasThrown).finally(() => {
      this.#replacements.delete(thread);
    });
    this.#replacements.set(thread, replaced);
  }

  /** Gives the lanes of a thread that has ended to another. */
  async #replace(dead: ShardThread, error: unknown, hasThrown: boolean): Promise<void> {
    const endedMs = performance.now();
    const { message } = error as Error;
    try {
      await Promise.race([dead.stopped, dead.destroy()]); // G1: it may still be on its way to its end
      const waitMs = this.#relapses.note(endedMs);
      if (waitMs > 0) await delay(waitMs); // a timer of 0 ms waits for a turn of a busy event loop, too
      for (let shard = this.#shardOf(dead); shard !== -1; shard = this.#shardOf(dead)) {
        if (this.#ending) return;
        const heir = await this.#heirOf(dead, shard);
        if (heir === null || this.#ending) continue; // meanwhile something has changed
        const lanes = await this.#giveLanes(dead, heir, hasThrown);
        if (heir.hasEnded) continue;
        const ms = Math.round(performance.now() - endedMs);
        this.#options.warn(
          `The thread of shard ${shard} has ended (${message}); another runs its ${lanes} lanes, after ${ms} ms.`,
        );
      }
      await this.#starter.destroy(dead);
    } catch (failure) {
      this.#options.fail(failure);
    }
  }

  /** The shard whose present thread a thread is, or that its lanes belong to; -1: there is none. */
  #shardOf(thread: ShardThread): number {
    const shard = this.#threads.indexOf(thread);
    if (shard !== -1) return shard;
    const [first] = this.#lanesOf(thread);
    return first === undefined ? -1 : this.#figures.shardOf[first.lane]!;
  }

  /** Whoever runs a shard instead of a thread that has ended: its successor if there is one, or else a spare. */
  async #heirOf(dead: ShardThread, shard: number): Promise<ShardThread | null> {
    const present = this.#threads[shard]!;
    if (present !== dead) {
      if (!present.hasEnded) return present;
      const replaced = this.#replacements.get(present);
      if (replaced !== undefined) {
        await replaced;
        return null;
      }
    }
    let spare: ShardThread;
    try {
      spare = await this.#starter.takeSpare();
    } catch (error) {
      if (this.#ending) return null;
      this.#options.warn(
        `Shard ${shard} has no thread yet: ${(error as Error).message}. Another is started.`,
      );
      await delay(this.#relapses.note(performance.now()));
      return null;
    }
    if (this.#threads[shard] !== present || spare.hasEnded) {
      await this.#starter.destroy(spare);
      await delay(this.#relapses.note(performance.now()));
      return null;
    }
    this.#install(shard, spare);
    this.replaced++;
    void delay(SPARE_AFTER_MS).then(() => this.#starter.prepareSpares(true));
    return spare;
  }

  /** Resolves when the heir runs them all, or has ended, too. @returns how many */
  async #giveLanes(dead: ShardThread, heir: ShardThread, hasThrown: boolean): Promise<number> {
    const control = this.#control;
    const lanes = this.#lanesOf(dead);
    const attached = lanes.map(({ stats }) => new Float64Array(stats)[LANE_STATS.ATTACHED]!);
    for (const { lane } of lanes) control.want(lane, heir.seat);
    const hand = (): void => {
      for (const { lane } of lanes) {
        if (control.ownerOf(lane) !== dead.seat) continue;
        if (hasThrown) control.setSuspect(lane, true);
        control.hand(lane, heir.seat); // G1
      }
      this.#ring(heir.seat);
    };
    hand();
    while (lanes.some(({ stats }, i) => new Float64Array(stats)[LANE_STATS.ATTACHED] === attached[i])) {
      if (heir.hasEnded || this.#ending) break;
      await delay(POLL_MS);
      hand(); // a lane that was to be the dead thread's may have been handed to it by an owner that lives
    }
    return lanes.length;
  }

  /** Of all threads that run lanes: also of one that its successor is relieving. */
  #lookForHangs(): void {
    const nowMs = performance.now();
    const owners = new Set(this.#options.lanes.map(({ lane }) => this.#control.ownerOf(lane)));
    for (const thread of this.#starter.seated) {
      if (!owners.has(thread.seat) || thread.hasEnded) continue;
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
      for (const thread of await this.#startReady(shards - this.#threads.length))
        this.#install(this.#threads.length, thread);
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

  /** @param count  0 or less: none. @throws OperateError if one does not get there: there are none then */
  async #startReady(count: number, file = this.#starter.file): Promise<ShardThread[]> {
    const threads: ShardThread[] = [];
    try {
      while (threads.length < count) threads.push(await this.#starter.begin(file).ready);
      if (threads.some(({ hasEnded }) => hasEnded))
        throw new OperateError('a new thread has ended before it was given anything to do.');
      return threads;
    } catch (error) {
      await this.#starter.destroy(...threads);
      throw error;
    }
  }

  /** See `Workers.reload`. @param file  of the threads, as a URL */
  reload(file: string): Promise<void> {
    return this.#alone(async () => {
      const starter = this.#starter;
      // The idle time of the processors is for the successors.
      const dropped = starter.destroy(...starter.releaseSpares(false));
      try {
        const successors = await this.#startReady(this.#threads.length, file);
        const before = starter.file;
        starter.file = file;
        // Their code is that of before; also of one that was begun meanwhile, because a thread had ended.
        const spares = [true, false].flatMap((isReady) => starter.releaseSpares(isReady));
        try {
          for (let shard = 0; shard < this.#threads.length; shard++)
            await this.#relieve(shard, successors.shift()!);
        } catch (error) {
          starter.file = before;
          throw error;
        } finally {
          await starter.destroy(...successors, ...spares);
        }
      } finally {
        await dropped;
        void delay(SPARE_AFTER_MS).then(() => starter.prepareSpares(false));
      }
    });
  }

  /** A new thread becomes a shard's. @throws OperateError if it has ended meanwhile: the old one goes on */
  async #relieve(shard: number, successor: ShardThread): Promise<void> {
    if (successor.hasEnded) {
      await this.#starter.destroy(successor);
      throw new OperateError(
        `a new thread has ended before it was given anything to do: shards from ${shard} on keep their code.`,
      );
    }
    const old = this.#threads[shard]!;
    this.#install(shard, successor);
    try {
      for (const [i, lane] of this.#figures.lanesOf(shard).entries())
        if (await this.#move(lane, shard)) await delay(i === 0 ? FIRST_MS : NEXT_MS);
    } catch (error) {
      void this.#endThread(old); // as soon as it has no lanes
      throw error;
    }
    await this.#endThread(old);
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
    await thread.done.catch(() => {}); // what it has left is given to another
    await this.#replacements.get(thread);
    await this.#starter.destroy(thread);
  }

  #orderEnd({ seat }: ShardThread): void {
    this.#control.setEnds(seat, true);
    this.#ring(seat);
  }

  /**
   * All lanes have been told to stop: resolves when they have. A thread that ends before its lanes have stopped is replaced, and
   * told, too.
   * @throws Error  if a lane has not
   */
  async stop(): Promise<void> {
    this.#stopping = true; // orders that wait are refused, and what is under way is finished
    await this.#last;
    this.#starter.stop();
    if (this.#watch !== null) clearInterval(this.#watch);
    await Promise.all(this.#options.lanes.map(({ lane }) => this.#stopLane(lane)));
  }

  async #stopLane(lane: number): Promise<void> {
    for (;;) {
      const seat = this.#control.ownerOf(lane);
      const thread = this.#starter.at(seat);
      if (thread === undefined) throw new Error(`lane ${lane} has no thread`);
      this.#orderEnd(thread);
      try {
        await thread.done; // not before each of its lanes has stopped
        if (this.#control.ownerOf(lane) === seat) return;
      } catch (error) {
        await this.#replacements.get(thread);
        if (this.#control.ownerOf(lane) === seat) throw error;
      }
    }
  }

  /** Ends the threads, whatever they do. */
  async destroy(): Promise<void> {
    this.#ending = true;
    this.#stopping = true;
    if (this.#watch !== null) clearInterval(this.#watch);
    await this.#starter.destroyAll();
  }
}
