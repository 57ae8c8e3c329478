/**
 * The front's ends of all shards' rings, on the front's event loop.
 *
 * I1  Answers of one shard are handed out in the order in which they were written.
 * I2  Asleep (doorbell) means: all reply rings were seen empty after the doorbell was set.
 */
import type { MessagePort } from 'node:worker_threads';
import { Doorbell } from '../engine/doorbell.js';
import { RingReader, RingWriter } from '../engine/ring.js';
import type { FrontPort } from './workers.js';

/** Answers handed out before the event loop gets its turn: about a millisecond. */
const ANSWERS_A_TURN = 8192;

export interface FrontShard {
  readonly requests: SharedArrayBuffer;
  readonly replies: SharedArrayBuffer;
  readonly doorbell: SharedArrayBuffer;
  /** Any message of the shard is a wake-up. */
  readonly port: MessagePort;
}

class ShardEnd {
  readonly requests: RingWriter;
  readonly replies: RingReader;
  readonly doorbell: Doorbell;
  written = false;

  constructor(shard: FrontShard) {
    this.requests = new RingWriter(shard.requests);
    this.replies = new RingReader(shard.replies);
    this.doorbell = new Doorbell(shard.doorbell);
  }
}

export class FrontRings implements FrontPort {
  onAnswer: (words: Int32Array, at: number, length: number) => void = () => {};
  onDrained: () => void = () => {};
  readonly #ends: ShardEnd[];
  readonly #doorbell: Doorbell;
  readonly #partitionMask: number;
  readonly #ownerOf: Int32Array;
  #current: ShardEnd;
  #scheduled = false;

  /** @param ownerOf  shard of each partition */
  constructor(shards: readonly FrontShard[], doorbell: SharedArrayBuffer, ownerOf: Int32Array) {
    this.#ends = shards.map((shard) => new ShardEnd(shard));
    this.#current = this.#ends[0]!;
    this.#doorbell = new Doorbell(doorbell);
    this.#ownerOf = ownerOf;
    this.#partitionMask = ownerOf.length - 1;
    for (const { port } of shards) port.on('message', () => this.#drain());
    this.#doorbell.sleep();
  }

  get words(): Int32Array {
    return this.#current.requests.words;
  }

  reserve(userHash: number, length: number): number {
    const end = this.#ends[this.#ownerOf[userHash & this.#partitionMask]!]!;
    this.#current = end;
    return end.requests.reserve(length);
  }

  commit(length: number): void {
    this.#current.requests.commit(length);
    this.#current.written = true;
  }

  publish(): void {
    for (const end of this.#ends) {
      if (!end.written) continue;
      end.written = false;
      end.requests.publish();
      end.doorbell.ring();
    }
  }

  /** To one shard, not by a user's hash. @returns false if its ring is full */
  order(shard: number, words: readonly number[]): boolean {
    const end = this.#ends[shard]!;
    const at = end.requests.reserve(words.length);
    if (at === -1) return false;
    end.requests.words.set(words, at);
    end.requests.commit(words.length);
    end.requests.publish();
    end.doorbell.ring();
    return true;
  }

  #drain(): void {
    if (this.#scheduled) return;
    this.#doorbell.rise();
    for (;;) {
      let left = ANSWERS_A_TURN;
      for (const end of this.#ends) left -= this.#take(end, left);
      this.onDrained();
      if (left <= 0) {
        this.#scheduled = true;
        setImmediate(() => {
          this.#scheduled = false;
          this.#drain();
        });
        return;
      }
      this.#doorbell.sleep();
      if (!this.#ends.some((end) => end.replies.refresh())) return;
      this.#doorbell.rise();
    }
  }

  #take(end: ShardEnd, most: number): number {
    const { replies } = end;
    if (!replies.refresh()) return 0;
    let count = 0;
    while (count < most) {
      const at = replies.next();
      if (at === -1) break;
      this.onAnswer(replies.words, at, replies.length);
      count++;
    }
    replies.release(); // a shard without room for its answers does not sleep, so it need not be woken
    return count;
  }
}
