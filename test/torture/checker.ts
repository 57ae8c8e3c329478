/**
 * The record of what was sent and answered, and the proof that the service kept to it, also over kills.
 *
 * A user is driven by one connection at a time, with a pipeline; another connection takes over only when everything
 * is answered. Such operations take effect in the order in which they were sent, so the checker needs no search: it
 * keeps the set of states that the answers so far allow, and runs every operation on it in that order (user-model.ts).
 *
 * What is proven for such a user, exactly:
 * - Each answer is what the operations before it, in order, lead to: entry, count, mark, status, list, badge. So
 *   every answered write is there, no count is too high or too low, no mark goes back but by a manual ack, what was
 *   deleted stays deleted, and a read sees every write before it.
 * - At a kill, the unanswered operations are a suffix of what was sent. The service may have taken any prefix of that
 *   suffix, each operation whole: that many states are possible, and no other. What is answered afterwards has to be
 *   right for one and the same of them; states that an answer contradicts are dropped, and none left is a violation.
 *   A bulk ack is one operation, so it is there wholly or not at all.
 * - Refused operations (`busy`, `store_unavailable`) did nothing.
 * - The version of a change is higher than that of every change before it; an entry shows the version of its last
 *   change; the user's version never goes back, also over kills; what changes nothing raises none. Versions
 *   that no answer told have to lie in their gap, in the order of the changes.
 * - `list since V` shows exactly the entries whose version is above V, and is not partial if something was deleted
 *   after V or V is above the user's version. V is also taken from before a kill.
 * - A mention with a message id is counted once when it repeats the entry's latest, also over kills. If it repeats an
 *   older one, it may be counted again (the service's window is bounded): then the answer decides, and without one both
 *   are possible.
 * - Answers about a user come in the order of the operations, but for refusals.
 *
 * Users that several connections write to at once are checked by intervals, in shared-user.ts.
 * Not proven: what subscribers hear; order between users.
 */
import { type Answer, describe, type Operation } from './operations.js';
import { Contradiction, EMPTY, step, type UserState } from './user-model.js';

const HISTORY_MAX = 400;
const HISTORY_SHOWN = 80;
/** States that are possible at once. Each unanswered change makes one more, each unanswered old mention doubles them. */
const STATES_MAX = 5000;

/** One operation on its way. */
export interface Sent {
  readonly user: UserTrack;
  readonly operation: Operation;
  readonly via: string;
  answer: Answer | undefined;
  isRefused: boolean;
}

export interface Violation {
  readonly userId: number;
  readonly text: string;
}

export class UserTrack {
  states: UserState[] = [EMPTY];
  pending: Sent[] = [];
  readonly history: string[] = [];
  isBroken = false;
  /** Unanswered at the last kill, in order. */
  lost: Operation[] = [];
  /** Versions that answers told. */
  readonly seenVersions: number[] = [];

  constructor(readonly userId: number) {}

  log(line: string): void {
    this.history.push(line);
    if (this.history.length > HISTORY_MAX) this.history.splice(0, HISTORY_MAX / 2);
  }
}

export class Checker {
  readonly violations: Violation[] = [];
  readonly users = new Map<number, UserTrack>();
  answeredCount = 0;
  lostCount = 0;
  /** By the code of the refusal. */
  readonly refusedCounts = new Map<string, number>();
  /** Most states that were possible for one user. */
  statesMax = 1;

  user(userId: number): UserTrack {
    let user = this.users.get(userId);
    if (user === undefined) {
      user = new UserTrack(userId);
      this.users.set(userId, user);
    }
    return user;
  }

  /** Call it in the order in which operations of a user are sent. @param via  the connection, for the history */
  sent(user: UserTrack, operation: Operation, via: string): Sent {
    const sent: Sent = { user, operation, via, answer: undefined, isRefused: false };
    user.pending.push(sent);
    return sent;
  }

