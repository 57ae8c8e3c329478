/**
 * WebSocket connections: what is gathered for each of them while answers are drained, and sent as one.
 *
 * I1  A connection with something gathered is in the outbox's list, once, and holds one of its buffers; `flush`
 *     takes it out and gives the buffer back. Idle connections hold no buffer.
 * I2  A client that does not read what it is sent is closed with 1013 when more than `backpressureBytesMax` wait
 *     for it. Only what waited before is counted, so that one long answer is no offence.
 */
import type { WebSocket } from 'uWebSockets.js';
import type { Watch } from './subscriptions.js';

export const CLOSE_GOING_AWAY = 1001;
export const CLOSE_UNSUPPORTED = 1003;
export const CLOSE_INVALID = 1007;
export const CLOSE_TOO_LARGE = 1009;
const CLOSE_TOO_SLOW = 1013;

/** What a WebSocket carries with it. */
export interface SocketData {
  connection: Connection;
}
export type Socket = WebSocket<SocketData>;

const BUFFER_BYTES = 64 * 1024;

export class Outbox {
  readonly backpressureBytesMax: number;
  /** Connections closed because they did not read. */
  slowCloses = 0;
  readonly #waiting: Connection[] = [];
  readonly #buffers: Buffer[] = [];

  constructor(backpressureBytesMax: number) {
    this.backpressureBytesMax = backpressureBytesMax;
  }

  takeBuffer(connection: Connection): Buffer {
    this.#waiting.push(connection);
    return this.#buffers.pop() ?? Buffer.from(new ArrayBuffer(BUFFER_BYTES));
  }

  giveBuffer(buffer: Buffer): void {
    this.#buffers.push(buffer);
  }

  /** Sends what was gathered for all. */
  flush(): void {
    const waiting = this.#waiting;
    for (let i = 0; i < waiting.length; i++) waiting[i]!.flush();
    waiting.length = 0;
  }
}

export abstract class Connection {
  /** Null when closed: nothing can be sent. */
  socket: Socket | null = null;
  /** Of the connection's slot. */
  route = 0;
  /** Operations in the shards that are not yet answered. */
  inFlight = 0;
  readonly watches = new Set<Watch>();

  constructor(
    protected readonly outbox: Outbox,
    readonly protocol: 'binary' | 'json',
  ) {}

  abstract event(words: Int32Array, at: number, length: number, json: () => Uint8Array): void;
  abstract flush(): void;

  /** Sends what was gathered, then closes. The close handler runs before this returns. */
  end(code: number, reason: string): void {
    this.flush();
    this.socket?.end(code, reason);
  }

  /** True if the client reads what it is sent; otherwise the connection is closed now (I2). */
  protected keepsUp(): boolean {
    const socket = this.socket;
    if (socket === null) return false;
    if (socket.getBufferedAmount() <= this.outbox.backpressureBytesMax) return true;
    this.outbox.slowCloses++;
    this.socket = null; // nothing more is gathered
    socket.end(CLOSE_TOO_SLOW, 'does not read fast enough');
    return false;
  }
}

export class BinaryConnection extends Connection {
  #buffer: Buffer | null = null;
  #words: Int32Array = new Int32Array(0);
  #length = 0;

  constructor(outbox: Outbox) {
    super(outbox, 'binary');
  }

  /** Gathers one answer or event. */
  append(words: Int32Array, at: number, length: number): void {
    if (this.socket === null) return;
    if (this.#length + length > BUFFER_BYTES / 4) {
      this.#send();
      if (this.socket === null) return;
    }
    if (this.#buffer === null) {
      this.#buffer = this.outbox.takeBuffer(this);
      this.#words = new Int32Array(this.#buffer.buffer, 0, BUFFER_BYTES / 4);
    }
    const out = this.#words;
    let to = this.#length;
    for (const end = at + length; at < end; at++) out[to++] = words[at]!;
    this.#length = to;
  }

  override event(words: Int32Array, at: number, length: number): void {
    this.append(words, at, length);
  }

  override flush(): void {
    if (this.#buffer === null) return;
    this.#send();
    this.outbox.giveBuffer(this.#buffer);
    this.#buffer = null;
  }

  #send(): void {
    const length = this.#length;
    this.#length = 0;
    if (length > 0 && this.keepsUp()) this.socket!.send(this.#buffer!.subarray(0, length * 4), true);
  }
}

export class JsonConnection extends Connection {
  #buffer: Buffer | null = null;
  /** Where each of the gathered messages ends. */
  readonly #ends: number[] = [];
  #length = 0;
  /** Parsed requests that wait until those before them are in the rings. */
  readonly queue: unknown[] = [];
  stalled = false;

  constructor(outbox: Outbox) {
    super(outbox, 'json');
  }

  /** Gathers one message. @param head  @param tail  text around the body */
  append(head: string, body: Uint8Array, tail: string): void {
    if (this.socket === null) return;
    // A UTF-16 unit is at most three bytes of UTF-8.
    const bytesMax = head.length * 3 + body.length + tail.length;
    if (bytesMax > BUFFER_BYTES) {
      this.#send();
      if (this.keepsUp())
        this.socket.send(Buffer.concat([Buffer.from(head), body, Buffer.from(tail)]), false);
      return;
    }
    if (this.#length + bytesMax > BUFFER_BYTES) {
      this.#send();
      if (this.socket === null) return;
    }
    this.#buffer ??= this.outbox.takeBuffer(this);
    const buffer = this.#buffer;
    let to = this.#length;
    to += buffer.write(head, to);
    buffer.set(body, to);
    to += body.length;
    to += buffer.write(tail, to);
    this.#length = to;
    this.#ends.push(to);
  }

  override event(_words: Int32Array, _at: number, _length: number, json: () => Uint8Array): void {
    this.append('', json(), '');
  }

  override flush(): void {
    if (this.#buffer === null) return;
    this.#send();
    this.outbox.giveBuffer(this.#buffer);
    this.#buffer = null;
  }

  #send(): void {
    const ends = this.#ends;
    if (ends.length > 0 && this.keepsUp()) {
      this.socket!.cork(() => {
        let from = 0;
        for (const end of ends) {
          this.socket!.send(this.#buffer!.subarray(from, end), false);
          from = end;
        }
      });
    }
    ends.length = 0;
    this.#length = 0;
  }
}
