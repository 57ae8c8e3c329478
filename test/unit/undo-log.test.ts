/** Units of work that end half way, in every way that a log can be found. */
import { describe, expect, it } from 'vitest';
import { UNDO, UNDO_ENTRY, UndoLog } from '../../engine/undo-log.js';

const ENTRIES = 8;

function arrays(): { memories: SharedArrayBuffer[]; words: Int32Array[] } {
  const memories = [new SharedArrayBuffer(64), new SharedArrayBuffer(128)];
  const words = memories.map((memory) => new Int32Array(memory));
  for (const array of words) for (let i = 0; i < array.length; i++) array[i] = i * 3 - 5;
  return { memories, words };
}

describe('an undo log', () => {
  it('takes back what was not committed, in all arrays, and words that were stored to twice', () => {
    const { memories, words } = arrays();
    const log = new SharedArrayBuffer(UndoLog.bytes(ENTRIES));
    const undo = new UndoLog(log, memories);
    undo.of(memories[0]!).put(3, 100);
    undo.of(memories[1]!).put(3, 200);
    undo.commit();
    expect(undo.pending).toBe(0);
    const before = words.map((array) => array.slice());
    undo.of(memories[1]!).put(31, -1);
    undo.of(memories[0]!).put(3, 101);
    undo.of(memories[1]!).put(31, 0x7fffffff);
    undo.of(memories[0]!).put(0, -0x80000000);
    expect(undo.pending).toBe(4);
    const heir = new UndoLog(log, memories);
    expect(heir.pending).toBe(4);
    expect(heir.rollBack()).toBe(4);
    expect(heir.pending).toBe(0);
    expect(words).toEqual(before);
    expect(heir.rollBack()).toBe(0);
  });

  it('does the same again when a roll-back ends half way', () => {
    for (let ended = 0; ended <= 3; ended++) {
      const { memories, words } = arrays();
      const before = words.map((array) => array.slice());
      const log = new SharedArrayBuffer(UndoLog.bytes(ENTRIES));
      const undo = new UndoLog(log, memories);
      undo.of(memories[0]!).put(1, 7);
      undo.of(memories[0]!).put(1, 8);
      undo.of(memories[1]!).put(2, 9);
      // As a roll-back leaves it that ended after `ended` stores, the last of them not uncounted yet.
      for (const [array, index, value] of [
        [1, 2, before[1]![2]!],
        [0, 1, 7],
        [0, 1, before[0]![1]!],
      ].slice(0, ended)) {
        words[array!]![index!] = value!;
      }
      new Int32Array(log)[UNDO.COUNT] = (3 - Math.max(0, ended - 1)) * UNDO_ENTRY.WORDS;
      new UndoLog(log, memories).rollBack();
      expect(words, `ended after ${ended}`).toEqual(before);
    }
  });

  it('knows which words the unit at hand has stored to', () => {
    const { memories } = arrays();
    const undo = new UndoLog(new SharedArrayBuffer(UndoLog.bytes(ENTRIES)), memories);
    undo.of(memories[1]!).put(10, 1);
    expect(undo.storedTo(memories[1]!)).toEqual([10]);
    expect(undo.storedTo(memories[0]!)).toEqual([]);
    undo.commit();
    expect(undo.storedTo(memories[1]!)).toEqual([]);
  });

  it('says at the end of a unit that it did not fit, and takes nothing back then', () => {
    const { memories } = arrays();
    const log = new SharedArrayBuffer(UndoLog.bytes(ENTRIES));
    const undo = new UndoLog(log, memories);
    for (let i = 0; i < ENTRIES; i++) undo.of(memories[0]!).put(i, 1000 + i);
    undo.commit();
    for (let i = 0; i < ENTRIES + 1; i++) undo.of(memories[0]!).put(i, 1000 + i);
    expect(() => undo.commit()).toThrow('did not fit');
    expect(() => new UndoLog(log, memories).rollBack()).toThrow('18 words of entries, of 16');
  });

  it('has places for many buffers of more than 8 GiB in all, and no more than 16', () => {
    // Memory that is not touched takes none.
    const memories = Array.from({ length: 3 }, () => new SharedArrayBuffer(3 * 2 ** 30));
    const log = new SharedArrayBuffer(UndoLog.bytes(ENTRIES));
    const undo = new UndoLog(log, memories);
    const last = memories[2]!.byteLength / 4 - 1;
    undo.of(memories[2]!).put(last, 7);
    undo.of(memories[1]!).put(last, 8);
    expect(undo.storedTo(memories[2]!)).toEqual([last]);
    expect(undo.storedTo(memories[0]!)).toEqual([]);
    undo.rollBack();
    expect(undo.of(memories[2]!).words[last]).toBe(0);
    expect(undo.of(memories[1]!).words[last]).toBe(0);
    expect(() => new UndoLog(log, [...memories, ...memories])).toThrow('are the most');
  });

  it('refuses what is no log, and memory that is not its own', () => {
    const { memories } = arrays();
    expect(() => new UndoLog(new SharedArrayBuffer(4), memories)).toThrow('has room for nothing');
    const log = new SharedArrayBuffer(UndoLog.bytes(ENTRIES));
    const undo = new UndoLog(log, memories);
    expect(() => undo.of(new SharedArrayBuffer(64))).toThrow('none of those');
    const words = new Int32Array(log);
    words[UNDO.COUNT] = 3;
    expect(() => undo.rollBack()).toThrow('3 words of entries');
    words[UNDO.COUNT] = UNDO_ENTRY.WORDS;
    words[UNDO.ENTRIES + UNDO_ENTRY.PLACE] = 1000;
    expect(() => undo.rollBack()).toThrow('word 1000');
  });
});
