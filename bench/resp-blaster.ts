/** Closed-loop load in RESP: on each connection a window of frames, each so many commands in one write. */
import { sleep } from './clock.js';
import { RespSocket } from './resp-socket.js';

const DRAIN_MS = 30_000;

export interface RespLoad {
  readonly port: number;
  readonly connections: number;
  readonly commandsPerFrame: number;
  /** Frames in flight on each connection. */
  readonly window: number;
  readonly commandBytesMax: number;
  /** Writes the next command; the position after it. */
  readonly next: (out: Uint8Array, at: number) => number;
}

export interface RespResult {
  readonly commands: number;
  readonly seconds: number;
  readonly rate: number;
}

class Connection {
  readonly #socket: RespSocket;
  readonly #load: RespLoad;
  #answersOfFrame = 0;
  #inFlight = 0;
  answered = 0;
  failed: string | undefined;
  isRunning = true;

  constructor(socket: RespSocket, load: RespLoad) {
    this.#socket = socket;
    this.#load = load;
    socket.onClose = () => {
      this.failed ??= 'the server closed a connection';
    };
    socket.onAnswers = (count) => {
      this.answered += count;
      this.#answersOfFrame += count;
      const frames = Math.floor(this.#answersOfFrame / load.commandsPerFrame);
      this.#answersOfFrame -= frames * load.commandsPerFrame;
      this.#inFlight -= frames;
      if (socket.error !== undefined) this.failed ??= socket.error;
      if (this.isRunning && this.#inFlight <= load.window >>> 1) this.refill();
    };
  }

  get unanswered(): number {
    return this.#inFlight;
  }

  /** All frames that there is room for, in one write. */
  refill(): void {
    const { window, commandsPerFrame, commandBytesMax, next } = this.#load;
    const frames = window - this.#inFlight;
    const bytes = Buffer.allocUnsafe(frames * commandsPerFrame * commandBytesMax);
    let at = 0;
    for (let i = 0; i < frames * commandsPerFrame; i++) at = next(bytes, at);
    this.#inFlight = window;
    this.#socket.send(bytes.subarray(0, at));
  }

  close(): void {
    this.#socket.close();
  }
}

/** @throws Error for an answer that is an error, or a lost connection */
export async function respClosedLoop(load: RespLoad, durationMs: number): Promise<RespResult> {
  const connections: Connection[] = [];
  for (let i = 0; i < load.connections; i++) {
    connections.push(new Connection(await RespSocket.open(load.port), load));
  }
  const requireAnswers = (): void => {
    const failed = connections.find((connection) => connection.failed !== undefined)?.failed;
    if (failed !== undefined) throw new Error(failed);
  };
  try {
    const start = performance.now();
    for (const connection of connections) connection.refill();
    await sleep(durationMs);
    const seconds = (performance.now() - start) / 1000;
    const commands = connections.reduce((sum, { answered }) => sum + answered, 0);
    for (const connection of connections) connection.isRunning = false;
    for (const end = performance.now() + DRAIN_MS; connections.some(({ unanswered }) => unanswered > 0); ) {
      requireAnswers();
      if (performance.now() > end) throw new Error(`commands were not answered within ${DRAIN_MS} ms`);
      await sleep(1);
    }
    requireAnswers();
    return { commands, seconds, rate: commands / seconds };
  } finally {
    for (const connection of connections) connection.close();
  }
}
