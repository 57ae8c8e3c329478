/**
 * The persister's thread: started, watched, replaced and ended. On the main thread.
 *
 * P1  One persister runs at a time: the next is started when the one before has ended (its `exit`, not only its error).
 * P2  Between the two the lanes take back what the old one had of them (lane-recall.ts), and hand themselves to the new
 *     one, each when it is done.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { PersisterOptions } from './persister.js';
import { PersisterThread } from './persister-worker.js';
import { Relapses } from './relapses.js';
import { PERSISTER_STATS } from './stats.js';
import type { StoreMark } from './warm/store-generation.js';

/** A replacement that takes longer is shown: the end of a thread waits for what its store has begun. */
const PATIENCE_MS = 5000;

export interface PersisterGroupOptions {
  readonly thread: Omit<PersisterOptions, 'port' | 'number' | 'gate'>;
  /** The store is there when its thread has ended. */
  readonly isReplaceable: boolean;
  /** A thread whose timer stands still for so long is ended and replaced; 0: none is. */
  readonly hangTimeoutMs: number;
  /** P2: lanes are to take back what they have on their way, for the persister of this number. */
  readonly recall: (persister: number) => void;
  readonly warn: (message: string) => void;
  /** A persister that ended by itself and cannot be replaced. */
  readonly fail: (error: unknown) => void;
}

export class PersisterGroup {
  readonly #options: PersisterGroupOptions;
  readonly #stats: Float64Array;
  readonly #relapses = new Relapses();
  #thread: PersisterThread;
  /** The present thread, or the next, once its store is open. */
  #running: Promise<PersisterThread>;
  #number = 0;
  #watch: NodeJS.Timeout | null = null;
  /** The store did not open at the last attempt to replace a thread. */
  #lacksStore = false;
  #isReplacing = false;
  #endedMs = 0;
  replaced = 0;
  /** The thread is being ended: that its task ends is no failure. */
  #ending = false;

  /** Starts the first. */
  constructor(options: PersisterGroupOptions) {
    this.#options = options;
    this.#stats = new Float64Array(options.thread.stats);
    this.#thread = this.#startThread();
    this.#running = Promise.resolve(this.#thread);
  }

  #startThread(): PersisterThread {
    const { thread, isReplaceable, warn } = this.#options;
    return new PersisterThread({ ...thread, number: this.#number }, isReplaceable, warn);
  }

  /** Resolves with its mark when the store is open; rejects with what the store said. */
  async open(): Promise<StoreMark | null> {
    const mark = await this.#thread.ready;
    this.#guard(this.#thread);
    const { hangTimeoutMs, isReplaceable } = this.#options;
    if (isReplaceable && hangTimeoutMs > 0)
      this.#watch = setInterval(() => this.#lookForHang(), hangTimeoutMs / 4).unref();
    return mark;
  }

  /** It runs, or is being replaced as quickly as it should. */
  get isWell(): boolean {
    if (!this.#isReplacing) return true;
    const isLate = performance.now() - this.#endedMs > PATIENCE_MS;
    return !(isLate || this.#lacksStore || this.#relapses.areMany);
  }

  /** Ends the thread wherever it is, as a crash would. */
  async kill(): Promise<void> {
    await this.#thread.destroy();
  }

  #guard(thread: PersisterThread): void {
    thread.done.catch((error: unknown) => {
      if (this.#ending) return;
      if (!this.#options.isReplaceable) {
        this.#options.fail(error);
        return;
      }
      this.#running = this.#replace(thread, error as Error);
      this.#running.catch((failure: unknown) => this.#options.fail(failure));
    });
  }

  async #replace(dead: PersisterThread, error: Error): Promise<PersisterThread> {
    const { warn, recall } = this.#options;
    this.#endedMs = performance.now();
    this.#isReplacing = true;
    let last = dead;
    for (;;) {
      await last.destroy(); // P1
      recall(++this.#number);
      await delay(this.#relapses.note(performance.now()));
      if (this.#ending) return last;
      last = this.#startThread();
      this.#thread = last;
      try {
        await last.ready;
        break;
      } catch (failure) {
        if (this.#ending) return last;
        if (!this.#lacksStore)
          warn(`The persister's thread is replaced, and does not start: ${(failure as Error).message}`);
        this.#lacksStore = true;
      }
    }
    this.#lacksStore = false;
    this.#isReplacing = false;
    this.replaced++;
    this.#guard(last);
    const ms = Math.round(performance.now() - this.#endedMs);
    warn(
      `The persister's thread has ended (${error.message}); another has its place, after ${ms} ms. What was on its way is sent again.`,
    );
    return last;
  }

  #lookForHang(): void {
    const { hangTimeoutMs, warn } = this.#options;
    const beats = this.#stats[PERSISTER_STATS.BEATS]!;
    if (this.#isReplacing || !this.#thread.hangs(beats, performance.now(), hangTimeoutMs)) return;
    warn(`The persister's thread has done nothing for ${hangTimeoutMs} ms: it is ended and replaced.`);
    void this.#thread.destroy();
  }

  /**
   * No lane wants anything any more: resolves when the store is closed, with its generation; null: it is not known. A thread
   * that ends meanwhile is replaced, and told, too.
   */
  async stop(): Promise<number | null> {
    for (;;) {
      const thread = await this.#running;
      thread.orderStop();
      try {
        return await thread.done;
      } catch (error) {
        if (this.#ending) return null;
        if (!this.#options.isReplaceable) throw error;
      }
    }
  }

  /** Ends the thread, whatever it does. */
  async destroy(): Promise<void> {
    this.#ending = true;
    if (this.#watch !== null) clearInterval(this.#watch);
    await this.#thread.destroy();
  }
}
