/** The uWebSockets app: listens, and stops without leaving anyone unanswered. */

import uWS, { type TemplatedApp, type us_listen_socket } from 'uWebSockets.js';
import { readFileSync } from 'node:fs';
import type { Workers } from '../workers/workers.js';
import { Auth } from './auth.js';
import type { Config } from './config.js';
import { CLOSE_GOING_AWAY } from './connections.js';
import { Front } from './front.js';
import { addRoutes } from './http-routes.js';
import { Metrics } from './metrics.js';
import { requireNative } from './native.js';
import { addStream } from './ws-stream.js';

/** The types lack this form. Without the flag two servers could share a port, each with half of the connections. */
interface ExclusiveApp {
  listen(
    host: string,
    port: number,
    options: number,
    listening: (socket: us_listen_socket | false) => void,
  ): void;
}
const LISTEN_EXCLUSIVE = 1;

/** How often a stop looks whether all is answered. */
const STOP_POLL_MS = 5;

export class Server {
  readonly front: Front;
  readonly port: number;
  /** Null when closed: closing it twice would crash the process. */
  #listenSocket: us_listen_socket | null;

  private constructor(front: Front, listenSocket: us_listen_socket) {
    this.front = front;
    this.#listenSocket = listenSocket;
    this.port = uWS.us_socket_local_port(listenSocket);
  }

  /** @throws Error when it cannot listen */
  static async start(config: Config, workers: Workers): Promise<Server> {
    requireNative(uWS.App, process.version);
    const front = new Front(workers, config);
    const auth = new Auth(config.tokens);
    const app = createApp(config);
    addRoutes(app, { front, auth, metrics: new Metrics(front, workers) });
    addStream(app, front, auth);
    const listenSocket = await new Promise<us_listen_socket | false>((resolve) => {
      (app as unknown as ExclusiveApp).listen(config.host, config.port, LISTEN_EXCLUSIVE, resolve);
    });
    if (listenSocket === false) {
      throw new Error(
        `--port=${config.port} at ${config.host} cannot be listened at: in use, or not allowed. Choose another --port, or stop what has it.`,
      );
    }
    return new Server(front, listenSocket);
  }

  /**
   * Takes no more connections and requests, waits until all that came before is answered, and closes the WebSockets.
   * @returns false when after `timeoutMs` something was still unanswered
   */
  async stop(timeoutMs: number): Promise<boolean> {
    const { front } = this;
    front.stopping = true;
    if (this.#listenSocket !== null) uWS.us_listen_socket_close(this.#listenSocket);
    this.#listenSocket = null;
    const deadline = performance.now() + timeoutMs;
    while (front.waitingCount + front.inFlightCount > 0 && performance.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, STOP_POLL_MS));
    }
    const answered = front.waitingCount + front.inFlightCount === 0;
    for (const connection of front.connections) connection.end(CLOSE_GOING_AWAY, 'the server is stopping');
    return answered;
  }
}

function createApp({ tlsCert, tlsKey }: Config): TemplatedApp {
  if (tlsCert === undefined || tlsKey === undefined) return uWS.App();
  // uWebSockets does not say which file it cannot read, or why.
  for (const file of [tlsCert, tlsKey]) readFileSync(file);
  try {
    return uWS.SSLApp({ cert_file_name: tlsCert, key_file_name: tlsKey });
  } catch {
    throw new Error(
      `--tls-cert=${tlsCert} and --tls-key=${tlsKey} are no certificate chain and its key, both in PEM.`,
    );
  }
}
