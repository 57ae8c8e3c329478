/**
 * One clock for all threads of the process, in microseconds. `performance.now` of each thread begins when the thread
 * does; the system's monotonic clock, read once, says how far apart they are.
 */

/** What is added to `performance.now()` * 1000 of this thread. */
const offsetUs = Number(process.hrtime.bigint() / 1000n) - performance.now() * 1000;

/**
 * The time of the thread's `performance.now` on the clock that all threads share.
 * @returns 32 bits: it wraps after 71 minutes, and `(later - earlier) | 0` is right up to 35
 */
export function sharedUs(nowMs: number): number {
  return (nowMs * 1000 + offsetUs) | 0;
}
