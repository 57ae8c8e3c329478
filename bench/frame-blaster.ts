/**
 * Sends frames of operations over raw sockets and takes the answers as words: the load generator of the wire
 * benchmark. Two ways: closed loop (a window of frames in flight on each socket: the highest rate) and open loop
 * (frames at fixed times, whatever comes back: latencies from the intended time, so nothing is omitted).
 *
 * The request id of an operation is its running number, so that an answer finds its frame without a map: frame
 * `id / opsPerFrame`, in a ring of `RING` frames. A frame is done when all its operations are answered.
 *
 * Measured against the bare echo, 2 KB frames of 64 operations, a 2-core EPYC that both sides share, Node 20, million
 * operations/s: one connection of the package `ws` with 64 frames in flight 7.7; this with one connection and 16, 64,
 * 256 frames in flight 19, 26, 29; with 16 connections and 1, 4 frames 8.3, 15; with 64 and 1, 4 frames 7.6, 14. What
 * costs is the system call, so frames that wait for each other's answers on their own connections cost the most.
 */
import type { Histogram } from 'hdr-histogram-js';
import { assert } from '../engine/layout.js';
import { ENTRY, REPLY, REPLY_MORE, REQUEST } from '../engine/messages.js';
import { replyEntries } from '../gateway/client/codec.js';
import { nap, nowUs, sleep, yieldToEvents } from './clock.js';
import type { RawSocket } from './raw-socket.js';
import { createHistogram } from './run-stats.js';

const RING = 1 << 16;
const STATUSES = 16;
/** Less is not worth a system call. */
const NAP_MS_MIN = 0.005;

