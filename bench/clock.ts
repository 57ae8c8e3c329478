/** Time for load generators. */

/** Microseconds since the process started, with fractions. */
export function nowUs(): number {
  return performance.now() * 1000;
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Lets what has arrived be handled, without sleeping. */
export function yieldToEvents(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

const never = new Int32Array(new SharedArrayBuffer(4));

/** Sleeps for less than a timer of the event loop can, and deaf to what arrives, which is handled afterwards. */
export function nap(ms: number): Promise<void> {
  Atomics.wait(never, 0, 0, ms);
  return yieldToEvents();
}
