/**
 * The JSON protocol: a frame is one request or an array of them; each is answered with a frame of its own.
 *
 * I1  Requests enter the rings in the order in which they came. A mention or subscription of many users enters bit
 *     by bit, so what comes after it on the same connection waits in its queue (the connection is stalled).
 */
import {
  OP_ACK,
  OP_ACK_BULK,
  OP_BADGE,
  OP_DELETE,
  OP_DELETE_USER,
  OP_GET,
  OP_LIST,
  OP_MENTION,
  OP_PIN_ACK,
  OP_PING,
  OP_SUBSCRIBE,
  OP_UNSUBSCRIBE,
} from '../engine/messages.js';
import { CLOSE_TOO_LARGE, CLOSE_UNSUPPORTED, type JsonConnection } from './connections.js';
import { OP_NAMES } from './counters.js';
import { Draft } from './draft.js';
import { type ApiError, BUSY, invalid, STOPPING } from './errors.js';
import type { Front } from './front.js';
import { isObject } from './json-fields.js';
import type { Caller } from './operation-call.js';
import { readUsers } from './user-list.js';

const OPS = new Map<unknown, number>(OP_NAMES.flatMap((name, op) => (op > 0 ? [[name, op]] : [])));
const EMPTY = Buffer.from('{}');
const ID_CHARACTERS_MAX = 128;
/** Of a frame. */
const REQUESTS_MAX = 16_384;

/** One request of a JSON connection. */
class JsonCaller implements Caller {
  readonly #front: Front;
  readonly #connection: JsonConnection;
  readonly #op: number;
  /** The caller's id as JSON. */
  readonly #id: string;
  readonly #startedMs = performance.now();

  constructor(front: Front, connection: JsonConnection, op: number, id: string) {
    this.#front = front;
    this.#connection = connection;
    this.#op = op;
    this.#id = id;
    connection.inFlight++;
  }

  ok(body: Uint8Array): void {
    this.#answered();
    this.#connection.append(`{"id":${this.#id},"ok":`, body, '}');
  }

  okLarge(body: Uint8Array, release: () => void): void {
    if (!this.#front.outbox.fits(body.length)) {
      release();
      this.#front.counters.busy.max_backpressure_total++;
      this.error(BUSY);
      return;
    }
    this.#answered();
    this.#connection.sendList(`{"id":${this.#id},"ok":`, body, '}', release);
  }

  empty(): void {
    this.ok(EMPTY);
  }

  error(error: ApiError): void {
    this.#answered();
    this.#front.counters.jsonErrors++;
    sendError(this.#connection, this.#id, error);
  }

  #answered(): void {
    this.#connection.inFlight--;
    this.#front.counters.json.observe(this.#op, performance.now() - this.#startedMs);
  }
}

function sendError(connection: JsonConnection, id: string, error: ApiError): void {
  connection.append(`{"id":${id},"error":`, Buffer.from(JSON.stringify(error)), '}');
}

export class JsonProtocol {
  readonly #front: Front;
  readonly #draft = new Draft();

  constructor(front: Front) {
    this.#front = front;
  }

  receive(connection: JsonConnection, message: ArrayBuffer, isBinary: boolean): void {
    const { counters, limits, outbox } = this.#front;
    if (isBinary) {
      connection.end(CLOSE_UNSUPPORTED, 'binary on a JSON connection');
      return;
    }
    if (message.byteLength > limits.maxFrame) {
      connection.end(CLOSE_TOO_LARGE, `a frame has at most ${limits.maxFrame} bytes`);
      return;
    }
    counters.jsonFrames++;
    let frame: unknown;
    try {
      frame = JSON.parse(Buffer.from(message).toString());
    } catch {
      frame = undefined;
    }
    if (Array.isArray(frame) && frame.length > REQUESTS_MAX) {
      // Each would have an answer of its own: some hundred times the bytes of a frame of `[0,0,…]`.
      const message = `an array has at most ${REQUESTS_MAX} requests`;
      counters.jsonErrors++;
      sendError(connection, 'null', invalid([{ path: '', message }]));
    } else if (Array.isArray(frame) && frame.length > 0) {
      const bytes = Math.ceil(message.byteLength / frame.length);
      for (const request of frame) this.#accept(connection, request, bytes);
    } else {
      this.#accept(connection, frame, message.byteLength);
    }
    outbox.flush();
  }

