/** Puts operations into the shards' rings, and publishes them once a turn of the event loop. */
import { hashUser } from '../engine/hash.js';
import { REQUEST, ROUTED } from '../engine/messages.js';
import { sharedUs } from '../workers/introspection/shared-clock.js';
import type { FrontPort } from '../workers/workers.js';

/** Some 500 operations, a quarter of a millisecond of a shard's time, do not wait for the end of the turn. */
const UNPUBLISHED_WORDS_MAX = 4096;

export class Submitter {
  readonly #port: FrontPort;
  #publishing = false;
  #unpublishedWords = 0;
  /** When the first of what is to be published came. */
  #stampUs = 0;
  readonly #stamps: boolean;

  /** @param stamps  operations are stamped with the time, for those who measure them */
  constructor(port: FrontPort, stamps: boolean) {
    this.#port = port;
    this.#stamps = stamps;
  }

  /**
   * Copies one operation (REQUEST words and what follows them) of `length` words at `words[at]`.
   * @returns false when the ring is full: nothing was sent
   */
  submit(route: number, words: Int32Array, at: number, length: number): boolean {
    const hash = hashUser(words[at + REQUEST.USER_LO]!, words[at + REQUEST.USER_HI]!);
    const port = this.#port;
    if (this.#unpublishedWords === 0 && this.#stamps) this.#stampUs = sharedUs(performance.now());
    let to = port.reserve(hash, ROUTED.WORDS + length);
    if (to < 0) return false;
    const ring = port.words;
    ring[to + ROUTED.ROUTE] = route;
    ring[to + ROUTED.USER_HASH] = hash;
    ring[to + ROUTED.STAMP_US] = this.#stampUs;
    to += ROUTED.WORDS;
    for (const end = at + length; at < end; at++) ring[to++] = words[at]!;
    port.commit(ROUTED.WORDS + length);
    this.#unpublishedWords += length;
    if (this.#unpublishedWords >= UNPUBLISHED_WORDS_MAX) this.publish();
    return true;
  }

  /** Makes what was submitted visible now. */
  publish(): void {
    this.#unpublishedWords = 0;
    this.#port.publish();
  }

  /**
   * Makes it visible after this turn of the event loop: what all readable sockets brought goes together. A shard
   * that is woken for each frame spends a third of its time in falling asleep and waking the front.
   */
  publishSoon(): void {
    if (this.#publishing) return;
    this.#publishing = true;
    setImmediate(this.#published);
  }

  readonly #published = (): void => {
    this.#publishing = false;
    this.publish();
  };
}
