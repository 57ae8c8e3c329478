/**
 * A lane whose thread ends before each of its stores in turn: another goes on, and all that leaves the lane is what it
 * would have been.
 */
import { afterEach, expect, it } from 'vitest';
import { hashUser } from '../../engine/hash.js';
import {
  BULK_ITEM,
  FLUSH,
  FLUSH_ROW,
  FLUSHED,
  KIND_FLUSHED,
  KIND_LOADED,
  LOAD,
  LOADED,
  LOADED_LAST,
  OP_ACK,
  OP_ACK_BULK,
  OP_DELETE,
  OP_DELETE_USER,
  OP_LIST,
  OP_MENTION,
  REQUEST,
  ROUTED,
  ROW,
  STATUS_OK,
  STATUS_STORE_UNAVAILABLE,
} from '../../engine/messages.js';
import type { RingReader } from '../../engine/ring.js';
import { type StoredWords, UndoLog } from '../../engine/undo-log.js';
import type { Lane } from '../../workers/lane.js';
import { TICK_MS } from '../../workers/lane-options.js';
import { createLaneRig, type LaneRig } from '../support/lane-rig.js';

class ThreadEnded extends Error {}

/** Stores until the thread ends. */
let left = Number.POSITIVE_INFINITY;
let stores = 0;
const memory = new SharedArrayBuffer(4);
const words = new UndoLog(new SharedArrayBuffer(UndoLog.bytes(1)), [memory]).of(memory);
const logged = Object.getPrototypeOf(words) as StoredWords;
const { put } = logged;
logged.put = function (this: StoredWords, index: number, value: number): void {
  stores++;
  if (left-- === 0) throw new ThreadEnded();
  put.call(this, index, value);
};
afterEach(() => {
  left = Number.POSITIVE_INFINITY;
});

/** [operation, user, channel, message]; a bulk ack is of as many channels from the first on. */
type Step = readonly [op: number, user: number, channel: number, argument: number];

/** Of each row: what it changes is flushed in them, also when the end of a thread has cost a tick. */
const TURNS = 8;

/** A user of whom the store has an error. */
const FAILING = 900;

/** Each row is sent together. Then come turns until nothing is done any more, with all answers of the store. */
const SCRIPT: readonly (readonly Step[])[] = [
  [
    [OP_ACK, 1, 7, 10],
    [OP_ACK, 1, 8, 11],
    [OP_MENTION, 2, 7, 12],
    [OP_MENTION, 1, 7, 13],
  ],
  [
    [OP_LIST, 1, 0, 0],
    [OP_ACK_BULK, 3, 20, 5],
    [OP_MENTION, 2, 7, 12],
    [OP_DELETE, 1, 8, 0],
    [OP_LIST, 1, 0, 0],
  ],
  // More than fits: users are evicted, and wait for room.
  Array.from({ length: 14 }, (_, i) => [OP_ACK_BULK, 10 + i, 100, 4] as const),
  [
    [OP_DELETE_USER, 3, 0, 0],
    [OP_ACK, 3, 20, 99],
    [OP_LIST, 3, 0, 0],
    [OP_LIST, 2, 0, 0],
  ],
  // Several go on behind one load.
  [
    [OP_LIST, 5, 0, 0],
    [OP_ACK_BULK, 5, 20, 4],
    [OP_ACK, 5, 21, 99],
    [OP_DELETE_USER, 5, 0, 0],
    [OP_MENTION, 5, 20, 12],
    [OP_LIST, 5, 0, 0],
    [OP_ACK, 5, 22, 9],
    [OP_DELETE, 6, 1, 0],
    [OP_MENTION, 6, 1, 12],
    [OP_ACK, 6, 1, 12],
  ],
  // And behind one that fails.
  [
    [OP_LIST, FAILING, 0, 0],
    [OP_ACK, FAILING, 1, 5],
    [OP_DELETE_USER, FAILING, 0, 0],
    [OP_LIST, FAILING, 0, 0],
  ],
];

class Run {
  readonly rig: LaneRig = createLaneRig({
    lanes: 32,
    recordsMax: 40,
    usersMax: 12,
    parkedMax: 64,
    flushDelayMs: 2 * TICK_MS,
  });
  readonly left: string[] = [];
  #lane: Lane;
  #message = 0;
  deaths = 0;

  constructor() {
    this.#lane = this.#attach();
    this.#again(() => this.#lane.isReady(false));
  }

