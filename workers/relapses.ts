/** How soon a thread that has ended is replaced: at once, and later and later when that happens again and again. */

const WINDOW_MS = 5000;
/** So many in the window are replaced at once. */
const AT_ONCE_MAX = 20;
const WAIT_FIRST_MS = 200;
const WAIT_MAX_MS = 10_000;

export class Relapses {
  #times: number[] = [];

  /** A thread has ended. @returns milliseconds to wait before it is replaced */
  note(nowMs: number): number {
    this.#times = this.#times.filter((time) => nowMs - time < WINDOW_MS);
    this.#times.push(nowMs);
    const beyond = this.#times.length - AT_ONCE_MAX;
    return beyond <= 0 ? 0 : Math.min(WAIT_FIRST_MS * 2 ** (beyond - 1), WAIT_MAX_MS);
  }

  get areMany(): boolean {
    return this.#times.length > AT_ONCE_MAX;
  }
}
