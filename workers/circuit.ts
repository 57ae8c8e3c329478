/**
 * Whether it is worth asking a store. Closed: ask. After FAILURES_MAX failures in a row it opens: nobody asks but a
 * probe, one at a time, the first `probeMs` after the failure and each next one `probeMs` after the last has failed.
 * One success closes it, also of what was asked before it opened.
 */
const FAILURES_MAX = 5;

/** How long nobody asks. Each second one request finds out whether the store is back. */
export const PROBE_MS = 1000;

export class Circuit {
  readonly #probeMs: number;
  readonly #now: () => number;
  #failures = 0;
  #isOpen = false;
  #probes = false;
  #nextProbeMs = 0;

  /** @param now  a clock in ms that never goes back */
  constructor(probeMs: number = PROBE_MS, now: () => number = () => performance.now()) {
    this.#probeMs = probeMs;
    this.#now = now;
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  succeeded(): void {
    this.#failures = 0;
    this.#isOpen = false;
    this.#probes = false;
  }

  /** @returns whether it opened with that */
  failed(): boolean {
    this.#failures++;
    if (this.#isOpen || this.#failures < FAILURES_MAX) return false;
    this.#isOpen = true;
    this.#nextProbeMs = this.#now() + this.#probeMs;
    return true;
  }

  /** Takes the right to probe: the caller asks the store, and says `probeFailed` or `succeeded`. */
  takeProbe(): boolean {
    if (!this.#isOpen || this.#probes || this.#now() < this.#nextProbeMs) return false;
    this.#probes = true;
    return true;
  }

  probeFailed(): void {
    this.#probes = false;
    this.#nextProbeMs = this.#now() + this.#probeMs;
  }

  /** Until a probe may be taken; 0 when one may, Infinity when closed or one is at work. */
  get probeInMs(): number {
    if (!this.#isOpen || this.#probes) return Number.POSITIVE_INFINITY;
    return Math.max(0, this.#nextProbeMs - this.#now());
  }
}
