/**
 * The front's side of the rings: requests get a slot and go in, answers find who asked by their route.
 *
 * I1  What waits is bounded: by the slots of waiting HTTP and JSON requests, and by the operations in flight of
 *     each connection. Beyond, the answer is busy, and nothing was done.
 */
import { ANSWERED, REPLY, REPLY_MORE, ROUTE_EVENT } from '../engine/messages.js';
import type { Workers } from '../workers/workers.js';
import { ByteBudget } from './byte-builder.js';
import type { Limits } from './config.js';
import { type BinaryConnection, type Connection, Outbox } from './connections.js';
import { Counters } from './counters.js';
import type { Draft } from './draft.js';
import { BUSY, errorOfStatus } from './errors.js';
import { answerMention, FanOut, type FanOutResult } from './fan-out.js';
import { type Call, type Caller, OperationCall } from './operation-call.js';
import { ROUTE_TO_CALL, ROUTE_TO_CONNECTION, SlotTable } from './slot-table.js';
import { Submitter } from './submitter.js';
import { type PendingSubscribe, Subscriptions } from './subscriptions.js';

const QUEUE_BYTES_TOTAL_MAX = 64 * 1024 * 1024;
/** Or one body, if that may be larger. */
const BODY_BYTES_TOTAL_MAX = 64 * 1024 * 1024;

/** Holds the slot of operations whose answers nobody waits for. */
const NOBODY: Call = { answer: () => false };

function nothing(): void {}

export class Front {
  readonly limits: Limits;
  readonly counters = new Counters();
  readonly submitter: Submitter;
  readonly outbox: Outbox;
  readonly budget: ByteBudget;
  /** Of the JSON requests that wait behind one of many users. */
  readonly queueBudget = new ByteBudget(QUEUE_BYTES_TOTAL_MAX);
  /** Of the HTTP bodies of which only a part has come. */
  readonly bodyBudget: ByteBudget;
  readonly calls: SlotTable<Call>;
  readonly connections: SlotTable<Connection>;
  readonly subscriptions: Subscriptions;
  /** HTTP connections, and how often there were too many: set by the server. */
  openConnections: { readonly connections: number; readonly pauses: number } = { connections: 0, pauses: 0 };
  /** Whether new clients should come: not while a stop is near, though they are served. */
  draining = false;
  /** No new requests are taken. */
  stopping = false;
  readonly #workers: Workers;

  constructor(workers: Workers, limits: Limits) {
    this.#workers = workers;
    this.limits = limits;
    this.submitter = new Submitter(workers.port, workers.introspection.length > 0);
    this.outbox = new Outbox(limits.maxBackpressure, limits.maxBackpressureTotal, (connection) =>
      this.subscriptions.removeAll(connection),
    );
    this.budget = new ByteBudget(limits.maxListMemory);
    this.bodyBudget = new ByteBudget(Math.max(BODY_BYTES_TOTAL_MAX, limits.maxBody));
    this.calls = new SlotTable(ROUTE_TO_CALL, limits.maxPending + 1);
    this.connections = new SlotTable(ROUTE_TO_CONNECTION, limits.maxConnections);
    this.subscriptions = new Subscriptions(this.submitter, this.calls.take(NOBODY));
    workers.port.onAnswer = (words, at, length) => this.#answer(words, at, length);
    workers.port.onDrained = () => this.outbox.flush();
  }

  /** See `Workers.isWell`. */
  get isWell(): boolean {
    return this.#workers.isWell;
  }

  /** HTTP and JSON requests that wait. */
  get waitingCount(): number {
    return this.calls.count - 1;
  }

  /** Operations of binary connections that wait. */
  get inFlightCount(): number {
    let count = 0;
    for (const connection of this.connections) count += connection.inFlight;
    return count;
  }

  /** Everything that was taken is answered, and long answers have gone out. */
  get isIdle(): boolean {
    const unanswered = this.waitingCount + this.inFlightCount;
    return unanswered + this.counters.httpSending + this.outbox.backpressureBytes === 0;
  }

  #answer(words: Int32Array, at: number, length: number): void {
    const route = words[at + ANSWERED.ROUTE]!;
    at += ANSWERED.WORDS;
    length -= ANSWERED.WORDS;
    if (route === ROUTE_EVENT) {
      this.subscriptions.deliver(words, at, length);
    } else if (route < 0) {
      const call = this.calls.get(route);
      if (call?.answer(words, at) === true) this.calls.release(route);
    } else {
      const connection = this.connections.get(route) as BinaryConnection | null;
      if (connection === null) return;
      if ((words[at + REPLY.HEAD]! & REPLY_MORE) === 0) connection.inFlight--;
      connection.append(words, at, length);
    }
  }

  /** Runs the one operation of a draft without problems. */
  run(draft: Draft, caller: Caller): void {
    const route = this.calls.take(new OperationCall(draft.op, caller, this.budget, this.counters));
    if (route === 0) {
      this.counters.busy.max_pending++;
      caller.error(BUSY);
    } else if (this.submitter.submit(route, draft.words, 0, draft.length)) {
      this.submitter.publishSoon();
    } else {
      this.calls.release(route);
      this.counters.busy.ring_full++;
      caller.error(BUSY);
    }
  }

  /** Mentions users. @param onSubmitted  the last one is in a ring */
  mention(draft: Draft, users: Int32Array, caller: Caller, onSubmitted: () => void = nothing): void {
    const always = (): boolean => true;
    const done = (result: FanOutResult): void => {
      this.counters.busy.ring_full += result.unsent;
      answerMention(caller, users, result);
    };
    this.#fanOut(
      caller,
      onSubmitted,
      new FanOut(this.submitter, draft.words, users, always, onSubmitted, done),
    );
  }

  /** Subscribes a connection to users: to all of them, or to none that it was not subscribed to before. */
  subscribe(
    connection: Connection,
    draft: Draft,
    users: Int32Array,
    caller: Caller,
    onSubmitted: () => void = nothing,
  ): void {
    const { subscriptions } = this;
    const pending: PendingSubscribe[] = [];
    for (let i = 0; i < users.length; i += 2) {
      pending.push(subscriptions.add(connection, users[i]!, users[i + 1]!));
    }
    const settle = (succeeded: boolean): void =>
      pending.forEach((each, i) => {
        subscriptions.settle(connection, users[i * 2]!, users[i * 2 + 1]!, each, succeeded);
      });
    // The shard is told that a closed connection is no subscriber; no subscribe may follow that.
    const wanted = (): boolean => connection.socket !== null;
    const fanOut = new FanOut(this.submitter, draft.words, users, wanted, onSubmitted, (result) => {
      this.counters.busy.ring_full += result.unsent;
      const succeeded = result.failed.length === 0;
      settle(succeeded);
      if (succeeded) caller.empty();
      else caller.error(errorOfStatus(result.failedStatus, 0));
    });
    if (!this.#fanOut(caller, onSubmitted, fanOut)) settle(false);
  }

  /** @returns false when there was no slot: the caller is answered, nothing was done */
  #fanOut(caller: Caller, onSubmitted: () => void, fanOut: FanOut): boolean {
    const route = this.calls.take(fanOut);
    if (route === 0) {
      this.counters.busy.max_pending++;
      caller.error(BUSY);
      onSubmitted();
      return false;
    }
    if (fanOut.start(route)) this.calls.release(route);
    return true;
  }
}
