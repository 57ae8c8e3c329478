/**
 * The connection below `TidemarkClient`: queues calls, sends those of one tick in one frame, finds the call of an
 * answer, connects again, and repeats what may be repeated.
 *
 * A call is in exactly one place: waiting in the queue, in flight, or resting until its next try.
 * S1  Calls are sent in the order in which they were made; after a lost connection those that are repeated come
 *     first, in their old order, so calls of one user keep their order. Only a call that the service refused
 *     (busy) and that is tried again later may be overtaken.
 * S2  A call that was sent is repeated only if it is `repeatable`: the caller says so for each operation. One that
 *     never left is always sent again.
 * S3  Waiting and in flight together are at most `callsMax`; more are refused at once with `busy`.
 * S4  Every call ends within its timeout, with an answer or an error.
 */
import {
  ENTRY,
  REPLY,
  REPLY_CHANGED,
  REPLY_MORE,
  REPLY_PARTIAL,
  REQUEST,
  STATUS_BUSY,
  STATUS_INTERNAL,
  STATUS_INVALID,
  STATUS_JOURNAL_UNAVAILABLE,
  STATUS_STORE_UNAVAILABLE,
} from '../../engine/messages.js';
import {
  type ChangeEvent,
  decodeEntry,
  decodeEvent,
  fieldName,
  isEvent,
  messageWords,
  type ReadState,
  replyEntries,
  replyStatus,
} from './codec.js';
import { TidemarkError, type TidemarkErrorCode } from './errors.js';
import { findWebSocket, Transport, type TransportOptions } from './transport.js';

export interface SessionOptions extends TransportOptions {
  /** From the call to its answer, tries included. */
  timeoutMs: number;
  /** Largest frame that is sent; the service takes 65,536 bytes unless it was started otherwise. */
  frameBytesMax: number;
  inFlightMax: number;
  callsMax: number;
  /** Tries of one call, the first included. */
  triesMax: number;
  reconnectMinMs: number;
  reconnectMaxMs: number;
}

/** What an answer says, list parts put together. */
export interface Answer {
  status: number;
  partial: boolean;
  changed: boolean;
  /** The REPLY words of the same names. */
  mentionCount: number;
  version: number;
  entries: ReadState[];
}

interface Call {
  words: Int32Array;
  repeatable: boolean;
  deadlineMs: number;
  tries: number;
  entries: ReadState[];
  resolve(answer: Answer): void;
  reject(error: TidemarkError): void;
}

const BUSY_RETRY_MS = 100;
const STORE_RETRY_MS = 1000;

interface Refusal {
  readonly code: TidemarkErrorCode;
  readonly message: string;
  readonly retryAfterMs: number;
}

const REFUSALS: Record<number, Refusal | undefined> = {
  [STATUS_BUSY]: { code: 'busy', message: 'the service is busy', retryAfterMs: BUSY_RETRY_MS },
  [STATUS_STORE_UNAVAILABLE]: {
    code: 'store_unavailable',
    message: 'the store cannot be reached',
    retryAfterMs: STORE_RETRY_MS,
  },
  [STATUS_JOURNAL_UNAVAILABLE]: {
    code: 'journal_unavailable',
    message: 'the service cannot write its journal; the change may or may not have been made',
    retryAfterMs: STORE_RETRY_MS,
  },
};
const SWEEP_MS = 50;
const BUFFERED_BYTES_MAX = 4 << 20;

export class Session {
  readonly #options: SessionOptions;
  readonly #onEvent: (event: ChangeEvent) => void;
  /** The connection is there (again); what this submits with `first` goes before everything else. */
  readonly #onOpen: (again: boolean) => void;
  readonly #wanted: () => boolean;
  #queue: Call[] = [];
  /** Goes before the queue. */
  #urgent: Call[] = [];
  readonly #inFlight = new Map<number, Call>();
  readonly #resting = new Map<Call, NodeJS.Timeout>();
  #transport: Transport | undefined;
  #open = false;
  #opened = 0;
  #failures = 0;
  #receivedMs = 0;
  #lastProblem = '';
  #nextRequestId = 1;
  #flushScheduled = false;
  #sweeper: NodeJS.Timeout | undefined;
  #reconnecting: NodeJS.Timeout | undefined;
  #closed = false;

  /** @param wanted  a connection is needed also when no call waits */
  constructor(
    options: SessionOptions,
    onEvent: (event: ChangeEvent) => void,
    onOpen: (again: boolean) => void,
    wanted: () => boolean,
  ) {
    this.#options = options;
    this.#onEvent = onEvent;
    this.#onOpen = onOpen;
    this.#wanted = wanted;
  }

  get connected(): boolean {
    return this.#open;
  }

  /** Calls that are not answered yet. */
  get pending(): number {
    return this.#urgent.length + this.#queue.length + this.#inFlight.size + this.#resting.size;
  }

