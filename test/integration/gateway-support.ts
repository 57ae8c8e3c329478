/** A gateway on real sockets over real workers, with a port between the two that can be made to fail. */

import { WebSocket } from 'ws';
import { ANSWERED, REPLY } from '../../engine/messages.js';
import { type OptionName, readConfig } from '../../gateway/config.js';
import { Server } from '../../gateway/server.js';
import { workersOptions } from '../../gateway/workers-options.js';
import { startWorkers } from '../../workers/supervisor.js';
import type { FrontPort, Workers } from '../../workers/workers.js';

/** What stands between the front and the workers' port. */
export class FaultyPort implements FrontPort {
  /** No operation fits into the ring. */
  ringFull = false;
  /** Operations that still fit; then the ring is full. */
  roomFor = Number.POSITIVE_INFINITY;
  /** Answers get this status instead of theirs. */
  status: number | null = null;
  /** Operations that were taken. */
  taken = 0;
  onAnswer: FrontPort['onAnswer'] = () => {};
  onDrained: FrontPort['onDrained'] = () => {};
  readonly #port: FrontPort;
  #held: Int32Array[] | null = null;

  constructor(port: FrontPort) {
    this.#port = port;
    port.onAnswer = (words, at, length) => {
      const copy = words.slice(at, at + length);
      if (this.status !== null && copy[ANSWERED.ROUTE] !== 0) {
        const head = ANSWERED.WORDS + REPLY.HEAD;
        copy[head] = (copy[head]! & ~0xff00) | (this.status << 8);
      }
      if (this.#held === null) this.onAnswer(copy, 0, length);
      else this.#held.push(copy);
    };
    port.onDrained = () => {
      if (this.#held === null) this.onDrained();
    };
  }

  get words(): Int32Array {
    return this.#port.words;
  }

  reserve(userHash: number, length: number): number {
    if (this.ringFull || this.roomFor === 0) return -1;
    this.roomFor--;
    return this.#port.reserve(userHash, length);
  }

  commit(length: number): void {
    this.taken++;
    this.#port.commit(length);
  }

  publish(): void {
    this.#port.publish();
  }

  /** From here on answers wait. */
  hold(): void {
    this.#held = [];
  }

  get heldCount(): number {
    return this.#held?.length ?? 0;
  }

  release(): void {
    const held = this.#held ?? [];
    this.#held = null;
    for (const words of held) this.onAnswer(words, 0, words.length);
    this.onDrained();
  }
}

export interface Gateway {
  readonly server: Server;
  readonly port: FaultyPort;
  readonly workers: Workers;
  readonly url: string;
  readonly streamUrl: string;
  close(): Promise<void>;
}

export async function startGateway(given: Partial<Record<OptionName, string>> = {}): Promise<Gateway> {
  const config = readConfig(
    {
      port: '0',
      store: 'memory:',
      shards: '2',
      partitions: '4',
      capacity: '200k',
      logLevel: 'silent',
      ...given,
    },
    {},
  );
  const { data: _, ...options } = workersOptions(config); // nothing outlives it
  const real = await startWorkers(options);
  const port = new FaultyPort(real.port);
  const workers: Workers = {
    port,
    laneStats: real.laneStats,
    shards: () => real.shards(),
    pastShards: () => real.pastShards(),
    resize: (shards) => real.resize(shards),
    reload: (directory) => real.reload(directory),
    killShard: (shard) => real.killShard(shard),
    killPersister: () => real.killPersister(),
    get replacedThreads() {
      return real.replacedThreads;
    },
    replacedPersisters: 0,
    get spareThreads() {
      return real.spareThreads;
    },
    isWell: true,
    journalStats: real.journalStats,
    persisterStats: real.persisterStats,
    partitionStats: real.partitionStats,
    introspection: real.introspection,
    ringDepths: () => real.ringDepths(),
    flushNow: () => real.flushNow(),
    startedWarm: false,
    onFailure: () => {},
    onWarning: () => {},
    stop: () => real.stop(),
  };
  const server = await Server.start(config, workers);
  return {
    server,
    port,
    workers,
    url: `http://127.0.0.1:${server.port}`,
    streamUrl: `ws://127.0.0.1:${server.port}/v1/stream`,
    async close() {
      await server.stop(1000);
      await real.stop();
    },
  };
}

/** Waits until `condition` holds. */
export async function until(condition: () => boolean, what: string): Promise<void> {
  for (let i = 0; i < 1000; i++) {
    if (condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  throw new Error(`in vain waited until ${what}`);
}

export interface Closed {
  readonly code: number;
  readonly reason: string;
}

/** A WebSocket that keeps what it received. */
export class Client {
  readonly socket: WebSocket;
  readonly received: Buffer[] = [];
  readonly closed: Promise<Closed>;
  isClosed = false;

  private constructor(socket: WebSocket) {
    this.socket = socket;
    socket.on('message', (data: Buffer) => this.received.push(data));
    this.closed = new Promise((resolve) => {
      socket.on('close', (code, reason) => {
        this.isClosed = true;
        resolve({ code, reason: reason.toString() });
      });
    });
  }

  static async open(url: string, protocol: string): Promise<Client> {
    const socket = new WebSocket(url, protocol, { perMessageDeflate: false });
    const client = new Client(socket);
    await new Promise((resolve, reject) => {
      socket.on('open', resolve);
      socket.on('error', reject);
    });
    socket.on('error', () => {});
    return client;
  }

  /** Sends requests as one JSON frame and waits for as many answers, by id. */
  async ask(...requests: object[]): Promise<Record<string, unknown>[]> {
    const from = this.received.length;
    this.socket.send(JSON.stringify(requests.length === 1 ? requests[0] : requests));
    const answers = (): Record<string, unknown>[] =>
      this.received
        .slice(from)
        .map((data) => JSON.parse(data.toString()))
        .filter((answer) => 'id' in answer);
    await until(() => answers().length >= requests.length, `${requests.length} answers came`);
    return answers();
  }

  get events(): Record<string, unknown>[] {
    return this.received.map((data) => JSON.parse(data.toString())).filter((message) => 'event' in message);
  }

  /** All words received, frames one after the other. */
  get words(): Int32Array {
    const all = Buffer.concat(this.received);
    return new Int32Array(all.buffer.slice(all.byteOffset, all.byteOffset + all.length));
  }
}
