/** One thread that is the persister, as the main thread sees it. */
import type { PersisterOptions, PersisterOrder, PersisterReport } from './persister.js';
import { TaskThread } from './task-thread.js';
import { ThreadGate } from './thread-gate.js';
import type { StoreMark } from './warm/store-generation.js';

/** Of a thread that can be replaced: some hundred times what it needs, so that one that hoards is found out in time. */
const OLD_SPACE_MB = 1024;

export class PersisterThread {
  /** The mark of the store when it is open; rejects with what the store said, or when the thread has ended. */
  readonly ready: Promise<StoreMark | null>;
  /**
   * The generation of the store at the end (warm/store-generation.ts), after a stop was ordered. Rejects when the thread
   * ends by itself, or when the store could not be opened.
   */
  readonly done: Promise<number | null>;
  readonly #thread: TaskThread<number | null, PersisterReport>;
  readonly #gate: ThreadGate;
  #beats = -1;
  #beatsSinceMs = 0;

  /** @param isLimited  ends when it needs too much memory */
  constructor(
    options: Omit<PersisterOptions, 'port' | 'gate'>,
    isLimited: boolean,
    warn: (warning: string) => void,
  ) {
    let receive = (_report: PersisterReport): void => {};
    const opened = new Promise<StoreMark | null>((opens, reject) => {
      receive = (report) => {
        if ('ready' in report) opens(report.mark);
        else if ('error' in report) reject(new Error(report.error));
        else warn(report.warning);
      };
    });
    const gate = ThreadGate.create();
    this.#gate = new ThreadGate(gate);
    const file = new URL('./persister-thread.cjs', import.meta.url).href;
    this.#thread = new TaskThread(
      file,
      { ...options, gate },
      isLimited ? { oldSpaceMb: OLD_SPACE_MB } : {},
      receive,
    );
    const ran = this.#thread.done;
    this.ready = Promise.race([opened, ran.then(() => opened)]);
    this.ready.catch(() => {}); // whoever waits for it is told
    this.done = Promise.all([ran, opened]).then(([generation]) => generation);
    this.done.catch(() => {}); // likewise
  }

  /** See PersisterOrder. */
  orderStop(): void {
    this.#thread.post({ stop: true } satisfies PersisterOrder);
  }

  /** Whether its timer has not gone on for so long. To be asked again and again. */
  hangs(beats: number, nowMs: number, timeoutMs: number): boolean {
    if (beats !== this.#beats) {
      this.#beats = beats;
      this.#beatsSinceMs = nowMs;
    }
    return nowMs - this.#beatsSinceMs >= timeoutMs;
  }

  /** See `TaskThread.end`. Nothing that it has begun at the store goes on, either. */
  async destroy(): Promise<void> {
    await this.#gate.close();
    await this.#thread.end();
  }
}
