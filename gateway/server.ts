/** The uWebSockets app: listens, and stops without leaving anyone unanswered. */

import uWS, { type TemplatedApp, type us_listen_socket } from 'uWebSockets.js';
import { readFileSync } from 'node:fs';
import type { Workers } from '../workers/workers.js';
import { AdminGate, addAdminRoutes } from './admin/admin-routes.js';
import { addConsole } from './admin/console-routes.js';
import { Sampler } from './admin/sampler.js';
import { Auth } from './auth.js';
import type { Config } from './config.js';
import { ConnectionGuard } from './connection-guard.js';
import { CLOSE_GOING_AWAY } from './connections.js';
import { Front } from './front.js';
import { addNotFound, addRoutes } from './http-routes.js';
import { Metrics } from './metrics.js';
import { requireNative } from './native.js';
import { ShardCount } from './shard-count.js';
import { packageVersion } from './version.js';
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

/** What a server is made of once it listens. */
interface Parts {
  readonly front: Front;
  readonly metrics: Metrics;
  readonly sampler: Sampler;
  readonly shardCount: ShardCount;
  readonly listenSocket: us_listen_socket;
  readonly adminSocket: us_listen_socket | null;
  readonly listenAgain: (port: number) => Promise<us_listen_socket>;
  readonly config: Config;
}

export class Server {
  readonly front: Front;
  readonly metrics: Metrics;
  readonly shardCount: ShardCount;
  readonly port: number;
  /** Null when closed: closing it twice would crash the process. */
  #listenSocket: us_listen_socket | null;

  /** That of the admin side, if it has one of its own. */
  readonly adminPort: number;
  #adminSocket: us_listen_socket | null;
  readonly #sampler: Sampler;
  readonly #guard: ConnectionGuard;
  /** What is worth a line in the log. */
  onWarning: (message: string) => void = () => {};

  private constructor(parts: Parts) {
    const { front, metrics, sampler, shardCount, listenSocket, adminSocket, listenAgain, config } = parts;
    this.front = front;
    this.metrics = metrics;
    this.shardCount = shardCount;
    this.#sampler = sampler;
    this.#listenSocket = listenSocket;
    this.#adminSocket = adminSocket;
    this.port = uWS.us_socket_local_port(listenSocket);
    this.adminPort = adminSocket === null ? this.port : uWS.us_socket_local_port(adminSocket);
    this.#guard = new ConnectionGuard(
      {
        pause: () => this.#stopListening(),
        resume: async () => {
          if (front.stopping) return false;
          const socket = await listenAgain(this.port).catch(() => null);
          if (socket === null) return false;
          this.#listenSocket = socket;
          if (front.stopping) this.#stopListening();
          return true;
        },
        webSockets: () => front.connections.count,
        warn: (message) => this.onWarning(message),
      },
      config.maxHttpConnections,
    );
    front.openConnections = this.#guard;
  }

  /** @throws Error when it cannot listen */
  static async start(config: Config, workers: Workers): Promise<Server> {
    requireNative(uWS.App, process.version);
    const front = new Front(workers, config);
    const auth = new Auth(config.tokens);
    const app = createApp(config);
    const sampler = new Sampler(workers, front.counters);
    const shardCount = new ShardCount(workers, config.automaticShards);
    const adminApp = config.adminPort === undefined ? app : createApp(config);
    if (config.admin) {
      const version = packageVersion();
      const gate = new AdminGate(config.adminTokens);
      addAdminRoutes(adminApp, gate, { front, workers, sampler, shardCount, config, version });
      addConsole(adminApp, gate, front);
    }
    const metrics = new Metrics(front, workers);
    addRoutes(app, { front, auth, metrics });
    addStream(app, front, auth);
    try {
      const listenSocket = await listen(app, config.host, config.port, '--port');
      let adminSocket: us_listen_socket | null = null;
      if (config.admin && config.adminPort !== undefined) {
        addNotFound(adminApp, front);
        adminSocket = await listen(adminApp, config.adminHost, config.adminPort, '--admin-port').catch(
          (error: unknown) => {
            uWS.us_listen_socket_close(listenSocket);
            throw error;
          },
        );
      }
      const listenAgain = (port: number): Promise<us_listen_socket> =>
        listen(app, config.host, port, '--port');
      return new Server({
        front,
        metrics,
        sampler,
        shardCount,
        listenSocket,
        adminSocket,
        listenAgain,
        config,
      });
    } catch (error) {
      sampler.end();
      shardCount.end();
      throw error;
    }
  }

  #stopListening(): void {
    if (this.#listenSocket !== null) uWS.us_listen_socket_close(this.#listenSocket);
    this.#listenSocket = null;
  }

  /**
   * Serves on for `drainMs`, though it says that it is not ready. Takes no more connections and requests then, waits until
   * all that came before is answered and the answers have gone out, and closes the WebSockets.
   * @returns false when after `timeoutMs` something had not
   */
  async stop(timeoutMs: number, drainMs = 0): Promise<boolean> {
    const { front } = this;
    front.draining = true;
    if (drainMs > 0) await new Promise((resolve) => setTimeout(resolve, drainMs));
    front.stopping = true;
    this.#guard.end();
    this.#stopListening();
    if (this.#adminSocket !== null) uWS.us_listen_socket_close(this.#adminSocket);
    this.#adminSocket = null;
    this.#sampler.end();
    this.shardCount.end();
    const deadline = performance.now() + timeoutMs;
    while (!front.isIdle && performance.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, STOP_POLL_MS));
    }
    const answered = front.isIdle;
    for (const connection of front.connections) connection.end(CLOSE_GOING_AWAY, 'the server is stopping');
    return answered;
  }
}

async function listen(
  app: TemplatedApp,
  host: string,
  port: number,
  flag: string,
): Promise<us_listen_socket> {
  const socket = await new Promise<us_listen_socket | false>((resolve) => {
    (app as unknown as ExclusiveApp).listen(host, port, LISTEN_EXCLUSIVE, resolve);
  });
  if (socket !== false) return socket;
  throw new Error(
    `${flag}=${port} at ${host} cannot be listened at: in use, or not allowed. Choose another ${flag}, or stop what has it.`,
  );
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