  #attach(): Lane {
    for (;;) {
      try {
        return this.rig.attach(this.rig.clock.ms);
      } catch (error) {
        this.#note(error);
      }
    }
  }

  #note(error: unknown): void {
    if (!(error instanceof ThreadEnded)) throw error;
    this.deaths++;
  }

  /** Another thread takes over when the one at work ends. */
  #again<T>(work: () => T): T {
    for (;;) {
      try {
        return work();
      } catch (error) {
        this.#note(error);
        this.#lane = this.#attach();
      }
    }
  }

  #send([op, user, channel, argument]: Step): void {
    const { requests } = this.rig;
    const items = op === OP_ACK_BULK ? argument : 0;
    const length = ROUTED.WORDS + REQUEST.WORDS + items * BULK_ITEM.WORDS;
    const at = requests.reserve(length);
    const { words } = requests;
    words.fill(0, at, at + length);
    words[at + ROUTED.ROUTE] = ++this.#message;
    words[at + ROUTED.USER_HASH] = hashUser(user, 0);
    const opAt = at + ROUTED.WORDS;
    words[opAt + REQUEST.HEAD] = op;
    words[opAt + REQUEST.REQUEST_ID] = this.#message;
    words[opAt + REQUEST.USER_LO] = user;
    words[opAt + REQUEST.CHANNEL_LO] = op === OP_ACK_BULK ? items : channel;
    if (op !== OP_ACK_BULK) words[opAt + REQUEST.ARGUMENT_LO] = argument;
    for (let i = 0; i < items; i++) {
      const item = opAt + REQUEST.WORDS + i * BULK_ITEM.WORDS;
      words[item + BULK_ITEM.CHANNEL_LO] = channel + i;
      words[item + BULK_ITEM.MESSAGE_LO] = 50 + i;
    }
    requests.commit(length);
  }

  #each(ring: RingReader, visit: (words: Int32Array, at: number, length: number) => void): void {
    ring.refresh();
    for (let at = ring.next(); at !== -1; at = ring.next()) visit(ring.words, at, ring.length);
    ring.release();
  }

  /** Takes what has left the lane, and answers it as a store that has nothing and takes everything, but fails for one. */
  #exchange(): void {
    const { replies, loads, flushes, storeAnswers: answers } = this.rig;
    this.#each(replies, (words, at, length) => {
      this.left.push(`reply ${words.subarray(at, at + length).join(' ')}`);
    });
    this.#each(loads, (words, at) => {
      this.left.push(`load of ${words[at + LOAD.USER_LO]}`);
      const to = answers.reserve(LOADED.WORDS);
      answers.words.fill(0, to, to + LOADED.WORDS);
      const status = words[at + LOAD.USER_LO] === FAILING ? STATUS_STORE_UNAVAILABLE : STATUS_OK;
      answers.words[to + LOADED.KIND] = KIND_LOADED | (status << 8) | LOADED_LAST;
      answers.words[to + LOADED.TAG] = words[at + LOAD.TAG]!;
      answers.commit(LOADED.WORDS);
    });
    this.#each(flushes, (words, at) => {
      const count = words[at + FLUSH.COUNT]!;
      const to = answers.reserve(FLUSHED.WORDS + count);
      answers.words[to + FLUSHED.KIND] = (words[at + FLUSH.KIND]! & ~0xffff) | KIND_FLUSHED;
      answers.words[to + FLUSHED.PARTITION] = words[at + FLUSH.PARTITION]!;
      answers.words[to + FLUSHED.USER_SLOT] = words[at + FLUSH.USER_SLOT]!;
      answers.words[to + FLUSHED.COUNT] = count;
      const rows: string[] = [];
      for (let i = 0; i < count; i++) {
        const row = at + FLUSH.WORDS + i * FLUSH_ROW.WORDS;
        answers.words[to + FLUSHED.WORDS + i] = words[row + FLUSH_ROW.SLOT]!;
        rows.push(words.subarray(row + FLUSH_ROW.ROW, row + FLUSH_ROW.ROW + ROW.WORDS).join(' '));
      }
      answers.commit(FLUSHED.WORDS + count);
      this.left.push(`flush of ${words[at + FLUSH.USER_LO]}: ${rows.join('; ')}`);
    });
    answers.publish();
  }

  play(): void {
    for (const steps of SCRIPT) {
      for (const step of steps) this.#send(step);
      this.rig.requests.publish();
      for (let turn = 0; turn < TURNS; turn++) {
        this.rig.clock.ms += TICK_MS;
        this.#again(() => this.#lane.turn());
        this.#exchange();
      }
    }
    this.#lane.state.partition(0).check();
    this.rig.close();
  }
}

/** In any order: one that was answered a turn later may have gone out after another. */
function inOrder(left: readonly string[]): string[] {
  return [...left].sort();
}

/** All of them take minutes: TIDEMARK_STORES=all. Otherwise every so many, from a random one on. */
const STEP = process.env.TIDEMARK_STORES === 'all' ? 1 : 23;

it('leaves, answers and writes the same, whichever store its thread ends before', {
  timeout: 300_000,
}, () => {
  stores = 0;
  const whole = new Run();
  whole.play();
  const count = stores;
  expect(count).toBeGreaterThan(3000);
  expect(whole.left.filter((line) => line.startsWith('reply')).length).toBeGreaterThan(25);
  for (let store = Date.now() % STEP; store < count; store += STEP) {
    left = store;
    const run = new Run();
    run.play();
    expect(run.deaths, `store ${store}`).toBe(1);
    expect(inOrder(run.left), `store ${store} of ${count}`).toEqual(inOrder(whole.left));
  }
});
