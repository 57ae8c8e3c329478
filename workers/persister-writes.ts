/**
 * The persister's writes: groups that wait, calls of the store, confirmations.
 *
 * W1  Groups go to the store in the order in which the rings gave them, as many calls at once as it takes. A store
 *     that takes one sees the groups of a user in order; one that takes more goes by their clocks.
 * W2  While a call is in work the next groups gather: the busier the store, the fuller the calls.
 * W3  While the circuit is open groups wait here and are not failed, so nobody tries them again and again; one call
 *     at a time, each `probeMs`, finds out whether the store is back, with the group whose turn it is. A group that
 *     fails goes back to its shard, so that none is in front for ever.
 */
import { setTimeout } from 'node:timers/promises';
import { assert } from '../engine/layout.js';
import {
  FLUSH_ROWS_MAX,
  FLUSHED,
  KIND_FLUSHED,
  STATUS_OK,
  STATUS_STORE_UNAVAILABLE,
} from '../engine/messages.js';
import { Circuit } from './circuit.js';
import type { PersisterCore } from './persister.js';
import type { Group } from './persister-ends.js';
import { PERSISTER_STATS } from './stats.js';
import { GroupRefused } from './stores/store.js';

/** What was given to the store leaves the queue in pieces of so many groups. */
const QUEUE_PIECE = 1024;

/**
 * Rows of one user lie together in the store: many of them in one call save little (LMDB: 2,048 rows a call are written at eight to
 * nine tenths of the rate of 8,192), and keep a processor for as long. So those of groups that are half full count so many times.
 */
const TOGETHER_ROWS = FLUSH_ROWS_MAX / 2;
const TOGETHER_WEIGHT = 4;

/** What a group takes of `rowsAWrite`. */
function weightOf({ count }: Group): number {
  return 1 + (count < TOGETHER_ROWS ? count : count * TOGETHER_WEIGHT);
}

export class PersisterWrites {
  readonly #core: PersisterCore;
  readonly #probeMs: number;
  readonly #circuit: Circuit;
  /** From `#next` on: taken and not yet given to the store, in order. */
  #queue: Group[] = [];
  #next = 0;
  #calls = 0;
  #groupsInCalls = 0;
  #waitsForProbe = false;

  constructor(core: PersisterCore, probeMs: number) {
    this.#core = core;
    this.#probeMs = probeMs;
    this.#circuit = new Circuit(probeMs);
    core.stats[PERSISTER_STATS.WRITE_CIRCUIT_OPEN] = 0; // whatever the persister before has left
  }

  add(group: Group): void {
    group.shard.rowsInWork += group.count + 1;
    this.#queue.push(group);
  }

  /** Gives the store what it may have now. */
  start(): void {
    const { store, isStopping } = this.#core;
    while (this.#next < this.#queue.length && this.#calls < store.writesAtOnce) {
      // At a stop each is tried once, come what may.
      const isProbe = this.#circuit.isOpen && !isStopping();
      if (isProbe && !this.#circuit.takeProbe()) {
        this.#startAtProbe();
        break;
      }
      this.#write(this.#takeBatch(), isProbe).catch(this.#core.fail);
    }
    this.#show();
  }

  #show(): void {
    const { stats, store } = this.#core;
    stats[PERSISTER_STATS.WRITES_IN_FLIGHT] = this.#queue.length - this.#next + this.#groupsInCalls;
    stats[PERSISTER_STATS.WRITES_AT_ONCE] = store.writesAtOnce;
  }

  #startAtProbe(): void {
    const { probeInMs } = this.#circuit;
    if (this.#waitsForProbe || probeInMs === Number.POSITIVE_INFINITY) return;
    this.#waitsForProbe = true;
    void setTimeout(probeInMs, undefined, { ref: false }).then(() => {
      this.#waitsForProbe = false;
      this.#core.wakeSoon();
    });
  }

  #takeBatch(): Group[] {
    const queue = this.#queue;
    const from = this.#next;
    let weight = 0;
    while (this.#next < queue.length && weight < this.#core.store.rowsAWrite)
      weight += weightOf(queue[this.#next++]!);
    const batch = queue.slice(from, this.#next);
    if (this.#next >= QUEUE_PIECE || this.#next === queue.length) {
      queue.splice(0, this.#next);
      this.#next = 0;
    }
    return batch;
  }

  async #write(batch: readonly Group[], isProbe: boolean): Promise<void> {
    const { stats, store } = this.#core;
    this.#calls++;
    this.#groupsInCalls += batch.length;
    const startedMs = performance.now();
    const errors = await store.write(batch);
    assert(errors.length === batch.length, `${errors.length} results of ${batch.length} groups`);
    this.#calls--;
    this.#groupsInCalls -= batch.length;
    stats[PERSISTER_STATS.WRITE_BATCHES]!++;
    stats[PERSISTER_STATS.WRITE_SECONDS_SUM]! += (performance.now() - startedMs) / 1000;
    this.#judge(errors, isProbe);
    this.start(); // the store does not wait for the answers
    batch.forEach((group, index) => {
      const error = errors[index]!;
      if (error === null) {
        stats[PERSISTER_STATS.WRITTEN_GROUPS]!++;
        stats[PERSISTER_STATS.WRITTEN_ROWS]! += group.count;
      } else {
        stats[PERSISTER_STATS.WRITE_FAILURES]!++;
        if (error instanceof GroupRefused) stats[PERSISTER_STATS.GROUPS_REFUSED]!++;
        this.#core.complain(error);
      }
      this.#answer(group, error === null ? STATUS_OK : STATUS_STORE_UNAVAILABLE).catch(this.#core.fail);
    });
    this.#core.wakeSoon();
  }

  /** A call has failed when all its groups have; a group that was refused shows that the store is well. */
  #judge(errors: readonly (Error | null)[], isProbe: boolean): void {
    const { stats, tell } = this.#core;
    if (errors.some((error) => error === null || error instanceof GroupRefused)) {
      if (this.#circuit.isOpen) tell('the store takes writes again');
      this.#circuit.succeeded();
      stats[PERSISTER_STATS.WRITE_CIRCUIT_OPEN] = 0;
    } else if (isProbe) {
      this.#circuit.probeFailed();
    } else if (this.#circuit.failed()) {
      stats[PERSISTER_STATS.WRITE_CIRCUIT_OPEN] = 1;
      stats[PERSISTER_STATS.WRITE_CIRCUIT_OPENED]!++;
      tell(`the store fails all writes: they wait, and one is tried each ${this.#probeMs} ms`);
    }
  }

  async #answer(group: Group, status: number): Promise<void> {
    const { shard, slots } = group;
    const { answers } = shard;
    const length = FLUSHED.WORDS + slots.length;
    let at = answers.reserve(length);
    while (at < 0) {
      await this.#core.room(shard);
      at = answers.reserve(length);
    }
    const { words } = answers;
    words[at + FLUSHED.KIND] = KIND_FLUSHED | (status << 8) | group.head;
    words[at + FLUSHED.PARTITION] = group.partition;
    words[at + FLUSHED.USER_SLOT] = group.userSlot;
    words[at + FLUSHED.COUNT] = slots.length;
    words.set(slots, at + FLUSHED.WORDS);
    answers.commit(length);
    shard.publishLater();
    shard.rowsInWork -= group.count + 1;
    this.#core.wakeSoon();
  }
}