  /** @param bytes  of the frame, that fall to the request */
  #accept(connection: JsonConnection, request: unknown, bytes: number): void {
    if (connection.socket === null) return;
    if (!connection.stalled || isPing(request)) {
      this.#run(connection, request);
      return;
    }
    const { counters, limits } = this.#front;
    const free = connection.queueLength < limits.maxInFlight;
    if (!free || !connection.enqueue(request, bytes)) {
      counters.jsonErrors++;
      counters.busy[free ? 'queue_memory' : 'max_in_flight']++;
      sendError(connection, idOf(request) ?? 'null', BUSY);
    }
  }

  /** The request that stalled the connection is in the rings. */
  #resume(connection: JsonConnection): void {
    connection.stalled = false;
    connection.dequeue((request) => this.#run(connection, request));
  }

  #run(connection: JsonConnection, request: unknown): void {
    const front = this.#front;
    const id = idOf(request);
    if (!isObject(request) || id === null) {
      const message = isObject(request)
        ? `id must be a string of at most ${ID_CHARACTERS_MAX} characters or a number`
        : 'a frame must be a JSON object, or an array of them';
      front.counters.jsonErrors++;
      sendError(connection, 'null', invalid([{ path: isObject(request) ? 'id' : '', message }]));
      return;
    }
    const op = OPS.get(request.op) ?? 0;
    const caller = new JsonCaller(front, connection, op, id);
    if (op === 0) {
      caller.error(invalid([{ path: 'op', message: `must be one of ${[...OPS.keys()].join(', ')}` }]));
    } else if (front.stopping) {
      caller.error(STOPPING);
    } else if (op !== OP_PING && connection.inFlight > front.limits.maxInFlight) {
      front.counters.busy.max_in_flight++;
      caller.error(BUSY);
    } else {
      this.#operation(connection, op, request, caller);
    }
  }

  #operation(connection: JsonConnection, op: number, request: Record<string, unknown>, caller: Caller): void {
    const front = this.#front;
    const draft = this.#draft.begin(op);
    switch (op) {
      case OP_PING:
        caller.empty();
        return;
      case OP_MENTION:
      case OP_SUBSCRIBE:
      case OP_UNSUBSCRIBE:
        this.#ofUsers(connection, op, request, caller);
        return;
      case OP_GET:
      case OP_DELETE:
        draft.user(request.user_id).channel(request.channel_id).type(request.read_state_type);
        break;
      case OP_ACK:
        draft.user(request.user_id).channel(request.channel_id).type(request.read_state_type).ack(request);
        break;
      case OP_PIN_ACK:
        draft.user(request.user_id).channel(request.channel_id).type(request.read_state_type).pin(request);
        break;
      case OP_ACK_BULK:
        draft.user(request.user_id).bulk(request);
        break;
      case OP_LIST:
        draft.user(request.user_id).since(request.since);
        break;
      case OP_BADGE:
      case OP_DELETE_USER:
        draft.user(request.user_id);
    }
    if (draft.problems.length > 0) caller.error(invalid(draft.problems));
    else front.run(draft, caller);
  }

  #ofUsers(connection: JsonConnection, op: number, request: Record<string, unknown>, caller: Caller): void {
    const front = this.#front;
    const draft = this.#draft;
    if (op === OP_MENTION) draft.channel(request.channel_id).type(request.read_state_type).mention(request);
    const users = readUsers(request.user_ids, draft.problems);
    if (draft.problems.length > 0) {
      caller.error(invalid(draft.problems));
      return;
    }
    if (op === OP_UNSUBSCRIBE) {
      for (let i = 0; i < users.length; i += 2) {
        front.subscriptions.remove(connection, users[i]!, users[i + 1]!);
      }
      caller.empty();
      return;
    }
    // Called before `mention` or `subscribe` returns when everything fits into the rings at once.
    let submitted = false;
    const onSubmitted = (): void => {
      submitted = true;
      if (connection.stalled) this.#resume(connection);
    };
    if (op === OP_MENTION) {
      front.mention(draft, users, caller, onSubmitted);
    } else {
      const { maxSubscriptions } = front.limits;
      if (this.#watchesWith(connection, users, maxSubscriptions) > maxSubscriptions) {
        const message = `would make more than ${maxSubscriptions} subscriptions of this connection`;
        caller.error(invalid([{ path: 'user_ids', message }]));
        return;
      }
      front.subscribe(connection, draft, users, caller, onSubmitted);
    }
    if (!submitted) connection.stalled = true;
  }

  /** Subscriptions that the connection would have, with these users as well; counted only where `max` may be passed. */
  #watchesWith(connection: JsonConnection, users: Int32Array, max: number): number {
    const { size } = connection.watches;
    if (size + users.length / 2 <= max) return size;
    let added = 0;
    for (let i = 0; i < users.length; i += 2) {
      if (!this.#front.subscriptions.has(connection, users[i]!, users[i + 1]!)) added++;
    }
    return size + added;
  }
}

/** It waits for nothing: who gets no answer takes the connection for dead. */
function isPing(request: unknown): boolean {
  return isObject(request) && OPS.get(request.op) === OP_PING;
}

/** The id of a request as JSON; null when it has none that can be told back. */
function idOf(request: unknown): string | null {
  if (!isObject(request)) return null;
  const { id } = request;
  // A number beyond what a double holds would come back as null.
  if (Number.isFinite(id) || (typeof id === 'string' && id.length <= ID_CHARACTERS_MAX))
    return JSON.stringify(id);
  return null;
}
