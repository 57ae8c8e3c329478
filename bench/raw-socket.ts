/**
 * A WebSocket client over a plain socket (RFC 6455) for load: whole binary frames of 32-bit words in and out, and
 * no object for an operation or a frame. Not a general client: no extensions, no fragments, no text.
 *
 * Masking is with the key 0, which leaves the bytes as they are: the mask protects proxies from hostile pages, and
 * a load generator is neither.
 */
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect as connectPlain, type Socket } from 'node:net';
import { connect as connectSecure } from 'node:tls';

const ACCEPT_SUFFIX = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
const FINAL = 0x80;
const OPCODE_BINARY = 2;
const OPCODE_CLOSE = 8;
const OPCODE_PING = 9;
const OPCODE_PONG = 10;
const MASKED = 0x80;
/** Room for the longest header of a client, 14 bytes, so that the payload after it is aligned to words. */
const HEADER_BYTES = 16;
const READ_BYTES = 1 << 20;

export interface RawSocketOptions {
  /** `http:` or `https:`, of the service; the path is added. */
  url: URL;
  token?: string | undefined;
  path?: string;
  subprotocol?: string;
  /** Largest frame that will be sent. */
  frameWords?: number;
}

/** A frame to fill and to send. It must not be touched between `send` and the next `takeFrame` that gives it. */
export interface OutFrame {
  readonly bytes: Uint8Array;
  readonly words: Int32Array;
}

export class RawSocket {
  /** A frame came: `words[0 .. length)`, valid during the call. */
  onFrame: (words: Int32Array, length: number) => void = () => {};
  /** The connection ended, with the code of the close frame, or 1006. */
  onClose: (code: number, reason: string) => void = () => {};
  readonly #socket: Socket;
  readonly #frameWords: number;
  readonly #freeFrames: OutFrame[] = [];
  #inbound: Buffer;
  #filled = 0;
  /** Payloads begin where the header ends, rarely at a whole word: they are copied here. 2 KB take 0.1 us. */
  #words = new Int32Array(1 << 15);
  #wordBytes = new Uint8Array(this.#words.buffer);
  #closed = false;
  #corked = false;

  private constructor(socket: Socket, frameWords: number) {
    this.#socket = socket;
    this.#frameWords = frameWords;
    this.#inbound = Buffer.allocUnsafe(READ_BYTES * 2);
  }

