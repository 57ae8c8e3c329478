/**
 * An HTTP/1.1 client for load: one request at a time on a kept connection, no pool, no headers parsed but those
 * that say how long the answer is. Requests wait in line; a pipeline would be refused by the server.
 */
import { once } from 'node:events';
import { connect as connectPlain, type Socket } from 'node:net';
import { connect as connectSecure } from 'node:tls';

export type OnAnswer = (status: number, body: Buffer) => void;

const HEAD_END = Buffer.from('\r\n\r\n');
const NONE: Buffer = Buffer.alloc(0);

export class HttpSocket {
  /** The connection was lost with this many requests unanswered. */
  onClose: (unanswered: number) => void = () => {};
  readonly #socket: Socket;
  readonly #headers: string;
  #waiting: { text: string; onAnswer: OnAnswer }[] = [];
  #nextWaiting = 0;
  #current: OnAnswer | undefined;
  #received: Buffer = NONE;
  #closed = false;
  /** Of an answer whose head came: what is there, and how many bytes are still to come. */
  #parts: Buffer[] = [];
  #missingBytes = 0;

  private constructor(socket: Socket, headers: string) {
    this.#socket = socket;
    this.#headers = headers;
    socket.on('data', (chunk: Buffer) => this.#receive(chunk));
    socket.on('error', () => {});
    socket.on('close', () => {
      if (this.#closed) return;
      this.#closed = true;
      this.onClose(this.unanswered);
    });
  }

  static async open(url: URL, token?: string): Promise<HttpSocket> {
    const secure = url.protocol === 'https:';
    const host = url.hostname.replace(/^\[|\]$/g, '');
    const port = Number(url.port || (secure ? 443 : 80));
    const socket = secure ? connectSecure({ host, port, servername: host }) : connectPlain({ host, port });
    socket.setNoDelay(true);
    await once(socket, secure ? 'secureConnect' : 'connect');
    const authorization = token === undefined ? '' : `Authorization: Bearer ${token}\r\n`;
    return new HttpSocket(socket, `Host: ${url.host}\r\n${authorization}`);
  }

  get unanswered(): number {
    return this.#waiting.length - this.#nextWaiting + (this.#current === undefined ? 0 : 1);
  }

  request(method: string, path: string, body: string, onAnswer: OnAnswer): void {
    const content =
      body === ''
        ? '\r\n'
        : `Content-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
    this.#waiting.push({ text: `${method} ${path} HTTP/1.1\r\n${this.#headers}${content}`, onAnswer });
    if (this.#current === undefined) this.#next();
  }

  close(): void {
    this.#closed = true;
    this.#socket.destroy();
  }

  #next(): void {
    const next = this.#waiting[this.#nextWaiting];
    if (next === undefined) {
      this.#waiting = [];
      this.#nextWaiting = 0;
      return;
    }
    if (++this.#nextWaiting > 4096) {
      this.#waiting = this.#waiting.slice(this.#nextWaiting);
      this.#nextWaiting = 0;
    }
    this.#current = next.onAnswer;
    this.#socket.write(next.text, 'latin1');
  }

  #receive(chunk: Buffer): void {
    // A long body comes in many chunks: they are put together once, when all are there.
    if (this.#missingBytes > chunk.length) {
      this.#parts.push(chunk);
      this.#missingBytes -= chunk.length;
      return;
    }
    if (this.#parts.length > 0) {
      this.#received = Buffer.concat([...this.#parts, chunk]);
      this.#parts = [];
    } else this.#received = this.#received.length === 0 ? chunk : Buffer.concat([this.#received, chunk]);
    this.#missingBytes = 0;
    while (this.#received.length > 0 && this.#takeAnswer());
  }

  /** @returns false when the next answer is not all there */
  #takeAnswer(): boolean {
    const headEnd = this.#received.indexOf(HEAD_END);
    if (headEnd < 0) return false;
    const head = this.#received.toString('latin1', 0, headEnd).toLowerCase();
    const bodyStart = headEnd + 4;
    let body: Buffer;
    let end: number;
    if (head.includes('transfer-encoding: chunked')) {
      const dechunked = dechunk(this.#received, bodyStart);
      if (dechunked === undefined) return false;
      ({ body, end } = dechunked);
    } else {
      const found = /content-length: (\d+)/.exec(head);
      end = bodyStart + (found === null ? 0 : Number(found[1]));
      if (this.#received.length < end) {
        this.#missingBytes = end - this.#received.length;
        this.#parts = [this.#received];
        this.#received = NONE;
        return false;
      }
      body = this.#received.subarray(bodyStart, end);
    }
    this.#received = end === this.#received.length ? NONE : this.#received.subarray(end);
    const onAnswer = this.#current!;
    this.#current = undefined;
    this.#next();
    onAnswer(Number(head.slice(9, 12)), body);
    return true;
  }
}

/** The body of a chunked answer from `at`, and where it ends; undefined if it is not all there. */
function dechunk(bytes: Buffer, at: number): { body: Buffer; end: number } | undefined {
  const parts: Buffer[] = [];
  for (;;) {
    const lineEnd = bytes.indexOf('\r\n', at);
    if (lineEnd < 0) return undefined;
    const size = Number.parseInt(bytes.toString('latin1', at, lineEnd), 16);
    const start = lineEnd + 2;
    if (bytes.length < start + size + 2) return undefined;
    at = start + size + 2;
    if (size === 0) return { body: Buffer.concat(parts), end: at };
    parts.push(bytes.subarray(start, start + size));
  }
}
