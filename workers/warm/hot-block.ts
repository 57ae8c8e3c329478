/**
 * The most recently active users of a lane, in memory that the lane and the main thread share.
 *
 *     | WANTED | DONE | partition: count, ids (low word, high word) | next partition | ...
 *
 * I1  The main thread raises WANTED; the lane writes its users, some partitions a tick, and then sets DONE to the WANTED
 *     that it saw. While the two are equal the lane does not write, so the main thread may read.
 */
import { layout } from '../../engine/layout.js';
import type { LaneState } from '../lane-state.js';

const BLOCK = layout({ WANTED: 1, DONE: 1 });

/** After so many the rest has to wait for the next tick: each is a cache miss, together 0.3 ms. */
const USERS_A_TICK = 1024;

function sectionWords(usersMax: number): number {
  return 1 + usersMax * 2;
}

/** @param usersMax  of each partition */
export function createHotBlock(partitions: number, usersMax: number): SharedArrayBuffer {
  return new SharedArrayBuffer((BLOCK.WORDS + partitions * sectionWords(usersMax)) * 4);
}

/** The lane's side. */
export class HotCollector {
  readonly #words: Int32Array;
  readonly #usersMax: number;
  /** The partition at hand, and its first portion's tick. */
  #next = 0;
  #since = 0;
  #isUnderWay = false;
  #wanted = 0;

  constructor(block: SharedArrayBuffer, partitions: number) {
    this.#words = new Int32Array(block);
    this.#usersMax = ((this.#words.length - BLOCK.WORDS) / partitions - 1) / 2;
  }

  /** To be called each tick. */
  step(lane: LaneState): void {
    const words = this.#words;
    if (!this.#isUnderWay) {
      this.#wanted = Atomics.load(words, BLOCK.WANTED);
      if (this.#wanted === words[BLOCK.DONE]) return;
      this.#isUnderWay = true;
    }
    for (let left = USERS_A_TICK; left > 0; ) {
      if (this.#next === lane.owned.length) {
        this.#next = 0;
        this.#isUnderWay = false;
        Atomics.store(words, BLOCK.DONE, this.#wanted);
        return;
      }
      left -= this.#portion(lane, left);
    }
  }

  /** @returns users that were looked at, at least one */
  #portion(lane: LaneState, most: number): number {
    const words = this.#words;
    const at = BLOCK.WORDS + this.#next * sectionWords(this.#usersMax);
    const isFirst = this.#since === 0;
    if (isFirst) this.#since = lane.tick;
    const before = isFirst ? 0 : words[at]!;
    const max = Math.min(this.#usersMax, before + most);
    const partition = lane.partition(lane.owned[this.#next]!);
    const count = partition.hottestUsers(words, at + 1, max, before, this.#since);
    words[at] = count;
    if (count < max || count === this.#usersMax) {
      this.#next++;
      this.#since = 0;
    }
    return Math.max(1, count - before);
  }
}

/** Asks all lanes for their users. */
export function askForHotUsers(blocks: readonly SharedArrayBuffer[]): void {
  for (const block of blocks) Atomics.add(new Int32Array(block), BLOCK.WANTED, 1);
}

export function haveAnswered(blocks: readonly SharedArrayBuffer[]): boolean {
  return blocks.every((block) => {
    const words = new Int32Array(block);
    return Atomics.load(words, BLOCK.DONE) === words[BLOCK.WANTED];
  });
}

/** The users of all partitions, the newest of each first, then the second of each, and so on: two words a user. */
export function readHotUsers(
  blocks: readonly SharedArrayBuffer[],
  usersMaxOfPartition: number,
): Int32Array<ArrayBuffer> {
  const sections = blocks.flatMap((block) => {
    const words = new Int32Array(block);
    const starts: Int32Array[] = [];
    for (let at: number = BLOCK.WORDS; at < words.length; at += sectionWords(usersMaxOfPartition)) {
      starts.push(words.subarray(at + 1, at + 1 + words[at]! * 2));
    }
    return starts;
  });
  const ids = new Int32Array(sections.reduce((sum, section) => sum + section.length, 0));
  let count = 0;
  for (let rank = 0; count < ids.length; rank += 2) {
    for (const section of sections) {
      if (rank >= section.length) continue;
      ids[count++] = section[rank]!;
      ids[count++] = section[rank + 1]!;
    }
  }
  return ids;
}
