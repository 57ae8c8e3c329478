/**
 * How few rows could be written for a trace when each change has to be in the store within the flush delay, whoever
 * writes them: for each entry, a write right at the end of the delay after its first change that is not written yet.
 * And how few when, as the service does it, all that changed of a user is written together, the delay after the
 * user's first change. Times are those of the trace: a delay of 30 s at 60 times the pace is 30 minutes of it.
 */
import { ExpectedState } from './expected-state.js';
import { type ModelOptions, type Operation, ReaderModel } from './reader-model.js';
import { Trace } from './trace.js';

export interface CoalescingBound {
  /** Acks and mentions. */
  readonly updates: number;
  /** Those that change an entry. */
  readonly changes: number;
  /** Pairs of an entry and a window of its own: nothing that keeps the delay writes fewer rows. */
  readonly rowsByEntry: number;
  /** Pairs of an entry and a window of its user. */
  readonly rowsByUser: number;
  /** Windows of users: writes to the store, each of one user's rows. */
  readonly groups: number;
}

interface UserWindow {
  untilMs: number;
  readonly channels: Set<string>;
}

export class CoalescingCounter {
  readonly #windowMs: number;
  readonly #state = new ExpectedState();
  readonly #entryUntilMs = new Map<string, number>();
  readonly #users = new Map<string, UserWindow>();
  #updates = 0;
  #changes = 0;
  #rowsByEntry = 0;
  #rowsByUser = 0;
  #groups = 0;

  /** @param windowMs  the flush delay in the time of the trace */
  constructor(windowMs: number) {
    this.#windowMs = windowMs;
  }

  /** The operations in the order of their time. */
  take(operation: Operation): void {
    if (operation.kind === 'list') return;
    this.#updates++;
    if (!this.#state.apply(operation)) return;
    this.#changes++;
    const { atMs, userId, channelId } = operation;
    const entry = `${userId} ${channelId}`;
    if (atMs >= (this.#entryUntilMs.get(entry) ?? Number.NEGATIVE_INFINITY)) {
      this.#entryUntilMs.set(entry, atMs + this.#windowMs);
      this.#rowsByEntry++;
    }
    let user = this.#users.get(userId);
    if (user === undefined || atMs >= user.untilMs) {
      user = { untilMs: atMs + this.#windowMs, channels: new Set() };
      this.#users.set(userId, user);
      this.#groups++;
    }
    if (!user.channels.has(channelId)) this.#rowsByUser++;
    user.channels.add(channelId);
  }

  get bound(): CoalescingBound {
    return {
      updates: this.#updates,
      changes: this.#changes,
      rowsByEntry: this.#rowsByEntry,
      rowsByUser: this.#rowsByUser,
      groups: this.#groups,
    };
  }
}

/** @param limit  messages of the file to look at */
export async function coalescingBound(
  file: string,
  model: ModelOptions,
  windowMs: number,
  limit = Number.POSITIVE_INFINITY,
): Promise<CoalescingBound> {
  const counter = new CoalescingCounter(windowMs);
  const readers = new ReaderModel(model, (operation) => counter.take(operation));
  const trace = await Trace.open(file);
  let messages = 0;
  for await (const dispatch of trace.dispatches()) {
    readers.take(dispatch);
    if (dispatch.kind === 'message' && ++messages === limit) break;
  }
  readers.finish();
  return counter.bound;
}
