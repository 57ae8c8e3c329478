/**
 * Counts requests of the CQL protocol (version 4: a header of nine bytes, then the body) as they pass a FaultProxy:
 * how many reads and writes there are, and how many are under way.
 */
import type { Tap } from './fault-proxy.js';

const HEADER_BYTES = 9;
const STREAM_AT = 2;
const OPCODE_AT = 4;
const LENGTH_AT = 5;
const [QUERY, RESULT, PREPARE, EXECUTE, BATCH] = [0x07, 0x08, 0x09, 0x0a, 0x0d];
/** Kind of a RESULT: here is the id of what you prepared. */
const PREPARED = 4;

/** `read`: SELECT; `write`: INSERT, UPDATE, DELETE and batches; `other`: all else. */
export type RequestKind = 'read' | 'write' | 'other';
type Counts = Record<RequestKind, number>;

function none(): Counts {
  return { read: 0, write: 0, other: 0 };
}

function kindOfText(cql: string): RequestKind {
  if (/^\s*SELECT\b/i.test(cql)) return 'read';
  return /^\s*(INSERT|UPDATE|DELETE)\b/i.test(cql) ? 'write' : 'other';
}

/** The bytes behind their length, a short, at the start of `body`. */
function shortBytes(body: Buffer): string {
  return body.toString('hex', 2, 2 + body.readUInt16BE(0));
}

export class CqlMeter {
  /** Requests so far. */
  readonly total: Counts = none();
  /** Requests without an answer, of all connections that are open; and the most since `resetMost`. */
  readonly inFlight: Counts = none();
  most: Counts = none();
  /** Of prepared statements, by id: it is the same on every connection. */
  readonly #kinds = new Map<string, RequestKind>();

  resetMost(): void {
    this.most = { ...this.inFlight };
  }

  /** Give this to FaultProxy.start. */
  readonly tap = (): Tap => {
    const pending = new Map<number, RequestKind>();
    const prepares = new Map<number, RequestKind>();
    const requests = new Frames((stream, opcode, body) => {
      if (opcode === PREPARE) prepares.set(stream, kindOfText(body.toString('utf8', 4)));
      const kind = this.#kindOf(opcode, body);
      pending.set(stream, kind);
      this.total[kind]++;
      this.inFlight[kind]++;
      this.most[kind] = Math.max(this.most[kind], this.inFlight[kind]);
    });
    const end = (stream: number): void => {
      const kind = pending.get(stream);
      if (kind === undefined) return; // an event of the server
      pending.delete(stream);
      this.inFlight[kind]--;
    };
    const answers = new Frames((stream, opcode, body) => {
      const prepared = prepares.get(stream);
      prepares.delete(stream);
      if (prepared !== undefined && opcode === RESULT && body.readInt32BE(0) === PREPARED)
        this.#kinds.set(shortBytes(body.subarray(4)), prepared);
      end(stream);
    });
    return {
      toTarget: (chunk) => requests.push(chunk),
      toClient: (chunk) => answers.push(chunk),
      closed: () => {
        for (const stream of [...pending.keys()]) end(stream);
      },
    };
  };

  #kindOf(opcode: number, body: Buffer): RequestKind {
    if (opcode === BATCH) return 'write';
    if (opcode === QUERY) return kindOfText(body.toString('utf8', 4, 4 + body.readInt32BE(0)));
    return opcode === EXECUTE ? (this.#kinds.get(shortBytes(body)) ?? 'other') : 'other';
  }
}

/** Finds the frames in a stream of chunks. */
class Frames {
  readonly #onFrame: (stream: number, opcode: number, body: Buffer) => void;
  #parts: Buffer[] = [];
  #bytes = 0;
  /** Of the frame that is being read; a header until it is known. */
  #wanted = HEADER_BYTES;

  constructor(onFrame: (stream: number, opcode: number, body: Buffer) => void) {
    this.#onFrame = onFrame;
  }

  push(chunk: Buffer): void {
    this.#parts.push(chunk);
    this.#bytes += chunk.length;
    while (this.#bytes >= this.#wanted) {
      const all = this.#parts.length === 1 ? this.#parts[0]! : Buffer.concat(this.#parts);
      const length = HEADER_BYTES + all.readUInt32BE(LENGTH_AT);
      if (all.length < length) {
        this.#parts = [all];
        this.#wanted = length;
        return;
      }
      this.#onFrame(all.readInt16BE(STREAM_AT), all[OPCODE_AT]!, all.subarray(HEADER_BYTES, length));
      this.#parts = [all.subarray(length)];
      this.#bytes = all.length - length;
      this.#wanted = HEADER_BYTES;
    }
  }
}
