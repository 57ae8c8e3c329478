/**
 * Wakes the front for the answers of all lanes of a thread. They are visible at once, but to wake somebody costs more
 * than a batch, and a front that finds one batch sleeps again before the next.
 *
 * It is of the thread, not of a lane: lanes that each kept a front waiting for some batches of their own had it wait
 * for all that clients had sent, and front and shard worked in turn.
 */
import type { Doorbell } from '../engine/doorbell.js';

/**
 * Batches, or turns without one, with more requests waiting after which the front is woken all the same: some 0.25 ms.
 * Turns alone would be twice as long with a journal, and with few requests in flight front and shard work in turn then.
 */
const QUIET_BATCHES_MAX = 4;

export class FrontBell {
  readonly #doorbell: Doorbell;
  /** Answers were published since the front was last rung. */
  #isOwed = false;
  /** Since then. */
  #batches = 0;
  #batchesBefore = 0;

  constructor(doorbell: Doorbell) {
    this.#doorbell = doorbell;
  }

  /** Answers were published. */
  owe(): void {
    this.#isOwed = true;
  }

  countBatch(): void {
    this.#batches++;
  }

  /**
   * After a turn of all lanes.
   * @param mayWait  lanes have more to do that needs nothing of the front
   */
  ringIfDue(mayWait: boolean): void {
    if (!this.#isOwed) return;
    if (this.#batches === this.#batchesBefore) this.#batches++;
    this.#batchesBefore = this.#batches;
    if (mayWait && this.#batches < QUIET_BATCHES_MAX) return;
    this.#isOwed = false;
    this.#batches = 0;
    this.#batchesBefore = 0;
    this.#doorbell.ring();
  }
}
