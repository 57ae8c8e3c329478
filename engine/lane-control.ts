/**
 * Which thread runs which lane, and how a lane changes its thread while operations come in; and which persister serves it.
 *
 *     | SEAT of each thread | LANE_SEAT of each lane |
 *
 * A thread has a seat: its doorbell, and a count of calls that says "look at your lanes". A lane names the seat that
 * runs it. Whoever produces for a lane publishes, then loads OWNER, then rings that seat's doorbell (`LaneBell`).
 *
 * I1  Only the owner touches what is a lane's; only the owner stores OWNER (`hand`), and it does so between two turns,
 *     as its last act for the lane. Of a thread that is dead, the supervisor does it.
 * I2  Between I1's store and the new owner's first look at the lane's rings lies its look at CALLS: it takes up a lane
 *     only after it has seen OWNER name it, and looks at all rings of its lanes before it sleeps.
 * I3  No wake-up is lost. A producer that still loads the old owner has published before OWNER was stored, so that the
 *     new owner's first look sees the message. One that loads the new owner rings it, and doorbell.ts holds. What
 *     `hand` and `want` change is seen like a message: CALLS grows after the change, then the seat is rung, and a seat
 *     looks at CALLS once more after it has said that it sleeps.
 * I4  Persisters are numbered. One touches a lane's rings only while PERSISTER is its number, which the lane's owner stores.
 *     When a persister has ended, the supervisor stores the number of the next in PERSISTER_WANTED: from there to the
 *     owner's store of it in PERSISTER both ends of the rings to the store are the owner's.
 */
import { DOORBELL, Doorbell } from './doorbell.js';
import { layout } from './layout.js';

export const SEAT = layout({
  DOORBELL: DOORBELL.WORDS,
  CALLS: 1, // grows when the thread has to look at its lanes
  ENDS: 1, // 1: the thread ends when it has no lane left that is not finished
  TURNS: 1, // grows with each turn: a thread that hangs has none, one that sleeps has one now and then
  NEEDED: 1, // 1: somebody waits for the thread to be ready for lanes
  BACKGROUND: 1, // the system's number of the thread while it has a lower priority than others; 0: it has not
  RESERVED: 27, // no two seats share a pair of cache lines
});

const LANE_SEAT = layout({
  OWNER: 1, // seat that runs the lane
  WANTED: 1, // seat that it is to have; the owner's own = it stays
  PERSISTER: 1, // number of the persister that serves the lane
  PERSISTER_WANTED: 1, // number of the one that is to
  SUSPECT: 1, // 1: the thread that ran the lane has thrown, so that something may be broken
  RESERVED: 27,
});

export interface LaneControlMemory {
  readonly memory: SharedArrayBuffer;
  readonly seats: number;
}

export function createLaneControl(seats: number, lanes: number): LaneControlMemory {
  const words = seats * SEAT.WORDS + lanes * LANE_SEAT.WORDS;
  return { memory: new SharedArrayBuffer(words * Int32Array.BYTES_PER_ELEMENT), seats };
}

export class LaneControl {
  readonly #words: Int32Array;
  readonly #lanes: number;

  constructor(control: LaneControlMemory) {
    this.#words = new Int32Array(control.memory);
    this.#lanes = control.seats * SEAT.WORDS;
  }

