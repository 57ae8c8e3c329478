/**
 * The lanes of one thread. It has no thread and no clock of its own, so that a test can step it; shard-task.ts calls
 * `turn` in a loop.
 *
 * S1  A lane is attached only after its OWNER names this seat, and left alone from the moment in which OWNER names
 *     another; see engine/lane-control.ts.
 */
import { receiveMessageOnPort } from 'node:worker_threads';
import { Doorbell } from '../engine/doorbell.js';
import { LaneBell, LaneControl } from '../engine/lane-control.js';
import { touchPages } from '../engine/slab-memory.js';
import type { Clock } from './clock.js';
import { FrontBell } from './front-bell.js';
import { Replay } from './journal/replay.js';
import { Lane } from './lane.js';
import type { ShardOptions, ShardOrder } from './lane-options.js';
import { LANE_STATS, THREAD_STATS } from './stats.js';

/**
 * For so long lists have the thread without a pause. Where there are fewer processors than threads, whoever serves the others may
 * wait for this one for a turn of the scheduler (3 to 4 ms): a list of 100,000 entries takes three of them.
 */
const LISTING_US_MAX = 500;

export class Shard {
  readonly #options: ShardOptions;
  readonly #control: LaneControl;
  readonly #stats: Float64Array;
  /** Of lanes that recall, the persister for which they do; see lane-recall.ts. */
  readonly #recalling = new Map<Lane, number>();
  readonly #bell: FrontBell;
  readonly #clock: Clock;
  #lanes: Lane[] = [];
  /** Calls that were looked at. */
  #calls: number;
  #replay: Replay | null = null;
  /** Of a lane's turn, since the last `showTurns`. */
  #longestTurnUs = 0;
  /** Since then lists have been under way, and the thread has not slept. */
  #listsSinceUs: number;
  /** After a turn: there is more to do, but only for long lists. The caller is to sleep for a moment, unless something else comes. */
  givesWay = false;

