/**
 * How far lists may run ahead of the front. A ring is a queue: parts of a long list that the front has not taken yet are
 * in the way of everybody's answers. A list of 100,000 entries at once is 3.6 MB of them.
 *
 * W1  At most two windows of lists, and the rest of a part, are not released: the front takes one while the other is
 *     written.
 * W2  A window opens when the one before the last has been taken, whatever else lies in the ring: lists get on as fast
 *     as other answers do, also when a front that is never done has the ring always full.
 */
import type { RingWriter } from '../engine/ring.js';

/** With 9 words an entry, 0.4 ms of the front's time as JSON. */
export const WINDOW_WORDS = 8192;

export class ListWindow {
  readonly #replies: RingWriter;
  #wordsLeft = WINDOW_WORDS;
  /** Where the last two full windows ended. */
  #endOfLast: number;
  #endBefore: number;

  /** @param replies  where it is now, all windows before have ended */
  constructor(replies: RingWriter) {
    this.#replies = replies;
    this.#endOfLast = replies.position;
    this.#endBefore = replies.position;
  }

  /** Whether a part of a list may be written. */
  get isOpen(): boolean {
    return this.#wordsLeft > 0 || this.#replies.isReleased(this.#endBefore);
  }

  /** A part was written, while it was open. */
  wrote(words: number): void {
    if (this.#wordsLeft <= 0) this.#wordsLeft = WINDOW_WORDS;
    this.#wordsLeft -= words;
    if (this.#wordsLeft > 0) return;
    this.#endBefore = this.#endOfLast;
    this.#endOfLast = this.#replies.position;
  }
}
