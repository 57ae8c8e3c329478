/**
 * One shard: runs the operations on the partitions that it owns. It has no thread and no clock of its own, so that a
 * test can step it; shard-thread.ts calls `turn` in a loop.
 *
 * A turn takes what the store has answered, then one batch of requests, lets waiting and long work go on by a slice,
 * and sends what is due to the persister. Nothing in it waits, and each part is bounded.
 */
import { assert } from '../engine/layout.js';
import { REQUEST, ROUTED, STATUS_BUSY } from '../engine/messages.js';
import { type Partition, TOUCH_MAX } from '../engine/partition.js';
import { showPartition } from './introspection/partition-gauges.js';
import { Replay } from './journal/replay.js';
import { ShardJournal } from './shard-journal.js';
import { serveReady } from './shard-lists.js';
import { type ShardOptions, TICK_MS } from './shard-options.js';
import { ShardState } from './shard-state.js';
import { flushDue, takeStoreAnswers } from './shard-store.js';
import { expireLoads, serveLobby, serveWaiting, submit } from './shard-waiting.js';
import { SHARD_STATS } from './stats.js';
import { HotCollector } from './warm/hot-block.js';
import { HotLoader } from './warm/hot-loader.js';

/** In the operation's place of a request that is not a client's: the shard answers what is in flight, flushes, ends. */
export const OP_STOP = 0xff;
/** Likewise: what has changed until now is flushed, due or not. */
export const OP_FLUSH = 0xfe;

/** Records of evicted and deleted users that a partition frees each tick; makeRoom frees more when it needs them. */
const SWEEP_RECORDS = 256;

/**
 * Batches, or turns without one, with more requests waiting after which the front is woken all the same: some 0.5 ms.
 * Turns alone would be twice as long with a journal, and with few requests in flight front and shard work in turn then.
 */
const QUIET_BATCHES_MAX = 8;

/**
 * Batches in one turn with a journal, whose write costs 5 us before the first byte. With 2 the processor time of an
 * operation was 1.08 to 1.24 times that without a journal, with 1 it was 1.33 to 1.43 times; 4 gave no more, and
 * answers wait longer (make bench-journal, 2-core AMD EPYC, Node 20).
 */
const COMMIT_BATCHES = 2;

export class Shard {
  readonly state: ShardState;
  /** Batch at hand: taken from the request ring and not all run, for want of room for the answers. */
  readonly #ats = new Int32Array(TOUCH_MAX);
  readonly #opAts = new Int32Array(TOUCH_MAX);
  readonly #lengths = new Int32Array(TOUCH_MAX);
  readonly #hashes = new Int32Array(TOUCH_MAX);
  readonly #partitions: Partition[] = [];
  #batchCount = 0;
  #batchDone = 0;
  /** Answers were published since the front was last rung; and in how many batches, or turns without one. */
  #owesRing = false;
  #quietBatches = 0;
  #lastTickMs: number;
  readonly #clockLimit: Float64Array;
  readonly #collector: HotCollector | null;
  /** Null when its work is done. */
  #loader: HotLoader | null;
  #replay: Replay | null = null;

  constructor(options: ShardOptions, nowMs: number) {
    this.state = new ShardState(options);
    this.#lastTickMs = nowMs;
    const first = this.state.partition(this.state.owned[0]!);
    for (let i = 0; i < TOUCH_MAX; i++) this.#partitions.push(first);
    const { tick, restored, clockLimit, hotBlock, hotUsers, hotUsersPerSecond } = options.start;
    this.#clockLimit = new Float64Array(clockLimit);
    this.#setTick(tick);
    if (restored) for (const index of this.state.owned) this.state.partition(index).afterRestart();
    this.#collector = hotBlock === null ? null : new HotCollector(hotBlock, this.state.owned.length);
    this.#loader = hotUsers === null ? null : new HotLoader(this.state, hotUsers, hotUsersPerSecond);
    if (options.replay !== null) {
      const { partitions } = this.state;
      this.#replay = new Replay(options.replay.segments, (hash) => partitions[this.state.partitionOf(hash)]!);
    }
    // What a replay restores is of the epoch before this run's first.
    const run = options.journal?.run ?? 1;
    for (const index of this.state.owned) this.state.partition(index).setEpoch((run - 1) & 1);
    this.#showGauges();
  }

