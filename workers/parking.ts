/**
 * Operations that wait, in a bounded pool of blocks: first in, first out for each queue.
 *
 * A queue is a number (its index in the pool's heads). An operation takes one block, or several if it is long (a
 * bulk ack): its ring message, from ROUTED on. No object is made for an operation; all of it is in the lane's memory.
 *
 * I1  Each block is free, or in one operation; each operation is in one queue.
 */
import { broken } from '../engine/layout.js';
import type { Words } from '../engine/undo-log.js';
import { WAIT } from './introspection/slow-log.js';
import { BLOCK, LANE, type LaneMemory } from './lane-memory.js';

const PAYLOAD_WORDS = BLOCK.WORDS - BLOCK.PAYLOAD;

export class Parking {
  /** Waits of the operation at hand: `peek` reads them, `push` keeps them. */
  readonly waits = new Int32Array(WAIT.WORDS);
  readonly #memory: LaneMemory;
  readonly #words: Words;
  readonly #blocks: number;
  readonly #heads: number;
  readonly #tails: number;

  constructor(memory: LaneMemory) {
    this.#memory = memory;
    this.#words = memory.words;
    this.#blocks = memory.regions.blocks;
    this.#heads = memory.regions.heads;
    this.#tails = memory.regions.tails;
  }

  /** Operations that wait. */
  get count(): number {
    return this.#words[LANE.PARKED]!;
  }

  #at(block: number): number {
    return this.#blocks + block * BLOCK.WORDS;
  }

  /** The operation at hand has just been taken from the ring. @param nowUs  on the shared clock */
  seen(nowUs: number): void {
    this.waits.fill(0);
    this.waits[WAIT.SEEN] = nowUs;
  }

  /** The first operation of a queue has waited `us` for something. @param what  of WAIT */
  waited(queue: number, what: number, us: number): void {
    const at = this.#at(this.#words[this.#heads + queue]!) + BLOCK.WAITS + what;
    this.#memory.add(at, us);
  }

  #take(): number {
    const memory = this.#memory;
    let block = memory.get(LANE.BLOCK_FREE);
    if (block !== 0) {
      memory.put(LANE.BLOCK_FREE, memory.get(this.#at(block) + BLOCK.NEXT_BLOCK));
    } else {
      block = memory.get(LANE.BLOCK_FRESH);
      memory.put(LANE.BLOCK_FRESH, block + 1);
    }
    memory.add(LANE.BLOCK_COUNT, 1);
    return block;
  }

  #release(block: number): void {
    const memory = this.#memory;
    memory.put(this.#at(block) + BLOCK.NEXT_BLOCK, memory.get(LANE.BLOCK_FREE));
    memory.put(LANE.BLOCK_FREE, block);
    memory.add(LANE.BLOCK_COUNT, -1);
  }

  /** Appends a message of `length` words; false, and nothing happened, when the pool has no room. */
  push(queue: number, words: Int32Array, at: number, length: number): boolean {
    const memory = this.#memory;
    const free = memory.sizes.blocksMax - memory.get(LANE.BLOCK_COUNT);
    if (Math.ceil(length / PAYLOAD_WORDS) > free) return false;
    let first = 0;
    let lastAt = 0;
    for (let done = 0; done < length; done += PAYLOAD_WORDS) {
      const block = this.#take();
      const base = this.#at(block);
      const part = Math.min(PAYLOAD_WORDS, length - done);
      for (let i = 0; i < part; i++) memory.put(base + BLOCK.PAYLOAD + i, words[at + done + i]!);
      memory.put(base + BLOCK.NEXT_BLOCK, 0);
      if (first === 0) first = block;
      else memory.put(lastAt + BLOCK.NEXT_BLOCK, block);
      lastAt = base;
    }
    const firstAt = this.#at(first);
    memory.put(firstAt + BLOCK.LENGTH, length);
    memory.put(firstAt + BLOCK.SINCE, memory.get(LANE.TICK));
    for (let word = 0; word < WAIT.WORDS; word++) memory.put(firstAt + BLOCK.WAITS + word, this.waits[word]!);
    memory.put(firstAt + BLOCK.NEXT_OPERATION, 0);
    if (memory.get(this.#heads + queue) === 0) memory.put(this.#heads + queue, first);
    else memory.put(this.#at(memory.get(this.#tails + queue)) + BLOCK.NEXT_OPERATION, first);
    memory.put(this.#tails + queue, first);
    memory.add(LANE.PARKED, 1);
    return true;
  }

  isEmpty(queue: number): boolean {
    return this.#words[this.#heads + queue] === 0;
  }

  /** Tick at which the first operation of a queue began to wait. The queue must not be empty. */
  sinceOf(queue: number): number {
    return this.#words[this.#at(this.#words[this.#heads + queue]!) + BLOCK.SINCE]!;
  }

  /** Copies the first message of a queue to `out` from its start, and its waits; its words. The queue must not be empty. */
  peek(queue: number, out: Int32Array): number {
    const words = this.#words;
    let block = words[this.#heads + queue]!;
    if (block === 0) broken('an empty queue', queue);
    const firstAt = this.#at(block);
    const length = words[firstAt + BLOCK.LENGTH]!;
    for (let word = 0; word < WAIT.WORDS; word++) this.waits[word] = words[firstAt + BLOCK.WAITS + word]!;
    for (let done = 0; done < length; done += PAYLOAD_WORDS) {
      const base = this.#at(block);
      const part = Math.min(PAYLOAD_WORDS, length - done);
      for (let i = 0; i < part; i++) out[done + i] = words[base + BLOCK.PAYLOAD + i]!;
      block = words[base + BLOCK.NEXT_BLOCK]!;
    }
    return length;
  }

  /** Puts all of one queue before the first of another. @returns how many operations that were */
  moveToFront(from: number, to: number): number {
    const memory = this.#memory;
    const first = memory.get(this.#heads + from);
    if (first === 0) return 0;
    const last = memory.get(this.#tails + from);
    let count = 1;
    for (let block = first; block !== last; count++)
      block = memory.get(this.#at(block) + BLOCK.NEXT_OPERATION);
    const next = memory.get(this.#heads + to);
    if (next === 0) memory.put(this.#tails + to, last);
    memory.put(this.#at(last) + BLOCK.NEXT_OPERATION, next);
    memory.put(this.#heads + to, first);
    memory.put(this.#heads + from, 0);
    return count;
  }

  /** Drops the first message of a queue. */
  shift(queue: number): void {
    const memory = this.#memory;
    let block = memory.get(this.#heads + queue);
    if (block === 0) broken('an empty queue', queue);
    memory.put(this.#heads + queue, memory.get(this.#at(block) + BLOCK.NEXT_OPERATION));
    while (block !== 0) {
      const next = memory.get(this.#at(block) + BLOCK.NEXT_BLOCK);
      this.#release(block);
      block = next;
    }
    memory.add(LANE.PARKED, -1);
  }
}