  /**
   * Sends one operation and waits for its answer.
   * @param words  an operation; its request id is set here
   */
  submit(words: Int32Array, repeatable: boolean, first = false): Promise<Answer> {
    return new Promise((resolve, reject) => {
      if (this.#closed) {
        reject(new TidemarkError('closed', 'the client is closed'));
        return;
      }
      if (this.pending >= this.#options.callsMax && !first) {
        reject(
          new TidemarkError('busy', `${this.pending} calls wait for answers, and more are not kept`, {
            retryAfterMs: BUSY_RETRY_MS,
          }),
        );
        return;
      }
      const deadlineMs = performance.now() + this.#options.timeoutMs;
      const call: Call = { words, repeatable, deadlineMs, tries: 0, entries: [], resolve, reject };
      if (first) this.#urgent.push(call);
      else this.#queue.push(call);
      this.#sweeper ??= setInterval(() => this.#sweep(), SWEEP_MS);
      this.#scheduleFlush();
    });
  }

  /** Ends the connection; calls without an answer fail with `closed`. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#reconnecting);
    this.#transport?.close();
    this.#failAll(new TidemarkError('closed', 'the client was closed'));
    this.#stopSweeping();
  }

  /** Connects if there is no connection and none is under way. */
  connect(): void {
    if (this.#transport !== undefined || this.#reconnecting !== undefined || this.#closed) return;
    const attempt = Math.min(this.#failures, 16);
    const { reconnectMinMs, reconnectMaxMs } = this.#options;
    // Full jitter: clients that were cut off together do not come back together.
    const delayMs =
      attempt === 0 ? 0 : Math.random() * Math.min(reconnectMaxMs, reconnectMinMs * 2 ** attempt);
    this.#reconnecting = setTimeout(() => {
      this.#reconnecting = undefined;
      void this.#connectNow();
    }, delayMs);
  }

  async #connectNow(): Promise<void> {
    try {
      const WebSocket = await findWebSocket(this.#options.webSocket);
      if (this.#closed) return;
      const transport: Transport = new Transport(WebSocket, this.#options, {
        onOpen: () => {
          if (this.#transport !== transport || this.#closed) return;
          this.#open = true;
          this.#onOpen(this.#opened++ > 0);
          this.#flush();
        },
        onFrame: (words) => {
          if (this.#transport === transport) this.#receive(words);
        },
        onClose: (code, reason) => {
          if (this.#transport === transport) this.#lost(code, reason);
        },
      });
      this.#transport = transport;
    } catch (error) {
      // No WebSocket at all, a wrong address: no later try goes better.
      const problem =
        error instanceof TidemarkError ? error : new TidemarkError('disconnected', (error as Error).message);
      this.#failAll(problem);
    }
  }

  #scheduleFlush(): void {
    if (this.#flushScheduled) return;
    this.#flushScheduled = true;
    queueMicrotask(() => {
      this.#flushScheduled = false;
      this.#flush();
    });
  }

  #flush(): void {
    if (this.#urgent.length > 0) {
      this.#queue = this.#urgent.concat(this.#queue);
      this.#urgent = [];
    }
    if (this.#closed || this.#queue.length === 0) return;
    const transport = this.#transport;
    if (transport === undefined || !this.#open) {
      this.connect();
      return;
    }
    const { frameBytesMax, inFlightMax } = this.#options;
    const wordsMax = frameBytesMax >>> 2;
    let taken = 0;
    while (taken < this.#queue.length && this.#inFlight.size < inFlightMax) {
      // Answers or the sweep bring this back when the socket has taken what it has.
      if (transport.bufferedBytes > BUFFERED_BYTES_MAX) break;
      const from = taken;
      let length = 0;
      while (taken < this.#queue.length && this.#inFlight.size < inFlightMax) {
        const call = this.#queue[taken]!;
        if (length > 0 && length + call.words.length > wordsMax) break;
        this.#enterFlight(call);
        length += call.words.length;
        taken++;
      }
      const frame = new Int32Array(length);
      let at = 0;
      for (let i = from; i < taken; i++) {
        const { words } = this.#queue[i]!;
        frame.set(words, at);
        at += words.length;
      }
      transport.send(frame);
    }
    this.#queue = taken === this.#queue.length ? [] : this.#queue.slice(taken);
  }

  #enterFlight(call: Call): void {
    let requestId = this.#nextRequestId;
    while (this.#inFlight.has(requestId)) requestId = (requestId + 1) | 0;
    this.#nextRequestId = (requestId + 1) | 0;
    call.words[REQUEST.REQUEST_ID] = requestId;
    call.tries++;
    this.#inFlight.set(requestId, call);
  }

  #receive(words: Int32Array): void {
    try {
      for (let at = 0; at < words.length; ) {
        const length = messageWords(words, at, words.length);
        if (isEvent(words[at]!)) this.#onEvent(decodeEvent(words, at));
        else this.#answer(words, at);
        at += length;
      }
    } catch (error) {
      if (!(error instanceof TidemarkError)) throw error;
      this.#drop(1002, error.message);
    }
    this.#receivedMs = performance.now();
    this.#failures = 0;
    if (this.#queue.length > 0) this.#scheduleFlush();
  }

  #answer(words: Int32Array, at: number): void {
    const requestId = words[at + REPLY.REQUEST_ID]!;
    const call = this.#inFlight.get(requestId);
    if (call === undefined) return; // it timed out before
    const head = words[at + REPLY.HEAD]!;
    const status = replyStatus(head);
    const entries = replyEntries(words, at);
    for (let i = 0; i < entries; i++) {
      call.entries.push(decodeEntry(words, at + REPLY.WORDS + i * ENTRY.WORDS));
    }
    if ((head & REPLY_MORE) !== 0) return;
    this.#inFlight.delete(requestId);
    if (status === STATUS_INVALID) {
      const field = fieldName(words[at + REPLY.MENTION_COUNT]!);
      call.reject(new TidemarkError('invalid_request', `the service refused ${field}`, { field }));
    } else if (status === STATUS_INTERNAL) {
      call.reject(new TidemarkError('internal', 'the service failed in this call; nothing was done'));
    } else if (REFUSALS[status] !== undefined) this.#refused(call, REFUSALS[status]);
    else {
      call.resolve({
        status,
        partial: (head & REPLY_PARTIAL) !== 0,
        changed: (head & REPLY_CHANGED) !== 0,
        mentionCount: words[at + REPLY.MENTION_COUNT]!,
        version: words[at + REPLY.VERSION]! >>> 0,
        entries: call.entries,
      });
    }
  }

  /** Not now. What commutes with what was called since is tried again (S1). */
  #refused(call: Call, { code, message, retryAfterMs }: Refusal): void {
    call.entries = [];
    const delayMs = retryAfterMs * 2 ** (call.tries - 1) * (0.5 + Math.random());
    if (
      !call.repeatable ||
      call.tries >= this.#options.triesMax ||
      performance.now() + delayMs > call.deadlineMs
    ) {
      call.reject(new TidemarkError(code, message, { retryAfterMs }));
      return;
    }
    const timer = setTimeout(() => {
      this.#resting.delete(call);
      this.#queue.push(call);
      this.#scheduleFlush();
    }, delayMs);
    this.#resting.set(call, timer);
  }

  #drop(code: number, reason: string): void {
    this.#transport?.close();
    this.#lost(code, reason);
  }

