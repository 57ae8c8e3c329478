/** Answers that come in parts and are sent whole: bytes that grow, within a budget that all of them share. */

/** Bytes that may be taken, all together. */
export class ByteBudget {
  usedBytes = 0;

  constructor(readonly bytesMax: number) {}

  take(bytes: number): boolean {
    if (this.usedBytes + bytes > this.bytesMax) return false;
    this.usedBytes += bytes;
    return true;
  }

  give(bytes: number): void {
    this.usedBytes -= bytes;
  }
}

const FIRST_BYTES = 64 * 1024;

export class ByteBuilder {
  bytes = new Uint8Array(0);
  length = 0;
  readonly #budget: ByteBudget;

  constructor(budget: ByteBudget) {
    this.#budget = budget;
  }

  /**
   * Makes room for `count` bytes more at `bytes[length]`.
   * @returns false when the budget is used up
   */
  reserve(count: number): boolean {
    const needed = this.length + count;
    const old = this.bytes;
    if (needed <= old.length) return true;
    const capacity = Math.max(FIRST_BYTES, old.length * 2, needed);
    if (!this.#budget.take(capacity)) return false;
    this.bytes = new Uint8Array(capacity);
    this.bytes.set(old.subarray(0, this.length));
    this.#budget.give(old.length);
    return true;
  }

  view(): Uint8Array {
    return this.bytes.subarray(0, this.length);
  }

  /** Gives the bytes back to the budget; they may not be used after it. Harmless when repeated. */
  readonly release = (): void => {
    this.#budget.give(this.bytes.length);
    this.bytes = new Uint8Array(0);
    this.length = 0;
  };
}
