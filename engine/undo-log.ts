/**
 * The undo log of a shard: what the words of shared memory were before the unit of work at hand stored to them.
 *
 * A shard's thread may end between any two stores: thrown, out of memory, terminated. Whoever attaches the same memory
 * next rolls back, and all is as if the unfinished unit had never begun. Before-images are exact, whatever the unit was
 * doing, and there are few of them: to repair lists and indexes from the records would take a walk over everything.
 *
 *     | COUNT | reserved | array, index, old value | array, index, old value | ...
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
 * I4  Arrays have the numbers of their places in a list that is the same for everybody who attaches the log.
 */
import { assert, broken, layout } from './layout.js';

export const UNDO = layout({
  COUNT: 1, // words of the entries that count; 0 = no unit is half done
  RESERVED: 15, // to a whole cache line
  ENTRIES: 1,
});
export const UNDO_ENTRY = layout({
  ARRAY: 1,
  INDEX: 1,
  OLD_VALUE: 1,
});

/** Stores of the largest unit that there can be; slab-space.ts says which that is. What is never written takes no memory. */
const UNDO_ENTRIES_MAX = 1 << 18;

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
export class LoggedWords implements StoredWords {
  readonly words: Words;
  readonly #words: Int32Array;
  readonly #log: Int32Array;
  readonly #limit: number;

  /** @param array  its number in the log */
  constructor(
    words: Int32Array,
    log: Int32Array,
    private readonly array: number,
    private readonly isKept: boolean,
  ) {
    this.words = words;
    this.#words = words;
    this.#log = log;
    this.#limit = log.length - UNDO.ENTRIES - UNDO_ENTRY.WORDS;
  }

  /** Stores to a word; a roll-back takes it back until `UndoLog.commit`. */
  put(index: number, value: number): void {
    const log = this.#log;
    const words = this.#words;
    const count = log[UNDO.COUNT]!;
    const at = UNDO.ENTRIES + count;
    log[at + UNDO_ENTRY.ARRAY] = this.array;
    log[at + UNDO_ENTRY.INDEX] = index;
    log[at + UNDO_ENTRY.OLD_VALUE] = words[index]!;
    if (count < this.#limit) log[UNDO.COUNT] = count + UNDO_ENTRY.WORDS;
    else this.#fill();
    words[index] = value; // I2
  }

  /** The last entry stays unused. */
  #fill(): void {
    if (this.isKept) broken('a unit of work does not fit into the undo log');
    this.#log[UNDO.COUNT] = 0;
  }
}

export class UndoLog {
  readonly #log: Int32Array;
  readonly #memories: readonly SharedArrayBuffer[];
  readonly #arrays: readonly Int32Array[];
  readonly #logged: readonly LoggedWords[];

  /** Bytes of shared memory for the log of units of up to `entries` stores. */
  static bytes(entries = UNDO_ENTRIES_MAX): number {
    return (UNDO.ENTRIES + (entries + 1) * UNDO_ENTRY.WORDS) * 4;
  }

  /** A log that nobody will roll back, nor need commit: for owners who take everything with them when they end. */
  static unkept(memories: readonly SharedArrayBuffer[]): UndoLog {
    return new UndoLog(new SharedArrayBuffer(UndoLog.bytes(0)), memories, false);
  }

  /**
   * @param log       `UndoLog.bytes()` of it: zeroed, or what an earlier owner left (then `rollBack` comes first)
   * @param memories  all that units store to, in an order that is the same for everybody (I4)
   */
  constructor(log: SharedArrayBuffer, memories: readonly SharedArrayBuffer[], isKept = true) {
    assert(log.byteLength >= UndoLog.bytes(0), `an undo log of ${log.byteLength} bytes has room for nothing`);
    this.#log = new Int32Array(log);
    this.#memories = memories;
    this.#arrays = memories.map(viewOf);
    this.#logged = this.#arrays.map((words, array) => new LoggedWords(words, this.#log, array, isKept));
  }

  /** The words of a buffer, to be stored to. */
  of(memory: SharedArrayBuffer): LoggedWords {
    return this.#logged[this.#numberOf(memory)]!;
  }

  #numberOf(memory: SharedArrayBuffer): number {
    const found = this.#memories.indexOf(memory);
    assert(found !== -1, 'the memory is none of those of the undo log');
    return found;
  }

  /** The unit of work is done (I1). */
  commit(): void {
    this.#log[UNDO.COUNT] = 0;
  }

  /** Stores of the unit at hand; after the end of an owner, of the unit that it left half done. */
  get pending(): number {
    return this.#log[UNDO.COUNT]! / UNDO_ENTRY.WORDS;
  }

  /** Whether the unit at hand has stored to a buffer's words `from` to `to` (`to` not included). */
  concerns(memory: SharedArrayBuffer, from: number, to: number): boolean {
    const log = this.#log;
    const array = this.#numberOf(memory);
    const end = UNDO.ENTRIES + log[UNDO.COUNT]!;
    for (let at = UNDO.ENTRIES; at < end; at += UNDO_ENTRY.WORDS) {
      const index = log[at + UNDO_ENTRY.INDEX]!;
      if (log[at + UNDO_ENTRY.ARRAY] === array && index >= from && index < to) return true;
    }
    return false;
  }

  /**
   * Takes back all that the unit at hand has stored, for whoever takes over from an owner that has ended.
   * @returns stores taken back
   */
  rollBack(): number {
    const log = this.#log;
    const { pending } = this;
    const size = log.length - UNDO.ENTRIES;
    assert(
      Number.isInteger(pending) && pending >= 0 && pending * UNDO_ENTRY.WORDS <= size,
      `an undo log with ${log[UNDO.COUNT]} words of entries, of ${size}`,
    );
    while (log[UNDO.COUNT] !== 0) {
      const count = log[UNDO.COUNT]! - UNDO_ENTRY.WORDS;
      const at = UNDO.ENTRIES + count;
      const words = this.#arrays[log[at + UNDO_ENTRY.ARRAY]!];
      const index = log[at + UNDO_ENTRY.INDEX]!;
      assert(words !== undefined, `an undo log names array ${log[at + UNDO_ENTRY.ARRAY]}`);
      assert(index >= 0 && index < words.length, `an undo log names word ${index} of ${words.length}`);
      words[index] = log[at + UNDO_ENTRY.OLD_VALUE]!;
      log[UNDO.COUNT] = count; // I3
    }
    return pending;
  }
}