  #lost(code: number, reason: string): void {
    if (this.#transport === undefined) return;
    this.#transport = undefined;
    const wasOpen = this.#open;
    this.#open = false;
    this.#failures++;
    if (this.#closed) return;
    this.#lastProblem = `${code}${reason === '' ? '' : ` ${reason}`}`;
    const again: Call[] = [];
    for (const call of this.#inFlight.values()) {
      call.entries = [];
      if (call.repeatable && call.tries < this.#options.triesMax) again.push(call);
      else {
        call.reject(
          new TidemarkError(
            'disconnected',
            `the connection was lost before the answer came (${this.#lastProblem})`,
          ),
        );
      }
    }
    this.#inFlight.clear();
    this.#queue = again.concat(this.#queue);
    if (!wasOpen && /\b401\b/.test(reason)) {
      this.#failAll(new TidemarkError('unauthorized', 'the service does not take the token'));
    }
    if (this.pending > 0 || this.#wanted()) this.connect();
  }

  /** S4. One timer for all: a timer for each call costs more than the call. */
  #sweep(): void {
    const now = performance.now();
    let isSilent = false;
    for (const [requestId, call] of this.#inFlight) {
      if (call.deadlineMs > now) continue;
      this.#inFlight.delete(requestId);
      isSilent ||= this.#receivedMs < call.deadlineMs - this.#options.timeoutMs;
      call.reject(
        new TidemarkError(
          'timeout',
          `no answer came within ${this.#options.timeoutMs} ms; it may have been done`,
        ),
      );
    }
    for (const [call, timer] of this.#resting) {
      if (call.deadlineMs > now) continue;
      clearTimeout(timer);
      this.#resting.delete(call);
      call.reject(new TidemarkError('busy', 'the service stayed busy', { retryAfterMs: BUSY_RETRY_MS }));
    }
    if (this.#queue.some((call) => call.deadlineMs <= now)) {
      const [late, kept] = [[], []] as [Call[], Call[]];
      for (const call of this.#queue) (call.deadlineMs <= now ? late : kept).push(call);
      this.#queue = kept;
      const why = this.#open ? '' : `: there was no connection (${this.#lastProblem || 'not opened yet'})`;
      for (const call of late) {
        call.reject(new TidemarkError('timeout', `not sent within ${this.#options.timeoutMs} ms${why}`));
      }
    }
    // Nothing at all came since that call was made: the other side is gone without a word.
    if (isSilent && this.#open) this.#drop(1006, 'no answer came');
    if (this.pending === 0) this.#stopSweeping();
    else if (this.#queue.length > 0) this.#flush();
  }

  #stopSweeping(): void {
    clearInterval(this.#sweeper);
    this.#sweeper = undefined;
  }

  #failAll(error: TidemarkError): void {
    const calls = [...this.#inFlight.values(), ...this.#urgent, ...this.#queue, ...this.#resting.keys()];
    for (const timer of this.#resting.values()) clearTimeout(timer);
    this.#inFlight.clear();
    this.#resting.clear();
    this.#urgent = [];
    this.#queue = [];
    for (const call of calls) call.reject(error);
  }
}