  answered(sent: Sent, answer: Answer): void {
    const { user } = sent;
    this.answeredCount++;
    sent.answer = answer;
    const first = user.pending.find((other) => !other.isRefused && other.answer === undefined);
    if (first !== undefined && user.pending.indexOf(first) < user.pending.indexOf(sent)) {
      this.violate(user, `${describe(sent.operation)} was answered before ${describe(first.operation)}`);
    }
    this.#settle(user);
  }

  refused(sent: Sent, code: string): void {
    this.refusedCounts.set(code, (this.refusedCounts.get(code) ?? 0) + 1);
    sent.isRefused = true;
    sent.user.log(`${sent.via} ${describe(sent.operation)} -> refused: ${code}`);
    this.#settle(sent.user);
  }

  /** The service is gone, and all that will be answered is: each user may have any prefix of what is not. */
  lost(how: string): void {
    for (const user of this.users.values()) {
      user.lost = [];
      const unanswered = user.pending.filter(({ isRefused }) => !isRefused);
      user.pending = [];
      for (const { operation, via } of unanswered) {
        user.log(`${via} ${describe(operation)} -> no answer`);
        user.lost.push(operation);
      }
      this.lostCount += unanswered.length;
      user.log(`-- ${how}`);
      if (user.isBroken || unanswered.length === 0) continue;
      const possible = new Set(user.states);
      let states = user.states;
      for (const operation of user.lost) {
        states = this.#advance(user, states, operation);
        for (const state of states) possible.add(state);
      }
      user.states = [...possible];
      this.statesMax = Math.max(this.statesMax, possible.size);
    }
  }

  #advance(user: UserTrack, states: UserState[], operation: Operation): UserState[] {
    const after = new Set(states.flatMap((state) => step(state, operation, undefined)));
    if (after.size > STATES_MAX)
      throw new Error(`user ${user.userId} has ${after.size} possible states: send fewer operations at once`);
    return [...after];
  }

  /** Runs what is answered, in the order of sending, up to the first that is not. */
  #settle(user: UserTrack): void {
    while (user.pending.length > 0) {
      const sent = user.pending[0]!;
      if (!sent.isRefused) {
        if (sent.answer === undefined) return;
        this.#run(user, sent, sent.answer);
      }
      user.pending.shift();
    }
  }

  #run(user: UserTrack, sent: Sent, answer: Answer): void {
    const { operation } = sent;
    user.log(`${sent.via} ${describe(operation)} -> ${JSON.stringify(answer).replaceAll('"', '')}`);
    if (user.isBroken) return;
    if (answer.version !== undefined && operation.op === 'list') user.seenVersions.push(answer.version);
    const last = answer.entries?.at(-1);
    if (last !== undefined && operation.op !== 'list') user.seenVersions.push(last.version);
    if (user.seenVersions.length > 64) user.seenVersions.splice(0, 32);
    const states: UserState[] = [];
    const reasons = new Set<string>();
    for (const state of user.states) {
      try {
        states.push(...step(state, operation, answer));
      } catch (error) {
        if (!(error instanceof Contradiction)) throw error;
        reasons.add(error.reason);
      }
    }
    if (states.length > 0) {
      user.states = states.length === 1 ? states : [...new Set(states)];
      return;
    }
    const shown = [...reasons].slice(-8);
    const of =
      user.states.length === 1 ? '' : ` (all ${user.states.length} states that are possible contradict)`;
    this.violate(user, `${describe(operation)}: ${shown.join('; or ')}${of}`);
  }

  violate(user: UserTrack, reason: string): void {
    if (user.isBroken) return;
    user.isBroken = true;
    const history = user.history
      .slice(-HISTORY_SHOWN)
      .map((line) => `    ${line}`)
      .join('\n');
    const text = `user ${user.userId}: ${reason}\n  history:\n${history}`;
    this.violations.push({ userId: user.userId, text });
  }
}
