/**
 * WebSocket connections: what is gathered for each of them while answers are drained, and sent as one.
 *
 * I1  A connection with something gathered is in the outbox's list, once, and holds one of its buffers; `flush`
 *     takes it out and gives the buffer back. Idle connections hold no buffer.
 * I2  A client that does not read what it is sent is cut off when more than its share waits for it: it gets nothing
 *     more, and what it sends is ignored. Only what waited before is counted, so that one long answer is no offence.
 * I3  A share is at most `backpressureBytesMax`, and at most what is left of `backpressureTotalMax`, but for
 *     SHARE_BYTES_MIN: many slow clients together wait for less than each of them alone could.
 *     A long list is sent only if it fits into what is left, too, or nothing waits at all; and who takes nothing of it
 *     for LIST_PATIENCE_MS is cut off, as it keeps others from theirs.
 * I4  Who is cut off keeps its slot until it is closed: with 1013 when it has taken what waited for it, else hard
 *     after CUT_PATIENCE_MS. A socket that is told to end would keep these bytes until the idle timeout, beyond any
 *     limit on connections. (One whose client says that it leaves is closed by uWebSockets at once, with what waits.)
 */
import type { WebSocket } from 'uWebSockets.js';
import type { ByteBudget } from './byte-builder.js';
import type { PendingSubscribe, Watch } from './subscriptions.js';

export const CLOSE_GOING_AWAY = 1001;
export const CLOSE_UNSUPPORTED = 1003;
export const CLOSE_INVALID = 1007;
export const CLOSE_TOO_LARGE = 1009;
const CLOSE_TOO_SLOW = 1013;
const TOO_SLOW = 'does not read fast enough';

/** What a WebSocket carries with it. */
export interface SocketData {
  connection: Connection;
}
export type Socket = WebSocket<SocketData>;

const BUFFER_BYTES = 64 * 1024;
const SHARE_BYTES_MIN = 64 * 1024;
const CUT_PATIENCE_MS = 5000;
/** As long as uWebSockets gives a client that does not read an HTTP answer. */
const LIST_PATIENCE_MS = 10_000;
/** Requests that wait behind a mention or subscription of many users, of one JSON connection. */
const QUEUE_BYTES_MAX = 4 * 1024 * 1024;

export class Outbox {
  /** Connections cut off because they did not read. */
  slowCloses = 0;
  /** What waits in the sockets of all connections. */
  backpressureBytes = 0;
  readonly #backpressureBytesMax: number;
  readonly #backpressureTotalMax: number;
  readonly #onCut: (connection: Connection) => void;
  readonly #waiting: Connection[] = [];
  readonly #buffers: Buffer[] = [];

  /** @param onCut  told of each connection that is cut off, at once */
  constructor(
    backpressureBytesMax: number,
    backpressureTotalMax: number,
    onCut: (connection: Connection) => void,
  ) {
    this.#backpressureBytesMax = backpressureBytesMax;
    this.#backpressureTotalMax = backpressureTotalMax;
    this.#onCut = onCut;
  }

