/**
 * The undo log of a shard: what the words of shared memory were before the unit of work at hand stored to them.
 *
 * A shard's thread may end between any two stores: thrown, out of memory, terminated. Whoever attaches the same memory
 * next rolls back, and all is as if the unfinished unit had never begun. Before-images are exact, whatever the unit was
 * doing, and there are few of them: to repair lists and indexes from the records would take a walk over everything.
 *
 *     | COUNT | reserved | place, old value | place, old value | ...
 *
 * Owner: the shard's thread; after its end, whoever takes over.
 *
 * I1  COUNT is 0 between units. `commit` is the one moment at which a unit is done: all that it stored, in whatever
 *     arrays, is there to stay, or none of it.
 * I2  An entry is counted before its word is stored to, so a word that may differ from what it was has a counted entry.
 *     Plain stores will do: they stay in order within a thread, which only ends where it could be interrupted, and who
 *     takes over begins when that thread has ended.
 * I3  Entries are undone from the last to the first and uncounted one by one, after their store: a roll-back that ends
 *     half way is begun again, and does the same.
 * I4  A place is the number of a word in all arrays, one behind the other, in an order that is the same for everybody who
 *     attaches the log.
 */
import { assert, broken, layout } from './layout.js';

export const UNDO = layout({
  COUNT: 1, // words of the entries that count; 0 = no unit is half done
  RESERVED: 15, // to a whole cache line
  ENTRIES: 1,
});
export const UNDO_ENTRY = layout({
  PLACE: 1, // unsigned
  OLD_VALUE: 1,
});

/** Five times the stores of the largest unit that there can be (slab-space.ts). What is never written takes no memory. */
const UNDO_ENTRIES_MAX = 1 << 18;

/** Words of all arrays: a place has 32 bits. */
const PLACES_MAX = 2 ** 32;

/** To be read, not stored to. */
export interface Words extends Iterable<number> {
  readonly [index: number]: number;
  readonly length: number;
  subarray(from: number, to: number): Words;
  entries(): Iterable<[number, number]>;
}

/** An array that is read as `words` and stored to by `put` only. */
export interface StoredWords {
  readonly words: Words;
  put(index: number, value: number): void;
}

/** What ends with its owner: there is nothing to take back. */
export class OwnWords implements StoredWords {
  constructor(readonly words: Int32Array) {}

  put(index: number, value: number): void {
    this.words[index] = value;
  }
}

const views = new WeakMap<SharedArrayBuffer, Int32Array>();

/** The words of a buffer: one array for all who ask, since each array is two cache lines of its own. */
function viewOf(memory: SharedArrayBuffer): Int32Array {
  const view = views.get(memory) ?? new Int32Array(memory);
  views.set(memory, view);
  return view;
}

/** One of the arrays that units of work store to. */
class LoggedWords implements StoredWords {
  readonly words: Int32Array;
  readonly #log: Int32Array;
  /** Of the first word; signed. */
  readonly #place: number;

  constructor(words: Int32Array, log: Int32Array, place: number) {
    this.words = words;
    this.#log = log;
    this.#place = place | 0;
  }

  /**
   * Stores to a word; a roll-back takes it back until `UndoLog.commit`. Whether there was room, `commit` asks: here it
   * would be asked for each store, and an entry beyond the end of the log is not stored, but counted.
   */
  put(index: number, value: number): void {
    const log = this.#log;
    const words = this.words;
    const count = log[UNDO.COUNT]!;
    log[count + UNDO.ENTRIES + UNDO_ENTRY.PLACE] = (this.#place + index) | 0;
    log[count + UNDO.ENTRIES + UNDO_ENTRY.OLD_VALUE] = words[index]!;
    log[UNDO.COUNT] = count + UNDO_ENTRY.WORDS;
    words[index] = value; // I2
  }
}

export class UndoLog {
  readonly #log: Int32Array;
  readonly #size: number;
  readonly #memories: readonly SharedArrayBuffer[];
  readonly #logged: readonly LoggedWords[];
  /** Of the first word of each array. */
  readonly #places: readonly number[];

