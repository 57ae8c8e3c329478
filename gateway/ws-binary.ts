/**
 * The binary protocol: frames of operations go into the rings word by word, and answers come back the same way.
 * Nothing is allocated for an operation; only subscriptions, which the front keeps itself, make objects.
 *
 * A frame is parsed from a buffer of the front's own: uWebSockets lends its memory for the time of the call,
 * detaches it afterwards, and it may begin at any byte.
 */
import {
  FIELD_LENGTH,
  FIELD_OP,
  OP_MAX,
  OP_PING,
  OP_SUBSCRIBE,
  OP_UNSUBSCRIBE,
  REPLY,
  REQUEST,
  STATUS_BUSY,
  STATUS_INVALID,
  STATUS_OK,
} from '../engine/messages.js';
import { type BinaryConnection, CLOSE_INVALID, CLOSE_TOO_LARGE, CLOSE_UNSUPPORTED } from './connections.js';
import type { Front } from './front.js';
import { type Call, statusOf } from './operation-call.js';
import { invalidField, operationWords } from './operation-words.js';

const TYPE_AND_OP = 0xff;
const STATUS_SHIFT = 8;

export class BinaryProtocol {
  readonly #front: Front;
  readonly #bytes: Uint8Array;
  readonly #words: Int32Array;
  readonly #reply = new Int32Array(REPLY.WORDS);

  constructor(front: Front) {
    this.#front = front;
    this.#words = new Int32Array(Math.ceil(front.limits.maxFrame / 4));
    this.#bytes = new Uint8Array(this.#words.buffer);
  }

  receive(connection: BinaryConnection, message: ArrayBuffer, isBinary: boolean): void {
    const front = this.#front;
    if (!isBinary) {
      connection.end(CLOSE_UNSUPPORTED, 'text on a binary connection');
      return;
    }
    if (message.byteLength > front.limits.maxFrame) {
      connection.end(CLOSE_TOO_LARGE, `a frame has at most ${front.limits.maxFrame} bytes`);
      return;
    }
    front.counters.binaryFrames++;
    this.#bytes.set(new Uint8Array(message));
    const understood = this.#run(connection, message.byteLength);
    front.submitter.publishSoon();
    if (understood) front.outbox.flush();
    else connection.end(CLOSE_INVALID, 'a frame that is no sequence of operations');
  }

  /** @returns false where the frame cannot be parsed further */
  #run(connection: BinaryConnection, byteLength: number): boolean {
    const { counters, limits, submitter, stopping } = this.#front;
    const words = this.#words;
    const count = byteLength >>> 2;
    let at = 0;
    while (at < count) {
      // Answers that it does not read can close the connection here; nothing more is done for it then.
      if (connection.socket === null) return true;
      const op = words[at]! & TYPE_AND_OP;
      if (op === 0 || op > OP_MAX) return this.#malformed(connection, at, count, FIELD_OP);
      if (at + REQUEST.WORDS > count) return this.#malformed(connection, at, count, FIELD_LENGTH);
      const length = operationWords(words, at);
      if (at + length > count) return this.#malformed(connection, at, count, FIELD_LENGTH);
      counters.binaryOperations[op]!++;
      const field = invalidField(words, at);
      if (field !== 0) {
        counters.binaryInvalid++;
        this.#answer(connection, at, STATUS_INVALID, field);
      } else if (op === OP_PING) {
        this.#answer(connection, at, STATUS_OK, 0);
      } else if (stopping) {
        this.#busy(connection, at);
      } else if (connection.inFlight >= limits.maxInFlight) {
        counters.busy.max_in_flight++;
        this.#busy(connection, at);
      } else if (op === OP_SUBSCRIBE) {
        this.#subscribe(connection, at);
      } else if (op === OP_UNSUBSCRIBE) {
        const { subscriptions } = this.#front;
        subscriptions.remove(connection, words[at + REQUEST.USER_LO]!, words[at + REQUEST.USER_HI]!);
        this.#answer(connection, at, STATUS_OK, 0);
      } else if (submitter.submit(connection.route, words, at, length)) {
        connection.inFlight++;
      } else {
        counters.busy.ring_full++;
        this.#busy(connection, at);
      }
      at += length;
    }
    if ((byteLength & 3) === 0) return true;
    // The bytes of a half word are what an earlier frame left in the buffer, so nothing of them is echoed.
    return this.#malformed(connection, at, count, FIELD_LENGTH);
  }

  /** Answers what can be told of an operation that cannot be parsed. @param count  words of the frame */
  #malformed(connection: BinaryConnection, at: number, count: number, field: number): false {
    this.#front.counters.binaryOperations[0]!++;
    const reply = this.#reply;
    reply[REPLY.HEAD] = (at < count ? this.#words[at]! & TYPE_AND_OP : 0) | (STATUS_INVALID << STATUS_SHIFT);
    reply[REPLY.REQUEST_ID] = at + REQUEST.REQUEST_ID < count ? this.#words[at + REQUEST.REQUEST_ID]! : 0;
    reply[REPLY.MENTION_COUNT] = field;
    reply[REPLY.VERSION] = 0;
    connection.append(reply, 0, REPLY.WORDS);
    return false;
  }

  #busy(connection: BinaryConnection, at: number): void {
    this.#front.counters.binaryBusy++;
    this.#answer(connection, at, STATUS_BUSY, 0);
  }

  #answer(connection: BinaryConnection, at: number, status: number, field: number): void {
    const reply = this.#reply;
    reply[REPLY.HEAD] = (this.#words[at]! & TYPE_AND_OP) | (status << STATUS_SHIFT);
    reply[REPLY.REQUEST_ID] = this.#words[at + REQUEST.REQUEST_ID]!;
    reply[REPLY.MENTION_COUNT] = field;
    reply[REPLY.VERSION] = 0;
    connection.append(reply, 0, REPLY.WORDS);
  }

  #subscribe(connection: BinaryConnection, at: number): void {
    const { calls, counters, limits, submitter, subscriptions } = this.#front;
    const lo = this.#words[at + REQUEST.USER_LO]!;
    const hi = this.#words[at + REQUEST.USER_HI]!;
    const pending = subscriptions.add(connection, lo, hi);
    const settle = (succeeded: boolean): void => subscriptions.settle(connection, lo, hi, pending, succeeded);
    const call = new SubscribeCall(connection, settle);
    const isFree = connection.watches.size <= limits.maxSubscriptions;
    const route = isFree ? calls.take(call) : 0;
    if (route !== 0 && submitter.submit(route, this.#words, at, REQUEST.WORDS)) {
      connection.inFlight++;
      return;
    }
    counters.busy[route !== 0 ? 'ring_full' : isFree ? 'max_pending' : 'max_subscriptions']++;
    if (route !== 0) calls.release(route);
    settle(false);
    this.#busy(connection, at);
  }
}

/** A subscription that waits for the shard's word. */
class SubscribeCall implements Call {
  readonly #connection: BinaryConnection;
  readonly #settle: (succeeded: boolean) => void;

  constructor(connection: BinaryConnection, settle: (succeeded: boolean) => void) {
    this.#connection = connection;
    this.#settle = settle;
  }

  answer(words: Int32Array, at: number): boolean {
    this.#connection.inFlight--;
    this.#settle(statusOf(words[at + REPLY.HEAD]!) === STATUS_OK);
    this.#connection.append(words, at, REPLY.WORDS);
    return true;
  }
}
