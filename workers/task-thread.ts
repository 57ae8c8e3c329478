/**
 * A thread that runs one task, and ends with it or before: Piscina's, in a pool of its own. On the main thread.
 *
 * It is not ended while it loads its code: a thread that is ended in the middle of an import can abort the whole process
 * (`v8::Module::IsGraphAsync must be used on an instantiated module`, Node 20). So a task begins by posting `TASK_LOADED`.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { MessageChannel, type MessagePort } from 'node:worker_threads';
import { Piscina } from 'piscina';

/** A thread that has not loaded its code by then does not load it. */
const LOAD_TIMEOUT_MS = 20_000;

/** V8 counts a nursery three times: for what survives a collection, and for large objects, there is as much. */
const NURSERIES = 3;

export interface TaskThreadOptions {
  /** Heap beyond which the thread is ended; left out: V8's own limit. */
  readonly oldSpaceMb?: number;
  /** What is allocated between two collections of what is new; left out: as the process. */
  readonly nurseryMb?: number;
  /** Flags of Node; left out: those of the process. */
  readonly execArgv?: readonly string[];
}

export class TaskThread<Result, Message extends object> {
  /** What the task returns; rejects when the thread ends before. */
  readonly done: Promise<Result>;
  readonly #pool: Piscina;
  readonly #exited: Promise<unknown>;
  /** It has loaded its code, or has ended. */
  readonly #loaded: Promise<unknown>;
  /**
   * None of the task's code runs any more: its end of the port is closed, by itself at its end, or by Node, on the thread, when the last
   * of its JavaScript has returned. Until the thread is gone it can take a tenth of a second more: V8 finishes what it is
   * compiling for it.
   */
  readonly stopped: Promise<unknown>;
  readonly #port: MessagePort;

  /**
   * @param file     of the task, as a URL
   * @param task     what it is given, but for its `port`
   * @param receive  is given what the task posts
   */
  constructor(
    file: string,
    task: object,
    { oldSpaceMb, nurseryMb, execArgv }: TaskThreadOptions,
    receive: (message: Message) => void,
  ) {
    const { port1, port2: port } = new MessageChannel();
    this.#port = port1;
    this.#pool = new Piscina({
      filename: file,
      minThreads: 0, // or it would start another, without work, in the place of one that has ended
      maxThreads: 1,
      idleTimeout: Number.POSITIVE_INFINITY,
      atomics: 'disabled',
      recordTiming: false,
      ...(execArgv === undefined ? {} : { execArgv: [...execArgv] }),
      resourceLimits: {
        ...(oldSpaceMb === undefined ? {} : { maxOldGenerationSizeMb: oldSpaceMb }),
        ...(nurseryMb === undefined ? {} : { maxYoungGenerationSizeMb: nurseryMb * NURSERIES }),
      },
    });
    const loaded = new Promise<void>((resolve) => {
      port1.on('message', (message: Message) => {
        resolve(); // any message says so
        if (!('isLoaded' in message)) receive(message);
      });
    });
    // Code that cannot be loaded is an error of the pool: its task would wait for ever, and the process end for want of a listener.
    const broken = new Promise<never>((_, reject) => this.#pool.on('error', reject));
    const ran = this.#pool.run({ ...task, port }, { transferList: [port] }) as Promise<Result>;
    this.done = Promise.race([ran, broken]);
    const ended = this.done.then(
      () => {},
      () => {},
    );
    this.#loaded = Promise.race([loaded, ended]);
    const [worker] = this.#pool.threads;
    this.#exited = new Promise((resolve) => worker!.once('exit', resolve));
    this.stopped = Promise.race([this.#exited, new Promise((resolve) => port1.once('close', resolve))]);
  }

  post(message: object): void {
    this.#port.postMessage(message);
  }

  /** Ends the thread wherever it is. Resolves when it is gone: that `done` has rejected says only that it will be. */
  async end(): Promise<void> {
    await Promise.race([this.#loaded, delay(LOAD_TIMEOUT_MS, undefined, { ref: false })]);
    await Promise.all([this.#pool.destroy(), this.#exited]);
    this.#port.close();
  }
}
