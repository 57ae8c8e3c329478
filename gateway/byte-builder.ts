/** Answers that come in parts and are sent whole: bytes that grow, within a budget that all of them share. */

/** Longer ones are not kept for the next answer. */
const SPARE_BYTES_MAX = 4 * 1024 * 1024;

/** Bytes that may be taken, all together. */
export class ByteBudget {
  usedBytes = 0;
  /** Of an answer that is sent, for the next: fresh memory costs a page fault each 4 KiB, and collections. */
  #spare: Uint8Array<ArrayBuffer> = new Uint8Array(0);

  constructor(readonly bytesMax: number) {}

  take(bytes: number): boolean {
    if (this.usedBytes + bytes > this.bytesMax) return false;
    this.usedBytes += bytes;
    return true;
  }

  give(bytes: number): void {
    this.usedBytes -= bytes;
  }

  /** Bytes that are taken already, `least` of them or more; what is in them is anything. */
  allocate(least: number): Uint8Array<ArrayBuffer> {
    const spare = this.#spare;
    if (spare.length < least || !this.take(spare.length - least)) return new Uint8Array(least);
    this.#spare = new Uint8Array(0);
    return spare;
  }

  /** Takes back what `allocate` gave. */
  free(bytes: Uint8Array<ArrayBuffer>): void {
    this.give(bytes.length);
    if (bytes.length > this.#spare.length && bytes.length <= SPARE_BYTES_MAX) this.#spare = bytes;
  }
}

const FIRST_BYTES = 64 * 1024;

export class ByteBuilder {
  bytes: Uint8Array<ArrayBuffer> = new Uint8Array(0);
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
    this.bytes = this.#budget.allocate(capacity);
    this.bytes.set(old.subarray(0, this.length));
    this.#budget.free(old);
    return true;
  }

  view(): Uint8Array {
    return this.bytes.subarray(0, this.length);
  }

  /** Gives the bytes back to the budget; they may not be used after it. Harmless when repeated. */
  readonly release = (): void => {
    this.#budget.free(this.bytes);
    this.bytes = new Uint8Array(0);
    this.length = 0;
  };
}
