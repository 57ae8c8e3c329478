/**
 * The connection below `TidemarkClient`: queues calls, sends those of one tick in one frame, finds the call of an
 * answer, connects again, and repeats what may be repeated.
 *
 * All calls without an end are in `#calls`, in the order in which they were made, which is that of their deadlines. Each is in
 * exactly one place: waiting in the queue, in flight, resting until its next try, or following one that was refused
 * (`UserOrder`). What has ended may still be in the queue, and is passed over there.
 * S1  Calls are sent in the order in which they were made, also after a lost connection. One that the service refused
 *     (busy) is overtaken only by calls for which that makes no difference (`UserOrder`).
 * S2  A call that was sent is repeated only if it is `repeatable`, as the caller says for each operation, and if it keeps
 *     its place (S1). One that never left is always sent again.
 * S3  There are at most `callsMax` of them; more are refused at once with `busy`.
 * S4  Every call ends within its timeout, with an answer or an error.
 * S5  There is at most one connection, or one attempt. An attempt ends within `connectTimeoutMs`. A connection on which
 *     nothing comes is asked with a ping, after `keepAliveMs`, or half of `timeoutMs` where a call waits, and given
 *     up after the less of the two once more: a platform's WebSocket shows no pings of the service, and does not
 *     notice that the other side has gone without a word.
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
import { type Answer, type Call, isAnswer, opOf } from './call.js';
import {
  type ChangeEvent,
  decodeEntry,
  decodeEvent,
  encodePing,
  fieldName,
  isEvent,
  messageWords,
  replyEntries,
  replyStatus,
} from './codec.js';
import { TidemarkError, type TidemarkErrorCode } from './errors.js';
import { findWebSocket, Transport, type TransportOptions } from './transport.js';
import { UserOrder } from './user-order.js';

export interface SessionOptions extends TransportOptions {
  /** From the call to its answer, tries included. */
  timeoutMs: number;
  /** Largest frame that is sent, at most the service's `--max-frame`. */
  frameBytesMax: number;
  inFlightMax: number;
  callsMax: number;
  /** Tries of one call, the first included. */
  triesMax: number;
  connectTimeoutMs: number;
  keepAliveMs: number;
  reconnectMinMs: number;
  reconnectMaxMs: number;
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
/** The request id of pings that are no call: nobody waits for the answer. */
const PING_ID = 0;
const BUFFERED_BYTES_MAX = 4 << 20;

export class Session {
  readonly #options: SessionOptions;
  readonly #onEvent: (event: ChangeEvent) => void;
  /** There is a connection again; what this submits with `first` goes before everything else. */
  readonly #onOpenAgain: () => void;
  readonly #wanted: () => boolean;
  /** The service does not take the token: who waits for a connection without a call is told. */
  readonly #onUnauthorized: (error: TidemarkError) => void;
  readonly #calls = new Set<Call>();
  #made = 0;
  /** In the order of the calls when `#isSorted`. */
  #queue: Call[] = [];
  #isSorted = true;
  readonly #inFlight = new Map<number, Call>();
  readonly #order = new UserOrder();
  #transport: Transport | undefined;
  /** When the attempt began. */
  #connectingMs = 0;
  #open = false;
  #opened = false;
  #failures = 0;
  /** When something came; with nothing in flight since, when the next call was sent. */
  #heardMs = 0;
  /** While a ping of this file is out: when the connection is given up. */
  #goneMs: number | undefined;
  #lastProblem = '';
  #nextRequestId = 1;
  #flushScheduled = false;
  #sweeper: NodeJS.Timeout | undefined;
  /** From the decision to connect until there is a transport. */
  #connecting: NodeJS.Timeout | undefined;
  #closed = false;

  /** @param wanted  a connection is needed also when no call waits */
  constructor(
    options: SessionOptions,
    onEvent: (event: ChangeEvent) => void,
    onOpenAgain: () => void,
    wanted: () => boolean,
    onUnauthorized: (error: TidemarkError) => void,
  ) {
    this.#options = options;
    this.#onEvent = onEvent;
    this.#onOpenAgain = onOpenAgain;
    this.#wanted = wanted;
    this.#onUnauthorized = onUnauthorized;
  }

