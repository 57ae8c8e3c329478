/** The raw socket as a WebSocket for `TidemarkClient`, so that commands need no other package. */
import type { WebSocketConstructor, WebSocketLike } from '../gateway/client/index.js';
import { RawSocket } from './raw-socket.js';

class RawWebSocket implements WebSocketLike {
  binaryType = 'arraybuffer';
  readyState = 0;
  readonly bufferedAmount = 0;
  onopen: ((event: never) => void) | null = null;
  onmessage: ((event: never) => void) | null = null;
  onerror: ((event: never) => void) | null = null;
  onclose: ((event: never) => void) | null = null;
  #socket: RawSocket | undefined;
  #isClosed = false;

  constructor(url: string, subprotocol: string, options?: { headers?: Record<string, string> }) {
    const token = options?.headers?.authorization?.replace(/^Bearer /, '');
    const address = new URL(url.replace(/^ws/, 'http'));
    const path = address.pathname;
    RawSocket.open({ url: address, path, subprotocol, token }).then(
      (socket) => this.#opened(socket),
      (error: Error) => {
        this.onerror?.({ message: error.message } as never);
        this.#closed(1006, '');
      },
    );
  }

  send(data: Uint8Array): void {
    const socket = this.#socket!;
    const frame = socket.takeFrame();
    frame.bytes.set(data, frame.words.byteOffset);
    socket.send(frame, data.byteLength / 4);
  }

  close(): void {
    this.#socket?.close();
    this.#closed(1000, '');
  }

  #opened(socket: RawSocket): void {
    if (this.#isClosed) {
      socket.close();
      return;
    }
    this.#socket = socket;
    this.readyState = 1;
    socket.onFrame = (words, length) => {
      this.onmessage?.({ data: words.slice(0, length).buffer } as never);
    };
    socket.onClose = (code, reason) => this.#closed(code, reason);
    this.onopen?.({} as never);
  }

  #closed(code: number, reason: string): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.readyState = 3;
    this.onclose?.({ code, reason } as never);
  }
}

export const rawWebSocket: WebSocketConstructor = RawWebSocket;