export interface BlasterOptions {
  sockets: RawSocket[];
  opsPerFrame: number;
  /** Writes operation number `requestId`, to go over socket number `socket`, at `words[at]`; where the next one begins. */
  fill: (words: Int32Array, at: number, requestId: number, socket: number) => number;
  /** `echo`: what comes back is the operations themselves. */
  answers: 'service' | 'echo';
  /** Told of each frame that was answered, for figures over time. */
  onLatency?: ((latencyUs: number) => void) | undefined;
  /** Told of each answer of a service, at `words[at]`; `sentUs`: when its frame went out, or was due. */
  onAnswer?: ((words: Int32Array, at: number, sentUs: number) => void) | undefined;
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
  #statuses = new Float64Array(STATUSES);
  #histogram = createHistogram();
  #nextFrame = 0;
  #answered = 0;
  #window = 0;
  /** That a closed loop is still to send. */
  #framesLeft = 0;
  #failed: Error | undefined;
  #stopped = false;

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
    const start = this.#beginClosed(window, Number.POSITIVE_INFINITY);
    await sleep(durationMs);
    this.#framesLeft = 0;
    const seconds = (performance.now() - start) / 1000;
    const operations = this.#answered;
    await this.#drain();
    return this.#result(operations, seconds);
  }

  /** This many frames, with `window` of them in flight on each socket. */
  async sendAll(frames: number, window: number): Promise<BlastResult> {
    const start = this.#beginClosed(window, frames);
    while (this.#framesLeft > 0 && this.#failed === undefined) await sleep(1);
    await this.#drain();
    return this.#result(this.#answered, (performance.now() - start) / 1000);
  }

  #beginClosed(window: number, frames: number): number {
    assert(window * this.#options.sockets.length < RING, `a window of ${window} frames`);
    this.#begin();
    this.#window = window;
    this.#framesLeft = frames;
    const start = performance.now();
    this.#options.sockets.forEach((_socket, index) => {
      this.#refill(index);
    });
    return start;
  }

  /**
   * Frames at a fixed rate, round robin over the sockets. A socket with `window` unanswered frames (the service bounds
   * them, and refuses more) delays what is due; latencies count from when it was.
   *
   * Between frames it sleeps: spinning, it would take one of two cores from what it measures. Answers are seen when the
   * next frame is due, so that latencies are up to one interval and a wake-up too long, whatever answers.
   */
  async openLoop(durationMs: number, framesPerSecond: number, window: number): Promise<BlastResult> {
    const { sockets } = this.#options;
    assert(window * sockets.length < RING, `a window of ${window} frames`);
    this.#begin();
    const intervalUs = 1e6 / framesPerSecond;
    const frames = Math.floor((durationMs / 1000) * framesPerSecond);
    const startUs = nowUs();
    for (let sent = 0; sent < frames && !this.#stopped; ) {
      const dueCount = Math.min(frames, Math.floor((nowUs() - startUs) / intervalUs) + 1);
      for (const socket of sockets) socket.cork();
      for (; sent < dueCount; sent++) {
        const socketIndex = sent % sockets.length;
        if (this.#inFlight[socketIndex]! >= window) break;
        this.#sendFrame(socketIndex, startUs + sent * intervalUs);
      }
      for (const socket of sockets) socket.uncork();
      const waitMs = (startUs + sent * intervalUs - nowUs()) / 1000;
      if (waitMs > 1.5) await sleep(waitMs - 1);
      else await (waitMs > NAP_MS_MIN ? nap(waitMs) : yieldToEvents());
      if (this.#failed !== undefined) throw this.#failed;
    }
    await this.#drain();
    return this.#result(this.#answered, (nowUs() - startUs) / 1e6);
  }

  /** Ends an open loop before its time. */
  stop(): void {
    this.#stopped = true;
  }

  #begin(): void {
    this.#answered = 0;
    this.#stopped = false;
    this.#framesLeft = 0;
    this.#statuses = new Float64Array(STATUSES);
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
      statuses: [...this.#statuses],
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
    for (let i = 0; i < opsPerFrame; i++) at = fill(frame.words, at, requestId++ | 0, socketIndex);
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
    while (this.#inFlight[socketIndex]! < this.#window && this.#framesLeft-- > 0) {
      this.#sendFrame(socketIndex, nowUs());
    }
    socket.uncork();
  }

  #frameDone(slot: number): void {
    const socketIndex = this.#socketOf[slot]!;
    this.#inFlight[socketIndex]!--;
    const latencyUs = Math.max(1, Math.round(nowUs() - this.#sentUs[slot]!));
    this.#histogram.recordValue(latencyUs);
    this.#options.onLatency?.(latencyUs);
    if (this.#framesLeft > 0 && this.#inFlight[socketIndex]! <= this.#window >>> 1) this.#refill(socketIndex);
  }

  /** `count` operations of the frame that begins with `firstId` are answered. */
  #tick(firstId: number, count: number): void {
    this.#answered += count;
    const slot = this.#slotOf(firstId);
    this.#unanswered[slot]! -= count;
    if (this.#unanswered[slot] === 0) this.#frameDone(slot);
  }

  #slotOf(requestId: number): number {
    return Math.floor((requestId >>> 0) / this.#options.opsPerFrame) & (RING - 1);
  }

  /** Of the frame of an operation. */
  #firstOf(requestId: number): number {
    return (requestId - ((requestId >>> 0) % this.#options.opsPerFrame)) | 0;
  }

  /** What comes back is looked at as answers are, each by itself: the generator's work is part of what both sides share. */
  readonly #onEcho = (words: Int32Array, length: number): void => {
    const { opsPerFrame } = this.#options;
    let first = 0;
    let count = 0;
    for (let at = 0; at < length; at += REQUEST.WORDS) {
      const requestId = words[at + REQUEST.REQUEST_ID]!;
      if (count === 0 || (requestId - first) >>> 0 >= opsPerFrame) {
        if (count > 0) this.#tick(first, count);
        first = this.#firstOf(requestId);
        count = 0;
      }
      count++;
    }
    if (count > 0) this.#tick(first, count);
  };

  /** Answers of a frame mostly come together, and are ticked off together. */
  readonly #onAnswers = (words: Int32Array, length: number): void => {
    const { opsPerFrame, onAnswer } = this.#options;
    const statuses = this.#statuses;
    let first = 0;
    let count = 0;
    for (let at = 0; at < length; ) {
      const head = words[at]!;
      if ((head & REPLY_MORE) === 0) {
        const requestId = words[at + REPLY.REQUEST_ID]!;
        if (count === 0 || (requestId - first) >>> 0 >= opsPerFrame) {
          if (count > 0) this.#tick(first, count);
          first = this.#firstOf(requestId);
          count = 0;
        }
        count++;
        statuses[(head >>> 8) & (STATUSES - 1)]!++;
        if (onAnswer !== undefined) onAnswer(words, at, this.#sentUs[this.#slotOf(first)]!);
      }
      at += REPLY.WORDS + replyEntries(words, at) * ENTRY.WORDS;
    }
    if (count > 0) this.#tick(first, count);
  };
}
