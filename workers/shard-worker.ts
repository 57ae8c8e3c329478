/** One thread that runs lanes, as the main thread sees it. */
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

export interface ThreadParts {
  readonly service: ServiceOptions;
  readonly lanes: readonly LaneOptions[];
  readonly control: LaneControlMemory;
  /** Takes the front's end of the thread's port. */
  readonly listen: (port: MessagePort) => void;
  /** Takes the persister's end of the thread's port. */
  readonly givePersister: (port: MessagePort) => void;
  /** Reads the journal for partitions that come back from it. */
  readonly readJournal: () => Promise<JournalSegments>;
  readonly warn: (message: string) => void;
}

export class ShardThread {
  readonly stats = new Float64Array(createStats(THREAD_STATS));
  readonly ready: Promise<void>;
  /** Rejects when the thread ends by itself. */
  readonly done: Promise<void>;
  readonly #pool: Piscina;
  readonly #exited: Promise<unknown>;
  readonly #toFront: MessagePort;
  readonly #givePersister: (port: MessagePort) => void;
  /** It was ended from here, and has not thrown. */
  wasDestroyed = false;
  #turns = -1;
  #turnsSinceMs = 0;

  /** @param file  of the thread's code, as a URL */
  constructor(
    file: string,
    readonly seat: number,
    { service, lanes, control, listen, givePersister, readJournal, warn }: ThreadParts,
    replay: ReplayOptions | null,
  ) {
    const front = new MessageChannel();
    const persister = new MessageChannel();
    this.#toFront = front.port1;
    this.#givePersister = givePersister;
    this.ready = new Promise((resolve) => {
      front.port1.on('message', (message: ShardMessage) => {
        if (message === 'ready') resolve();
        else if (message !== null && 'warning' in message) warn(message.warning);
        else if (message !== null)
          void readJournal().then((journal) => {
            const order: ShardOrder = { journalFor: message.journalFor, journal };
            this.#toFront.postMessage(order);
            new LaneControl(control).call(seat);
            seatDoorbell(control, seat).ring();
          });
      });
    });
    listen(front.port1);
    givePersister(persister.port1);
    this.#pool = new Piscina({
      filename: file,
      minThreads: 1,
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
      frontPort: front.port2,
      persisterPort: persister.port2,
    };
    const [worker] = this.#pool.threads;
    this.#exited = new Promise((resolve) => worker!.once('exit', resolve));
    this.done = this.#pool.run(task, { transferList: [front.port2, persister.port2] }) as Promise<void>;
  }

  /** The persister is another one. The caller then calls the seat. */
  connectPersister(): void {
    const { port1, port2 } = new MessageChannel();
    this.#givePersister(port1);
    this.#toFront.postMessage({ persisterPort: port2 } satisfies ShardOrder, [port2]);
  }

  /** Whether it has had no turn for so long. To be asked again and again. */
  hangs(turns: number, nowMs: number, timeoutMs: number): boolean {
    if (turns !== this.#turns) {
      this.#turns = turns;
      this.#turnsSinceMs = nowMs;
    }
    return nowMs - this.#turnsSinceMs >= timeoutMs;
  }

  /** Ends the thread wherever it is. Resolves when it runs no more: that `done` has rejected says only that it will not. */
  async destroy(): Promise<void> {
    this.wasDestroyed = true;
    this.#toFront.close();
    await Promise.all([this.#pool.destroy(), this.#exited]);
  }
}
