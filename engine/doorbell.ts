/**
 * How the consumer of rings sleeps, and how its producers wake it.
 *
 * The sleeper says that it sleeps, looks at its rings once more, and only then waits. A producer publishes, then
 * looks whether the sleeper sleeps. Both orders are sequentially consistent, so one of the two always sees the
 * other: either the sleeper sees the message, or the producer sees the sleeper (no lost wake-up).
 * Awake consumers cost a producer one load.
 */
import { layout } from './layout.js';

export const DOORBELL = layout({ ASLEEP: 1, SIGNAL: 31 });

export function createDoorbell(): SharedArrayBuffer {
  return new SharedArrayBuffer(DOORBELL.WORDS * 4);
}

export class Doorbell {
  readonly #words: Int32Array;
  #seen = 0;

  /** @param at  word of the memory at which the doorbell lies */
  constructor(memory: SharedArrayBuffer, at = 0) {
    this.#words = new Int32Array(memory, at * 4, DOORBELL.WORDS);
  }

  /** Producer, after publishing. */
  ring(): void {
    if (Atomics.load(this.#words, DOORBELL.ASLEEP) === 0) return;
    if (Atomics.exchange(this.#words, DOORBELL.ASLEEP, 0) === 0) return; // another producer wakes it
    // All that wait: one may be a thread that hangs, and whose place another has taken.
    Atomics.add(this.#words, DOORBELL.SIGNAL, 1);
    Atomics.notify(this.#words, DOORBELL.SIGNAL);
  }

  /** Sleeper: from here on producers ring. It must look at its rings again before it waits. */
  sleep(): void {
    this.#seen = Atomics.load(this.#words, DOORBELL.SIGNAL);
    Atomics.store(this.#words, DOORBELL.ASLEEP, 1);
  }

  /** Sleeper: found work after all, or was woken. */
  rise(): void {
    Atomics.store(this.#words, DOORBELL.ASLEEP, 0);
  }

  /** Sleeper without an event loop: waits for a ring since `sleep`, at most `timeoutMs`. */
  wait(timeoutMs: number): void {
    Atomics.wait(this.#words, DOORBELL.SIGNAL, this.#seen, timeoutMs);
    this.rise();
  }

  /**
   * Sleeper with an event loop: resolves there with the next ring. To be called before it looks at its rings for the one
   * that it has heard: from the look on it may sleep, and be rung.
   */
  nextRing(): Promise<unknown> {
    for (;;) {
      const signal = Atomics.load(this.#words, DOORBELL.SIGNAL);
      const ring = Atomics.waitAsync(this.#words, DOORBELL.SIGNAL, signal);
      if (ring.async) return ring.value;
    }
  }
}
