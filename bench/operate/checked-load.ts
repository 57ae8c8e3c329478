/**
 * Open-loop load whose every answer is checked by the model of answered writes, and how long each lane was silent: the
 * end of the longest silence after a kill is when the lane is served again.
 */
import { REPLY, STATUS_OK } from '../../engine/messages.js';
import { nowUs, sleep } from '../clock.js';
import { FrameBlaster } from '../frame-blaster.js';
import { LatencyCounts } from '../latency-counts.js';
import { RawSocket } from '../raw-socket.js';
import { createHistogram, type LatencySummary, latencyMs } from '../run-stats.js';
import { OPS_PER_FRAME } from '../wire-session.js';
import type { AnsweredWrites } from './answered-writes.js';

/** Frames in flight on a connection when the highest rate is looked for; and at most, below the service's own bound. */
const WINDOW_FULL = 8;
const WINDOW_MAX = 240;
const FILL_WINDOW = 8;
/** Lists that are refused are asked for again, for half a minute. */
const VERIFY_TRIES = 120;
const VERIFY_AGAIN_MS = 250;

/** The open loop runs until it is stopped. */
const ENDLESS_MS = 3_600_000;

/** One operation, in us of `nowUs`. */
export interface Waited {
  readonly dueUs: number;
  readonly answeredUs: number;
}

export class CheckedLoad {
  /** Of all operations since `forget`, from when each was due. */
  readonly #all = new LatencyCounts();
  /** Of those of lanes under watch, and of the others meanwhile. */
  readonly #struck = new LatencyCounts();
  readonly #spared = new LatencyCounts();
  /** The slowest of all: when it was due, and when it was answered. */
  #longest: Waited = { dueUs: 0, answeredUs: 0 };
  readonly #sockets: RawSocket[];
  readonly #laneOf: Uint8Array;
  #fill: 'listNext' | 'listUncompared' | 'ackNext' | 'mixed' = 'mixed';
  readonly #blaster: FrameBlaster;
  #running: Promise<unknown> = Promise.resolve();
  /** By lane: under watch; its last answer, its longest silence so far, and when that ended. */
  readonly #watched: Uint8Array;
  readonly #lastUs: Float64Array;
  readonly #silenceUs: Float64Array;
  readonly #silenceEndUs: Float64Array;
  /** Last answer to something that was sent after `#settleUs`. */
  readonly #settledUs: Float64Array;
  #settleUs = Number.POSITIVE_INFINITY;
  #watches = false;