  /** What may wait for one connection (I3). */
  get shareBytes(): number {
    const left = this.#backpressureTotalMax - this.backpressureBytes;
    return Math.max(SHARE_BYTES_MIN, Math.min(this.#backpressureBytesMax, left));
  }

  /** Whether so many bytes may be sent at once, even to who reads none of them (I3). */
  fits(bytes: number): boolean {
    return this.backpressureBytes === 0 || this.backpressureBytes + bytes <= this.#backpressureTotalMax;
  }

  cut(connection: Connection): void {
    this.slowCloses++;
    this.#onCut(connection);
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
  /** Null when closed or cut off: nothing can be sent. */
  socket: Socket | null = null;
  /** Of the connection's slot. */
  route = 0;
  /** Operations in the shards that are not yet answered. */
  inFlight = 0;
  /** With what of their subscribes is on its way; null: nothing. */
  readonly watches = new Map<Watch, PendingSubscribe | null>();
  /** The socket of a connection that is cut off and not yet closed (I4), and what it is told then. */
  #cut: Socket | null = null;
  #cutCode = CLOSE_TOO_SLOW;
  #cutReason = TOO_SLOW;
  /** What may wait for it then: its client can still ping, and is sent pongs. */
  #cutBytesMax = 0;
  #cutTimer: NodeJS.Timeout | undefined;
  /** What this connection has in the outbox's `backpressureBytes`. */
  #waitingBytes = 0;

  constructor(
    protected readonly outbox: Outbox,
    readonly protocol: 'binary' | 'json',
  ) {}

  abstract event(words: Int32Array, at: number, length: number, json: () => Uint8Array): void;
  abstract flush(): void;

  /** Sends what was gathered, then closes: at once if nothing waits, and the close handler runs before this returns, or as I4 says. */
  end(code: number, reason: string): void {
    this.flush();
    const socket = this.socket;
    if (socket === null) this.#endCut();
    else if (socket.getBufferedAmount() === 0) socket.end(code, reason);
    else this.#leave(socket, code, reason);
  }

  #endCut(): void {
    this.#cut?.end(this.#cutCode, this.#cutReason);
  }

  /** Nothing more is sent, and nothing heard: it is closed when what waits has gone out, or hard. */
  #leave(socket: Socket, code: number, reason: string): void {
    const bytes = socket.getBufferedAmount();
    this.wait(bytes);
    this.socket = null;
    this.#cut = socket;
    this.#cutBytesMax = bytes + SHARE_BYTES_MIN;
    this.#cutCode = code;
    this.#cutReason = reason;
    this.#cutTimer = setTimeout(() => socket.close(), CUT_PATIENCE_MS).unref();
  }

  /** The socket is closed, whoever did it. */
  closed(): void {
    clearTimeout(this.#cutTimer);
    this.socket = null;
    this.#cut = null;
    this.wait(0);
  }

  /** The client has read some of what waited for it. */
  drained(): void {
    const socket = this.socket ?? this.#cut;
    if (socket === null) return;
    const bytes = socket.getBufferedAmount();
    this.wait(bytes);
    if (bytes === 0) this.#endCut();
  }

  /** True if the client reads what it is sent; otherwise the connection is cut off now (I2). */
  keepsUp(): boolean {
    const socket = this.socket;
    if (socket === null) {
      this.#boundCut();
      return false;
    }
    const bytes = socket.getBufferedAmount();
    this.wait(bytes);
    if (bytes <= this.outbox.shareBytes) return true;
    this.cutOff();
    return false;
  }

  #boundCut(): void {
    const socket = this.#cut;
    if (socket === null) return;
    const bytes = socket.getBufferedAmount();
    this.wait(bytes);
    if (bytes > this.#cutBytesMax) socket.close();
  }

  protected cutOff(): void {
    const socket = this.socket;
    if (socket === null) return;
    this.#leave(socket, CLOSE_TOO_SLOW, TOO_SLOW);
    this.outbox.cut(this);
  }

  /** After each send: what the socket did not take at once is counted. */
  protected sent(): void {
    if (this.socket !== null) this.wait(this.socket.getBufferedAmount());
  }

  /** What waits in the socket, as of the last look. */
  protected get waitingBytes(): number {
    return this.#waitingBytes;
  }

  protected wait(bytes: number): void {
    this.outbox.backpressureBytes += bytes - this.#waitingBytes;
    this.#waitingBytes = bytes;
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
    if (length === 0 || !this.keepsUp()) return;
    this.socket!.send(this.#buffer!.subarray(0, length * 4), true);
    this.sent();
  }
}

export class JsonConnection extends Connection {
  #buffer: Buffer | null = null;
  /** Where each of the gathered messages ends. */
  readonly #ends: number[] = [];
  #length = 0;
  /** Parsed requests that wait until those before them are in the rings, and the bytes that each came with. */
  readonly #queue: { readonly request: unknown; readonly bytes: number }[] = [];
  #queueBytes = 0;
  /** What waits on all connections. */
  readonly #queueBudget: ByteBudget;
  readonly #listBudget: ByteBudget;
  /** Of the list budget, for what was sent of long lists and may still wait in the socket. */
  #listBytes = 0;
  #listTimer: NodeJS.Timeout | undefined;
  stalled = false;

  constructor(outbox: Outbox, queueBudget: ByteBudget, listBudget: ByteBudget) {
    super(outbox, 'json');
    this.#queueBudget = queueBudget;
    this.#listBudget = listBudget;
  }

  protected override wait(bytes: number): void {
    super.wait(bytes);
    if (bytes >= this.#listBytes) return;
    this.#listBudget.give(this.#listBytes - bytes);
    this.#holdList(bytes);
  }

  #holdList(bytes: number): void {
    this.#listBytes = bytes;
    clearTimeout(this.#listTimer);
    if (bytes > 0) this.#listTimer = setTimeout(() => this.cutOff(), LIST_PATIENCE_MS).unref();
  }

  /** @returns false when too much waits already: the request is not taken */
  enqueue(request: unknown, bytes: number): boolean {
    if (this.#queueBytes + bytes > QUEUE_BYTES_MAX || !this.#queueBudget.take(bytes)) return false;
    this.#queueBytes += bytes;
    this.#queue.push({ request, bytes });
    return true;
  }

  /** Calls `run` for the requests that wait, in their order, until one stalls the connection. */
  dequeue(run: (request: unknown) => void): void {
    let next = 0;
    while (next < this.#queue.length && !this.stalled) run(this.#queue[next++]!.request);
    this.#drop(next);
  }

  #drop(count: number): void {
    for (const { bytes } of this.#queue.splice(0, count)) {
      this.#queueBytes -= bytes;
      this.#queueBudget.give(bytes);
    }
  }

  override closed(): void {
    super.closed();
    this.#drop(this.#queue.length);
  }

  get queueLength(): number {
    return this.#queue.length;
  }

  /** Sends a message with a long list. @param list  bytes of the list budget, which `release` gives back */
  sendList(head: string, list: Uint8Array, tail: string, release: () => void): void {
    this.append(head, list, tail);
    release();
    // uWebSockets has copied what the system did not take: of what was given back, so much is taken again until it has gone out.
    const bytes = Math.min(this.#listBytes + list.length, this.waitingBytes);
    if (this.socket !== null && this.#listBudget.take(bytes - this.#listBytes)) this.#holdList(bytes);
  }

  /** Gathers one message. @param head  @param tail  text around the body */
  append(head: string, body: Uint8Array, tail: string): void {
    if (this.socket === null) return;
    // A UTF-16 unit is at most three bytes of UTF-8.
    const bytesMax = head.length * 3 + body.length + tail.length;
    if (bytesMax > BUFFER_BYTES) {
      this.#send();
      if (!this.keepsUp()) return;
      this.socket.send(Buffer.concat([Buffer.from(head), body, Buffer.from(tail)]), false);
      this.sent();
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
      this.sent();
    }
    ends.length = 0;
    this.#length = 0;
  }
}
