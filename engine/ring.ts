/**
 * Single-producer single-consumer rings of messages in shared memory.
 *
 * One side writes, the other reads; neither locks. Messages are runs of 32-bit words that never wrap, so that
 * both sides work on them in place: `words[at .. at + length)`.
 *
 *     | tail ... 128 bytes | head ... 128 bytes | length, words ... | length, words ... | -n: skip to the start |
 *
 * I1  Positions count words, grow for ever and wrap at 2^32; `tail - head` is what is filled, at most the capacity.
 * I2  Only the producer stores the tail, only the consumer stores the head.
 * I3  What lies between head and tail is complete: the tail is published after the words are written (both are
 *     Atomics, which order the plain stores before them and the plain loads after them).
 * I4  A producer that sleeps until something is released says so, and then looks at the head once more; the consumer
 *     stores the head, and then looks whether it has to ring (like doorbell.ts).
 * I5  A message is at most half the capacity, so that a pad before it and the message itself always fit in an
 *     empty ring.
 */
import { assert, broken, layout } from './layout.js';

/** What either side stores is 128 bytes apart: processors fetch cache lines of 64 bytes in pairs. */
export const RING = layout({
  TAIL: 1,
  PRODUCER_WAITS: 31, // 1: whoever releases has to ring the producer
  HEAD: 32,
  DATA: 1,
});

/** Bytes of shared memory for a ring of `capacityWords`, a power of two. */
export function ringBytes(capacityWords: number): number {
  assert(
    capacityWords >= 16 && (capacityWords & (capacityWords - 1)) === 0,
    `ring of ${capacityWords} words is not a power of two`,
  );
  return (RING.DATA + capacityWords) * 4;
}

export function createRing(capacityWords: number): SharedArrayBuffer {
  return new SharedArrayBuffer(ringBytes(capacityWords));
}

function capacityOf(memory: SharedArrayBuffer): number {
  const capacity = memory.byteLength / 4 - RING.DATA;
  assert(ringBytes(capacity) === memory.byteLength, `${memory.byteLength} bytes are no ring`);
  return capacity;
}

/** Words that are published and not released, pads included, of all words; for whoever has the memory. */
export function ringDepth(memory: SharedArrayBuffer): { filled: number; capacity: number } {
  const positions = new Int32Array(memory, 0, RING.DATA);
  const head = Atomics.load(positions, RING.HEAD); // first: the tail never falls behind it
  return { filled: (Atomics.load(positions, RING.TAIL) - head) | 0, capacity: capacityOf(memory) };
}

/** The producer's end. */
export class RingWriter {
  /** The ring's words; messages are written here. */
  readonly words: Int32Array;
  readonly capacity: number;
  readonly #positions: Int32Array;
  #tail: number;
  #published: number;
  #head: number;

  constructor(memory: SharedArrayBuffer) {
    this.capacity = capacityOf(memory);
    this.#positions = new Int32Array(memory, 0, RING.DATA);
    this.words = new Int32Array(memory, RING.DATA * 4, this.capacity);
    this.#tail = Atomics.load(this.#positions, RING.TAIL);
    this.#published = this.#tail;
    this.#head = Atomics.load(this.#positions, RING.HEAD);
  }

