/**
 * The persister's loads: from a message to the store and back in parts.
 *
 * L1  A load gets an answer within the load timeout of what the store did last, also when the store hangs: then it
 *     is given up, and its place is free. What the store still says of it is not heard.
 * L2  Of long loads only so much lies in a shard's ring that short ones are not long behind it (ring-window.ts).
 * L3  While the circuit is open loads are answered at once, and only a probe of the persister's own asks the store:
 *     nobody's request has to find out, and a store that comes back is not met by all that waited.
 */
import { setTimeout } from 'node:timers/promises';
import { broken } from '../engine/layout.js';
import {
  KIND_LOAD_ROWS,
  KIND_LOAD_USER,
  KIND_LOADED,
  LOAD,
  LOAD_PART_ROWS,
  LOADED,
  LOADED_LAST,
  ROW,
  STATUS_OK,
  STATUS_STORE_UNAVAILABLE,
} from '../engine/messages.js';
import { Circuit } from './circuit.js';
import type { PersisterCore } from './persister.js';
import type { ShardEnd } from './persister-ends.js';
import { PERSISTER_STATS } from './stats.js';
import type { UserRow } from './stores/store.js';

/** Time limits are looked at so many times within one. */
const LOOKS_A_TIMEOUT = 8;
const NO_KEYS = new Int32Array(0);

/** A call of the store that has a time limit. */
interface Call {
  /** Infinity while it is not the store's turn. */
  deadlineMs: number;
  isGivenUp: boolean;
  giveUp: (error: Error) => void;
}

export class PersisterLoads {
  readonly #core: PersisterCore;
  readonly #timeoutMs: number;
  readonly #probeMs: number;
  readonly #circuit: Circuit;
  readonly #calls = new Set<Call>();
  #looks = false;
  #probes = false;
  #hasEnded = false;
  /** Parts of loads, to be used again. */
  readonly #parts: Int32Array[] = [];

  constructor(core: PersisterCore, timeoutMs: number, probeMs: number) {
    this.#core = core;
    this.#timeoutMs = timeoutMs;
    this.#probeMs = probeMs;
    this.#circuit = new Circuit(probeMs);
    core.stats[PERSISTER_STATS.LOAD_CIRCUIT_OPEN] = 0; // whatever the persister before has left
  }

  /** Whether one more may be started now. */
  get hasPlace(): boolean {
    return this.#circuit.isOpen || this.#calls.size < this.#core.store.loadsAtOnce;
  }

  /** @param message  a LOAD with its keys; kept */
  start(shard: ShardEnd, message: Int32Array): void {
    shard.loadsInWork++;
    this.#load(shard, message).catch(this.#core.fail);
  }

  /** Nothing is asked any more. */
  end(): void {
    this.#hasEnded = true;
  }

