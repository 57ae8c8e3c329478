/**
 * A connection that speaks RESP2, for load: commands go out as bytes, and answers are counted, or collected when
 * somebody wants to see them. No object is made for an answer that is only counted.
 */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

const READ_BYTES = 1 << 18;
const LF = 10;
const [PLUS, MINUS, COLON, DOLLAR, STAR] = [...Buffer.from('+-:$*')];

export type RespValue = string | number | null | RespValue[];

export class RespSocket {
  /** Some answers are complete. */
  onAnswers: (count: number) => void = () => {};
  onClose: () => void = () => {};
  readonly #socket: Socket;
  /** What came of an answer that is not complete. */
  #rest: Buffer = Buffer.alloc(0);
  #collected: RespValue[] | undefined;
  /** The first error that was answered. */
  error: string | undefined;

  private constructor(socket: Socket) {
    this.#socket = socket;
  }

  static async open(port: number): Promise<RespSocket> {
    const buffer = Buffer.allocUnsafe(READ_BYTES);
    let self: RespSocket | undefined;
    const socket = connect({
      host: '127.0.0.1',
      port,
      noDelay: true,
      onread: {
        buffer,
        callback: (length) => {
          self!.#receive(buffer, length);
          return true;
        },
      },
    });
    self = new RespSocket(socket);
    await once(socket, 'connect');
    socket.on('error', () => {});
    socket.on('close', () => self.onClose());
    return self;
  }

  send(bytes: Uint8Array): void {
    this.#socket.write(bytes);
  }

  /** Sends commands and collects their answers. Not while answers are counted. */
  async ask(commands: string, count: number): Promise<RespValue[]> {
    const values: RespValue[] = [];
    this.#collected = values;
    const onAnswers = this.onAnswers;
    try {
      await new Promise<void>((resolve, reject) => {
        this.onClose = () => reject(new Error('the server closed the connection'));
        this.onAnswers = () => {
          if (values.length >= count) resolve();
        };
        this.#socket.write(commands, 'latin1');
      });
    } finally {
      this.onAnswers = onAnswers;
      this.#collected = undefined;
    }
    return values;
  }

  close(): void {
    this.onClose = () => {};
    this.#socket.destroy();
  }

  #receive(chunk: Buffer, length: number): void {
    const bytes =
      this.#rest.length === 0
        ? chunk.subarray(0, length)
        : Buffer.concat([this.#rest, chunk.subarray(0, length)]);
    let at = 0;
    let count = 0;
    for (;;) {
      const end = this.#skip(bytes, at);
      if (end < 0) break;
      this.#collected?.push(decode(bytes, at).value);
      at = end;
      count++;
    }
    // The chunk is used again for what comes next.
    this.#rest = at === bytes.length ? Buffer.alloc(0) : Buffer.from(bytes.subarray(at));
    if (count > 0) this.onAnswers(count);
  }

  /** Where the answer at `at` ends; -1 if it is not all there. */
  #skip(bytes: Buffer, at: number): number {
    if (at >= bytes.length) return -1;
    const lineEnd = bytes.indexOf(LF, at) + 1;
    if (lineEnd === 0) return -1;
    const type = bytes[at]!;
    if (type === COLON || type === PLUS) return lineEnd;
    if (type === MINUS) {
      this.error ??= bytes.toString('latin1', at + 1, lineEnd - 2);
      return lineEnd;
    }
    const size = readNumber(bytes, at + 1);
    if (type === DOLLAR) {
      if (size < 0) return lineEnd;
      return lineEnd + size + 2 <= bytes.length ? lineEnd + size + 2 : -1;
    }
    if (type !== STAR) throw new Error(`an answer begins with ${String.fromCharCode(type)}`);
    let end = lineEnd;
    for (let i = 0; i < size && end >= 0; i++) end = this.#skip(bytes, end);
    return end;
  }
}

function readNumber(bytes: Buffer, at: number): number {
  const isNegative = bytes[at] === 45;
  let value = 0;
  for (let i = isNegative ? at + 1 : at; bytes[i]! >= 48 && bytes[i]! <= 57; i++)
    value = value * 10 + bytes[i]! - 48;
  return isNegative ? -value : value;
}

/** A complete answer as a value. */
function decode(bytes: Buffer, at: number): { value: RespValue; end: number } {
  const lineEnd = bytes.indexOf(LF, at) + 1;
  const line = bytes.toString('latin1', at + 1, lineEnd - 2);
  switch (bytes[at]) {
    case COLON:
      return { value: Number(line), end: lineEnd };
    case DOLLAR: {
      const size = Number(line);
      if (size < 0) return { value: null, end: lineEnd };
      return { value: bytes.toString('latin1', lineEnd, lineEnd + size), end: lineEnd + size + 2 };
    }
    case STAR: {
      const values: RespValue[] = [];
      let end = lineEnd;
      for (let i = 0; i < Number(line); i++) {
        const item = decode(bytes, end);
        values.push(item.value);
        end = item.end;
      }
      return { value: values, end };
    }
    default:
      return { value: line, end: lineEnd };
  }
}
