/**
 * What a shard notes about its own operations: how long they took, which were the slowest, and which users and
 * channels have the most. All of it in shared memory that only the shard writes; nothing is allocated.
 *
 * Latencies are from the front's stamp (read once for all that it publishes together) to the end of the turn in
 * which the answer was published. Operations with one stamp that are answered in one turn took the same time: they
 * are a *run*, and the clock is read once for all runs of a turn. How many of each kind are in a run is by how much the
 * lane's own counters grew meanwhile, so that most operations only have their stamp looked at. An operation that had to
 * wait is a run of its own, with what it waited for.
 */

import { layout } from '../../engine/layout.js';
import {
  OP_ACK,
  OP_DELETE,
  OP_GET,
  OP_MAX,
  OP_MENTION,
  OP_PIN_ACK,
  REQUEST,
  ROUTED,
} from '../../engine/messages.js';
import type { Clock } from '../clock.js';
import { LANE_STATS } from '../stats.js';
import { HOT_TABLE_BYTES, HotTable, WINDOW_S } from './hot-keys.js';
import { addLatency, LATENCIES } from './latency-histogram.js';
import { SLOW_LOG_BYTES, SlowLog, WAIT } from './slow-log.js';

const RUN = layout({
  STAMP: 1,
  OP: 1, // of the first operation, and whom it was about
  USER_LO: 1,
  USER_HI: 1,
  CHANNEL_LO: 1,
  CHANNEL_HI: 1,
  WAITS: WAIT.WORDS,
  COUNTS: OP_MAX + 1, // operations by OP_*
});
/** Runs of one turn; when there are more, the first are closed early. */
const RUNS_MAX = 64;

/**
 * Operations of one lane that are sampled in a second, about: a quiet lane looks at each, a busy one at one in 128. A sample
 * costs some hundred ns on busy cores, of two tables whose lines are not in a cache: one operation in 32 was 2 to 4% of the
 * processor time of the whole service, one in 64 still 1.5%.
 */
const SAMPLES_PER_S = 1500;
/** Gaps between samples are 1 to mask + 1, at random: what comes in a rhythm is not always missed, or always hit. */
const GAP_MASK_MAX = 255;
/** Samples until the next tick after which the gaps are as wide as they get. */
const SAMPLES_A_TICK_MAX = SAMPLES_PER_S;

/** What one shard notes, and who reads it needs. */
export interface IntrospectionMemory {
  readonly latencies: SharedArrayBuffer;
  /** Two tables: users, channels. */
  readonly hotKeys: SharedArrayBuffer;
  readonly slow: SharedArrayBuffer;
}

export function createIntrospection(): IntrospectionMemory {
  return {
    latencies: new SharedArrayBuffer(LATENCIES.WORDS * Float64Array.BYTES_PER_ELEMENT),
    hotKeys: new SharedArrayBuffer(HOT_TABLE_BYTES * 2),
    slow: new SharedArrayBuffer(SLOW_LOG_BYTES),
  };
}

/** Whether the operation's channel words are a channel. */
export function namesChannel(op: number): boolean {
  return op === OP_ACK || op === OP_MENTION || op === OP_GET || op === OP_PIN_ACK || op === OP_DELETE;
}

/** @returns 32 bits that depend on all of an id's */
export function hashChannel(lo: number, hi: number): number {
  let hash = Math.imul(lo ^ Math.imul(hi, 0x85ebca6b), 0x9e3779b1);
  hash ^= hash >>> 15;
  hash = Math.imul(hash, 0xc2b2ae35);
  return hash ^ (hash >>> 13);
}

export class LaneIntrospection {
  readonly users: HotTable;
  readonly channels: HotTable;
  /** Operations until the next sample, which it is. */
  #untilSample = 1;
  /** Time of the turn's begin, on the shared clock. */
  nowUs = 0;
  readonly #latencies: Float64Array;
  readonly #slow: SlowLog;
  readonly #runs = new Int32Array(RUNS_MAX * RUN.WORDS);
  #runCount = 0;
  /** Where the run is to which the next operation may belong; -1 = none. */
  #runAt = -1;
  /** LANE_STATS: operations answered are counted there. */
  readonly #counts: Float64Array;
  /** Those counts, by OP_*, when the run at #runAt began. */
  readonly #before = new Float64Array(OP_MAX + 1);
  #runStamp = 0;
  #gapMask = 0;
  /** Operations that the next sample stands for. */
  #weight = 1;
  #samples = 0;
  #operations = 0;
  #random: number;
  #decayedUs: number;
  readonly #clock: Clock;

  /**
   * @param seed   of the samples
   * @param clock  read at the beginning of each turn; here once more at its end
   * @param stats  LANE_STATS, whose owner counts an operation after it has told of it here
   */
  constructor(memory: IntrospectionMemory, seed: number, clock: Clock, stats: SharedArrayBuffer) {
    this.#latencies = new Float64Array(memory.latencies);
    this.users = new HotTable(memory.hotKeys, 0, seed + 1);
    this.channels = new HotTable(memory.hotKeys, HOT_TABLE_BYTES, seed + 2);
    this.#slow = new SlowLog(memory.slow);
    this.#random = (seed + 3) | 1;
    this.#clock = clock;
    this.#counts = new Float64Array(stats);
    this.#decayedUs = clock.us;
  }

  beginTurn(): void {
    this.nowUs = this.#clock.us;
  }