  /** Bytes of shared memory for the log of units of up to `entries` stores. */
  static bytes(entries = UNDO_ENTRIES_MAX): number {
    return (UNDO.ENTRIES + entries * UNDO_ENTRY.WORDS) * 4;
  }

  /**
   * @param log       `UndoLog.bytes()` of it: zeroed, or what an earlier owner left (then `rollBack` comes first)
   * @param memories  all that units store to, in an order that is the same for everybody (I4)
   */
  constructor(log: SharedArrayBuffer, memories: readonly SharedArrayBuffer[]) {
    this.#log = new Int32Array(log);
    this.#size = this.#log.length - UNDO.ENTRIES;
    assert(this.#size >= UNDO_ENTRY.WORDS, `an undo log of ${log.byteLength} bytes has room for nothing`);
    this.#memories = memories;
    let place = 0;
    this.#places = memories.map(({ byteLength }) => {
      const first = place;
      place += byteLength / 4;
      return first;
    });
    assert(place <= PLACES_MAX, `an undo log for ${place} words, and ${PLACES_MAX} are the most`);
    this.#logged = memories.map((memory, i) => new LoggedWords(viewOf(memory), this.#log, this.#places[i]!));
  }

  /** The words of a buffer, to be stored to. */
  of(memory: SharedArrayBuffer): StoredWords {
    return this.#logged[this.#numberOf(memory)]!;
  }

  #numberOf(memory: SharedArrayBuffer): number {
    const found = this.#memories.indexOf(memory);
    assert(found !== -1, 'the memory is none of those of the undo log');
    return found;
  }

  /** The unit of work is done (I1). */
  commit(): void {
    const log = this.#log;
    if (log[UNDO.COUNT]! > this.#size) broken('a unit of work did not fit into the undo log');
    log[UNDO.COUNT] = 0;
  }

  /** Stores of the unit at hand; after the end of an owner, of the unit that it left half done. */
  get pending(): number {
    return this.#log[UNDO.COUNT]! / UNDO_ENTRY.WORDS;
  }

  /** The words of a buffer to which the unit at hand has stored. */
  storedTo(memory: SharedArrayBuffer): number[] {
    const log = this.#log;
    const first = this.#places[this.#numberOf(memory)]!;
    const words = memory.byteLength / 4;
    const end = UNDO.ENTRIES + log[UNDO.COUNT]!;
    const found = new Set<number>();
    for (let at = UNDO.ENTRIES; at < end; at += UNDO_ENTRY.WORDS) {
      const index = (log[at + UNDO_ENTRY.PLACE]! >>> 0) - first;
      if (index >= 0 && index < words) found.add(index);
    }
    return [...found];
  }

  /**
   * Takes back all that the unit at hand has stored, for whoever takes over from an owner that has ended.
   * @returns stores taken back
   * @throws Error if the log is broken: nothing is known of its words then
   */
  rollBack(): number {
    const log = this.#log;
    const { pending } = this;
    assert(
      Number.isInteger(pending) && pending >= 0 && pending * UNDO_ENTRY.WORDS <= this.#size,
      `an undo log with ${log[UNDO.COUNT]} words of entries, of ${this.#size}`,
    );
    while (log[UNDO.COUNT] !== 0) {
      const count = log[UNDO.COUNT]! - UNDO_ENTRY.WORDS;
      const at = UNDO.ENTRIES + count;
      this.#store(log[at + UNDO_ENTRY.PLACE]! >>> 0, log[at + UNDO_ENTRY.OLD_VALUE]!);
      log[UNDO.COUNT] = count; // I3
    }
    return pending;
  }

  /** The log is broken: what the unit at hand has stored stays, and cannot be relied on. */
  giveUp(): void {
    this.#log[UNDO.COUNT] = 0;
  }

  #store(place: number, value: number): void {
    const array = this.#places.findLastIndex((first) => first <= place);
    const { words } = this.#logged[array]!;
    const index = place - this.#places[array]!;
    assert(index < words.length, `an undo log names word ${place}, and there is none`);
    words[index] = value;
  }
}

/** For owners who take everything with them when they end: nothing is logged. */
export const noUndo: Pick<UndoLog, 'of'> = { of: (memory) => new OwnWords(viewOf(memory)) };
