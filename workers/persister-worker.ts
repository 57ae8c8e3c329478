/** One thread that is the persister, as the main thread sees it. */
import { MessageChannel, type MessagePort } from 'node:worker_threads';
import { Piscina } from 'piscina';
import type { PersisterOptions, PersisterOrder, PersisterReport } from './persister.js';
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
  readonly #pool: Piscina;
  readonly #exited: Promise<unknown>;
  readonly #port: MessagePort;
  #beats = -1;
  #beatsSinceMs = 0;

  /** @param isLimited  ends when it needs too much memory */
  constructor(options: Omit<PersisterOptions, 'port'>, isLimited: boolean, warn: (warning: string) => void) {
    const { port1, port2 } = new MessageChannel();
    this.#port = port1;
    this.#pool = new Piscina({
      filename: new URL('./persister-thread.js', import.meta.url).href,
      minThreads: 0, // as in shard-worker.ts
      maxThreads: 1,
      idleTimeout: Number.POSITIVE_INFINITY,
      atomics: 'disabled',
      recordTiming: false,
      ...(isLimited ? { resourceLimits: { maxOldGenerationSizeMb: OLD_SPACE_MB } } : {}),
    });
    const opened = new Promise<StoreMark | null>((opens, reject) => {
      port1.on('message', (report: PersisterReport) => {
        if ('ready' in report) opens(report.mark);
        else if ('error' in report) reject(new Error(report.error));
        else warn(report.warning);
      });
    });
    const task: PersisterOptions = { ...options, port: port2 };
    const ran = this.#pool.run(task, { transferList: [port2] }) as Promise<number | null>;
    const [worker] = this.#pool.threads;
    this.#exited = new Promise((resolve) => worker!.once('exit', resolve));
    this.ready = Promise.race([opened, ran.then(() => opened)]);
    this.ready.catch(() => {}); // whoever waits for it is told
    this.done = Promise.all([ran, opened]).then(([generation]) => generation);
    this.done.catch(() => {}); // likewise
  }

  /** See PersisterOrder. */
  orderStop(): void {
    this.#port.postMessage({ stop: true } satisfies PersisterOrder);
  }

  /** Whether its timer has not gone on for so long. To be asked again and again. */
  hangs(beats: number, nowMs: number, timeoutMs: number): boolean {
    if (beats !== this.#beats) {
      this.#beats = beats;
      this.#beatsSinceMs = nowMs;
    }
    return nowMs - this.#beatsSinceMs >= timeoutMs;
  }

  /** Ends the thread wherever it is. Resolves when it runs no more, nor anything that it has begun at the store. */
  async destroy(): Promise<void> {
    this.#port.close();
    await Promise.all([this.#pool.destroy(), this.#exited]);
  }
}
