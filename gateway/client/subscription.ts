/** What a subscriber holds: a bounded buffer of events, read by a callback or as an async iterator. */
import type { ChangeEvent } from './codec.js';
import type { TidemarkError } from './errors.js';

/**
 * `gap`: events of these users may be missing before this one (the connection was lost, or the reader was too slow).
 * `list` with the last version that was seen brings back what was missed.
 */
export type TidemarkEvent = ChangeEvent | { event: 'gap'; userIds: string[] };

/** What it throws is an uncaught error of its own, as with listeners of the platform; all events come all the same. */
export type Listener = (event: TidemarkEvent) => void;

interface Waiting {
  readonly resolve: (result: IteratorResult<TidemarkEvent>) => void;
  readonly reject: (error: TidemarkError) => void;
}

export class Subscription implements AsyncIterable<TidemarkEvent> {
  readonly userIds: readonly string[];
  /** Resolves when nothing more will come; rejects with `unauthorized` when the service does not take the token any more. */
  readonly ended: Promise<void>;
  readonly #listener: Listener | undefined;
  readonly #bufferMax: number;
  readonly #onEnd: (subscription: Subscription) => Promise<void>;
  #buffer: TidemarkEvent[] = [];
  #waiting: Waiting[] = [];
  /** To be thrown by the iterator that comes to it first. */
  #error: TidemarkError | undefined;
  #ended = false;
  #resolveEnded = (): void => {};
  #rejectEnded = (_error: TidemarkError): void => {};

  constructor(
    userIds: readonly string[],
    listener: Listener | undefined,
    bufferMax: number,
    onEnd: (subscription: Subscription) => Promise<void>,
  ) {
    this.userIds = userIds;
    this.#listener = listener;
    this.#bufferMax = bufferMax;
    this.#onEnd = onEnd;
    this.ended = new Promise((resolve, reject) => {
      this.#resolveEnded = resolve;
      this.#rejectEnded = reject;
    });
    this.ended.catch(() => {}); // whoever iterates is told as well
  }

  /** Ends the iterators, and the subscription of the users that no other one of this client holds. */
  async unsubscribe(): Promise<void> {
    if (this.#ended) return;
    this.end();
    await this.#onEnd(this);
  }

  /** For the client: hands an event on. */
  deliver(event: TidemarkEvent): void {
    if (this.#ended) return;
    if (this.#listener !== undefined) {
      try {
        this.#listener(event);
      } catch (error) {
        // Not here: behind this event, in the same frame, are events and answers for others.
        queueMicrotask(() => {
          throw error;
        });
      }
      return;
    }
    const waiting = this.#waiting.shift();
    if (waiting !== undefined) waiting.resolve({ done: false, value: event });
    else if (this.#buffer.length < this.#bufferMax) this.#buffer.push(event);
    else this.#buffer = [{ event: 'gap', userIds: [...this.userIds] }];
  }

  /** For the client: nothing more will come. */
  end(): void {
    this.#ended = true;
    this.#resolveEnded();
    for (const waiting of this.#waiting) waiting.resolve({ done: true, value: undefined });
    this.#waiting = [];
  }

  /** For the client: nothing more will come, and why: after what has come already. */
  fail(error: TidemarkError): void {
    if (this.#ended) return;
    this.#rejectEnded(error);
    const first = this.#waiting.shift();
    if (first === undefined) this.#error = error;
    else first.reject(error);
    this.end();
  }

  [Symbol.asyncIterator](): AsyncIterator<TidemarkEvent> {
    return {
      next: () => {
        const event = this.#buffer.shift();
        if (event !== undefined) return Promise.resolve({ done: false, value: event });
        const error = this.#error;
        this.#error = undefined;
        if (error !== undefined) return Promise.reject(error);
        if (this.#ended) return Promise.resolve({ done: true, value: undefined });
        return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
      },
      return: async () => {
        await this.unsubscribe();
        return { done: true, value: undefined };
      },
    };
  }
}
