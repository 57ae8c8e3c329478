/** HTTP answers: one object a request, which knows whether its client is still there. */
import type { HttpResponse } from 'uWebSockets.js';
import type { Counters } from './counters.js';
import { type ApiError, STOPPING } from './errors.js';
import type { Caller } from './operation-call.js';

/** Larger answers are sent as the socket takes them; smaller ones are copied to it at once. */
const COPIED_BYTES_MAX = 64 * 1024;
/**
 * Of a large answer, given to the socket before the event loop gets its turn. The system takes a list of 7,713 entries,
 * 1.4 MB, in one call, and nobody else is served until it has copied all.
 */
const SLICE_BYTES = 128 * 1024;

export class HttpCaller implements Caller {
  /** Null when answered or aborted. */
  #response: HttpResponse | null;
  readonly #op: number;
  readonly #counters: Counters;
  readonly #startedMs = performance.now();
  #release: (() => void) | null = null;
  readonly #headersOnly: boolean;
  /** Told when the client leaves before the answer. */
  onGone: (() => void) | null = null;

  /**
   * @param op           OP_* for the metrics, 0 for none of them
   * @param headersOnly  the method is HEAD: a body would be taken for the next answer of the connection
   */
  constructor(response: HttpResponse, op: number, counters: Counters, headersOnly = false) {
    this.#response = response;
    this.#op = op;
    this.#counters = counters;
    this.#headersOnly = headersOnly;
    response.onAborted(() => this.#aborted());
  }

  get gone(): boolean {
    return this.#response === null;
  }

  #aborted(): void {
    this.#response = null;
    this.#counters.httpAborted++;
    this.onGone?.();
    this.#sent();
  }

  /** A long answer is sent, or nobody waits for the rest. */
  #sent(): void {
    if (this.#release === null) return;
    this.#release();
    this.#release = null;
    this.#counters.httpSending--;
  }

  /** The response, to be answered with `status`; null when nobody waits. */
  #take(status: number): HttpResponse | null {
    const response = this.#response;
    if (response === null) return null;
    this.#response = null;
    this.#counters.httpAnswered(this.#op, status, performance.now() - this.#startedMs);
    return response;
  }

  ok(body: Uint8Array, contentType = 'application/json'): void {
    if (body.length > COPIED_BYTES_MAX) {
      this.okLarge(body.slice(), () => {}, contentType);
      return;
    }
    const response = this.#take(200);
    response?.cork(() => {
      response.writeHeader('Content-Type', contentType);
      response.end(body);
    });
  }

  /** An answer that is neither JSON nor an error. @param headers  all of them */
  answer(
    status: number,
    statusLine: string,
    headers: Readonly<Record<string, string>>,
    body: string | Uint8Array,
  ): void {
    const response = this.#take(status);
    response?.cork(() => {
      response.writeStatus(statusLine);
      for (const name in headers) response.writeHeader(name, headers[name]!);
      response.end(body);
    });
  }

  /** @param close  the connection ends, too */
  #end(response: HttpResponse, body: string, close: boolean): void {
    // Told the length of the body that is left out, uWebSockets would wait for it, and take no request until then.
    if (!this.#headersOnly) response.end(body, close);
    else if (close) response.endWithoutBody(0, true);
    else response.endWithoutBody();
  }

  okLarge(body: Uint8Array, release: () => void, contentType = 'application/json'): void {
    const response = this.#take(200);
    if (response === null) {
      release();
      return;
    }
    this.#release = release;
    this.#counters.httpSending++;
    const sendSlice = (): boolean => {
      if (this.#release === null) return true; // all is sent, or the client has gone
      const sent = response.getWriteOffset();
      const [ok, responded] = response.tryEnd(body.subarray(sent, sent + SLICE_BYTES), body.length);
      if (responded) {
        this.#sent();
      } else if (ok) {
        setImmediate(() => this.#release !== null && response.cork(sendSlice));
      }
      return ok;
    };
    response.onWritable(sendSlice);
    response.cork(() => {
      response.writeHeader('Content-Type', contentType);
      sendSlice();
    });
  }

  empty(): void {
    const response = this.#take(204);
    response?.cork(() => {
      response.writeStatus('204 No Content');
      response.endWithoutBody();
    });
  }

  error(error: ApiError, headers: Readonly<Record<string, string>> = {}): void {
    const response = this.#take(error.status);
    response?.cork(() => {
      response.writeStatus(error.statusLine);
      response.writeHeader('Content-Type', 'application/json');
      if (error.retryAfterSeconds > 0) response.writeHeader('Retry-After', String(error.retryAfterSeconds));
      if (error.status === 401) response.writeHeader('WWW-Authenticate', 'Bearer');
      for (const name in headers) response.writeHeader(name, headers[name]!);
      this.#end(response, JSON.stringify(error), error === STOPPING);
    });
  }
}
