/** One thread that runs lanes, as the main thread sees it. */
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
import { TaskThread, type TaskThreadOptions } from './task-thread.js';

/**
 * A shard with objects needs more than V8 grants a thread by default; one with slabs needs some megabytes. It allocates
 * little, of which nothing survives, so what a collection takes is the pages of its nursery: of a thread that allocates less than
 * 1 MB/s, V8 gives them back after each collection, and asks for them anew in the next, at 0.15 ms a megabyte.
 */
const HEAPS: Record<ServiceOptions['engine'], TaskThreadOptions> = {
  slab: { oldSpaceMb: 512, nurseryMb: 2 },
  heap: { oldSpaceMb: 16_384 },
};

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
  /** See `TaskThread`. */
  readonly stopped: Promise<unknown>;
  readonly #thread: TaskThread<void, ShardMessage>;
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
    let getReady = (_thread: number): void => {};
    this.ready = new Promise((resolve) => {
      getReady = resolve;
    });
    const task: Omit<ShardOptions, 'port'> = {
      versions: VERSIONS,
      service,
      lanes,
      control,
      seat,
      stats: this.stats.buffer as SharedArrayBuffer,
      replay,
    };
    this.#thread = new TaskThread(file, task, HEAPS[service.engine], (message: ShardMessage) => {
      if ('readyThread' in message) getReady(message.readyThread);
      else if ('warning' in message) warn(message.warning);
      else
        void readJournal().then((journal) => {
          const order: ShardOrder = { journalFor: message.journalFor, journal };
          this.#thread.post(order);
          new LaneControl(control).call(seat);
          seatDoorbell(control, seat).ring();
        });
    });
    this.done = this.#thread.done;
    this.stopped = this.#thread.stopped;
    const end = (): void => {
      this.#hasEnded = true;
    };
    this.done.then(end, end);
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

  /** See `TaskThread.end`. */
  async destroy(): Promise<void> {
    this.wasDestroyed = true;
    await this.#thread.end();
  }
}
