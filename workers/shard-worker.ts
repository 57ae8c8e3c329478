/** One thread that runs lanes, as the main thread sees it. */
import { setTimeout as delay } from 'node:timers/promises';
import { MessageChannel, type MessagePort } from 'node:worker_threads';
import { Piscina } from 'piscina';
import { LaneControl, type LaneControlMemory, seatDoorbell } from '../engine/lane-control.js';
import {
  type JournalSegments,
  type LaneOptions,
  type ReplayOptions,
  type ServiceOptions,
  type ShardMessage,
  type ShardOptions,
  type ShardOrder,
  VERSIONS,
} from './lane-options.js';
import { createStats, THREAD_STATS } from './stats.js';

/** A shard with objects needs more than V8 grants a thread by default; one with slabs needs some megabytes. */
const OLD_SPACE_MB = { slab: 512, heap: 16_384 };

/** A thread that has not loaded its code by then does not load it. */
const LOAD_TIMEOUT_MS = 20_000;

export interface ThreadParts {
  readonly service: ServiceOptions;
  readonly lanes: readonly LaneOptions[];
  readonly control: LaneControlMemory;
  /** Reads the journal for partitions that come back from it. */
  readonly readJournal: () => Promise<JournalSegments>;
  readonly warn: (message: string) => void;
}

export class ShardThread {
  readonly stats = new Float64Array(createStats(THREAD_STATS));
  /** The system's number of the thread, when it can take lanes; 0: it is not known. */
  readonly ready: Promise<number>;
  /** Rejects when the thread ends by itself. */
  readonly done: Promise<void>;
  readonly #pool: Piscina;
  readonly #exited: Promise<unknown>;
  /** It has loaded its code, or has ended. */
  readonly #loaded: Promise<unknown>;
  readonly #port: MessagePort;
  /** It was ended from here, and has not thrown. */
  wasDestroyed = false;
  #hasEnded = false;
  #turns = -1;
  #turnsSinceMs = 0;

  /** @param file  of the thread's code, as a URL */
  constructor(
    file: string,
    readonly seat: number,
    { service, lanes, control, readJournal, warn }: ThreadParts,
    replay: ReplayOptions | null,
  ) {
    const { port1, port2 } = new MessageChannel();
    this.#port = port1;
    let load = (): void => {};
    const loaded = new Promise<void>((resolve) => {
      load = resolve;
    });
    this.ready = new Promise((resolve) => {
      port1.on('message', (message: ShardMessage) => {
        load(); // any message says so
        if ('isLoaded' in message) return;
        if ('readyThread' in message) resolve(message.readyThread);
        else if ('warning' in message) warn(message.warning);
        else
          void readJournal().then((journal) => {
            const order: ShardOrder = { journalFor: message.journalFor, journal };
            port1.postMessage(order);
            new LaneControl(control).call(seat);
            seatDoorbell(control, seat).ring();
          });
      });
    });
    this.#pool = new Piscina({
      filename: file,
      minThreads: 0, // or it would start another, without work, in the place of one that has ended
      maxThreads: 1,
      idleTimeout: Number.POSITIVE_INFINITY,
      atomics: 'disabled',
      recordTiming: false,
      resourceLimits: { maxOldGenerationSizeMb: OLD_SPACE_MB[service.engine] },
    });
    const task: ShardOptions = {
      versions: VERSIONS,
      service,
      lanes,
      control,
      seat,
      stats: this.stats.buffer as SharedArrayBuffer,
      replay,
      port: port2,
    };
    this.done = this.#pool.run(task, { transferList: [port2] }) as Promise<void>;
    const end = (): void => {
      this.#hasEnded = true;
    };
    this.#loaded = Promise.race([loaded, this.done.then(end, end)]);
    const [worker] = this.#pool.threads;
    this.#exited = new Promise((resolve) => worker!.once('exit', resolve));
  }

  /** It does nothing any more, or will soon not. */
  get hasEnded(): boolean {
    return this.#hasEnded || this.wasDestroyed;
  }

  /** Whether it has had no turn for so long. To be asked again and again. */
  hangs(turns: number, nowMs: number, timeoutMs: number): boolean {
    if (turns !== this.#turns) {
      this.#turns = turns;
      this.#turnsSinceMs = nowMs;
    }
    return nowMs - this.#turnsSinceMs >= timeoutMs;
  }

  /**
   * Ends the thread wherever it is, but not while it loads its code: to be ended in the middle of an import can abort the whole
   * process (`v8::Module::IsGraphAsync must be used on an instantiated module`, Node 20).
   * Resolves when it runs no more: that `done` has rejected says only that it will not.
   */
  async destroy(): Promise<void> {
    this.wasDestroyed = true;
    await Promise.race([this.#loaded, delay(LOAD_TIMEOUT_MS, undefined, { ref: false })]);
    this.#port.close();
    await Promise.all([this.#pool.destroy(), this.#exited]);
  }
}