  /** A stop was ordered, everything is answered and in the store. */
  get finished(): boolean {
    const { state } = this;
    if (!state.stopping || state.holds.count > 0 || state.parking.count > 0 || this.#batchCount > 0)
      return false;
    return this.#isSaved;
  }

  /**
   * Does what there is to do, at most some 100 us of it (a batch of misses somewhat more; with a journal up to two
   * batches).
   * @param nowMs  a monotonic clock
   * @returns false when nothing was done: the caller may sleep until a doorbell or `TICK_MS` later
   */
  turn(nowMs: number): boolean {
    const { state } = this;
    state.introspection?.beginTurn(nowMs);
    const ticks = Math.floor((nowMs - this.#lastTickMs) / TICK_MS);
    const ticked = ticks > 0;
    if (ticked) {
      this.#lastTickMs += ticks * TICK_MS;
      this.#setTick((state.tick + ticks) | 0);
      expireLoads(state);
    }
    state.journal?.begin(nowMs);
    const answered = takeStoreAnswers(state);
    const replayed = this.#replayed();
    const ran = this.#runBatch();
    if (ran && state.journal !== null) this.#runMoreBatches();
    const went = serveReady(state);
    if (ticked || state.roomMayBe) {
      state.roomMayBe = false;
      if (state.lobbyCount > 0) for (const index of state.owned) serveLobby(state, index);
      serveWaiting(state);
    }
    if (this.#loader !== null && this.#replay === null) {
      this.#loader.turn(ticks);
      if (this.#loader.finished) this.#loader = null;
    }
    const carries = state.journal?.commit(nowMs, ticked) === true;
    const isFlushing = ticked || state.flushSoon || state.flushOrdered || state.stopping || state.flushAll;
    const flushed = isFlushing ? flushDue(state) : false;
    this.#publish();
    state.introspection?.endTurn();
    if (ticked) {
      this.#tickIntrospection();
      for (const index of state.owned) state.partition(index).sweep(SWEEP_RECORDS);
      this.#collector?.step(state);
      this.#showGauges();
    }
    return answered || replayed || ran || went || flushed || carries || state.roomMayBe;
  }

  /** Goes on with the journal that was found at the start. @returns whether it got on */
  #replayed(): boolean {
    const { state } = this;
    if (this.#replay === null) return false;
    const isDone = !this.#replay.step();
    state.stats[SHARD_STATS.REPLAYED_IMAGES] = this.#replay.restored;
    state.flushAll = state.options.replay!.flushes;
    state.flushSoon ||= this.#replay.needsRoom; // what makes room may have to be written first
    const isStuck = this.#replay.needsRoom;
    if (isDone) this.#replay = null;
    return !isStuck;
  }

  /**
   * What a journal kept is back, and in the store if it must be; and from here on changes are journaled, if they are
   * to be.
   * @throws Error if the journal cannot be written
   */
  isReady(nowMs: number): boolean {
    const { state } = this;
    if (this.#replay !== null) return false;
    if (state.options.replay?.flushes === true && !this.#isSaved) return false;
    state.flushAll = false;
    if (state.options.journal !== null && state.journal === null) {
      const { replies, stats, owned, options } = state;
      const partitions = owned.map((index) => state.partition(index));
      state.journal = new ShardJournal(state.options.journal, { partitions, replies, stats }, (warning) =>
        options.frontPort.postMessage({ warning }),
      );
      state.journal.begin(nowMs);
      assert(!state.journal.refuses && !state.journal.isWaiting, 'the journal has no segment to begin with');
      state.journal.commit(nowMs, true);
    }
    return true;
  }

  get #isSaved(): boolean {
    const { state } = this;
    return state.owned.every((index) => state.partition(index).dirtyUserCount === 0);
  }

  #setTick(tick: number): void {
    this.state.tick = tick;
    for (const index of this.state.owned) {
      const partition = this.state.partition(index);
      partition.setTick(tick);
      partition.boundClock(this.state.options.start.clockFloorUs, this.#clockLimit[0]!);
    }
  }

  /**
   * The answers are visible at once, but a sleeping front is woken only when the requests have run out or many
   * answers wait: a wake-up costs more than a batch, and a front that finds one batch sleeps again before the next.
   */
  #publish(): void {
    const { state } = this;
    if (state.replies.publish()) this.#owesRing = true;
    if (
      this.#owesRing &&
      (this.#batchCount > 0 || ++this.#quietBatches >= QUIET_BATCHES_MAX || !state.requests.refresh())
    ) {
      this.#quietBatches = 0;
      this.#owesRing = false;
      state.front.ring();
    }
    if (state.loads.publish()) state.persister.ring();
  }

  /** Takes a batch from the request ring, touches what it needs, runs it. @returns whether there was anything */
  #runBatch(): boolean {
    const { state } = this;
    const { requests, limiter } = state;
    if (this.#batchCount === 0) {
      if (!requests.refresh() || !this.#takeBatch()) return false;
      state.engine.touch(this.#partitions, this.#hashes, requests.words, this.#opAts, this.#batchCount);
      state.count(SHARD_STATS.BATCHES);
    }
    while (this.#batchDone < this.#batchCount) {
      if (!state.hasReplyRoom()) return true; // the rest when the front has taken some answers
      const i = this.#batchDone++;
      if (limiter?.active === true && limiter.refuses(requests.words, this.#ats[i]!)) {
        state.refuse(requests.words, this.#ats[i]!, STATUS_BUSY, SHARD_STATS.BUSY);
        state.count(SHARD_STATS.LIMITED);
        continue;
      }
      submit(state, requests.words, this.#ats[i]!, this.#lengths[i]!);
    }
    this.#batchCount = 0;
    requests.release();
    return true;
  }

  /** So that one write to the journal is for several batches. */
  #runMoreBatches(): void {
    for (let count = 1; count < COMMIT_BATCHES && this.#batchCount === 0; count++) {
      if (!this.#runBatch()) return;
      this.#quietBatches++;
    }
  }

  #takeBatch(): boolean {
    const { state } = this;
    const { requests, introspection } = state;
    let count = 0;
    while (count < TOUCH_MAX) {
      const at = requests.next();
      if (at === -1) break;
      const op = requests.words[at + ROUTED.WORDS + REQUEST.HEAD]! & 0xff;
      if (op >= OP_FLUSH) {
        this.#takeOrder(op);
        continue;
      }
      if (introspection !== null && --introspection.untilSample === 0)
        introspection.sample(requests.words, at);
      const hash = requests.words[at + ROUTED.USER_HASH]!;
      this.#ats[count] = at;
      this.#opAts[count] = at + ROUTED.WORDS;
      this.#lengths[count] = requests.length;
      this.#hashes[count] = hash;
      this.#partitions[count] = state.partition(state.partitionOf(hash));
      count++;
    }
    this.#batchCount = count;
    this.#batchDone = 0;
    if (count === 0) requests.release();
    return count > 0;
  }

  #tickIntrospection(): void {
    const { introspection, limiter } = this.state;
    if (introspection === null) return;
    const seconds = introspection.tick();
    limiter?.tick(seconds, introspection.users, introspection.channels);
  }

  #takeOrder(op: number): void {
    const { state } = this;
    if (op === OP_STOP) {
      state.stopping = true;
    } else {
      state.flushOrdered = true;
      state.flushUntil = (state.tick + state.partitionOptions.flushDelayTicks) | 0;
    }
  }

  #showGauges(): void {
    const { stats, owned, options, parking } = this.state;
    const { partitionStats, unsavedAges, tick } = this.state;
    let records = 0;
    let users = 0;
    let dirty = 0;
    let evicted = 0;
    for (const index of owned) {
      const partition = this.state.partition(index);
      records += partition.recordCount;
      users += partition.userCount;
      dirty += partition.dirtyUserCount;
      evicted += partition.evictedUserCount;
      const age = unsavedAges.age(index, partition, tick);
      showPartition(partitionStats, index, options.shard, partition, age * TICK_MS);
    }
    stats[SHARD_STATS.RECORDS] = records;
    stats[SHARD_STATS.USERS] = users;
    stats[SHARD_STATS.DIRTY_USERS] = dirty;
    stats[SHARD_STATS.EVICTED_USERS] = evicted;
    stats[SHARD_STATS.RECORDS_MAX] = options.recordsMax * owned.length;
    stats[SHARD_STATS.PARKED] = parking.count;
    stats[SHARD_STATS.TICK] = this.state.tick;
  }

  /** Something is under way that goes on by itself at the next turn; the caller must not sleep. */
  get hasWork(): boolean {
    const { state } = this;
    if (state.journal?.isWaiting === true) return state.storeAnswers.refresh();
    return (
      state.ready.count > 0 ||
      this.#batchCount > 0 ||
      state.roomMayBe ||
      state.flushSoon ||
      state.requests.refresh() ||
      state.storeAnswers.refresh()
    );
  }
}
