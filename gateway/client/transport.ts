/** Opens the WebSocket of the client, with whatever implementation there is, and hides how they differ. */
import { SUBPROTOCOL } from './codec.js';
import { TidemarkError } from './errors.js';

/** What of a WebSocket the client uses; browsers, Node 22 and `ws` have it. */
export interface WebSocketLike {
  binaryType: string;
  readonly readyState: number;
  readonly bufferedAmount: number;
  onopen: ((event: never) => void) | null;
  onmessage: ((event: never) => void) | null;
  onerror: ((event: never) => void) | null;
  onclose: ((event: never) => void) | null;
  send(data: Uint8Array): void;
  close(code?: number, reason?: string): void;
}

/** A constructor like that of `ws`: the third argument carries the headers. */
export type WebSocketConstructor = new (
  url: string,
  protocols: string,
  options?: { headers?: Record<string, string> },
) => WebSocketLike;

export interface TransportOptions {
  url: string;
  token?: string | undefined;
  webSocket?: WebSocketConstructor | undefined;
}

/** What the client hears of a connection. `onClose` comes once, also when it never opened, but not after `close()`. */
export interface TransportEvents {
  onOpen(): void;
  onFrame(words: Int32Array): void;
  onClose(code: number, reason: string): void;
}

/** `http://host:4040` or `ws://host:4040/v1/stream` as the address of the stream. */
function streamUrl(url: string): string {
  const address = new URL(url);
  if (!/^(https?|wss?):$/.test(address.protocol))
    throw new TidemarkError('invalid_request', `url is ${url}, and not http, https, ws or wss`, {
      field: 'url',
    });
  address.protocol = address.protocol.replace('http', 'ws');
  if (address.pathname === '/' || address.pathname === '') address.pathname = '/v1/stream';
  return address.href;
}

/** As `ws` names the status of a handshake that was refused. */
const STATUS = /\b[45]\d\d\b/;
const ASK_TIMEOUT_MS = 5000;

/**
 * The status of a handshake that failed, for a platform's WebSocket does not tell: a plain request to the same address is
 * refused as the handshake was. Undefined where nobody answers in time, and in browsers, which send no tokens.
 * @param question  aborted by whoever needs no answer any more
 */
async function askForStatus(
  address: string,
  headers: Record<string, string>,
  question: AbortController,
): Promise<number | undefined> {
  if (!isNode()) return;
  const timer = setTimeout(() => question.abort(), ASK_TIMEOUT_MS);
  try {
    const response = await fetch(address.replace(/^ws/, 'http'), { headers, signal: question.signal });
    await response.body?.cancel();
    return response.status;
  } catch {
    return;
  } finally {
    clearTimeout(timer);
  }
}

function isNode(): boolean {
  return typeof process === 'object' && process.versions?.node !== undefined;
}

/** `ws` is loaded only where neither the caller nor the platform gives a WebSocket. */
export async function findWebSocket(given?: WebSocketConstructor): Promise<WebSocketConstructor> {
  if (given !== undefined) return given;
  const ofPlatform = (globalThis as { WebSocket?: unknown }).WebSocket;
  if (typeof ofPlatform === 'function') return withHeadersFirst(ofPlatform as PlatformWebSocket);
  const name = 'ws';
  try {
    const { WebSocket } = (await import(name)) as { WebSocket: WebSocketConstructor };
    return WebSocket;
  } catch (error) {
    throw new TidemarkError(
      'disconnected',
      `this platform has no WebSocket, and the package ws could not be loaded (${(error as Error).message}): npm install ws, or give a constructor as webSocket`,
    );
  }
}

type PlatformWebSocket = new (
  url: string,
  second: string | { protocols: string; headers: Record<string, string> },
) => WebSocketLike;

/** Node's own WebSocket takes headers in its second argument. A browser's takes none. */
function withHeadersFirst(Platform: PlatformWebSocket): WebSocketConstructor {
  const opened = function open(
    url: string,
    protocols: string,
    options?: { headers?: Record<string, string> },
  ): WebSocketLike {
    const headers = options?.headers;
    if (headers === undefined) return new Platform(url, protocols);
    if (!isNode()) {
      throw new TidemarkError(
        'invalid_request',
        'a browser cannot send a token with a WebSocket: connect through a proxy that adds it',
        { field: 'token' },
      );
    }
    return new Platform(url, { protocols, headers });
  };
  return opened as unknown as WebSocketConstructor;
}

export class Transport {
  readonly #socket: WebSocketLike;
  /** Why the handshake failed. */
  readonly #question = new AbortController();
  /** Nothing more is told: the end has been, or nobody wants to know. */
  #closed = false;

  constructor(WebSocket: WebSocketConstructor, options: TransportOptions, events: TransportEvents) {
    const headers = options.token === undefined ? undefined : { authorization: `Bearer ${options.token}` };
    const address = streamUrl(options.url);
    this.#socket = new WebSocket(address, SUBPROTOCOL, headers && { headers });
    this.#socket.binaryType = 'arraybuffer';
    let problem = '';
    let isOpen = false;
    const closed = (code: number, reason: string): void => {
      if (this.#closed) return;
      this.#closed = true;
      events.onClose(code, reason);
    };
    let hasFailed = false;
    const failed = async (code: number, reason: string): Promise<void> => {
      // A WebSocket that is closed while it connects fails, too.
      if (hasFailed || this.#closed) return;
      hasFailed = true;
      const isTold = STATUS.test(reason);
      const status = isTold ? undefined : await askForStatus(address, headers ?? {}, this.#question);
      closed(code, status === 401 ? `${reason} (${status})` : reason);
    };
    this.#socket.onopen = () => {
      isOpen = true;
      events.onOpen();
    };
    this.#socket.onmessage = (event: { data: unknown }) => {
      const { data } = event;
      // A text or a cut word: no service of this protocol sends it.
      if (data instanceof ArrayBuffer && data.byteLength % 4 === 0) events.onFrame(new Int32Array(data));
      else {
        closed(1002, 'the service sent what is no frame of words');
        this.#socket.close();
      }
    };
    this.#socket.onerror = (event: { message?: string }) => {
      problem = event.message ?? '';
      // The WebSocket of some versions of Node 22 does not say afterwards that it is closed.
      if (!isOpen) void failed(1006, problem);
    };
    this.#socket.onclose = (event: { code: number; reason: string }) => {
      const reason = event.reason === '' ? problem : event.reason;
      if (isOpen) closed(event.code, reason);
      else void failed(event.code, reason);
    };
  }

  get bufferedBytes(): number {
    return this.#socket.bufferedAmount;
  }

  send(words: Int32Array): void {
    this.#socket.send(new Uint8Array(words.buffer, words.byteOffset, words.byteLength));
  }

  /** Ends the connection or the attempt, and the question why that failed. */
  close(): void {
    this.#closed = true;
    this.#question.abort();
    this.#socket.close(1000);
  }
}