  /** @throws Error that says what the server answered when it does not switch protocols */
  static async open(options: RawSocketOptions): Promise<RawSocket> {
    const { url, token, path = '/v1/stream', subprotocol = 'tidemark.v1.bin' } = options;
    const secure = url.protocol === 'https:';
    const host = url.hostname.replace(/^\[|\]$/g, '');
    const port = Number(url.port || (secure ? 443 : 80));
    const key = randomBytes(16).toString('base64');
    let self: RawSocket | undefined;
    const early: Buffer[] = [];
    const receive = (chunk: Buffer, length: number): void => {
      if (self === undefined) early.push(Buffer.from(chunk.subarray(0, length)));
      else self.#receive(chunk, length);
    };
    const readBuffer = Buffer.allocUnsafe(READ_BYTES);
    const socket = secure
      ? connectSecure({ host, port, servername: host })
      : connectPlain({
          host,
          port,
          noDelay: true,
          onread: {
            buffer: readBuffer,
            callback: (length) => {
              receive(readBuffer, length);
              socket.emit('received');
              return true;
            },
          },
        });
    if (secure) {
      socket.setNoDelay(true);
      socket.on('data', (chunk: Buffer) => {
        receive(chunk, chunk.length);
        socket.emit('received');
      });
    }
    await once(socket, secure ? 'secureConnect' : 'connect');
    const lines = [
      `GET ${path} HTTP/1.1`,
      `Host: ${url.host}`,
      'Connection: Upgrade',
      'Upgrade: websocket',
      'Sec-WebSocket-Version: 13',
      `Sec-WebSocket-Key: ${key}`,
      `Sec-WebSocket-Protocol: ${subprotocol}`,
      ...(token === undefined ? [] : [`Authorization: Bearer ${token}`]),
    ];
    socket.write(`${lines.join('\r\n')}\r\n\r\n`);
    const opened = new RawSocket(socket, options.frameWords ?? 16384);
    for (;;) {
      await Promise.race([
        once(socket, 'received'),
        once(socket, 'close').then(() => {
          throw new Error(`${url.host} closed the connection before it answered`);
        }),
      ]);
      const all = Buffer.concat(early);
      const end = all.indexOf('\r\n\r\n');
      if (end < 0) continue;
      const head = all.toString('latin1', 0, end);
      if (!head.startsWith('HTTP/1.1 101')) {
        socket.destroy();
        throw new Error(`${url.host}${path} did not switch to WebSocket: ${head.split('\r\n')[0]}`);
      }
      const accept = createHash('sha1')
        .update(key + ACCEPT_SUFFIX)
        .digest('base64');
      if (!head.includes(accept)) {
        socket.destroy();
        throw new Error(`${url.host}${path} answered with a wrong Sec-WebSocket-Accept`);
      }
      self = opened;
      socket.on('error', () => {});
      socket.on('close', () => opened.#end(1006, 'the connection was lost'));
      const rest = all.subarray(end + 4);
      if (rest.length > 0) setImmediate(() => opened.#receive(rest, rest.length));
      return opened;
    }
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** A frame to fill; frames come back by themselves when they are on their way. */
  takeFrame(): OutFrame {
    const free = this.#freeFrames.pop();
    if (free !== undefined) return free;
    const bytes = new Uint8Array(HEADER_BYTES + this.#frameWords * 4);
    return { bytes, words: new Int32Array(bytes.buffer, HEADER_BYTES) };
  }

  /** Sends `length` words of the frame. The frame is the socket's from now on. */
  send(frame: OutFrame, length: number): void {
    const { bytes, words } = frame;
    if (length > words.length) throw new Error(`${length} words in a frame with room for ${words.length}`);
    const payload = length * 4;
    let start: number;
    if (payload < 126) {
      start = HEADER_BYTES - 6;
      bytes[start + 1] = MASKED | payload;
    } else if (payload < 65536) {
      start = HEADER_BYTES - 8;
      bytes[start + 1] = MASKED | 126;
      bytes[start + 2] = payload >>> 8;
      bytes[start + 3] = payload & 0xff;
    } else {
      start = HEADER_BYTES - 14;
      bytes[start + 1] = MASKED | 127;
      bytes.fill(0, start + 2, start + 6);
      bytes[start + 6] = payload >>> 24;
      bytes[start + 7] = (payload >>> 16) & 0xff;
      bytes[start + 8] = (payload >>> 8) & 0xff;
      bytes[start + 9] = payload & 0xff;
    }
    bytes[start] = FINAL | OPCODE_BINARY;
    bytes.fill(0, HEADER_BYTES - 4, HEADER_BYTES);
    this.#socket.write(bytes.subarray(start, HEADER_BYTES + payload), () => this.#freeFrames.push(frame));
  }

  /** Groups what is sent until `uncork` into one system call. */
  cork(): void {
    if (this.#corked) return;
    this.#corked = true;
    this.#socket.cork();
  }
  uncork(): void {
    if (!this.#corked) return;
    this.#corked = false;
    this.#socket.uncork();
  }

  close(): void {
    if (this.#closed) return;
    this.#control(OPCODE_CLOSE, Buffer.from([0x03, 0xe8]));
    this.#socket.end();
    this.#end(1000, 'closed by this side');
  }

  #control(opcode: number, payload: Uint8Array): void {
    this.#socket.write(
      Buffer.concat([Buffer.from([FINAL | opcode, MASKED | payload.length, 0, 0, 0, 0]), payload]),
    );
  }

  #end(code: number, reason: string): void {
    if (this.#closed) return;
    this.#closed = true;
    this.onClose(code, reason);
  }

  /** Parses what came. Whole frames are taken from the chunk itself; only a cut one is kept for the next chunk. */
  #receive(chunk: Buffer, length: number): void {
    let buffer = chunk;
    let end = length;
    if (this.#filled > 0) {
      if (this.#filled + length > this.#inbound.length) {
        const larger = Buffer.allocUnsafe((this.#filled + length) * 2);
        this.#inbound.copy(larger, 0, 0, this.#filled);
        this.#inbound = larger;
      }
      chunk.copy(this.#inbound, this.#filled, 0, length);
      buffer = this.#inbound;
      end = this.#filled + length;
    }
    const taken = this.#parse(buffer, end);
    this.#filled = end - taken;
    if (this.#filled === 0) return;
    if (buffer === this.#inbound) buffer.copyWithin(0, taken, end);
    else {
      if (this.#filled > this.#inbound.length) this.#inbound = Buffer.allocUnsafe(this.#filled * 2);
      buffer.copy(this.#inbound, 0, taken, end);
    }
  }

  /** @returns bytes of whole frames */
  #parse(buffer: Buffer, end: number): number {
    let at = 0;
    while (end - at >= 2) {
      const opcode = buffer[at]! & 0x0f;
      let payload = buffer[at + 1]! & 0x7f;
      let header = 2;
      if (payload === 126) {
        header = 4;
        if (end - at < header) break;
        payload = (buffer[at + 2]! << 8) | buffer[at + 3]!;
      } else if (payload === 127) {
        header = 10;
        if (end - at < header) break;
        payload = buffer.readUInt32BE(at + 6);
      }
      if (end - at < header + payload) break;
      const start = at + header;
      at = start + payload;
      if (opcode === OPCODE_BINARY) {
        if (payload > this.#wordBytes.length) {
          this.#words = new Int32Array(payload >>> 1);
          this.#wordBytes = new Uint8Array(this.#words.buffer);
        }
        buffer.copy(this.#wordBytes, 0, start, at);
        this.onFrame(this.#words, payload >>> 2);
      } else if (opcode === OPCODE_PING) this.#control(OPCODE_PONG, buffer.subarray(start, at));
      else if (opcode === OPCODE_CLOSE) {
        const code = payload >= 2 ? buffer.readUInt16BE(start) : 1005;
        const reason = payload > 2 ? buffer.toString('utf8', start + 2, at) : '';
        this.#socket.end();
        this.#end(code, reason);
      }
    }
    return at;
  }
}
