/**
 * A TCP proxy that does to connections what networks do: lets them pass, delays them, refuses new ones, cuts them,
 * or swallows what is sent without a sign (half-open). The faults are switched while it runs.
 *
 * I1  What is forwarded arrives in order, also when the latency changes meanwhile.
 * I2  A connection that lost a byte stays silent for ever, also after `heal`: a stream with a hole must not go on.
 */
import { createServer, connect as open, type Server, type Socket } from 'node:net';

export interface Address {
  readonly host: string;
  readonly port: number;
}

/** Sees what passes, as it is forwarded. A tap is for one connection. */
export interface Tap {
  toTarget(chunk: Buffer): void;
  toClient(chunk: Buffer): void;
  closed(): void;
}

/** What may wait for one side before the other is not read any more. */
const WAITING_BYTES_MAX = 2 ** 20;

export class FaultProxy {
  readonly target: Address;
  /** How long each chunk takes, each way. */
  latencyMs = 0;
  /** Connections that it has taken since the start. */
  accepted = 0;
  #host: string;
  #port: number;
  #server: Server | null = null;
  #swallows = false;
  readonly #pairs = new Set<Pair>();
  readonly #tap: (() => Tap) | null;

  private constructor(listen: Address, target: Address, tap: (() => Tap) | null) {
    this.#host = listen.host;
    this.#port = listen.port;
    this.target = target;
    this.#tap = tap;
  }

  /**
   * Listens, and connects each client to `target`.
   * @param listen  port 0: any free one
   * @param tap     makes the observer of each connection
   */
  static async start(listen: Address, target: Address, tap?: () => Tap): Promise<FaultProxy> {
    const proxy = new FaultProxy(listen, target, tap ?? null);
    await proxy.#listen();
    return proxy;
  }

  get address(): Address {
    return { host: this.#host, port: this.#port };
  }

  get connectionCount(): number {
    return this.#pairs.size;
  }

  /** New connections are refused; those that are open go on. */
  async refuse(): Promise<void> {
    const server = this.#server;
    this.#server = null;
    // Its callback would wait for the connections, too.
    server?.close();
    await new Promise(setImmediate);
  }

  /** Cuts all connections, with a reset to both sides. New ones are taken as before. */
  cut(): void {
    for (const pair of this.#pairs) pair.reset();
  }

  /** Half-open: connections, old and new, are kept and accepted, and nothing passes, either way. */
  swallow(): void {
    this.#swallows = true;
    for (const pair of this.#pairs) pair.swallows = true;
  }

  /** No faults any more. Connections that were swallowed stay silent (I2); new ones work. */
  async heal(): Promise<void> {
    this.latencyMs = 0;
    this.#swallows = false;
    for (const pair of this.#pairs) {
      if (!pair.hasHole) pair.swallows = false;
      else if (pair.isAbandoned) pair.reset();
    }
    await this.#listen();
  }

  /** Refuses and cuts. */
  async stop(): Promise<void> {
    await this.refuse();
    this.cut();
  }

  #listen(): Promise<void> {
    if (this.#server !== null) return Promise.resolve();
    const server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => this.#accept(client));
    this.#server = server;
    return new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen({ host: this.#host, port: this.#port }, () => {
        this.#port = (server.address() as { port: number }).port;
        resolve();
      });
    });
  }

  #accept(client: Socket): void {
    this.accepted++;
    const pair = new Pair(client, this.target, this, this.#tap?.() ?? null);
    pair.swallows = this.#swallows;
    this.#pairs.add(pair);
    pair.onClosed = () => this.#pairs.delete(pair);
  }
}

/** A client's connection, and the one to the target. */
class Pair {
  readonly #client: Socket;
  readonly #target: Socket;
  swallows = false;
  /** Something was swallowed. */
  hasHole = false;
  onClosed: () => void = () => {};

  constructor(client: Socket, target: Address, delays: { readonly latencyMs: number }, tap: Tap | null) {
    this.#client = client;
    this.#target = open({ ...target, allowHalfOpen: true, noDelay: true });
    this.#forward(this.#client, this.#target, delays, (chunk) => tap?.toTarget(chunk));
    this.#forward(this.#target, this.#client, delays, (chunk) => tap?.toClient(chunk));
    client.once('close', () => tap?.closed());
    for (const socket of [client, this.#target])
      socket.once('close', () => {
        if (client.closed && this.#target.closed) this.onClosed();
      });
  }

  /** One side is gone, and the other was not told. */
  get isAbandoned(): boolean {
    return [this.#client, this.#target].some((socket) => socket.readableEnded || socket.closed);
  }

  reset(): void {
    this.#client.resetAndDestroy();
    this.#target.resetAndDestroy();
  }

  #forward(
    from: Socket,
    to: Socket,
    delays: { readonly latencyMs: number },
    tap: (chunk: Buffer) => void,
  ): void {
    const queue: { readonly dueMs: number; readonly pass: () => void }[] = [];
    /** Passes what is due, the oldest first, unless the connection is swallowed by then. */
    const pump = (): void => {
      for (let next = queue[0]; next !== undefined; next = queue[0]) {
        const leftMs = next.dueMs - performance.now();
        if (leftMs > 0) {
          setTimeout(pump, Math.ceil(leftMs));
          return;
        }
        queue.shift();
        if (this.swallows) this.hasHole = true;
        else if (!to.destroyed) next.pass();
      }
    };
    const later = (pass: () => void): void => {
      queue.push({ dueMs: performance.now() + delays.latencyMs, pass });
      if (queue.length === 1) pump(); // I1: else a timer runs for the first of them
    };
    from.on('data', (chunk: Buffer) => {
      later(() => {
        tap(chunk);
        to.write(chunk);
        if (to.writableLength > WAITING_BYTES_MAX) {
          from.pause();
          to.once('drain', () => from.resume());
        }
      });
    });
    from.on('end', () => later(() => to.end()));
    from.on('error', () => later(() => to.destroy()));
    from.on('close', () => later(() => to.end()));
  }
}