  ownerOf(lane: number): number {
    return Atomics.load(this.#words, this.#lanes + lane * LANE_SEAT.WORDS + LANE_SEAT.OWNER);
  }

  wantedOf(lane: number): number {
    return Atomics.load(this.#words, this.#lanes + lane * LANE_SEAT.WORDS + LANE_SEAT.WANTED);
  }

  /** Asks for a lane to change its seat. The caller then rings the owner. */
  want(lane: number, seat: number): void {
    const owner = this.ownerOf(lane);
    Atomics.store(this.#words, this.#lanes + lane * LANE_SEAT.WORDS + LANE_SEAT.WANTED, seat);
    this.call(owner);
  }

  /** I1: the lane is the other seat's from here on. The caller then rings that seat. */
  hand(lane: number, seat: number): void {
    Atomics.store(this.#words, this.#lanes + lane * LANE_SEAT.WORDS + LANE_SEAT.OWNER, seat);
    this.call(seat);
  }

  /** By whoever owns the lane, or hands it on for a thread that has ended. */
  setSuspect(lane: number, isSuspect: boolean): void {
    const at = this.#lanes + lane * LANE_SEAT.WORDS + LANE_SEAT.SUSPECT;
    Atomics.store(this.#words, at, isSuspect ? 1 : 0);
  }

  isSuspect(lane: number): boolean {
    return Atomics.load(this.#words, this.#lanes + lane * LANE_SEAT.WORDS + LANE_SEAT.SUSPECT) !== 0;
  }

  persisterOf(lane: number): number {
    return Atomics.load(this.#words, this.#lanes + lane * LANE_SEAT.WORDS + LANE_SEAT.PERSISTER);
  }

  persisterWantedOf(lane: number): number {
    return Atomics.load(this.#words, this.#lanes + lane * LANE_SEAT.WORDS + LANE_SEAT.PERSISTER_WANTED);
  }

  /** I4: the one before has ended. The caller then calls and rings all seats. */
  wantPersister(lane: number, persister: number): void {
    Atomics.store(this.#words, this.#lanes + lane * LANE_SEAT.WORDS + LANE_SEAT.PERSISTER_WANTED, persister);
  }

  /** I4: by the lane's owner. The caller then rings the persister. */
  handToPersister(lane: number, persister: number): void {
    Atomics.store(this.#words, this.#lanes + lane * LANE_SEAT.WORDS + LANE_SEAT.PERSISTER, persister);
  }

  /** How often a seat was called. */
  callsOf(seat: number): number {
    return Atomics.load(this.#words, seat * SEAT.WORDS + SEAT.CALLS);
  }

  /** The caller then rings the seat. */
  call(seat: number): void {
    Atomics.add(this.#words, seat * SEAT.WORDS + SEAT.CALLS, 1);
  }

  /** The seat's thread lives. */
  beat(seat: number): void {
    Atomics.add(this.#words, seat * SEAT.WORDS + SEAT.TURNS, 1);
  }

  turnsOf(seat: number): number {
    return Atomics.load(this.#words, seat * SEAT.WORDS + SEAT.TURNS);
  }

  /** Orders the thread to end, or (false) makes the seat free for another. The caller then rings it. */
  setEnds(seat: number, ends: boolean): void {
    Atomics.store(this.#words, seat * SEAT.WORDS + SEAT.ENDS, ends ? 1 : 0);
    this.call(seat);
  }

  endsOf(seat: number): boolean {
    return Atomics.load(this.#words, seat * SEAT.WORDS + SEAT.ENDS) !== 0;
  }

  /** Somebody waits for a thread that starts, or (false) the seat is free for another. */
  setNeeded(seat: number, isNeeded: boolean): void {
    Atomics.store(this.#words, seat * SEAT.WORDS + SEAT.NEEDED, isNeeded ? 1 : 0);
  }

  isNeeded(seat: number): boolean {
    return Atomics.load(this.#words, seat * SEAT.WORDS + SEAT.NEEDED) !== 0;
  }

  /** @param thread  the system's number of the seat's thread, which goes into the background; 0: it comes out */
  setBackground(seat: number, thread: number): void {
    Atomics.store(this.#words, seat * SEAT.WORDS + SEAT.BACKGROUND, thread);
  }

  backgroundOf(seat: number): number {
    return Atomics.load(this.#words, seat * SEAT.WORDS + SEAT.BACKGROUND);
  }
}

/** The doorbell of a seat. */
export function seatDoorbell(control: LaneControlMemory, seat: number): Doorbell {
  return new Doorbell(control.memory, seat * SEAT.WORDS + SEAT.DOORBELL);
}

/** For producers: rings whoever runs the lane. */
export class LaneBell {
  readonly #control: LaneControl;
  readonly #lane: number;
  readonly #doorbells: readonly Doorbell[];

  constructor(control: LaneControlMemory, lane: number) {
    this.#control = new LaneControl(control);
    this.#lane = lane;
    this.#doorbells = Array.from({ length: control.seats }, (_, seat) => seatDoorbell(control, seat));
  }

  /** After publishing. */
  ring(): void {
    this.#doorbells[this.#control.ownerOf(this.#lane)]!.ring();
  }
}
