/**
 * Sends frames of operations over raw sockets and takes the answers as words: the load generator of the wire
 * benchmark. Two ways: closed loop (a window of frames in flight on each socket: the highest rate) and open loop
 * (frames at fixed times, whatever comes back: latencies from the intended time, so nothing is omitted).
 *
 * The request id of an operation is its running number, so that an answer finds its frame without a map: frame
 * `id / opsPerFrame`, in a ring of `RING` frames. A frame is done when all its operations are answered.
 *
 * Measured against the bare echo, 2 KB frames of 64 operations, 2-core EPYC shared by both sides, Node 20:
 * see `measureClients` in `bench-wire.ts`.
 */
import type { Histogram } from 'hdr-histogram-js';
import { assert } from '../engine/layout.js';
import { ENTRY, OP_ACK_BULK, OP_LIST, REPLY, REPLY_ENTRY, REPLY_MORE, REQUEST } from '../engine/messages.js';
import { nowUs, sleep, yieldToEvents } from './clock.js';
import type { RawSocket } from './raw-socket.js';
import { createHistogram } from './run-stats.js';

const RING = 1 << 16;
const STATUSES = 16;

export interface BlasterOptions {
  sockets: RawSocket[];
  opsPerFrame: number;
  /** Writes operation number `requestId` at `words[at]`; where the next one begins. */
  fill: (words: Int32Array, at: number, requestId: number) => number;
  /** `echo`: what comes back is the operations themselves. */
  answers: 'service' | 'echo';
}

export interface BlastResult {
  operations: number;
  seconds: number;
  /** Operations answered, a second. */
  rate: number;
  /** Answers by status. */
  statuses: number[];
  /** Latencies of whole frames in microseconds; from the intended send time in open loop. */
  latencyUs: Histogram;
}

export class FrameBlaster {
  readonly #options: BlasterOptions;
  readonly #sentUs = new Float64Array(RING);
  readonly #unanswered = new Int32Array(RING);
  readonly #socketOf = new Uint16Array(RING);
  readonly #inFlight: Int32Array;
  #statuses = new Array<number>(STATUSES).fill(0);
  #histogram = createHistogram();
  #nextFrame = 0;
  #answered = 0;
  #framesDone = 0;
  #window = 0;
  #sending = false;
  #failed: Error | undefined;

  constructor(options: BlasterOptions) {
    this.#options = options;
    this.#inFlight = new Int32Array(options.sockets.length);
    options.sockets.forEach((socket) => {
      socket.onFrame = options.answers === 'echo' ? this.#onEcho : this.#onAnswers;
      socket.onClose = (code, reason) => {
        this.#failed = new Error(`a connection closed during the run: ${code} ${reason}`);
      };
    });
  }

