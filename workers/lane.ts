/**
 * One lane: runs the operations on its partitions, which are its own for the life of the process. It has no thread and
 * no clock of its own: a shard (shard.ts) runs some lanes, and between two turns another may go on with one.
 *
 * A turn takes what the store has answered, then one batch of requests, lets waiting and long work go on by a slice,
 * and sends what is due to the persister. Nothing in it waits, and each part is bounded.
 */
import type { MessagePort } from 'node:worker_threads';
import { assert } from '../engine/layout.js';
import { ROUTED, STATUS_BUSY, STATUS_INTERNAL } from '../engine/messages.js';
import { type Partition, TOUCH_MAX } from '../engine/partition.js';
import type { Clock } from './clock.js';
import type { FrontBell } from './front-bell.js';
import { LaneIntrospection } from './introspection/lane-introspection.js';
import { showPartition } from './introspection/partition-gauges.js';
import type { JournalWriterOptions } from './journal/writer.js';
import { LaneJournal } from './lane-journal.js';
import { hasWorkBesideLists, serveReady } from './lane-lists.js';
import { opOf } from './lane-loads.js';
import { LANE } from './lane-memory.js';
import {
  type JournalSegments,
  type LaneOptions,
  type ServiceOptions,
  type ShardMessage,
  type Takeover,
  TICK_MS,
} from './lane-options.js';
import { beginRecall, stepRecall } from './lane-recall.js';
import { LaneReload } from './lane-reload.js';
import { LaneState } from './lane-state.js';
import { flushDue, takeStoreAnswers } from './lane-store.js';
import { expireLoads, serveLobby, serveWaiting, submit } from './lane-waiting.js';
import { LANE_STATS } from './stats.js';
import { HotCollector } from './warm/hot-block.js';
import { HotLoader } from './warm/hot-loader.js';

/** In the operation's place of a request that is not a client's: the lane answers what is in flight, flushes, ends. */
export const OP_STOP = 0xff;
/** Likewise: what has changed until now is flushed, due or not. */
export const OP_FLUSH = 0xfe;

/** An operation in which so many threads in a row have ended is refused. */
const DEATHS_MAX = 2;

/** Records of evicted and deleted users that a partition frees each tick; makeRoom frees more when it needs them. */
const SWEEP_RECORDS = 256;

/**
 * Batches in one turn with a journal, whose write costs 5 us before the first byte. With 2 the processor time of an
 * operation was 1.08 to 1.24 times that without a journal, with 1 it was 1.33 to 1.43 times; 4 gave no more, and
 * answers wait longer (make bench-journal, 2-core AMD EPYC, Node 20).
 */
const COMMIT_BATCHES = 2;

export class Lane {
  readonly state: LaneState;
  readonly #journal: JournalWriterOptions | null;
  readonly #warn: (warning: string) => void;
  readonly #bell: FrontBell;
  /** Batch at hand: taken from the request ring and not all run, for want of room for the answers. */
  readonly #ats = new Int32Array(TOUCH_MAX);
  readonly #opAts = new Int32Array(TOUCH_MAX);
  readonly #ends = new Int32Array(TOUCH_MAX);
  readonly #lengths = new Int32Array(TOUCH_MAX);
  readonly #hashes = new Int32Array(TOUCH_MAX);
  readonly #likely = new Int32Array(TOUCH_MAX);
  readonly #partitions: Partition[] = [];
  #batchCount = 0;
  #batchDone = 0;
  /** The first operation that is taken is refused. */
  #refusesNext = false;
  /** The rings to the store are ready for another persister. */
  hasRecalled = false;
  readonly #clock: Clock;
  #lastTickMs: number;
  readonly #clockFloorUs: number;
  readonly #clockLimit: Float64Array;
  readonly #collector: HotCollector | null;
  /** Null when its work is done. */
  #loader: HotLoader | null;
  /** Null when all partitions serve. */
  #reload: LaneReload | null = null;