  /**
   * A batch was taken. Its samples are looked for once a batch, not at each operation: what runs at each is inlined, and
   * pushes other code out of what V8 inlines.
   * @param ats  of the ROUTED words of each
   */
  taken(words: Int32Array, ats: Int32Array, count: number): void {
    let next = this.#untilSample;
    for (; next <= count; next += this.#nextGap()) this.#sample(words, ats[next - 1]!);
    this.#untilSample = next - count;
  }

  /** @returns operations from this sample to the next */
  #nextGap(): number {
    let x = this.#random;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#random = x;
    this.#weight = (this.#gapMask + 2) / 2;
    return 1 + (x & this.#gapMask);
  }

  #sample(words: Int32Array, at: number): void {
    const weight = this.#weight;
    this.#operations += weight;
    if (++this.#samples > SAMPLES_A_TICK_MAX) this.#gapMask = GAP_MASK_MAX;
    const opAt = at + ROUTED.WORDS;
    this.users.add(
      words[at + ROUTED.USER_HASH]!,
      words[opAt + REQUEST.USER_LO]!,
      words[opAt + REQUEST.USER_HI]!,
      weight,
    );
    if (!namesChannel(words[opAt + REQUEST.HEAD]! & 0xff)) return;
    const lo = words[opAt + REQUEST.CHANNEL_LO]!;
    const hi = words[opAt + REQUEST.CHANNEL_HI]!;
    this.channels.add(hashChannel(lo, hi), lo, hi, weight);
  }

  /** An operation (ROUTED words at `at`) was answered in the turn in which it came. */
  answered(words: Int32Array, at: number, op: number): void {
    if (words[at + ROUTED.STAMP_US] !== this.#runStamp || this.#runAt === -1) this.#openRun(words, at, op);
  }

  /** With an operation to whose stamp others may belong. */
  #openRun(words: Int32Array, at: number, op: number): void {
    const run = this.#addRun(words, at, op);
    const waits = run + RUN.WAITS;
    this.#runs[waits + WAIT.SEEN] = this.nowUs;
    for (let word = WAIT.SEEN + 1; word < WAIT.WORDS; word++) this.#runs[waits + word] = 0;
    for (let each = 1; each <= OP_MAX; each++)
      this.#before[each] = this.#counts[LANE_STATS.OPERATIONS + each]!;
    this.#runAt = run;
  }

  /** One that had to wait was answered. @param waits  its WAIT words */
  answeredLate(words: Int32Array, at: number, op: number, waits: Int32Array): void {
    const run = this.#addRun(words, at, op);
    for (let word = 0; word < WAIT.WORDS; word++) this.#runs[run + RUN.WAITS + word] = waits[word]!;
    this.#runs[run + RUN.COUNTS + op] = 1;
  }

  /** No more operations belong to the run at #runAt. */
  #closeRun(): void {
    if (this.#runAt === -1) return;
    const counts = this.#runAt + RUN.COUNTS;
    for (let op = 1; op <= OP_MAX; op++)
      this.#runs[counts + op] = this.#counts[LANE_STATS.OPERATIONS + op]! - this.#before[op]!;
    this.#runAt = -1;
  }

  #addRun(words: Int32Array, at: number, op: number): number {
    this.#closeRun();
    if (this.#runCount === RUNS_MAX) this.endTurn();
    const runs = this.#runs;
    const run = this.#runCount++ * RUN.WORDS;
    const opAt = at + ROUTED.WORDS;
    const channel = namesChannel(op);
    runs[run + RUN.STAMP] = words[at + ROUTED.STAMP_US]!;
    runs[run + RUN.OP] = op;
    runs[run + RUN.USER_LO] = words[opAt + REQUEST.USER_LO]!;
    runs[run + RUN.USER_HI] = words[opAt + REQUEST.USER_HI]!;
    runs[run + RUN.CHANNEL_LO] = channel ? words[opAt + REQUEST.CHANNEL_LO]! : 0;
    runs[run + RUN.CHANNEL_HI] = channel ? words[opAt + REQUEST.CHANNEL_HI]! : 0;
    this.#runStamp = runs[run + RUN.STAMP]!;
    return run;
  }

  /** The answers are published: all runs end now. */
  endTurn(): void {
    if (this.#runCount === 0) return;
    this.#closeRun();
    const clock = this.#clock;
    clock.read();
    const nowUs = clock.us;
    const runs = this.#runs;
    for (let i = 0; i < this.#runCount; i++) {
      const run = i * RUN.WORDS;
      const stamp = runs[run + RUN.STAMP]!;
      const us = Math.max(0, (nowUs - stamp) | 0);
      for (let op = 1; op <= OP_MAX; op++) {
        const count = runs[run + RUN.COUNTS + op]!;
        if (count === 0) continue;
        addLatency(this.#latencies, op, us, count);
        runs[run + RUN.COUNTS + op] = 0;
      }
      if (us >= this.#slow.thresholdUs) this.#slow.add(runs, run + RUN.OP, stamp, us, runs, run + RUN.WAITS);
    }
    this.#runCount = 0;
  }

  /** To be called some times a second. @returns seconds since the last time */
  tick(): number {
    const seconds = ((this.nowUs - this.#decayedUs) | 0) / 1e6;
    const left = Math.exp(-seconds / WINDOW_S);
    this.#decayedUs = this.nowUs;
    const gap = this.#operations / Math.max(seconds, 1e-3) / SAMPLES_PER_S;
    this.#gapMask = gap <= 1 ? 0 : Math.min(GAP_MASK_MAX, (1 << (32 - Math.clz32(gap))) - 1);
    this.#operations = 0;
    this.#samples = 0;
    this.users.decay(left);
    this.channels.decay(left);
    this.#slow.expire();
    return seconds;
  }
}
