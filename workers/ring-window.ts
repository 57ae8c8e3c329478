/**
 * How far long messages may run ahead of who takes them. A ring is a queue: parts of a long list that the front has not
 * taken yet are in the way of everybody's answers, and so are those of a long load that a lane has not taken. A list of
 * 100,000 entries at once is 3.6 MB of them.
 *
 * W1  At most two windows of such parts, and the rest of a part, are not released: the consumer takes one while the other
 *     is written.
 * W2  A window opens when the one before the last has been taken, whatever else lies in the ring: parts get on as fast
 *     as other messages do, also when a consumer that is never done has the ring always full.
 */
import type { RingWriter } from '../engine/ring.js';

/** Of a list, with 9 words an entry, 0.4 ms of the front's time as JSON; of a load two turns of a lane. */
export const WINDOW_WORDS = 8192;

export class RingWindow {
  readonly #ring: RingWriter;
  #wordsLeft = WINDOW_WORDS;
  /** Where the last two full windows ended. */
  #endOfLast: number;
  #endBefore: number;

  /** @param ring  where it is now, all windows before have ended */
  constructor(ring: RingWriter) {
    this.#ring = ring;
    this.#endOfLast = ring.position;
    this.#endBefore = ring.position;
  }

  /** Whether a part may be written. */
  get isOpen(): boolean {
    return this.#wordsLeft > 0 || this.#ring.isReleased(this.#endBefore);
  }

  /** A part was written, while it was open. */
  wrote(words: number): void {
    if (this.#wordsLeft <= 0) this.#wordsLeft = WINDOW_WORDS;
    this.#wordsLeft -= words;
    if (this.#wordsLeft > 0) return;
    this.#endBefore = this.#endOfLast;
    this.#endOfLast = this.#ring.position;
  }
}