  async #load(shard: ShardEnd, message: Int32Array): Promise<void> {
    const startedMs = performance.now();
    const { stats, store } = this.#core;
    const kind = message[LOAD.KIND]! & 0xff;
    const tag = message[LOAD.TAG]!;
    const lo = message[LOAD.USER_LO]!;
    const hi = message[LOAD.USER_HI]!;
    if (kind !== KIND_LOAD_USER && kind !== KIND_LOAD_ROWS)
      broken('a message of another kind in a loads ring', kind);
    // A part is held back until it is known whether another follows: most users are one message.
    const part = this.#parts.pop() ?? new Int32Array(LOAD_PART_ROWS * ROW.WORDS);
    let partRows = 0;
    const call = this.#newCall();
    const sink = async (rows: Int32Array, rowCount: number): Promise<void> => {
      if (call.isGivenUp) throw new Error('the load was given up');
      call.deadlineMs = Number.POSITIVE_INFINITY; // it is the shard that has no room
      if (partRows > 0) await this.#answer(shard, tag, 0, null, part, partRows);
      call.deadlineMs = performance.now() + this.#timeoutMs;
      part.set(rows.subarray(0, rowCount * ROW.WORDS));
      partRows = rowCount;
      stats[PERSISTER_STATS.LOADED_ROWS]! += rowCount;
    };
    let head = LOADED_LAST | (STATUS_OK << 8);
    let userRow: UserRow | null = null;
    if (this.#circuit.isOpen) {
      head = LOADED_LAST | (STATUS_STORE_UNAVAILABLE << 8);
      stats[PERSISTER_STATS.LOADS_REFUSED]!++;
      stats[PERSISTER_STATS.LOAD_FAILURES]!++;
    } else {
      try {
        userRow = await this.#inTime(call, () =>
          kind === KIND_LOAD_USER
            ? store.loadUser(lo, hi, sink)
            : store.loadRows(lo, hi, message.subarray(LOAD.WORDS), message[LOAD.COUNT]!, sink),
        );
        this.#succeeded();
      } catch (error) {
        head = LOADED_LAST | (STATUS_STORE_UNAVAILABLE << 8);
        partRows = 0;
        stats[PERSISTER_STATS.LOAD_FAILURES]!++;
        this.#core.complain(error);
        this.#failed(lo, hi);
      }
    }
    await this.#answer(shard, tag, head, userRow, part, partRows);
    this.#parts.push(part);
    stats[PERSISTER_STATS.LOADS]!++;
    stats[PERSISTER_STATS.LOAD_SECONDS_SUM]! += (performance.now() - startedMs) / 1000;
    stats[PERSISTER_STATS.LOADS_AT_ONCE] = store.loadsAtOnce;
    shard.loadsInWork--;
    this.#core.wakeSoon();
  }

  #succeeded(): void {
    if (this.#circuit.isOpen) this.#core.tell('the store answers loads again');
    this.#circuit.succeeded();
    this.#core.stats[PERSISTER_STATS.LOAD_CIRCUIT_OPEN] = 0;
  }

  #failed(lo: number, hi: number): void {
    if (!this.#circuit.failed()) return;
    const { stats, tell } = this.#core;
    stats[PERSISTER_STATS.LOAD_CIRCUIT_OPEN] = 1;
    stats[PERSISTER_STATS.LOAD_CIRCUIT_OPENED]!++;
    tell(
      `the store fails all loads: they are answered store_unavailable, and it is asked each ${this.#probeMs} ms`,
    );
    this.#probe(lo, hi).catch(this.#core.fail);
  }

  /** Asks for the versions of the user whose load failed, until that succeeds or another load has. */
  async #probe(lo: number, hi: number): Promise<void> {
    if (this.#probes) return;
    this.#probes = true;
    while (this.#circuit.isOpen) {
      await setTimeout(this.#circuit.probeInMs, undefined, { ref: false });
      if (this.#hasEnded) return;
      if (!this.#circuit.takeProbe()) continue; // closed, or a timer that was early
      try {
        await this.#inTime(this.#newCall(), () => this.#core.store.loadRows(lo, hi, NO_KEYS, 0, () => {}));
        this.#succeeded();
      } catch (error) {
        this.#circuit.probeFailed();
        this.#core.complain(error);
      }
    }
    this.#probes = false;
    this.#core.wakeSoon();
  }

  #newCall(): Call {
    return { deadlineMs: performance.now() + this.#timeoutMs, isGivenUp: false, giveUp: () => {} };
  }

  /** As `ask`, but rejects when the call's deadline has passed (L1). */
  async #inTime<T>(call: Call, ask: () => Promise<T>): Promise<T> {
    this.#calls.add(call);
    this.#lookSoon();
    try {
      return await new Promise<T>((resolve, reject) => {
        call.giveUp = reject;
        ask().then(resolve, reject);
      });
    } finally {
      this.#calls.delete(call);
    }
  }

  #lookSoon(): void {
    if (this.#looks) return;
    this.#looks = true;
    void setTimeout(this.#timeoutMs / LOOKS_A_TIMEOUT, undefined, { ref: false }).then(() => {
      this.#looks = false;
      const nowMs = performance.now();
      for (const call of this.#calls) {
        if (call.deadlineMs > nowMs) continue;
        call.isGivenUp = true;
        this.#core.stats[PERSISTER_STATS.LOAD_TIMEOUTS]!++;
        call.giveUp(new Error(`the store has not answered a load within ${this.#timeoutMs} ms`));
      }
      if (this.#calls.size > 0) this.#lookSoon();
    });
  }

  /** @param userRow  null: not known yet (both versions are 0), or never (an error) */
  async #answer(
    shard: ShardEnd,
    tag: number,
    head: number,
    userRow: UserRow | null,
    rows: Int32Array,
    count: number,
  ): Promise<void> {
    const { answers, loadWindow } = shard;
    const isLast = (head & LOADED_LAST) !== 0;
    const length = LOADED.WORDS + count * ROW.WORDS;
    const reserve = (): number => (isLast || loadWindow.isOpen ? answers.reserve(length) : -1);
    let at = reserve();
    while (at < 0) {
      await this.#core.room(shard);
      at = reserve();
    }
    const { words } = answers;
    words[at + LOADED.KIND] = KIND_LOADED | head;
    words[at + LOADED.TAG] = tag;
    words[at + LOADED.VERSION] = userRow?.version ?? 0;
    words[at + LOADED.DELETED_VERSION] = userRow?.deletedVersion ?? 0;
    words[at + LOADED.COUNT] = count;
    words.set(rows.subarray(0, count * ROW.WORDS), at + LOADED.WORDS);
    answers.commit(length);
    if (isLast) {
      shard.publishSoon();
    } else {
      loadWindow.wrote(length);
      shard.publishLater(); // several parts of a long load with one wake-up
    }
  }
}
