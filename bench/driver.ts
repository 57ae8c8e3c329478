/**
 * Sends operations to a service and measures their answers, for replay and load. An operation is REQUEST words
 * in both protocols; the HTTP driver spells them out.
 *
 * Operations of one connection are sent in the order in which they are submitted, so whoever sends all of a user's
 * operations over one connection has them done in that order.
 */
import { formatId } from '../engine/ids.js';
import {
  ACK_EXTRA,
  ENTRY,
  FIELD_OP,
  OP_ACK,
  OP_BADGE,
  OP_DELETE,
  OP_GET,
  OP_LIST,
  OP_MENTION,
  REPLY,
  REPLY_MORE,
  REQUEST,
  REQUEST_HAS_COUNT,
  REQUEST_MANUAL,
  STATUS_BUSY,
  STATUS_DUPLICATE,
  STATUS_INVALID,
  STATUS_JOURNAL_UNAVAILABLE,
  STATUS_OK,
  STATUS_STORE_UNAVAILABLE,
  STATUS_SUPPRESSED,
  STATUS_UNKNOWN,
} from '../engine/messages.js';
import { replyEntries } from '../gateway/client/codec.js';
import { nowUs, sleep } from './clock.js';
import { HttpSocket } from './http-socket.js';
import { type OutFrame, RawSocket } from './raw-socket.js';
import type { RunStats } from './run-stats.js';

export interface DriverOptions {
  url: URL;
  token: string | undefined;
  connections: number;
  /** A frame goes out when it has this many operations, and at every `flush`. */
  opsPerFrame: number;
  stats: RunStats;
}

export const ANY_CONNECTION = -1;

export interface Driver {
  readonly inFlight: number;
  /** False: wait for answers before submitting more. */
  hasRoom(): boolean;
  /**
   * Takes a copy of an operation. Its request id is set here.
   * @param connection  over which it goes; ANY_CONNECTION: over one that is free
   * @param kind        index in KINDS
   * @param intendedUs  when it should go out: latencies count from here
   */
  submit(connection: number, operation: Int32Array, length: number, kind: number, intendedUs: number): void;
  /** Sends what was submitted. */
  flush(): void;
  close(): void;
}

/** A power of two, several times what may be in flight: a straggler holds its place while others go on. */
const RING = 1 << 17;
/** The service takes 16,384 operations on one connection and refuses more; all of them may be on the same. */
export const IN_FLIGHT_MAX = 16_000;
const NO_KIND = 0xff;
const HTTP_IN_FLIGHT_MAX = 20_000;

const STATUS_CODES: Record<number, string> = {
  [STATUS_INVALID]: 'invalid_request',
  [STATUS_BUSY]: 'busy',
  [STATUS_STORE_UNAVAILABLE]: 'store_unavailable',
  [STATUS_JOURNAL_UNAVAILABLE]: 'journal_unavailable',
};

/** @throws Error that names the service, when it cannot be reached or does not let us in */
export async function openDriver(protocol: 'bin' | 'http', options: DriverOptions): Promise<Driver> {
  try {
    return await (protocol === 'bin' ? BinaryDriver.open(options) : HttpDriver.open(options));
  } catch (error) {
    throw new Error(`no connection to ${options.url.origin}: ${(error as Error).message}`);
  }
}

/** Waits until all that was submitted is answered. */
export async function drain(driver: Driver, stats: RunStats, timeoutMs = 30_000): Promise<void> {
  driver.flush();
  const deadline = performance.now() + timeoutMs;
  while (driver.inFlight > 0) {
    if (performance.now() > deadline) {
      stats.error('timeout', driver.inFlight);
      return;
    }
    await sleep(1);
  }
}

class BinaryDriver implements Driver {
  inFlight = 0;
  readonly #sockets: RawSocket[];
  readonly #stats: RunStats;
  readonly #opsPerFrame: number;
  readonly #frames: (OutFrame | undefined)[];
  readonly #frameWords: Int32Array;
  readonly #frameOps: Int32Array;
  readonly #intendedUs = new Float64Array(RING);
  readonly #kinds = new Uint8Array(RING).fill(NO_KIND);
  #nextId = 0;
  /** For ANY_CONNECTION: frames are filled one after another. */
  #current = 0;
  #failed = false;