  /** Attaches what is this seat's, and has the system back its memory if the service begins. */
  constructor(options: ShardOptions, clock: Clock) {
    this.#clock = clock;
    this.#listsSinceUs = clock.us;
    this.#options = options;
    this.#control = new LaneControl(options.control);
    this.#stats = new Float64Array(options.stats);
    this.#bell = new FrontBell(new Doorbell(options.service.frontDoorbell));
    this.#calls = this.#control.callsOf(options.seat);
    this.#takeUp();
    this.#recall();
    if (options.replay !== null) {
      const byPartition = new Map(
        this.#lanes.flatMap(({ state }) => state.owned.map((index) => [index, state.partition(index)])),
      );
      const mask = options.service.partitions - 1;
      const undos = this.#lanes.map(({ state }) => state.undo);
      this.#replay = new Replay(options.replay.segments, (hash) => {
        for (const undo of undos) undo.commit(); // the image before is back
        return byPartition.get(hash & mask) ?? null;
      });
    }
  }

  /** Has the system back the memory of all its partitions now. */
  touchPages(): void {
    for (const { state } of this.#lanes)
      for (const { memory, byteOffset } of state.own.owned)
        if (memory !== null) touchPages(state.partitionOptions, memory, byteOffset);
  }

  /** All lanes are ready to serve. @throws Error if a journal cannot be written */
  isReady(): boolean {
    if (this.#replay !== null) return false;
    const isSaved = this.#options.replay?.flushes === true;
    return this.#lanes.map((lane) => lane.isReady(isSaved)).every((isReady) => isReady);
  }

  /** Not so of a spare. */
  get hasLanes(): boolean {
    return this.#lanes.length > 0;
  }

  /** The end was ordered, and no lane has anything left to do. */
  get finished(): boolean {
    return this.#control.endsOf(this.#options.seat) && this.#lanes.every((lane) => lane.finished);
  }

  /**
   * One turn of each lane. The caller has read the clock since it slept.
   * @returns whether it got on with anything that may go on at once. If not, and there is no `hasWork`, the caller may sleep until
   *          a doorbell or `TICK_MS` later
   */
  turn(): boolean {
    this.#control.beat(this.#options.seat);
    let busy = this.#heedCalls() || this.#goOnWithReplay();
    const clock = this.#clock;
    for (const lane of this.#lanes) {
      const startedUs = clock.us;
      if (lane.turn()) busy = true;
      if (lane.hasRecalled) this.#handToPersister(lane);
      clock.read();
      const us = (clock.us - startedUs) | 0;
      if (us > this.#longestTurnUs) this.#longestTurnUs = us;
    }
    this.givesWay = busy && this.#listsForLong() && !this.hasWorkBesideLists;
    this.#bell.ringIfDue(busy && !this.givesWay && this.#goesOn);
    return busy;
  }

  #listsForLong(): boolean {
    let lists = false;
    for (const lane of this.#lanes) if (lane.state.cursors.count > 0) lists = true;
    if (!lists) this.#listsSinceUs = this.#clock.us;
    return ((this.#clock.us - this.#listsSinceUs) | 0) >= LISTING_US_MAX;
  }

  /** The caller has slept, and read the clock. */
  woke(): void {
    this.#listsSinceUs = this.#clock.us;
  }

  /** To be called once a second. */
  showTurns(): void {
    this.#stats[THREAD_STATS.TURN_MAX_MS] = this.#longestTurnUs / 1000;
    this.#longestTurnUs = 0;
  }

  /** Something is there, or under way: the caller must not sleep. */
  get hasWork(): boolean {
    if (this.#control.callsOf(this.#options.seat) !== this.#calls) return true;
    for (const lane of this.#lanes) if (lane.hasWork) return true;
    return false;
  }

  /** Likewise, but for lists under way. */
  get hasWorkBesideLists(): boolean {
    if (this.#control.callsOf(this.#options.seat) !== this.#calls) return true;
    for (const lane of this.#lanes) if (lane.hasWorkBesideLists) return true;
    return false;
  }

  /** Of any lane. Not by `some`, here and above: V8 makes an object for its callback in each turn. */
  get #goesOn(): boolean {
    for (const lane of this.#lanes) if (lane.goesOn) return true;
    return false;
  }

  /** @returns whether there were any */
  #heedCalls(): boolean {
    const { seat } = this.#options;
    const calls = this.#control.callsOf(seat);
    if (calls === this.#calls) return false;
    this.#calls = calls;
    this.#takeOrders();
    this.#handOver();
    this.#takeUp();
    this.#recall();
    return true;
  }

  /** Lanes that are wanted elsewhere. */
  #handOver(): void {
    const { seat, control } = this.#options;
    const leaving = this.#lanes.filter(({ state }) => this.#control.wantedOf(state.own.lane) !== seat);
    if (leaving.length === 0) return;
    this.#lanes = this.#lanes.filter((lane) => !leaving.includes(lane));
    for (const lane of leaving) {
      lane.detach();
      this.#recalling.delete(lane); // whoever has it begins anew
      const { lane: number } = lane.state.own;
      this.#control.hand(number, this.#control.wantedOf(number));
      new LaneBell(control, number).ring();
    }
  }

  /** Lanes that have become this seat's. */
  #takeUp(): void {
    const { service, lanes, seat, port } = this.#options;
    const own = new Set(this.#lanes.map(({ state }) => state.own.lane));
    const beat = (): void => this.#control.beat(seat);
    for (const options of lanes) {
      if (own.has(options.lane) || this.#control.ownerOf(options.lane) !== seat) continue;
      const isSuspect = this.#control.isSuspect(options.lane);
      this.#lanes.push(new Lane(service, options, port, this.#bell, this.#clock, { isSuspect, beat }));
      this.#control.setSuspect(options.lane, false);
    }
    this.showBuffers();
  }

  /** The memory of lanes is only ever shared: bytes of it in here would have been copied. To be called now and then. */
  showBuffers(): void {
    const { arrayBuffers } = process.memoryUsage();
    if (arrayBuffers > this.#stats[THREAD_STATS.BUFFER_BYTES_MAX]!)
      this.#stats[THREAD_STATS.BUFFER_BYTES_MAX] = arrayBuffers;
  }

  #takeOrders(): void {
    for (;;) {
      const received = receiveMessageOnPort(this.#options.port);
      if (received === undefined) return;
      const { journalFor, journal } = received.message as ShardOrder;
      this.#lanes.find(({ state }) => state.own.lane === journalFor)?.restoreFrom(journal);
    }
  }

  /** Has lanes take back what a persister that has ended had of them. */
  #recall(): void {
    for (const lane of this.#lanes) {
      const { lane: number } = lane.state.own;
      const wanted = this.#control.persisterWantedOf(number);
      if (this.#control.persisterOf(number) === wanted || this.#recalling.get(lane) === wanted) continue;
      this.#recalling.set(lane, wanted);
      lane.recall();
    }
  }

  #handToPersister(lane: Lane): void {
    lane.hasRecalled = false;
    this.#control.handToPersister(lane.state.own.lane, this.#recalling.get(lane)!);
    this.#recalling.delete(lane);
    lane.state.persister.ring();
  }

  /** Goes on with the journal that was found at the start. @returns whether it got on */
  #goOnWithReplay(): boolean {
    const replay = this.#replay;
    if (replay === null) return false;
    const isDone = !replay.step();
    for (const { state } of this.#lanes) {
      state.flushAll = this.#options.replay!.flushes;
      state.flushSoon ||= replay.needsRoom; // what makes room may have to be written first
    }
    const first = this.#lanes[0];
    if (first !== undefined) first.state.stats[LANE_STATS.REPLAYED_IMAGES] = replay.restored;
    if (isDone) this.#replay = null;
    return !replay.needsRoom;
  }

  /** The thread ends. */
  close(): void {
    for (const lane of this.#lanes) lane.detach();
  }
}