  /**
   * Attaches the lane: a new one, or one that goes on where its last thread stopped.
   * @param clock      of the thread, which reads it before each turn
   * @param takeover   of a lane whose last thread has ended
   * @throws Error if it goes on, and its journal cannot be opened
   */
  constructor(
    service: ServiceOptions,
    own: LaneOptions,
    port: MessagePort,
    bell: FrontBell,
    clock: Clock,
    takeover: Takeover = { isSuspect: false, beat: () => {} },
  ) {
    const introspection =
      own.introspection === null
        ? null
        : new LaneIntrospection(own.introspection, own.lane, clock, own.stats);
    this.state = new LaneState(service, own, introspection);
    this.#clock = clock;
    this.#bell = bell;
    this.#journal = own.journal;
    this.#warn = (warning) => port.postMessage({ warning } satisfies ShardMessage);
    this.#lastTickMs = clock.ms;
    const { state } = this;
    const first = state.partition(state.owned[0]!);
    for (let i = 0; i < TOUCH_MAX; i++) this.#partitions.push(first);
    const { start } = own;
    this.#clockFloorUs = start.clockFloorUs;
    this.#clockLimit = new Float64Array(start.clockLimit);
    const goesOn = state.memory.get(LANE.READY) !== 0;
    this.#setTick(goesOn ? state.tick : start.tick);
    if (goesOn) {
      // Whoever ran the lane before may have published, and not rung.
      bell.owe();
      state.persister.ring();
      state.seekRings();
      this.#checkPartitions(takeover);
      this.#refusesNext = this.#diedAgain();
      this.#openJournal();
      if (state.lost.length > 0) this.#beginReload(port);
    } else {
      // What a replay restores is of the epoch before this run's first.
      const run = own.journal?.run ?? 1;
      for (const index of state.owned) {
        if (start.restored) state.partition(index).afterRestart();
        state.partition(index).setEpoch((run - 1) & 1);
        state.done();
      }
    }
    this.#collector = start.hotBlock === null ? null : new HotCollector(start.hotBlock, state.owned.length);
    this.#loader =
      start.hotUsers === null ? null : new HotLoader(state, start.hotUsers, start.hotUsersPerSecond);
    state.count(LANE_STATS.ATTACHED);
    if (state.takenBack !== null) state.count(LANE_STATS.TAKEN_BACK);
    this.#showGauges();
    state.done();
  }

