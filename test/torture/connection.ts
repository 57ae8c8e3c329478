/** Connections of the torture test: a WebSocket with binary frames, and HTTP. Neither repeats anything by itself. */
import { HttpSocket } from '../../bench/http-socket.js';
import { rawWebSocket } from '../../bench/raw-web-socket.js';
import type { TidemarkError } from '../../gateway/client/errors.js';
import { Session } from '../../gateway/client/session.js';
import { type Answer, asHttp, encode, fromHttp, fromWire, type Operation } from './operations.js';

/** How an operation ended: answered, refused with a code, not answered at all, or in a way that should not be. */
export type Outcome = { answer: Answer } | { refused: string } | { failed: string } | 'lost';

export interface Connection {
  readonly name: string;
  /** Operations about one user take effect in order also when the first is not answered yet. */
  readonly isPipelined: boolean;
  inFlight: number;
  readonly isLost: boolean;
  send(userId: number, operation: Operation, ended: (outcome: Outcome) => void): void;
  close(): void;
}

const TIMEOUT_MS = 60_000;
const NOTHING_DONE = new Set(['busy', 'store_unavailable', 'failed']);

export class BinaryConnection implements Connection {
  readonly isPipelined = true;
  inFlight = 0;
  readonly #session: Session;
  #wasOpen = false;

  private constructor(
    url: URL,
    readonly name: string,
  ) {
    const options = {
      url: url.href,
      webSocket: rawWebSocket,
      timeoutMs: TIMEOUT_MS,
      frameBytesMax: 65_536,
      inFlightMax: 16_384,
      callsMax: 131_072,
      triesMax: 1,
      connectTimeoutMs: TIMEOUT_MS,
      keepAliveMs: TIMEOUT_MS,
      reconnectMinMs: TIMEOUT_MS,
      reconnectMaxMs: TIMEOUT_MS,
    };
    this.#session = new Session(
      options,
      () => {},
      () => {},
      () => true,
      () => {},
    );
  }

  /** @returns undefined when the service is not there (any more) */
  static async open(url: URL, name: string): Promise<BinaryConnection | undefined> {
    const connection = new BinaryConnection(url, name);
    connection.#session.connect();
    for (let i = 0; i < 500 && !connection.#session.connected; i++)
      await new Promise((resolve) => setTimeout(resolve, 4));
    connection.#wasOpen = connection.#session.connected;
    if (connection.#wasOpen) return connection;
    connection.close();
    return undefined;
  }

  get isLost(): boolean {
    return this.#wasOpen && !this.#session.connected;
  }

  send(userId: number, operation: Operation, ended: (outcome: Outcome) => void): void {
    this.inFlight++;
    this.#session.submit(encode(userId, operation), false).then(
      (wire) => {
        this.inFlight--;
        ended({ answer: fromWire(operation, wire) });
      },
      (error: TidemarkError) => {
        this.inFlight--;
        ended(outcomeOf(error));
      },
    );
  }

  close(): void {
    this.#session.close();
  }
}

function outcomeOf(error: TidemarkError): Outcome {
  if (NOTHING_DONE.has(error.code)) return { refused: error.code };
  if (error.code === 'disconnected' || error.code === 'closed') return 'lost';
  return { failed: `${error.code} ${error.message}` };
}

/** The service closes connections that bring no request in 10 s, as while all users are verified over the others. */
const KEEP_ALIVE_MS = 3000;

export class HttpConnection implements Connection {
  readonly isPipelined = false;
  isLost = false;
  readonly #socket: HttpSocket;
  readonly #waiting = new Set<(outcome: Outcome) => void>();
  readonly #keepAlive = setInterval(() => this.#askForLife(), KEEP_ALIVE_MS);

  private constructor(
    socket: HttpSocket,
    readonly name: string,
  ) {
    this.#socket = socket;
    socket.onClose = () => this.#lose();
  }

  static async open(url: URL, name: string): Promise<HttpConnection | undefined> {
    try {
      return new HttpConnection(await HttpSocket.open(url), name);
    } catch {
      return undefined;
    }
  }

  get inFlight(): number {
    return this.#waiting.size;
  }

  send(userId: number, operation: Operation, ended: (outcome: Outcome) => void): void {
    if (this.isLost) {
      ended('lost');
      return;
    }
    const { method, path, body } = asHttp(userId, operation);
    this.#waiting.add(ended);
    this.#socket.request(method, path, body, (status, text) => {
      this.#waiting.delete(ended);
      const answer = fromHttp(operation, status, text.toString());
      if (!('refused' in answer)) ended({ answer });
      else if (NOTHING_DONE.has(answer.refused)) ended(answer);
      else ended({ failed: `${method} ${path} ${body} -> ${status} ${text.toString()}` });
    });
  }

  close(): void {
    this.#socket.close();
    this.#lose();
  }

  #askForLife(): void {
    if (this.#waiting.size === 0) this.#socket.request('GET', '/healthz', '', () => {});
  }

  #lose(): void {
    this.isLost = true;
    clearInterval(this.#keepAlive);
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const ended of waiting) ended('lost');
  }
}