  private constructor(options: DriverOptions, sockets: RawSocket[]) {
    this.#sockets = sockets;
    this.#stats = options.stats;
    this.#opsPerFrame = options.opsPerFrame;
    this.#frames = sockets.map(() => undefined);
    this.#frameWords = new Int32Array(sockets.length);
    this.#frameOps = new Int32Array(sockets.length);
    for (const socket of sockets) {
      socket.onFrame = this.#onFrame;
      socket.onClose = (code) => {
        if (this.#failed) return;
        this.#failed = true;
        this.#stats.error(`connection closed ${code}`);
        this.#stats.error('unanswered', this.inFlight);
        this.inFlight = 0;
      };
    }
  }

  static async open(options: DriverOptions): Promise<Driver> {
    const frameWords = options.opsPerFrame * (REQUEST.WORDS + ACK_EXTRA.WORDS);
    const sockets: RawSocket[] = [];
    for (let i = 0; i < options.connections; i++) {
      sockets.push(await RawSocket.open({ url: options.url, token: options.token, frameWords }));
    }
    return new BinaryDriver(options, sockets);
  }

  hasRoom(): boolean {
    return this.inFlight < IN_FLIGHT_MAX && this.#kinds[this.#nextId & (RING - 1)] === NO_KIND;
  }

  submit(connection: number, operation: Int32Array, length: number, kind: number, intendedUs: number): void {
    if (this.#failed) {
      this.#stats.error('not sent');
      return;
    }
    if (connection === ANY_CONNECTION) connection = this.#current;
    let frame = this.#frames[connection];
    if (frame === undefined) {
      frame = this.#sockets[connection]!.takeFrame();
      this.#frames[connection] = frame;
    }
    const at = this.#frameWords[connection]!;
    for (let i = 0; i < length; i++) frame.words[at + i] = operation[i]!;
    const id = this.#nextId;
    this.#nextId = (id + 1) | 0;
    frame.words[at + REQUEST.REQUEST_ID] = id;
    this.#kinds[id & (RING - 1)] = kind;
    this.#intendedUs[id & (RING - 1)] = intendedUs;
    this.inFlight++;
    this.#frameWords[connection] = at + length;
    if (++this.#frameOps[connection]! === this.#opsPerFrame) this.#send(connection);
  }

  flush(): void {
    for (let connection = 0; connection < this.#sockets.length; connection++) {
      if (this.#frameOps[connection] !== 0) this.#send(connection);
      this.#sockets[connection]!.uncork();
    }
  }

  close(): void {
    this.#failed = true;
    for (const socket of this.#sockets) socket.close();
  }

  #send(connection: number): void {
    if (connection === this.#current) this.#current = (connection + 1) % this.#sockets.length;
    const socket = this.#sockets[connection]!;
    socket.cork(); // until `flush`
    socket.send(this.#frames[connection]!, this.#frameWords[connection]!);
    this.#frames[connection] = undefined;
    this.#frameWords[connection] = 0;
    this.#frameOps[connection] = 0;
  }

  readonly #onFrame = (words: Int32Array, length: number): void => {
    const now = nowUs();
    const stats = this.#stats;
    for (let at = 0; at < length; ) {
      const head = words[at]!;
      const next = at + REPLY.WORDS + replyEntries(words, at) * ENTRY.WORDS;
      if ((head & REPLY_MORE) === 0) {
        const slot = words[at + REPLY.REQUEST_ID]! & (RING - 1);
        const kind = this.#kinds[slot]!;
        this.#kinds[slot] = NO_KIND;
        if (kind === NO_KIND) stats.error('an answer that nobody asked for');
        else {
          this.inFlight--;
          stats.record(kind, now - this.#intendedUs[slot]!);
        }
        const status = (head >>> 8) & 0xff;
        if (status !== STATUS_OK) this.#notOk(status, words[at + REPLY.MENTION_COUNT]!);
      }
      at = next;
    }
  };

  #notOk(status: number, field: number): void {
    const stats = this.#stats;
    if (status === STATUS_SUPPRESSED) stats.suppressed++;
    else if (status === STATUS_DUPLICATE) stats.duplicates++;
    else if (status === STATUS_UNKNOWN) stats.unknown++;
    else {
      const suffix = status === STATUS_INVALID && field >= FIELD_OP ? ` (field ${field})` : '';
      stats.error(`${STATUS_CODES[status] ?? `status ${status}`}${suffix}`);
    }
  }
}

class HttpDriver implements Driver {
  inFlight = 0;
  readonly #sockets: HttpSocket[];
  readonly #stats: RunStats;

  private constructor(options: DriverOptions, sockets: HttpSocket[]) {
    this.#sockets = sockets;
    this.#stats = options.stats;
    for (const socket of sockets) {
      socket.onClose = (unanswered) => {
        this.#stats.error('connection closed');
        this.#stats.error('unanswered', unanswered);
        this.inFlight -= unanswered;
      };
    }
  }

  static async open(options: DriverOptions): Promise<Driver> {
    const sockets: HttpSocket[] = [];
    for (let i = 0; i < options.connections; i++)
      sockets.push(await HttpSocket.open(options.url, options.token));
    return new HttpDriver(options, sockets);
  }

  hasRoom(): boolean {
    return this.inFlight < HTTP_IN_FLIGHT_MAX;
  }

  submit(connection: number, operation: Int32Array, _length: number, kind: number, intendedUs: number): void {
    this.inFlight++;
    const { method, path, body } = asHttp(operation);
    const isMention = (operation[REQUEST.HEAD]! & 0xff) === OP_MENTION;
    const socket = connection === ANY_CONNECTION ? this.#freeSocket() : this.#sockets[connection]!;
    socket.request(method, path, body, (status, answer) => {
      this.inFlight--;
      this.#stats.record(kind, nowUs() - intendedUs);
      if (status === 404) this.#stats.unknown++;
      else if (status >= 300) this.#stats.error(errorCode(status, answer));
      else if (isMention) this.#countMention(answer);
    });
  }

  flush(): void {}

  close(): void {
    for (const socket of this.#sockets) socket.close();
  }

  /** One without a request in flight, else the one with the shortest line. */
  #freeSocket(): HttpSocket {
    let shortest = this.#sockets[0]!;
    for (const socket of this.#sockets) {
      if (socket.unanswered < shortest.unanswered) shortest = socket;
      if (shortest.unanswered === 0) break;
    }
    return shortest;
  }

  #countMention(answer: Buffer): void {
    const counts = JSON.parse(answer.toString()) as {
      suppressed: number;
      duplicates: number;
      failed: string[];
    };
    this.#stats.suppressed += counts.suppressed;
    this.#stats.duplicates += counts.duplicates;
    if (counts.failed.length > 0) this.#stats.error('mention failed', counts.failed.length);
  }
}

function errorCode(status: number, answer: Buffer): string {
  try {
    return (JSON.parse(answer.toString()) as { code: string }).code;
  } catch {
    return `HTTP ${status}`;
  }
}

/** An operation of the binary protocol as the HTTP request that does the same. */
export function asHttp(words: Int32Array): { method: string; path: string; body: string } {
  const head = words[REQUEST.HEAD]!;
  const user = formatId(words[REQUEST.USER_LO]!, words[REQUEST.USER_HI]!);
  const channel = formatId(words[REQUEST.CHANNEL_LO]!, words[REQUEST.CHANNEL_HI]!);
  const message = formatId(words[REQUEST.ARGUMENT_LO]!, words[REQUEST.ARGUMENT_HI]!);
  const states = `/v1/users/${user}/read-states`;
  switch (head & 0xff) {
    case OP_ACK: {
      let body = `{"message_id":"${message}"`;
      if ((head & REQUEST_MANUAL) !== 0) body += ',"manual":true';
      if ((head & REQUEST_HAS_COUNT) !== 0)
        body += `,"mention_count":${words[REQUEST.WORDS + ACK_EXTRA.MENTION_COUNT]}`;
      return { method: 'POST', path: `${states}/${channel}/ack`, body: `${body}}` };
    }
    case OP_MENTION: {
      const id = message === '0' ? '' : `"message_id":"${message}",`;
      return {
        method: 'POST',
        path: `/v1/channels/${channel}/mentions`,
        body: `{${id}"user_ids":["${user}"]}`,
      };
    }
    case OP_GET:
      return { method: 'GET', path: `${states}/${channel}`, body: '' };
    case OP_DELETE:
      return { method: 'DELETE', path: `${states}/${channel}`, body: '' };
    case OP_LIST:
      return { method: 'GET', path: states, body: '' };
    case OP_BADGE:
      return { method: 'GET', path: `/v1/users/${user}/badge`, body: '' };
    default:
      throw new Error(`operation ${head & 0xff} has no HTTP form here`);
  }
}
