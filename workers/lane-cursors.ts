/**
 * The cursors of a lane's lists: which hold has which, and those that are not in use. By place, not in a `Map`: one that
 * is filled and emptied makes a table of 200 bytes for each list.
 */
import type { Cursor, Partition } from '../engine/partition.js';

/** Lists that are being written at once; others wait. Each keeps six words for each entry of its user. */
export const CURSORS_MAX = 16;

export class Cursors {
  /** Hold of each place; 0 = free. */
  readonly #holds = new Int32Array(CURSORS_MAX);
  readonly #cursors: (Cursor | null)[] = new Array(CURSORS_MAX).fill(null);
  /** Not in use, by partition. */
  readonly #idle: Cursor[][];
  #count = 0;

  /** @param partitions  of the service */
  constructor(partitions: number) {
    this.#idle = Array.from({ length: partitions }, () => []);
  }

  /** Holds that have one. */
  get count(): number {
    return this.#count;
  }

  get isFull(): boolean {
    return this.#count === CURSORS_MAX;
  }

  /** @returns null when the hold has none */
  of(hold: number): Cursor | null {
    const place = this.#holds.indexOf(hold);
    return place < 0 ? null : this.#cursors[place]!;
  }

  /**
   * Gives the hold, which has none, a cursor of this partition. Not when it `isFull`.
   * @param index  of the partition
   */
  take(hold: number, index: number, partition: Partition): Cursor {
    const cursor = this.#idle[index]!.pop() ?? partition.createCursor();
    const place = this.#holds.indexOf(0);
    this.#holds[place] = hold;
    this.#cursors[place] = cursor;
    this.#count++;
    return cursor;
  }

  /** The hold, which has one, gives it back. */
  giveBack(hold: number, index: number): void {
    const place = this.#holds.indexOf(hold);
    this.#idle[index]!.push(this.#cursors[place]!);
    this.#holds[place] = 0;
    this.#cursors[place] = null;
    this.#count--;
  }
}