  /** The highest rate with `window` frames in flight on each socket. */
  async closedLoop(durationMs: number, window: number): Promise<BlastResult> {
    assert(window * this.#options.sockets.length < RING, `a window of ${window} frames`);
    this.#begin();
    this.#window = window;
    const start = performance.now();
    this.#sending = true;
    this.#options.sockets.forEach((_socket, index) => {
      this.#refill(index);
    });
    await sleep(durationMs);
    this.#sending = false;
    const seconds = (performance.now() - start) / 1000;
    const operations = this.#answered;
    await this.#drain();
    return this.#result(operations, seconds);
  }

  /** Frames at a fixed rate, round robin over the sockets. */
  async openLoop(durationMs: number, framesPerSecond: number): Promise<BlastResult> {
    this.#begin();
    this.#window = 0;
    const intervalUs = 1e6 / framesPerSecond;
    const frames = Math.floor((durationMs / 1000) * framesPerSecond);
    const startUs = nowUs();
    const first = this.#nextFrame;
    const { sockets } = this.#options;
    for (let sent = 0; sent < frames; ) {
      const dueCount = Math.min(frames, Math.floor((nowUs() - startUs) / intervalUs) + 1);
      if (dueCount > sent) for (const socket of sockets) socket.cork();
      while (sent < dueCount && this.#nextFrame - this.#oldestWanted(first) < RING) {
        this.#sendFrame(this.#nextFrame % sockets.length, startUs + sent * intervalUs);
        sent++;
      }
      for (const socket of sockets) socket.uncork();
      const waitMs = (startUs + sent * intervalUs - nowUs()) / 1000;
      if (waitMs > 1.5) await sleep(waitMs - 1);
      else await yieldToEvents();
      if (this.#failed !== undefined) throw this.#failed;
    }
    await this.#drain();
    return this.#result(this.#answered, (nowUs() - startUs) / 1e6);
  }

  /** All frames before this one are done, or so many are that the ring cannot overrun. */
  #oldestWanted(first: number): number {
    return first + this.#framesDone;
  }

  #begin(): void {
    this.#answered = 0;
    this.#framesDone = 0;
    this.#statuses = new Array<number>(STATUSES).fill(0);
    this.#histogram = createHistogram();
  }

  async #drain(): Promise<void> {
    const deadline = performance.now() + 30_000;
    while (this.#inFlight.some((count) => count > 0)) {
      if (this.#failed !== undefined) throw this.#failed;
      if (performance.now() > deadline)
        throw new Error(`${this.#inFlight.join('+')} frames were not answered within 30 s`);
      await sleep(2);
    }
    if (this.#failed !== undefined) throw this.#failed;
  }

  #result(operations: number, seconds: number): BlastResult {
    return {
      operations,
      seconds,
      rate: operations / seconds,
      statuses: this.#statuses,
      latencyUs: this.#histogram,
    };
  }

  #sendFrame(socketIndex: number, sentUs: number): void {
    const { opsPerFrame, fill, sockets } = this.#options;
    const socket = sockets[socketIndex]!;
    const frame = socket.takeFrame();
    const slot = this.#nextFrame & (RING - 1);
    let at = 0;
    let requestId = Math.imul(this.#nextFrame, opsPerFrame);
    for (let i = 0; i < opsPerFrame; i++) at = fill(frame.words, at, requestId++ | 0);
    this.#sentUs[slot] = sentUs;
    this.#unanswered[slot] = opsPerFrame;
    this.#socketOf[slot] = socketIndex;
    this.#inFlight[socketIndex]!++;
    this.#nextFrame = (this.#nextFrame + 1) % Math.floor(2 ** 32 / opsPerFrame);
    socket.send(frame, at);
  }

  #refill(socketIndex: number): void {
    const socket = this.#options.sockets[socketIndex]!;
    if (this.#inFlight[socketIndex]! >= this.#window) return;
    socket.cork();
    while (this.#inFlight[socketIndex]! < this.#window) this.#sendFrame(socketIndex, nowUs());
    socket.uncork();
  }

  #frameDone(slot: number): void {
    const socketIndex = this.#socketOf[slot]!;
    this.#inFlight[socketIndex]!--;
    this.#framesDone++;
    this.#histogram.recordValue(Math.max(1, Math.round(nowUs() - this.#sentUs[slot]!)));
    if (this.#sending && this.#inFlight[socketIndex]! <= this.#window >>> 1) this.#refill(socketIndex);
  }

  readonly #onEcho = (words: Int32Array, length: number): void => {
    const { opsPerFrame } = this.#options;
    const operations = length / REQUEST.WORDS;
    this.#answered += operations;
    const slot = Math.floor((words[REQUEST.REQUEST_ID]! >>> 0) / opsPerFrame) & (RING - 1);
    this.#unanswered[slot]! -= operations;
    if (this.#unanswered[slot] === 0) this.#frameDone(slot);
  };

  readonly #onAnswers = (words: Int32Array, length: number): void => {
    const { opsPerFrame } = this.#options;
    const unanswered = this.#unanswered;
    for (let at = 0; at < length; ) {
      const head = words[at]!;
      let next = at + REPLY.WORDS;
      if ((head & REPLY_ENTRY) !== 0) {
        const op = head & 0xff;
        next += ENTRY.WORDS * (op === OP_LIST || op === OP_ACK_BULK ? words[at + REPLY.MENTION_COUNT]! : 1);
      }
      if ((head & REPLY_MORE) === 0) {
        this.#answered++;
        this.#statuses[(head >>> 8) & (STATUSES - 1)]!++;
        const slot = Math.floor((words[at + REPLY.REQUEST_ID]! >>> 0) / opsPerFrame) & (RING - 1);
        if (--unanswered[slot]! === 0) this.#frameDone(slot);
      }
      at = next;
    }
  };
}
