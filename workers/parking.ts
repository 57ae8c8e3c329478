/**
 * Operations that wait, in a bounded pool of blocks: first in, first out for each queue.
 *
 * A queue is a number (its index in the pool's heads). An operation takes one block, or several if it is long (a
 * bulk ack): its ring message, from ROUTED on. No object is made for an operation.
 *
 * I1  Each block is free, or in one operation; each operation is in one queue.
 */
import { broken, layout } from '../engine/layout.js';
import { WAIT } from './introspection/slow-log.js';

const BLOCK = layout({
  NEXT_OPERATION: 1, // first block of the next operation of the queue, 0 ends
  NEXT_BLOCK: 1, // next block of this operation, 0 ends; in a free block: next free block
  LENGTH: 1, // words of the operation, in its first block
  PAYLOAD: 13,
});
const PAYLOAD_WORDS = BLOCK.WORDS - BLOCK.PAYLOAD;

export class Parking {
  readonly #blocks: Int32Array;
  readonly #heads: Int32Array;
  readonly #tails: Int32Array;
  /** WAIT words of each operation, at its first block. */
  readonly #waits: Int32Array;
  /** Those of the operation at hand: `peek` reads them, `push` keeps them. */
  readonly waits = new Int32Array(WAIT.WORDS);
  #free = 0;
  #freeCount = 0;
  /** Operations that wait. */
  count = 0;

  /** @param blocks  of 13 words each: an ack takes one, a bulk ack of 100 items 40 */
  constructor(blocks: number, queues: number) {
    this.#blocks = new Int32Array((blocks + 1) * BLOCK.WORDS);
    this.#waits = new Int32Array((blocks + 1) * WAIT.WORDS);
    this.#heads = new Int32Array(queues);
    this.#tails = new Int32Array(queues);
    for (let block = blocks; block >= 1; block--) this.#release(block);
  }

  /** The operation at hand has just been taken from the ring. @param nowUs  on the shared clock */
  seen(nowUs: number): void {
    this.waits.fill(0);
    this.waits[WAIT.SEEN] = nowUs;
  }

  /** The first operation of a queue has waited `us` for something. @param what  of WAIT */
  waited(queue: number, what: number, us: number): void {
    const at = this.#heads[queue]! * WAIT.WORDS + what;
    this.#waits[at] = this.#waits[at]! + us;
  }

  #release(block: number): void {
    this.#blocks[block * BLOCK.WORDS + BLOCK.NEXT_BLOCK] = this.#free;
    this.#free = block;
    this.#freeCount++;
  }

  /** Appends a message of `length` words; false, and nothing happened, when the pool has no room. */
  push(queue: number, words: Int32Array, at: number, length: number): boolean {
    if (Math.ceil(length / PAYLOAD_WORDS) > this.#freeCount) return false;
    const blocks = this.#blocks;
    const first = this.#free;
    let last = 0;
    for (let done = 0; done < length; done += PAYLOAD_WORDS) {
      const block = this.#free;
      const base = block * BLOCK.WORDS;
      this.#free = blocks[base + BLOCK.NEXT_BLOCK]!;
      this.#freeCount--;
      const part = Math.min(PAYLOAD_WORDS, length - done);
      for (let i = 0; i < part; i++) blocks[base + BLOCK.PAYLOAD + i] = words[at + done + i]!;
      blocks[base + BLOCK.NEXT_BLOCK] = 0;
      if (last !== 0) blocks[last * BLOCK.WORDS + BLOCK.NEXT_BLOCK] = block;
      last = block;
    }
    blocks[first * BLOCK.WORDS + BLOCK.LENGTH] = length;
    for (let word = 0; word < WAIT.WORDS; word++) this.#waits[first * WAIT.WORDS + word] = this.waits[word]!;
    blocks[first * BLOCK.WORDS + BLOCK.NEXT_OPERATION] = 0;
    if (this.#heads[queue] === 0) this.#heads[queue] = first;
    else blocks[this.#tails[queue]! * BLOCK.WORDS + BLOCK.NEXT_OPERATION] = first;
    this.#tails[queue] = first;
    this.count++;
    return true;
  }

  isEmpty(queue: number): boolean {
    return this.#heads[queue] === 0;
  }

  /** Copies the first message of a queue to `out` from its start, and its waits; its words. The queue must not be empty. */
  peek(queue: number, out: Int32Array): number {
    const blocks = this.#blocks;
    let block = this.#heads[queue]!;
    if (block === 0) broken(`queue ${queue} is empty`);
    const length = blocks[block * BLOCK.WORDS + BLOCK.LENGTH]!;
    for (let word = 0; word < WAIT.WORDS; word++) this.waits[word] = this.#waits[block * WAIT.WORDS + word]!;
    for (let done = 0; done < length; done += PAYLOAD_WORDS) {
      const base = block * BLOCK.WORDS;
      const part = Math.min(PAYLOAD_WORDS, length - done);
      for (let i = 0; i < part; i++) out[done + i] = blocks[base + BLOCK.PAYLOAD + i]!;
      block = blocks[base + BLOCK.NEXT_BLOCK]!;
    }
    return length;
  }

  /** Puts all of one queue before the first of another. @returns how many operations that were */
  moveToFront(from: number, to: number): number {
    const blocks = this.#blocks;
    const first = this.#heads[from]!;
    if (first === 0) return 0;
    let count = 1;
    for (let block = first; block !== this.#tails[from]; count++)
      block = blocks[block * BLOCK.WORDS + BLOCK.NEXT_OPERATION]!;
    if (this.#heads[to] === 0) this.#tails[to] = this.#tails[from]!;
    blocks[this.#tails[from]! * BLOCK.WORDS + BLOCK.NEXT_OPERATION] = this.#heads[to]!;
    this.#heads[to] = first;
    this.#heads[from] = 0;
    return count;
  }

  /** Drops the first message of a queue. */
  shift(queue: number): void {
    const blocks = this.#blocks;
    let block = this.#heads[queue]!;
    if (block === 0) broken(`queue ${queue} is empty`);
    this.#heads[queue] = blocks[block * BLOCK.WORDS + BLOCK.NEXT_OPERATION]!;
    while (block !== 0) {
      const next = blocks[block * BLOCK.WORDS + BLOCK.NEXT_BLOCK]!;
      this.#release(block);
      block = next;
    }
    this.count--;
  }
}