  private constructor(
    readonly model: AnsweredWrites,
    sockets: RawSocket[],
    { partitions, lanes }: { readonly partitions: number; readonly lanes: number },
  ) {
    this.#sockets = sockets;
    this.#laneOf = model.lanesOfUsers(partitions, lanes);
    this.#watched = new Uint8Array(lanes);
    this.#lastUs = new Float64Array(lanes);
    this.#silenceUs = new Float64Array(lanes);
    this.#silenceEndUs = new Float64Array(lanes);
    this.#settledUs = new Float64Array(lanes);
    this.#blaster = new FrameBlaster({
      sockets,
      opsPerFrame: OPS_PER_FRAME,
      fill: (words, at, requestId, socket) => model[this.#fill](words, at, requestId, socket),
      answers: 'service',
      onAnswer: this.#onAnswer,
    });
  }

  static async open(
    model: AnsweredWrites,
    url: URL,
    lanes: { readonly partitions: number; readonly lanes: number },
  ): Promise<CheckedLoad> {
    const sockets: RawSocket[] = [];
    for (let i = 0; i < model.sockets; i++) sockets.push(await RawSocket.open({ url, frameWords: 1024 }));
    return new CheckedLoad(model, sockets, lanes);
  }

  /** Makes all records, of users that were looked for before. */
  async fill(users: number, records: number): Promise<void> {
    await this.#sendAll('listNext', users);
    await this.#sendAll('ackNext', records);
  }

  /** Lists all users, and compares. @throws Error if not all can be listed */
  async verify(): Promise<void> {
    const { model } = this;
    model.beginComparison();
    for (let tries = 0; model.uncomparedCount > 0; tries++) {
      if (tries === VERIFY_TRIES) throw new Error(`${model.uncomparedCount} users are refused a list`);
      if (tries > 0) await sleep(VERIFY_AGAIN_MS);
      await this.#sendAll('listUncompared', model.uncomparedCount);
    }
  }

  async #sendAll(fill: 'listNext' | 'listUncompared' | 'ackNext', operations: number): Promise<void> {
    this.model.rewind();
    this.#fill = fill;
    await this.#blaster.sendAll(Math.ceil(operations / OPS_PER_FRAME), FILL_WINDOW);
    this.#fill = 'mixed';
  }

  /** @returns operations answered a second, with frames in flight on each connection */
  async highestRate(ms: number): Promise<number> {
    const { rate } = await this.#blaster.closedLoop(ms, WINDOW_FULL);
    return rate;
  }

  /** @param rate  operations a second */
  start(rate: number): void {
    this.forget();
    this.#running = this.#blaster.openLoop(ENDLESS_MS, rate / OPS_PER_FRAME, WINDOW_MAX);
    this.#running.catch(() => {}); // `stop` tells
  }

  /** Waits until all is answered. @throws Error if it is not */
  async stop(): Promise<void> {
    this.#blaster.stop();
    await this.#running;
  }

  forget(): void {
    this.#all.reset();
    this.#struck.reset();
    this.#spared.reset();
    this.forgetLongest();
  }

  forgetLongest(): void {
    this.#longest = { dueUs: 0, answeredUs: 0 };
  }

  /** Of all operations since `forgetLongest`. */
  get longest(): Waited {
    return this.#longest;
  }

  /** Since `forget`. */
  get latencyMs(): LatencySummary {
    return summaryOf(this.#all);
  }

  get struckMs(): LatencySummary {
    return summaryOf(this.#struck);
  }

  get sparedMs(): LatencySummary {
    return summaryOf(this.#spared);
  }

  /** Listens to lanes whose thread ends now. @param us  of `nowUs` */
  watch(lanes: readonly number[], us: number): void {
    this.#watched.fill(0);
    for (const lane of lanes) this.#watched[lane] = 1;
    this.#lastUs.fill(us);
    this.#silenceUs.fill(0);
    this.#silenceEndUs.fill(us);
    this.#settledUs.fill(0);
    this.#settleUs = Number.POSITIVE_INFINITY;
    this.#watches = true;
  }

  /**
   * Another thread has the lanes. Resolves when each has answered something that was sent since.
   * @returns when the last of them was served again, in us of `nowUs`
   */
  async servedAgain(): Promise<number> {
    this.#settleUs = nowUs();
    const lanes = [...this.#watched.keys()].filter((lane) => this.#watched[lane] === 1);
    while (lanes.some((lane) => this.#settledUs[lane] === 0)) await sleep(1);
    this.#watches = false;
    return Math.max(...lanes.map((lane) => this.#silenceEndUs[lane]!));
  }

  readonly #onAnswer = (words: Int32Array, at: number, sentUs: number): void => {
    this.model.take(words, at);
    if (this.#fill !== 'mixed') return;
    const us = nowUs();
    const latencyUs = us - sentUs;
    this.#all.record(latencyUs);
    if (latencyUs > this.#longest.answeredUs - this.#longest.dueUs)
      this.#longest = { dueUs: sentUs, answeredUs: us };
    if (!this.#watches) return;
    const lane = this.#laneOf[this.model.userOf(words[at + REPLY.REQUEST_ID]!)]!;
    (this.#watched[lane] === 1 ? this.#struck : this.#spared).record(latencyUs);
    if (((words[at + REPLY.HEAD]! >>> 8) & 0xff) !== STATUS_OK) return; // the front refuses also when nobody serves
    const silenceUs = us - this.#lastUs[lane]!;
    this.#lastUs[lane] = us;
    if (silenceUs > this.#silenceUs[lane]!) {
      this.#silenceUs[lane] = silenceUs;
      this.#silenceEndUs[lane] = us;
    }
    if (sentUs > this.#settleUs) this.#settledUs[lane] = us;
  };

  close(): void {
    for (const socket of this.#sockets) {
      socket.onClose = () => {};
      socket.close();
    }
  }
}

function summaryOf(counts: LatencyCounts): LatencySummary {
  const histogram = createHistogram();
  counts.pourInto(histogram);
  return latencyMs(histogram);
}
