/**
 * Lists the entries of one heap user in (channel, type) order, in slices: collects them, sorts runs of RUN entries,
 * and merges the runs pairwise. Array.prototype.sort alone would take 60 ms for 100,000 entries in one go.
 */
import type { HeapRecord, HeapUser } from './heap-objects.js';
import { compareIds } from './ids.js';
import { COUNT_MAX, META_TYPE_MASK } from './layout.js';
import { ENTRY } from './messages.js';
import type { Cursor, UserSlot } from './partition.js';

const RUN = 64;

function compare(a: HeapRecord, b: HeapRecord): number {
  return compareIds(a.lo, a.hi, b.lo, b.hi) || (a.meta & META_TYPE_MASK) - (b.meta & META_TYPE_MASK);
}

export class HeapCursor implements Cursor {
  mentionCount = 0;
  mentionedEntries = 0;
  readonly #users: readonly (HeapUser | null)[];
  #since = 0;
  #sorted = false;
  #firsts: Iterator<HeapRecord> | null = null;
  #entries: HeapRecord[] = [];
  #merged: HeapRecord[] = [];
  /** Length of the sorted runs; 0 = not sorted at all. */
  #run = 0;
  /** The next run to sort; or, of the two runs that are merged, where they begin and what was taken of each. */
  #begin = 0;
  #left = 0;
  #right = 0;
  #written = 0;

  constructor(users: readonly (HeapUser | null)[]) {
    this.#users = users;
  }

  get remaining(): number {
    return this.#entries.length - this.#written;
  }

  begin(user: UserSlot, since: number, sorted: boolean, written = 0): void {
    this.#firsts = this.#users[user]!.records.values();
    this.#since = since >>> 0;
    this.#sorted = sorted;
    this.#entries = [];
    this.#merged = [];
    this.#run = 0;
    this.#begin = 0;
    this.#written = written;
    this.mentionCount = 0;
    this.mentionedEntries = 0;
  }

  advance(steps: number): boolean {
    while (this.#firsts !== null) {
      if (steps-- <= 0) return false;
      const next = this.#firsts.next();
      if (next.done === true) this.#firsts = null;
      else
        for (let record: HeapRecord | null = next.value; record !== null; record = record.chained)
          this.#collect(record);
    }
    if (!this.#sorted) return true;
    for (; this.#run === 0; steps -= RUN) {
      if (steps <= 0) return false;
      this.#sortRun();
    }
    while (this.#run < this.#entries.length) {
      if (steps <= 0) return false;
      steps = this.#merge(steps);
    }
    return true;
  }

  #collect(record: HeapRecord): void {
    if (record.deleted) return;
    if (record.mentionCount > 0) {
      this.mentionCount = Math.min(this.mentionCount + record.mentionCount, COUNT_MAX);
      this.mentionedEntries++;
    }
    if (record.version >>> 0 > this.#since) this.#entries.push(record);
  }

  #sortRun(): void {
    const run = this.#entries.slice(this.#begin, this.#begin + RUN).sort(compare);
    for (let i = 0; i < run.length; i++) this.#entries[this.#begin + i] = run[i]!;
    this.#begin += RUN;
    if (this.#begin < this.#entries.length) return;
    this.#run = RUN;
    this.#startMerge(0);
  }

  #startMerge(begin: number): void {
    this.#begin = begin;
    this.#left = begin;
    this.#right = Math.min(begin + this.#run, this.#entries.length);
  }

  /** Merges on in the two runs at hand; the steps that are left. */
  #merge(steps: number): number {
    const entries = this.#entries;
    const merged = this.#merged;
    const leftEnd = Math.min(this.#begin + this.#run, entries.length);
    const rightEnd = Math.min(leftEnd + this.#run, entries.length);
    for (; steps > 0; steps--) {
      const fromLeft = this.#left < leftEnd;
      if (!fromLeft && this.#right === rightEnd) break;
      const takeLeft =
        fromLeft && (this.#right === rightEnd || compare(entries[this.#left]!, entries[this.#right]!) <= 0);
      merged.push(takeLeft ? entries[this.#left++]! : entries[this.#right++]!);
    }
    if (steps === 0) return 0;
    if (rightEnd < entries.length) {
      this.#startMerge(rightEnd);
      return steps;
    }
    this.#entries = merged;
    this.#merged = [];
    this.#run *= 2;
    this.#startMerge(0);
    return steps;
  }

  write(out: Int32Array, at: number, max: number): number {
    const count = Math.min(max, this.remaining);
    for (let i = 0; i < count; i++) {
      this.#entries[this.#written++]!.writeEntry(out, at);
      at += ENTRY.WORDS;
    }
    return count;
  }
}
