/**
 * How many shards there are to be: with `--shards auto` as many as the processors have it, also when that changes (the
 * affinity of the process, say); after the order of a number that number, until `auto` is ordered again.
 */
import { automaticShards } from '../workers/lane-counts.js';
import type { Workers } from '../workers/workers.js';

/** How often `auto` looks how many processors there are. */
const FOLLOW_INTERVAL_MS = 10_000;

export class ShardCount {
  /** Follows the processors. */
  isAutomatic: boolean;
  /** Told when the processors changed the number, or could not. */
  onFollowed: (message: string) => void = () => {};
  readonly #workers: Workers;
  readonly #automaticShards: (most: number) => number;
  readonly #timer: NodeJS.Timeout;
  /** Resizes that are not done: meanwhile nothing is followed, or an order would be undone while it waits for its turn. */
  #underWay = 0;

  /** @param shardsOf  how many `auto` is, of at most so many lanes */
  constructor(workers: Workers, isAutomatic: boolean, shardsOf = automaticShards) {
    this.#workers = workers;
    this.#automaticShards = shardsOf;
    this.isAutomatic = isAutomatic;
    this.#timer = setInterval(() => void this.#follow(), FOLLOW_INTERVAL_MS).unref();
  }

  end(): void {
    clearInterval(this.#timer);
  }

  /** @throws OperateError if it cannot be done: it is followed, or not, as before */
  async order(shards: number | 'auto'): Promise<void> {
    await this.#resize(shards === 'auto' ? this.#wanted : shards);
    this.isAutomatic = shards === 'auto';
  }

  get #wanted(): number {
    return this.#automaticShards(this.#workers.laneStats.length);
  }

  async #resize(shards: number): Promise<void> {
    this.#underWay++;
    try {
      await this.#workers.resize(shards);
    } finally {
      this.#underWay--;
    }
  }

  async #follow(): Promise<void> {
    const shards = this.#wanted;
    if (!this.isAutomatic || this.#underWay > 0 || shards === this.#workers.shards().length) return;
    try {
      await this.#resize(shards);
      this.onFollowed(`${shards} shards now, as there are other processors.`);
    } catch (error) {
      this.onFollowed((error as Error).message);
    }
  }
}