  get connected(): boolean {
    return this.#open;
  }

  /**
   * Sends one operation and waits for its answer.
   * @param words  an operation; its request id is set here
   * @param first  goes before all others
   */
  submit(words: Int32Array, repeatable: boolean, first = false): Promise<Answer> {
    return new Promise((resolve, reject) => {
      if (this.#closed) {
        reject(new TidemarkError('closed', 'the client is closed'));
        return;
      }
      if (this.#calls.size >= this.#options.callsMax && !first) {
        reject(
          new TidemarkError('busy', `${this.#calls.size} calls wait for answers, and more are not kept`, {
            retryAfterMs: BUSY_RETRY_MS,
          }),
        );
        return;
      }
      const call: Call = {
        words,
        order: first ? 0 : ++this.#made,
        repeatable,
        deadlineMs: performance.now() + this.#options.timeoutMs,
        tries: 0,
        entries: [],
        timer: undefined,
        followers: [],
        resolve,
        reject,
      };
      this.#calls.add(call);
      this.#enqueue(call);
      this.#watch();
    });
  }

  /** Ends the connection; calls without an answer fail with `closed`. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#open = false;
    clearTimeout(this.#connecting);
    this.#transport?.close();
    this.#failAll(new TidemarkError('closed', 'the client was closed'));
    this.#stopSweeping();
  }

  /** Connects if there is no connection and none is under way. */
  connect(): void {
    if (this.#transport !== undefined || this.#connecting !== undefined || this.#closed) return;
    const attempt = Math.min(this.#failures, 16);
    const { reconnectMinMs, reconnectMaxMs } = this.#options;
    // Full jitter: clients that were cut off together do not come back together.
    const delayMs =
      attempt === 0 ? 0 : Math.random() * Math.min(reconnectMaxMs, reconnectMinMs * 2 ** attempt);
    this.#connecting = setTimeout(() => void this.#connectNow(), delayMs);
  }

  async #connectNow(): Promise<void> {
    try {
      const WebSocket = await findWebSocket(this.#options.webSocket);
      if (this.#closed) return;
      const transport: Transport = new Transport(WebSocket, this.#options, {
        onOpen: () => {
          if (this.#transport === transport && !this.#closed) this.#opens();
        },
        onFrame: (words) => {
          if (this.#transport === transport) this.#receive(words);
        },
        onClose: (code, reason) => {
          if (this.#transport === transport) this.#lost(code, reason);
        },
      });
      this.#transport = transport;
      this.#connectingMs = performance.now();
      this.#watch();
    } catch (error) {
      // No WebSocket at all, a wrong address: no later try goes better.
      const problem =
        error instanceof TidemarkError ? error : new TidemarkError('disconnected', (error as Error).message);
      this.#failAll(problem);
    } finally {
      this.#connecting = undefined;
    }
  }

  #opens(): void {
    this.#open = true;
    this.#heardMs = performance.now();
    this.#goneMs = undefined;
    if (this.#opened) this.#onOpenAgain();
    this.#opened = true;
    this.#flush();
  }

  #enqueue(call: Call): void {
    const last = this.#queue.at(-1);
    if (last !== undefined && last.order > call.order) this.#isSorted = false;
    this.#queue.push(call);
    this.#scheduleFlush();
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
    if (this.#closed || this.#queue.length === 0) return;
    const transport = this.#transport;
    if (transport === undefined || !this.#open) {
      this.connect();
      return;
    }
    if (!this.#isSorted) this.#queue.sort((a, b) => a.order - b.order);
    this.#isSorted = true;
    const { frameBytesMax, inFlightMax } = this.#options;
    const wordsMax = frameBytesMax >>> 2;
    let taken = 0;
    while (taken < this.#queue.length && this.#inFlight.size < inFlightMax) {
      // Answers or the sweep bring this back when the socket has taken what it has.
      if (transport.bufferedBytes > BUFFERED_BYTES_MAX) break;
      const sent: Call[] = [];
      let length = 0;
      while (taken < this.#queue.length && this.#inFlight.size < inFlightMax) {
        const call = this.#queue[taken]!;
        if (length > 0 && length + call.words.length > wordsMax) break;
        taken++;
        if (!this.#calls.has(call) || !this.#order.enter(call)) continue;
        if (this.#inFlight.size === 0) this.#heardMs = performance.now();
        this.#enterFlight(call);
        sent.push(call);
        length += call.words.length;
      }
      if (length > 0) transport.send(joined(sent, length));
    }
    this.#queue = taken === this.#queue.length ? [] : this.#queue.slice(taken);
  }

  #enterFlight(call: Call): void {
    let requestId = this.#nextRequestId;
    while (requestId === PING_ID || this.#inFlight.has(requestId)) requestId = (requestId + 1) | 0;
    this.#nextRequestId = (requestId + 1) | 0;
    call.words[REQUEST.REQUEST_ID] = requestId;
    call.entries = [];
    call.tries++;
    this.#inFlight.set(requestId, call);
  }

  #receive(words: Int32Array): void {
    this.#heardMs = performance.now();
    this.#goneMs = undefined;
    this.#failures = 0;
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
    if (this.#queue.length > 0) this.#scheduleFlush();
  }

  #answer(words: Int32Array, at: number): void {
    const requestId = words[at + REPLY.REQUEST_ID]!;
    const call = this.#inFlight.get(requestId);
    if (call === undefined) return; // a ping, or it timed out before
    const head = words[at + REPLY.HEAD]!;
    const status = replyStatus(head);
    const entries = replyEntries(words, at);
    for (let i = 0; i < entries; i++) {
      call.entries.push(decodeEntry(words, at + REPLY.WORDS + i * ENTRY.WORDS));
    }
    // An error ends the call, also in a part.
    if ((head & REPLY_MORE) !== 0 && isAnswer(call, status)) return;
    this.#leaveFlight(call);
    if (status === STATUS_INVALID) {
      const field = fieldName(words[at + REPLY.MENTION_COUNT]!);
      this.#fail(call, new TidemarkError('invalid_request', `the service refused ${field}`, { field }));
    } else if (status === STATUS_INTERNAL) {
      this.#fail(call, new TidemarkError('internal', 'the service failed in this call; nothing was done'));
    } else if (REFUSALS[status] !== undefined) this.#refused(call, REFUSALS[status]);
    else if (!isAnswer(call, status)) {
      const what = `the service answered operation ${opOf(call)} with status ${status}`;
      this.#fail(call, new TidemarkError('protocol', `${what}, which this client does not know for it`));
    } else {
      this.#end(call);
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

  /** Not now: tried again if it may be (S2). */
  #refused(call: Call, { code, message, retryAfterMs }: Refusal): void {
    const delayMs = retryAfterMs * 2 ** (call.tries - 1) * (0.5 + Math.random());
    if (performance.now() + delayMs > call.deadlineMs || !this.#mayRepeat(call)) {
      this.#fail(call, new TidemarkError(code, message, { retryAfterMs }));
      return;
    }
    for (const read of this.#order.refuse(call)) this.#leaveFlight(read);
    call.timer = setTimeout(() => this.#enqueue(call), delayMs);
  }

  #mayRepeat(call: Call): boolean {
    return call.repeatable && call.tries < this.#options.triesMax && this.#order.mayRepeat(call);
  }

  #leaveFlight(call: Call): void {
    const requestId = call.words[REQUEST.REQUEST_ID]!;
    if (this.#inFlight.get(requestId) !== call) return;
    this.#inFlight.delete(requestId);
    this.#order.leave(call);
  }

  #end(call: Call): void {
    this.#calls.delete(call);
    this.#leaveFlight(call);
    clearTimeout(call.timer);
    for (const follower of this.#order.end(call)) if (this.#calls.has(follower)) this.#enqueue(follower);
  }

  #fail(call: Call, error: TidemarkError): void {
    this.#end(call);
    call.reject(error);
  }

  #drop(code: number, reason: string): void {
    const transport = this.#transport;
    this.#lost(code, reason);
    transport?.close();
  }

  #lost(code: number, reason: string): void {
    if (this.#transport === undefined) return;
    this.#transport = undefined;
    const wasOpen = this.#open;
    this.#open = false;
    this.#failures++;
    if (this.#closed) return;
    this.#lastProblem = `${code}${reason === '' ? '' : ` ${reason}`}`;
    const sent = [...this.#inFlight.values()];
    // Before the first of them ends: what was sent behind a call counts.
    const repeated = new Set(sent.filter((call) => this.#mayRepeat(call)));
    for (const call of sent) {
      this.#leaveFlight(call);
      if (repeated.has(call)) this.#enqueue(call);
      else {
        this.#fail(
          call,
          new TidemarkError(
            'disconnected',
            `the connection was lost before the answer came (${this.#lastProblem})`,
          ),
        );
      }
    }
    if (!wasOpen && /\b401\b/.test(reason)) {
      const error = new TidemarkError('unauthorized', 'the service does not take the token');
      this.#failAll(error);
      this.#onUnauthorized(error);
    }
    if (this.#calls.size > 0 || this.#wanted()) this.connect();
  }

  #watch(): void {
    this.#sweeper ??= setInterval(() => this.#sweep(), SWEEP_MS);
  }

  /** S4, S5. One timer for all: a timer for each call costs more than the call. */
  #sweep(): void {
    const now = performance.now();
    // Before calls end: that they wait counts.
    const problem = this.#problem(now);
    let isLate = false;
    for (const call of this.#calls) {
      if (call.deadlineMs > now) break;
      isLate = true;
      this.#fail(call, this.#timeout(call));
    }
    if (isLate) this.#queue = this.#queue.filter((call) => this.#calls.has(call));
    if (problem !== undefined) this.#drop(1006, problem);
    if (this.#calls.size === 0 && this.#transport === undefined) this.#stopSweeping();
    else if (this.#queue.length > 0) this.#flush();
  }

  /** S5. @returns why the connection or the attempt is to be given up; a silent one is asked first */
  #problem(now: number): string | undefined {
    const { timeoutMs, keepAliveMs, connectTimeoutMs } = this.#options;
    const transport = this.#transport;
    if (transport === undefined) return;
    if (!this.#open) {
      if (now - this.#connectingMs < connectTimeoutMs) return;
      return `the handshake had no answer within ${connectTimeoutMs} ms`;
    }
    if (this.#goneMs !== undefined) return now < this.#goneMs ? undefined : 'no answer came, not to a ping';
    const patienceMs = this.#inFlight.size > 0 ? Math.min(timeoutMs / 2, keepAliveMs) : keepAliveMs;
    if (now - this.#heardMs < patienceMs) return;
    transport.send(encodePing(PING_ID));
    // Not later than the call that waits: who makes it again should not find the same connection. Nor later than after as
    // much silence again: calls may have no limit.
    this.#goneMs = now + Math.min(timeoutMs / 2 - SWEEP_MS, keepAliveMs);
    return;
  }

  #timeout(call: Call): TidemarkError {
    const { timeoutMs } = this.#options;
    if (call.tries > 0)
      return new TidemarkError('timeout', `no answer came within ${timeoutMs} ms; it may have been done`);
    const why = this.#open ? '' : `: there was no connection (${this.#lastProblem || 'not opened yet'})`;
    return new TidemarkError('timeout', `not sent within ${timeoutMs} ms${why}`);
  }

  #stopSweeping(): void {
    clearInterval(this.#sweeper);
    this.#sweeper = undefined;
  }

  #failAll(error: TidemarkError): void {
    this.#queue = [];
    for (const call of this.#calls) this.#fail(call, error);
  }
}

function joined(calls: readonly Call[], length: number): Int32Array {
  const frame = new Int32Array(length);
  let at = 0;
  for (const { words } of calls) {
    frame.set(words, at);
    at += words.length;
  }
  return frame;
}