  #beginReload(port: MessagePort): void {
    const { state } = this;
    this.#setTick(state.tick); // of those that are attached anew
    this.#reload = new LaneReload(state, {
      warn: this.#warn,
      askForJournal: () => port.postMessage({ journalFor: state.own.lane } satisfies ShardMessage),
      clockLimitUs: this.#clockLimit[0]!,
    });
  }

  /** What partitions that reload have asked for. */
  restoreFrom(journal: JournalSegments): void {
    this.#reload?.restoreFrom(journal);
  }

  /**
   * Of a thread that was ended from outside, only the unit at hand can have left something wrong, and what was taken back of
   * it is exact: what lies around it is looked at. Of one that has thrown, all that it may have found broken: the partition of
   * the operation that ran, or, outside of operations, all of the lane that had its turn. That walk takes 2.3 us a record
   * (2-core AMD EPYC, Node 20).
   */
  #checkPartitions({ isSuspect, beat }: Takeover): void {
    const { state } = this;
    const takenBack = state.takenBack?.words;
    for (const [index, words] of takenBack ?? []) state.check(index, isSuspect ? null : words, beat);
    if (!isSuspect || state.memory.get(LANE.IN_TURN) === 0) return;
    let suspects = state.owned;
    if (state.memory.get(LANE.AT_WORK) !== 0) {
      const at = this.#nextOperation();
      suspects = at === -1 ? [] : [state.partitionOf(state.requests.words[at + ROUTED.USER_HASH]!)];
    }
    for (const index of suspects) if (takenBack?.has(index) !== true) state.check(index, null, beat);
  }

  /** Where the operation at REQUESTS_DONE is, behind orders that came before it; -1: nowhere. */
  #nextOperation(): number {
    const { memory, requests } = this.state;
    requests.refresh();
    let at = requests.next();
    while (at !== -1 && opOf(requests.words, at) >= OP_FLUSH) at = requests.next();
    requests.seek(memory.get(LANE.REQUESTS_DONE));
    return at;
  }

  /** Whether the operation that is next has ended its thread so often that it is not to be run again. */
  #diedAgain(): boolean {
    const { memory } = this.state;
    if (memory.get(LANE.AT_WORK) === 0) return false;
    const at = memory.get(LANE.REQUESTS_DONE);
    const deaths = memory.get(LANE.DIED_AT) === at ? memory.get(LANE.DEATHS) + 1 : 1;
    memory.put(LANE.DIED_AT, at);
    memory.put(LANE.DEATHS, deaths);
    this.state.done();
    memory.setAtWork(0);
    return deaths >= DEATHS_MAX && this.#nextOperation() !== -1;
  }

  /** A stop was ordered, everything is answered and in the store. */
  get finished(): boolean {
    const { state } = this;
    if (this.#reload !== null) return false;
    if (!state.stopping || state.holds.count > 0 || state.parking.count > 0 || this.#batchCount > 0)
      return false;
    return this.#isSaved;
  }

  /**
   * Does what there is to do, at most some 100 us of it (a batch of misses somewhat more; with a journal up to two
   * batches).
   * @returns whether it got on with anything that may go on at once. If not, and there is no `hasWork`, the caller may sleep until
   *          a doorbell or `TICK_MS` later
   */
  turn(): boolean {
    const { memory } = this.state;
    memory.setInTurn(1);
    const isBusy = this.#turn();
    memory.setInTurn(0);
    return isBusy;
  }

  #turn(): boolean {
    const { state } = this;
    const nowMs = this.#clock.ms;
    state.introspection?.beginTurn();
    const ticks = Math.floor((nowMs - this.#lastTickMs) / TICK_MS);
    const ticked = ticks > 0;
    if (ticked) {
      this.#lastTickMs += ticks * TICK_MS;
      this.#setTick((state.tick + ticks) | 0);
      state.done();
    }
    if (this.#reload?.begin() === false) {
      // What the last thread has answered rests on its frame.
      state.journal?.begin(nowMs);
      state.journal?.commit(nowMs, ticked);
      state.done();
      this.#publish();
      return true;
    }
    if (ticked) expireLoads(state);
    state.journal?.begin(nowMs);
    state.done();
    const answered = takeStoreAnswers(state);
    if (state.recalls) this.hasRecalled = stepRecall(state);
    const ran = this.#runBatch();
    if (ran && state.journal !== null) this.#runMoreBatches();
    const went = serveReady(state);
    if (ticked || state.roomMayBe) {
      state.roomMayBe = false;
      if (state.lobbyCount > 0)
        for (const index of state.owned) {
          serveLobby(state, index);
          state.done();
        }
      serveWaiting(state);
    }
    if (this.#loader !== null && state.memory.get(LANE.READY) !== 0) {
      this.#loader.turn(ticks);
      if (this.#loader.finished) this.#loader = null;
      state.done();
    }
    const carries = state.journal?.commit(nowMs, ticked) === true;
    state.done();
    if (this.#reload?.step() === true) this.#reload = null;
    const isFlushing = ticked || state.flushSoon || state.flushOrdered || state.stopping || state.flushAll;
    const flushed = isFlushing ? flushDue(state) : false;
    this.#publish();
    state.introspection?.endTurn();
    if (ticked) {
      this.#tickIntrospection();
      for (const index of state.owned) {
        state.partition(index).sweep(SWEEP_RECORDS);
        state.done();
      }
      this.#collector?.step(state);
      this.#showGauges();
      state.done();
    }
    return (
      answered || ran || went || flushed || carries || state.roomMayBe || state.recalls || state.restores
    );
  }

  /**
   * What a journal kept is back, and in the store if it must be: from here on changes are journaled, if they are to be,
   * and other threads may go on with the lane.
   * @param isSaved  only when all is in the store
   * @throws Error if the journal cannot be written
   */
  isReady(isSaved: boolean): boolean {
    const { state } = this;
    if (state.memory.get(LANE.READY) !== 0) return true;
    if (isSaved && !this.#isSaved) return false;
    state.flushAll = false;
    this.#openJournal();
    state.memory.put(LANE.READY, 1);
    state.done();
    return true;
  }

  #openJournal(): void {
    if (this.#journal === null) return;
    const { state } = this;
    const partitions = state.owned.map((index) => state.partition(index));
    const { replies, stats, undo } = state;
    const clock = this.#clock;
    state.journal = new LaneJournal(this.#journal, { partitions, replies, stats, clock, undo }, this.#warn);
    state.journal.begin(clock.ms);
    if (state.memory.get(LANE.READY) !== 0) return;
    assert(!state.journal.refuses && !state.journal.isWaiting, 'the journal has no segment to begin with');
    state.journal.commit(clock.ms, true);
  }

  /** What was on its way to a persister that has ended is taken back: `hasRecalled` says when. */
  recall(): void {
    this.hasRecalled = false;
    beginRecall(this.state);
  }

  /** Between two turns: whoever attaches the lane goes on. */
  detach(): void {
    this.state.journal?.close();
  }

  get #isSaved(): boolean {
    const { state } = this;
    return state.owned.every((index) => state.partition(index).dirtyUserCount === 0);
  }

  #setTick(tick: number): void {
    this.state.tick = tick;
    this.state.memory.put(LANE.TICK, tick);
    for (const index of this.state.owned) {
      const partition = this.state.partition(index);
      partition.setTick(tick);
      partition.boundClock(this.#clockFloorUs, this.#clockLimit[0]!);
    }
  }

  #publish(): void {
    const { state } = this;
    if (state.replies.publish()) this.#bell.owe();
    if (state.loads.publish()) state.persister.ring();
  }

  /** Requests or holds wait, and not for the front to take answers. */
  get goesOn(): boolean {
    const { state } = this;
    if (this.#batchCount > 0) return false;
    if (state.requests.refresh()) return true;
    return state.ready.count > state.listsWaiting && state.repliesHaveRoom();
  }

  /** Takes a batch from the request ring, touches what it needs, runs it. @returns whether any of it ran */
  #runBatch(): boolean {
    const { state } = this;
    const { memory, requests, limiter } = state;
    if (this.#batchCount === 0) {
      if (!requests.refresh() || !this.#takeBatch()) return false;
      const { words } = requests;
      state.engine.touch(this.#partitions, this.#hashes, words, this.#opAts, this.#batchCount, this.#likely);
      state.count(LANE_STATS.BATCHES);
      this.#bell.countBatch();
    }
    const first = this.#batchDone;
    while (this.#batchDone < this.#batchCount) {
      if (!state.hasReplyRoom()) return this.#batchDone > first; // the rest when the front has taken some answers
      const i = this.#batchDone++;
      memory.setAtWork(1);
      if (this.#refusesNext) {
        this.#refuse(this.#ats[i]!, this.#lengths[i]!);
      } else if (limiter?.active === true && limiter.refuses(requests.words, this.#ats[i]!)) {
        state.refuse(requests.words, this.#ats[i]!, STATUS_BUSY, LANE_STATS.BUSY);
        state.count(LANE_STATS.LIMITED);
      } else {
        submit(state, requests.words, this.#ats[i]!, this.#lengths[i]!, this.#likely[i]!);
      }
      memory.put(LANE.REQUESTS_DONE, this.#ends[i]!);
      state.done();
      memory.setAtWork(0);
    }
    this.#batchCount = 0;
    this.#releaseRequests();
    return true;
  }

  #releaseRequests(): void {
    const { memory, requests } = this.state;
    memory.put(LANE.REQUESTS_DONE, requests.position); // an order may have been the last
    this.state.done();
    requests.release();
  }

  /** Instead of running it. */
  #refuse(at: number, length: number): void {
    const { state } = this;
    const { words } = state.requests;
    this.#refusesNext = false;
    state.refuse(words, at, STATUS_INTERNAL, LANE_STATS.REFUSED);
    const shown = [...words.subarray(at, at + length)].map((word) => (word >>> 0).toString(16)).join(' ');
    this.#warn(`Bug: an operation in which ${DEATHS_MAX} threads in a row have ended is refused: ${shown}`);
  }

  /** So that one write to the journal is for several batches. */
  #runMoreBatches(): void {
    for (let count = 1; count < COMMIT_BATCHES && this.#batchCount === 0; count++) {
      if (!this.#runBatch()) return;
    }
  }

  #takeBatch(): boolean {
    const { state } = this;
    const { requests, introspection } = state;
    let count = 0;
    while (count < TOUCH_MAX) {
      const at = requests.next();
      if (at === -1) break;
      const op = opOf(requests.words, at);
      if (op >= OP_FLUSH) {
        this.#takeOrder(op);
        continue;
      }
      const hash = requests.words[at + ROUTED.USER_HASH]!;
      this.#ats[count] = at;
      this.#opAts[count] = at + ROUTED.WORDS;
      this.#ends[count] = requests.position;
      this.#lengths[count] = requests.length;
      this.#hashes[count] = hash;
      this.#partitions[count] = state.partition(state.partitionOf(hash));
      count++;
    }
    this.#batchCount = count;
    this.#batchDone = 0;
    introspection?.taken(requests.words, this.#ats, count);
    if (count === 0) this.#releaseRequests();
    return count > 0;
  }

  #tickIntrospection(): void {
    const { introspection, limiter } = this.state;
    if (introspection === null) return;
    const seconds = introspection.tick();
    limiter?.tick(seconds, introspection.users, introspection.channels);
  }

  #takeOrder(op: number): void {
    const { memory, tick, partitionOptions } = this.state;
    if (op === OP_STOP) {
      memory.put(LANE.STOPPING, 1);
    } else {
      memory.put(LANE.FLUSH_ORDERED, 1);
      memory.put(LANE.FLUSH_UNTIL, (tick + partitionOptions.flushDelayTicks) | 0);
    }
  }

  #showGauges(): void {
    const { stats, owned, own, options, parking } = this.state;
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
      showPartition(partitionStats, index, own.lane, partition, age * TICK_MS, this.state.reloads(index));
    }
    stats[LANE_STATS.RECORDS] = records;
    stats[LANE_STATS.USERS] = users;
    stats[LANE_STATS.DIRTY_USERS] = dirty;
    stats[LANE_STATS.EVICTED_USERS] = evicted;
    stats[LANE_STATS.RECORDS_MAX] = options.recordsMax * owned.length;
    stats[LANE_STATS.PARKED] = parking.count;
    stats[LANE_STATS.TICK] = this.state.tick;
  }

  /** Something is under way that goes on by itself at the next turn; the caller must not sleep. */
  get hasWork(): boolean {
    const { state } = this;
    if (state.journal?.isWaiting === true) return false; // nothing is executed, and no answer taken; the keeper rings
    return (
      this.hasWorkBesideLists ||
      state.ready.count > state.listsWaiting ||
      (state.listsWaiting > 0 && state.listWindow.isOpen)
    );
  }

  /** Likewise, but for lists under way. */
  get hasWorkBesideLists(): boolean {
    return this.#batchCount > 0 || hasWorkBesideLists(this.state);
  }
}
