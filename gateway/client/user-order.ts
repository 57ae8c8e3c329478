/**
 * Keeps the calls of each user in the order in which they were made while some are tried again.
 *
 * The service keeps the order of what it takes from one connection. A call that it refused for now, or whose connection
 * was lost, is sent once more, and then behind what was sent after it. Where a later call must not take effect before it
 * (`conflict`):
 * O1  A call is tried again only if no such write was sent behind it. Such reads that were sent behind it are sent again
 *     behind it.
 * O2  While a call that was refused has not ended, such later calls are not sent, nor those that would overtake one that
 *     waits. They wait as its `followers`.
 *
 * Nobody waits for another user. Who waits for whom ends: a follower was made after what it waits for, and that ends
 * within its timeout.
 */
import { REQUEST } from '../../engine/messages.js';
import { type Call, conflict, isRead } from './call.js';

/** Of a user with more calls that wait, the later ones wait without a look at each: a look at all is quadratic. */
const LOOKS_MAX = 256;

/** Users may share a key: `conflict` tells them apart. */
function keyOf({ words }: Call): number {
  return words[REQUEST.USER_LO]! ^ words[REQUEST.USER_HI]!;
}

class CallsByUser {
  readonly #calls = new Map<number, Set<Call>>();

  of(call: Call): Iterable<Call> {
    return this.#calls.get(keyOf(call)) ?? [];
  }

  add(call: Call): void {
    const key = keyOf(call);
    const calls = this.#calls.get(key);
    if (calls === undefined) this.#calls.set(key, new Set([call]));
    else calls.add(call);
  }

  delete(call: Call): void {
    const key = keyOf(call);
    const calls = this.#calls.get(key);
    if (calls?.delete(call) === true && calls.size === 0) this.#calls.delete(key);
  }
}

export class UserOrder {
  readonly #inFlight = new CallsByUser();
  readonly #refused = new CallsByUser();

  /** Before a call is sent. @returns false if it has to wait (O2); who it waits for gives it back at its end */
  enter(call: Call): boolean {
    let looks = 0;
    for (const earlier of this.#refused.of(call)) {
      if (earlier.order >= call.order) continue;
      looks += 1 + earlier.followers.length;
      if (
        looks > LOOKS_MAX ||
        conflict(earlier, call) ||
        earlier.followers.some((follower) => conflict(follower, call))
      ) {
        earlier.followers.push(call);
        return false;
      }
    }
    this.#inFlight.add(call);
    return true;
  }

  leave(call: Call): void {
    this.#inFlight.delete(call);
  }

  /** O1. */
  mayRepeat(call: Call): boolean {
    for (const later of this.#inFlight.of(call))
      if (later.order > call.order && !isRead(later) && conflict(call, later)) return false;
    return true;
  }

  /** It will be tried again. @returns reads that wait for it now, and are in flight no more */
  refuse(call: Call): Call[] {
    const reads = [...this.#inFlight.of(call)].filter(
      (later) => later.order > call.order && conflict(call, later),
    );
    for (const read of reads) this.leave(read);
    this.#refused.add(call);
    call.followers.push(...reads);
    return reads;
  }

  /** @returns who waited for it */
  end(call: Call): Call[] {
    this.#refused.delete(call);
    return call.followers.splice(0);
  }
}
