/**
 * The front's ends of all lanes' rings, on the front's event loop.
 *
 * I1  Answers of one lane are handed out in the order in which they were written.
 * I2  Asleep (doorbell) means: all reply rings were seen empty after the doorbell was set.
 */
import { Doorbell } from '../engine/doorbell.js';
import { LaneBell, type LaneControlMemory } from '../engine/lane-control.js';
import { RingReader, RingWriter } from '../engine/ring.js';
import type { LaneRings } from './lane-options.js';
import { listenTo } from './listen.js';
import type { FrontPort } from './workers.js';

/**
 * Words of answers handed out before the event loop gets its turn: 0.3 ms of short answers, or a millisecond of parts of
 * long lists, which become JSON.
 */
const WORDS_A_TURN = 16_384;

class LaneEnd {
  readonly requests: RingWriter;
  readonly replies: RingReader;
  readonly bell: LaneBell;
  written = false;

  constructor({ requests, replies }: LaneRings, control: LaneControlMemory, lane: number) {
    this.requests = new RingWriter(requests);
    this.replies = new RingReader(replies);
    this.bell = new LaneBell(control, lane);
  }
}

export class FrontRings implements FrontPort {
  onAnswer: (words: Int32Array, at: number, length: number) => void = () => {};
  onDrained: () => void = () => {};
  readonly #ends: LaneEnd[];
  readonly #doorbell: Doorbell;
  readonly #partitionMask: number;
  readonly #laneOf: Int32Array;
  #current: LaneEnd;
  #scheduled = false;
  /** The lane that is looked at first. */
  #turn = 0;

  /** @param laneOf  lane of each partition */
  constructor(
    lanes: readonly LaneRings[],
    control: LaneControlMemory,
    doorbell: SharedArrayBuffer,
    laneOf: Int32Array,
  ) {
    this.#ends = lanes.map((rings, lane) => new LaneEnd(rings, control, lane));
    this.#current = this.#ends[0]!;
    this.#doorbell = new Doorbell(doorbell);
    this.#laneOf = laneOf;
    this.#partitionMask = laneOf.length - 1;
    listenTo(this.#doorbell, () => this.#drain());
    this.#doorbell.sleep(); // and nothing is in the rings yet
  }

  get words(): Int32Array {
    return this.#current.requests.words;
  }

  reserve(userHash: number, length: number): number {
    const end = this.#ends[this.#laneOf[userHash & this.#partitionMask]!]!;
    this.#current = end;
    return end.requests.reserve(length);
  }

  commit(length: number): void {
    this.#current.requests.commit(length);
    this.#current.written = true;
  }

  publish(): void {
    for (const end of this.#ends) {
      if (!end.written) continue;
      end.written = false;
      end.requests.publish();
      end.bell.ring();
    }
  }

  /** To one lane, not by a user's hash. @returns false if its ring is full */
  order(lane: number, words: readonly number[]): boolean {
    const end = this.#ends[lane]!;
    const at = end.requests.reserve(words.length);
    if (at === -1) return false;
    end.requests.words.set(words, at);
    end.requests.commit(words.length);
    end.requests.publish();
    end.bell.ring();
    return true;
  }

  #drain(): void {
    if (this.#scheduled) return;
    this.#doorbell.rise();
    for (;;) {
      let left = WORDS_A_TURN;
      for (let count = this.#ends.length; count > 0 && left > 0; count--) {
        left -= this.#take(this.#ends[this.#turn]!, left);
        this.#turn = (this.#turn + 1) % this.#ends.length;
      }
      this.onDrained();
      if (left <= 0) {
        this.#scheduled = true;
        setImmediate(() => {
          this.#scheduled = false;
          this.#drain();
        });
        return;
      }
      this.#doorbell.sleep();
      if (!this.#ends.some((end) => end.replies.refresh())) return;
      this.#doorbell.rise();
    }
  }

  /** Hands out answers of one lane. @returns words that were handed out: up to `most` and the rest of one answer */
  #take(end: LaneEnd, most: number): number {
    const { replies } = end;
    if (!replies.refresh()) return 0;
    let count = 0;
    while (count < most) {
      const at = replies.next();
      if (at === -1) break;
      this.onAnswer(replies.words, at, replies.length);
      count += replies.length;
    }
    replies.release(); // a lane without room for its answers does not sleep, so it need not be woken
    if (replies.producerWaits()) end.bell.ring();
    return count;
  }
}
