/**
 * One clock for all threads of the process, in microseconds. `performance.now` of each thread begins when the thread
 * does; the system's monotonic clock says how far apart they are.
 */

/** A thread that is interrupted between the two readings is off by as long as that took: 5 ms on a busy machine. */
const READINGS = 16;

/** What is added to `performance.now()` * 1000 of this thread: of the readings that took the shortest. */
export const offsetUs = readOffsetUs();

function readOffsetUs(): number {
  let offset = 0;
  let shortestUs = Number.POSITIVE_INFINITY;
  for (let i = 0; i < READINGS; i++) {
    const beforeUs = performance.now() * 1000;
    const systemUs = Number(process.hrtime.bigint()) / 1000;
    const tookUs = performance.now() * 1000 - beforeUs;
    if (tookUs >= shortestUs) continue;
    shortestUs = tookUs;
    offset = systemUs - beforeUs - tookUs / 2;
  }
  return offset;
}

/**
 * The time of the thread's `performance.now` on the clock that all threads share.
 * @returns 32 bits: it wraps after 71 minutes, and `(later - earlier) | 0` is right up to 35
 */
export function sharedUs(nowMs: number): number {
  return (nowMs * 1000 + offsetUs) | 0;
}
