/**
 * Counts requests of the CQL protocol (version 4: a header of nine bytes, then the body) as they pass a FaultProxy:
 * how many are under way, and what they are.
 */
import type { Tap } from './fault-proxy.js';

const HEADER_BYTES = 9;
const STREAM_AT = 2;
const OPCODE_AT = 4;
const LENGTH_AT = 5;
const [QUERY, PREPARE, EXECUTE, BATCH] = [0x07, 0x09, 0x0a, 0x0d];

export type RequestKind = 'query' | 'prepare' | 'execute' | 'batch' | 'other';
const KINDS: Record<number, RequestKind> = {
  [QUERY]: 'query',
  [PREPARE]: 'prepare',
  [EXECUTE]: 'execute',
  [BATCH]: 'batch',
};

export class CqlMeter {
  /** Requests so far. */
  readonly total: Record<RequestKind, number> = { query: 0, prepare: 0, execute: 0, batch: 0, other: 0 };
  /** Requests without an answer, of all connections that are open; and the most since `resetMost`. */
  readonly inFlight: Record<RequestKind, number> = { query: 0, prepare: 0, execute: 0, batch: 0, other: 0 };
  most: Record<RequestKind, number> = { query: 0, prepare: 0, execute: 0, batch: 0, other: 0 };

  resetMost(): void {
    this.most = { ...this.inFlight };
  }

  /** Give this to FaultProxy.start. */
  readonly tap = (): Tap => {
    const pending = new Map<number, RequestKind>();
    const requests = new Frames((stream, opcode) => {
      const kind = KINDS[opcode] ?? 'other';
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
    const answers = new Frames(end);
    return {
      toTarget: (chunk) => requests.push(chunk),
      toClient: (chunk) => answers.push(chunk),
      closed: () => {
        for (const stream of [...pending.keys()]) end(stream);
      },
    };
  };
}

/** Finds the frames in a stream of chunks. */
class Frames {
  readonly #onFrame: (stream: number, opcode: number) => void;
  #header = Buffer.alloc(0);
  #bodyLeft = 0;

  constructor(onFrame: (stream: number, opcode: number) => void) {
    this.#onFrame = onFrame;
  }

  push(chunk: Buffer): void {
    for (let at = 0; at < chunk.length; ) {
      if (this.#bodyLeft > 0) {
        const taken = Math.min(this.#bodyLeft, chunk.length - at);
        this.#bodyLeft -= taken;
        at += taken;
        continue;
      }
      const taken = Math.min(HEADER_BYTES - this.#header.length, chunk.length - at);
      this.#header = Buffer.concat([this.#header, chunk.subarray(at, at + taken)]);
      at += taken;
      if (this.#header.length < HEADER_BYTES) return;
      this.#onFrame(this.#header.readInt16BE(STREAM_AT), this.#header[OPCODE_AT]!);
      this.#bodyLeft = this.#header.readUInt32BE(LENGTH_AT);
      this.#header = Buffer.alloc(0);
    }
  }
}