  /**
   * Room for one message of up to `length` words.
   * @returns where in `words` to write it, or -1 if there is no room now
   */
  reserve(length: number): number {
    const capacity = this.capacity;
    if ((length + 1) * 2 > capacity) broken('a message of too many words for its ring', length);
    const index = this.#tail & (capacity - 1);
    const pad = index + 1 + length > capacity ? capacity - index : 0;
    const needed = pad + 1 + length;
    if (capacity - ((this.#tail - this.#head) | 0) < needed) {
      this.#head = Atomics.load(this.#positions, RING.HEAD);
      if (capacity - ((this.#tail - this.#head) | 0) < needed) return -1;
    }
    if (pad === 0) return index + 1;
    this.words[index] = -pad;
    this.#tail = (this.#tail + pad) | 0;
    return 1;
  }

  /** Whether messages of `length` words in all, their length words included, would fit, with a pad of up to `pad`. */
  hasRoom(length: number, pad: number): boolean {
    const capacity = this.capacity;
    if (capacity - ((this.#tail - this.#head) | 0) >= length + pad) return true;
    this.#head = Atomics.load(this.#positions, RING.HEAD);
    return capacity - ((this.#tail - this.#head) | 0) >= length + pad;
  }

  /** The message that was reserved last is written and has `length` words. Not yet visible. */
  commit(length: number): void {
    this.words[this.#tail & (this.capacity - 1)] = length;
    this.#tail = (this.#tail + 1 + length) | 0;
  }

  /**
   * Calls `visit` for each committed message that is not published yet.
   * @param visit  gets the message's place and words, may change them, and returns how many are left: 1 to `length`
   */
  reviseUnpublished(visit: (at: number, length: number) => number): void {
    const mask = this.capacity - 1;
    let position = this.#published;
    while (position !== this.#tail) {
      const index = position & mask;
      const length = this.words[index]!;
      if (length < 0) {
        position = (position - length) | 0;
        continue;
      }
      const left = visit(index + 1, length);
      if (left < length) {
        this.words[index] = left;
        this.words[index + 1 + left] = left - length; // skipped, like the pad before the end
      }
      position = (position + 1 + length) | 0;
    }
  }

  /** Makes all committed messages visible (I3). @returns whether there were any: who sleeps need not be woken for none */
  publish(): boolean {
    if (this.#tail === this.#published) return false;
    this.#published = this.#tail;
    Atomics.store(this.#positions, RING.TAIL, this.#tail);
    return true;
  }

  /** Where the next message begins: what lies before it is committed, or a pad. */
  get position(): number {
    return this.#tail;
  }

  /** Goes on at a position: what lies before it was committed by an earlier writer, and may not be published yet. */
  seek(position: number): void {
    this.#tail = position;
  }

  /** The consumer has ended, and none has taken its place yet: what it has not taken is dropped. */
  drop(): void {
    this.#head = this.#tail;
    this.#published = this.#tail;
    Atomics.store(this.#positions, RING.TAIL, this.#tail);
    Atomics.store(this.#positions, RING.HEAD, this.#tail); // I2: nobody else stores it now
  }

  /** Whether the consumer has released all before a position, however long ago that was. */
  isReleased(position: number): boolean {
    if ((this.#tail - position) >>> 0 > this.capacity) return true; // positions wrap: farther back than what can be filled
    this.#head = Atomics.load(this.#positions, RING.HEAD);
    return ((this.#head - position) | 0) >= 0;
  }

  /** I4: whether the producer is to be rung after a release. It looks at the head once more before it sleeps. */
  setWaits(waits: boolean): void {
    if ((Atomics.load(this.#positions, RING.PRODUCER_WAITS) !== 0) === waits) return;
    Atomics.store(this.#positions, RING.PRODUCER_WAITS, waits ? 1 : 0);
  }

  /** Committed words that the consumer has not released, pads included. */
  get filledWords(): number {
    this.#head = Atomics.load(this.#positions, RING.HEAD);
    return (this.#tail - this.#head) | 0;
  }
}

/** The consumer's end. */
export class RingReader {
  readonly words: Int32Array;
  readonly capacity: number;
  /** Words of the message that `next` found. */
  length = 0;
  readonly #positions: Int32Array;
  #head: number;
  #tail: number;

  constructor(memory: SharedArrayBuffer) {
    this.capacity = capacityOf(memory);
    this.#positions = new Int32Array(memory, 0, RING.DATA);
    this.words = new Int32Array(memory, RING.DATA * 4, this.capacity);
    this.#head = Atomics.load(this.#positions, RING.HEAD);
    this.#tail = this.#head;
  }

  /** Sees what was published until now; true if there is a message. */
  refresh(): boolean {
    this.#tail = Atomics.load(this.#positions, RING.TAIL);
    return this.#tail !== this.#head;
  }

  /**
   * The next message of those seen by the last `refresh`.
   * @returns where in `words` it begins (`length` words), or -1. It stays valid until `release`.
   */
  next(): number {
    const mask = this.capacity - 1;
    while (this.#head !== this.#tail) {
      const index = this.#head & mask;
      const length = this.words[index]!;
      if (length > 0) {
        this.#head = (this.#head + 1 + length) | 0;
        this.length = length;
        return index + 1;
      }
      assert(length < 0, 'a ring message of no words');
      this.#head = (this.#head - length) | 0;
    }
    return -1;
  }

  /** Where the message that `next` found ends. */
  get position(): number {
    return this.#head;
  }

  /** Goes on at a position: what lies before it was taken by an earlier reader, and may not be released yet. */
  seek(position: number): void {
    this.#head = position;
  }

  /** Published words that are not released, pads included. */
  get filledWords(): number {
    return (Atomics.load(this.#positions, RING.TAIL) - Atomics.load(this.#positions, RING.HEAD)) | 0;
  }

  /** Gives the room of all messages taken by `next` back to the producer. */
  release(): void {
    Atomics.store(this.#positions, RING.HEAD, this.#head);
  }

  /** I4: after a release. */
  producerWaits(): boolean {
    return Atomics.load(this.#positions, RING.PRODUCER_WAITS) !== 0;
  }
}
