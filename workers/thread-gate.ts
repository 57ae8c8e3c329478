/**
 * Between a thread and the main thread, which may end it at any instant: native calls that do not bear it. One that is ended within
 * lmdb-js's `startWriting` cannot even throw, and takes the whole process with it (`napi_throw`, SIGABRT: once in some 100 ends).
 *
 *     OPEN -> WITHIN -> OPEN   the thread, around such a call
 *     OPEN -> CLOSED           the main thread, before it ends the other: whoever comes now waits for the end
 */
import { setTimeout as delay } from 'node:timers/promises';

const OPEN = 0;
const WITHIN = 1;
const CLOSED = 2;

const POLL_MS = 1;
/** A call that takes longer hangs; the thread is ended nevertheless. */
const CLOSE_TIMEOUT_MS = 1000;

export class ThreadGate {
  readonly #state: Int32Array;

  /** @param memory  4 bytes, zero at first */
  constructor(memory: SharedArrayBuffer) {
    this.#state = new Int32Array(memory);
  }

  static create(): SharedArrayBuffer {
    return new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT);
  }

  /** On the thread: the call is not cut short. Does not return once the gate is closed. */
  within<T>(call: () => T): T {
    if (Atomics.compareExchange(this.#state, 0, OPEN, WITHIN) !== OPEN) Atomics.wait(this.#state, 0, CLOSED);
    try {
      return call();
    } finally {
      Atomics.compareExchange(this.#state, 0, WITHIN, OPEN);
    }
  }

  /** On the main thread: resolves when the thread is in no such call, and gets into none any more; or after a second. */
  async close(): Promise<void> {
    const deadlineMs = performance.now() + CLOSE_TIMEOUT_MS;
    while (Atomics.compareExchange(this.#state, 0, OPEN, CLOSED) === WITHIN) {
      if (performance.now() > deadlineMs) return;
      await delay(POLL_MS);
    }
  }
}
