/**
 * Puts the images of a journal back into a shard's partitions, a slice in each turn, so that the shard can flush
 * meanwhile: what was unsaved may be more than fits in. Owner: the shard's thread.
 */
import { closeSync, openSync, readSync } from 'node:fs';
import { hashUser } from '../../engine/hash.js';
import { assert } from '../../engine/layout.js';
import { IMAGE } from '../../engine/messages.js';
import type { Partition } from '../../engine/partition.js';
import { FRAME } from './format.js';
import type { ReplaySegment } from './reader.js';

/** Images looked at in one turn: some 1 ms. */
const IMAGES_A_TURN = 4096;
/** Records to make room for when there is none: the next images want some, too. */
const ROOM_RECORDS = 64;

export class Replay {
  /** The partition at hand is full of what is not saved: it must be flushed before the replay can go on. */
  needsRoom = false;
  /** Images of this shard's partitions that are back. */
  restored = 0;
  readonly #segments: readonly ReplaySegment[];
  #segment = -1;
  #run = 0;
  #words = new Int32Array(0);
  /** Word at which the frame at hand ends, and of its next image; equal: the next frame begins there. */
  #frameEnd = 0;
  #at = 0;

  /** @param partitionOf  by the user's hash; null = another shard's */
  constructor(
    segments: readonly ReplaySegment[],
    private readonly partitionOf: (hash: number) => Partition | null,
  ) {
    this.#segments = segments;
  }

  /** Goes on for a slice. @returns false when all is done */
  step(): boolean {
    this.needsRoom = false;
    for (let left = IMAGES_A_TURN; left > 0; left--) {
      if (this.#at === this.#frameEnd && !this.#nextFrame()) return false;
      const lo = this.#words[this.#at + IMAGE.USER_LO]!;
      const hi = this.#words[this.#at + IMAGE.USER_HI]!;
      const hash = hashUser(lo, hi);
      const partition = this.partitionOf(hash);
      if (partition !== null) {
        if (!this.#restore(partition, hash)) {
          this.needsRoom = true;
          return true;
        }
        this.restored++;
      }
      this.#at += IMAGE.WORDS;
    }
    return true;
  }

  #restore(partition: Partition, hash: number): boolean {
    if (partition.restoreImage(hash, this.#words, this.#at)) return true;
    partition.makeRoom(ROOM_RECORDS, false);
    return partition.restoreImage(hash, this.#words, this.#at);
  }

  #nextFrame(): boolean {
    let run = this.#segments[this.#segment]?.runs[this.#run];
    while (run === undefined || this.#frameEnd >= run.to) {
      if (run !== undefined) this.#run++;
      if (this.#segments[this.#segment]?.runs[this.#run] === undefined) {
        this.#run = 0;
        if (++this.#segment >= this.#segments.length) return false;
        this.#load(this.#segments[this.#segment]!);
      }
      run = this.#segments[this.#segment]!.runs[this.#run];
      if (run !== undefined) this.#frameEnd = run.from;
    }
    this.#at = this.#frameEnd + FRAME.WORDS;
    this.#frameEnd += this.#words[this.#frameEnd + FRAME.LENGTH]!;
    return true;
  }

  /** Reads what of the segment has frames. */
  #load({ path, runs }: ReplaySegment): void {
    const words = runs.at(-1)?.to ?? 0;
    if (words > this.#words.length) this.#words = new Int32Array(words);
    const bytes = new Uint8Array(this.#words.buffer, 0, words * 4);
    const fd = openSync(path, 'r');
    try {
      for (let done = 0; done < bytes.length; ) {
        const count = readSync(fd, bytes, done, bytes.length - done, done);
        assert(count > 0, `${path} has become shorter since it was checked`);
        done += count;
      }
    } finally {
      closeSync(fd);
    }
  }
}
