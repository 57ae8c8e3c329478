/**
 * The lists of users in a slab partition: two LRU lists, the dirty queue and those of retries, the detached users.
 *
 * I1  A live user that is not detached is in exactly one LRU list, the one USER_ACTIVE says.
 * I2  A user is in a queue if and only if it has USER_QUEUED: the dirty queue, or with USER_RETRYING the retry queue that
 *     its USER_ATTEMPTS and its hash name.
 * I3  Each queue is in order of due time: the delay is one and the same for all in it, and what is made due at once goes
 *     to the front of the dirty queue.
 * I4  A user that is queued or has writes on its way has USER_UNSAVED, but for a detached one, and no other has it.
 * I5  UNSAVED_0 and UNSAVED_1 count the users with USER_UNSAVED by their USER_EPOCH; DETACHED_IN_FLIGHT counts the
 *     detached ones with writes on their way, which nobody needs to journal: the wipe that follows supersedes them.
 */
import {
  ATTEMPTS_SHIFT,
  USER,
  USER_ACTIVE,
  USER_ATTEMPTS,
  USER_DETACHED,
  USER_EPOCH,
  USER_FLIGHT_FAILED,
  USER_FLIGHT_WHOLE,
  USER_QUEUED,
  USER_RETRYING,
  USER_SENT_EPOCH,
  USER_UNSAVED,
} from './layout.js';
import type { UserSlot } from './partition.js';
import { ATTEMPTS_MAX, RETRY_QUEUES, retryQueueOf, retryTicks } from './retry.js';
import { removeUser, userHashOf } from './slab-index.js';
import { HEADER, type SlabMemory } from './slab-memory.js';

function newestField(state: number): number {
  return (state & USER_ACTIVE) !== 0 ? HEADER.ACTIVE_NEWEST : HEADER.PASSIVE_NEWEST;
}
function oldestField(state: number): number {
  return (state & USER_ACTIVE) !== 0 ? HEADER.ACTIVE_OLDEST : HEADER.PASSIVE_OLDEST;
}

/** Puts a user that is in no LRU list to the newest end of the one its STATE names. @param tick  of its last move */
export function lruInsert(memory: SlabMemory, user: UserSlot, tick: number): void {
  const { users, header } = memory;
  const at = memory.userAt(user);
  const state = users[at + USER.STATE]!;
  const newest = header[newestField(state)]!;
  memory.put(at + USER.TOUCHED, tick);
  memory.put(at + USER.LRU_NEWER, 0);
  memory.put(at + USER.LRU_OLDER, newest);
  if (newest === 0) memory.putHeader(oldestField(state), user);
  else memory.put(memory.userAt(newest) + USER.LRU_NEWER, user);
  memory.putHeader(newestField(state), user);
  if ((state & USER_ACTIVE) === 0) {
    memory.putHeader(
      HEADER.PASSIVE_RECORDS,
      header[HEADER.PASSIVE_RECORDS]! + users[at + USER.RECORD_COUNT]!,
    );
  }
}

export function lruRemove(memory: SlabMemory, user: UserSlot): void {
  const { users, header } = memory;
  const at = memory.userAt(user);
  const state = users[at + USER.STATE]!;
  const newer = users[at + USER.LRU_NEWER]!;
  const older = users[at + USER.LRU_OLDER]!;
  if (newer === 0) memory.putHeader(newestField(state), older);
  else memory.put(memory.userAt(newer) + USER.LRU_OLDER, older);
  if (older === 0) memory.putHeader(oldestField(state), newer);
  else memory.put(memory.userAt(older) + USER.LRU_NEWER, newer);
  if ((state & USER_ACTIVE) === 0) {
    memory.putHeader(
      HEADER.PASSIVE_RECORDS,
      header[HEADER.PASSIVE_RECORDS]! - users[at + USER.RECORD_COUNT]!,
    );
  }
}

/**
 * A user did something: to the newest end of the active list, unless it moved there a moment ago: that saves two
 * cache misses in most operations and costs the order within that moment.
 */
export function lruTouch(memory: SlabMemory, user: UserSlot, tick: number): void {
  const at = memory.userAt(user);
  const { users } = memory;
  const state = users[at + USER.STATE]!;
  if ((state & USER_ACTIVE) !== 0 && ((tick - users[at + USER.TOUCHED]!) | 0) < memory.options.touchTicks)
    return;
  lruRemove(memory, user);
  memory.put(at + USER.STATE, state | USER_ACTIVE);
  lruInsert(memory, user, tick);
}

/** Of the queue that a user's STATE names: its head, its tail. */
function headField(memory: SlabMemory, user: UserSlot, state: number): number {
  return (state & USER_RETRYING) === 0
    ? HEADER.DIRTY_HEAD
    : HEADER.RETRY_HEADS + retryQueue(memory, user, state);
}
function tailField(memory: SlabMemory, user: UserSlot, state: number): number {
  return (state & USER_RETRYING) === 0
    ? HEADER.DIRTY_TAIL
    : HEADER.RETRY_TAILS + retryQueue(memory, user, state);
}
function retryQueue(memory: SlabMemory, user: UserSlot, state: number): number {
  return retryQueueOf((state & USER_ATTEMPTS) >>> ATTEMPTS_SHIFT, userHashOf(memory, user));
}

function epochOf(state: number): number {
  return (state & USER_EPOCH) !== 0 ? 1 : 0;
}

function countUnsaved(memory: SlabMemory, parity: number, by: number): void {
  const { header } = memory;
  memory.putHeader(HEADER.UNSAVED_0 + parity, header[HEADER.UNSAVED_0 + parity]! + by);
}

/** Whether the user's oldest unsaved change was made in an epoch of this parity. */
export function isUnsavedOf(memory: SlabMemory, user: UserSlot, parity: number): boolean {
  const state = memory.users[memory.userAt(user) + USER.STATE]!;
  return (state & USER_UNSAVED) !== 0 && epochOf(state) === parity;
}

/** The store has all that the user has changed, or somebody else will see to that. */
export function markSaved(memory: SlabMemory, user: UserSlot): void {
  const at = memory.userAt(user) + USER.STATE;
  const state = memory.users[at]!;
  if ((state & USER_UNSAVED) === 0) return;
  countUnsaved(memory, epochOf(state), -1);
  memory.put(at, state & ~(USER_UNSAVED | USER_FLIGHT_FAILED | USER_ATTEMPTS));
}

/** The oldest change that an unsaved user has not saved is of this epoch. */
export function moveToEpoch(memory: SlabMemory, user: UserSlot, parity: number): void {
  const at = memory.userAt(user) + USER.STATE;
  const state = memory.users[at]!;
  countUnsaved(memory, epochOf(state), -1);
  countUnsaved(memory, parity, 1);
  memory.put(at, parity === 0 ? state & ~USER_EPOCH : state | USER_EPOCH);
}

/** Nothing of the user is on its way, and a walk begins at the head of its chain: what is dirty now is the flight's. */
export function beginFlight(memory: SlabMemory, user: UserSlot): void {
  setSentEpoch(memory, user);
  const at = memory.userAt(user) + USER.STATE;
  memory.put(at, memory.users[at]! & ~(USER_FLIGHT_WHOLE | USER_FLIGHT_FAILED));
}

/** What is unsaved of the user now is journaled in the current epoch or later. */
export function setSentEpoch(memory: SlabMemory, user: UserSlot): void {
  const at = memory.userAt(user) + USER.STATE;
  const state = memory.users[at]!;
  memory.put(at, memory.header[HEADER.EPOCH] === 0 ? state & ~USER_SENT_EPOCH : state | USER_SENT_EPOCH);
}

/**
 * An unsaved user has nothing on its way. If all that was dirty when its flight began has been saved, what is left was
 * changed since, and journaled in the epoch of that time or later.
 */
export function endFlight(memory: SlabMemory, user: UserSlot): void {
  const state = memory.users[memory.userAt(user) + USER.STATE]!;
  if ((state & (USER_FLIGHT_WHOLE | USER_FLIGHT_FAILED)) !== USER_FLIGHT_WHOLE) return;
  moveToEpoch(memory, user, (state & USER_SENT_EPOCH) !== 0 ? 1 : 0);
  const at = memory.userAt(user) + USER.STATE;
  memory.put(at, memory.users[at]! & ~USER_ATTEMPTS);
}

/** A write of the user's flight failed: the first of a flight counts, and it waits for its retry. */
export function failFlight(memory: SlabMemory, user: UserSlot, tick: number): void {
  const at = memory.userAt(user) + USER.STATE;
  let state = memory.users[at]!;
  const isFirst = (state & USER_FLIGHT_FAILED) === 0;
  if (!isFirst && (state & USER_RETRYING) !== 0) return;
  if ((state & USER_QUEUED) !== 0) dirtyRemove(memory, user);
  state = memory.users[at]! | USER_FLIGHT_FAILED;
  const attempts = (state & USER_ATTEMPTS) >>> ATTEMPTS_SHIFT;
  if (isFirst && attempts < ATTEMPTS_MAX) state += 1 << ATTEMPTS_SHIFT;
  memory.put(at, state);
  retryAppend(memory, user, tick);
}

/** Appends a user that is in no queue to the dirty queue: due at `due`, not before those in it. */
export function dirtyAppend(memory: SlabMemory, user: UserSlot, due: number): void {
  queueAppend(memory, user, due, 0);
}

/** The same for the retry queue that its failures in a row, at least one, lead to. */
export function retryAppend(memory: SlabMemory, user: UserSlot, tick: number): void {
  const queue = retryQueue(memory, user, memory.users[memory.userAt(user) + USER.STATE]!);
  const { header, options } = memory;
  memory.putHeader(HEADER.RETRYING, header[HEADER.RETRYING]! + 1);
  queueAppend(memory, user, (tick + retryTicks(options, queue)) | 0, USER_RETRYING);
}

function queueAppend(memory: SlabMemory, user: UserSlot, due: number, retrying: number): void {
  const { users, header } = memory;
  const at = memory.userAt(user);
  let state = users[at + USER.STATE]! | USER_QUEUED | retrying;
  if ((state & USER_UNSAVED) === 0) {
    const parity = header[HEADER.EPOCH]!;
    state = (state & ~USER_EPOCH) | USER_UNSAVED | (parity === 0 ? 0 : USER_EPOCH);
    countUnsaved(memory, parity, 1);
  }
  memory.put(at + USER.STATE, state);
  const tailAt = tailField(memory, user, state);
  const tail = header[tailAt]!;
  memory.put(at + USER.DIRTY_DUE, due);
  memory.put(at + USER.DIRTY_NEXT, 0);
  memory.put(at + USER.DIRTY_PREVIOUS, tail);
  if (tail === 0) memory.putHeader(headField(memory, user, state), user);
  else memory.put(memory.userAt(tail) + USER.DIRTY_NEXT, user);
  memory.putHeader(tailAt, user);
}

/** Takes a user out of its queue; it stays unsaved. */
export function dirtyRemove(memory: SlabMemory, user: UserSlot): void {
  const { users, header } = memory;
  const at = memory.userAt(user);
  const state = users[at + USER.STATE]!;
  const next = users[at + USER.DIRTY_NEXT]!;
  const previous = users[at + USER.DIRTY_PREVIOUS]!;
  if (previous === 0) memory.putHeader(headField(memory, user, state), next);
  else memory.put(memory.userAt(previous) + USER.DIRTY_NEXT, next);
  if (next === 0) memory.putHeader(tailField(memory, user, state), previous);
  else memory.put(memory.userAt(next) + USER.DIRTY_PREVIOUS, previous);
  memory.put(at + USER.STATE, state & ~(USER_QUEUED | USER_RETRYING));
  if ((state & USER_RETRYING) !== 0) memory.putHeader(HEADER.RETRYING, header[HEADER.RETRYING]! - 1);
}

/** The user of all retry queues that is due first, or 0. */
export function nextRetry(memory: SlabMemory): UserSlot {
  const { users, header } = memory;
  if (header[HEADER.RETRYING] === 0) return 0;
  let first = 0;
  for (let queue = 0; queue < RETRY_QUEUES; queue++) {
    const user = header[HEADER.RETRY_HEADS + queue]!;
    if (user === 0) continue;
    const due = users[memory.userAt(user) + USER.DIRTY_DUE]!;
    if (first === 0 || ((due - users[memory.userAt(first) + USER.DIRTY_DUE]!) | 0) < 0) first = user;
  }
  return first;
}

/** Makes a queued user due at once, before all others. */
export function dirtyToFront(memory: SlabMemory, user: UserSlot, tick: number): void {
  const { users, header } = memory;
  const at = memory.userAt(user);
  if ((users[at + USER.STATE]! & USER_RETRYING) !== 0) return; // its turn comes when the store may take it again
  if (((users[at + USER.DIRTY_DUE]! - tick) | 0) <= 0) return;
  dirtyRemove(memory, user);
  const head = header[HEADER.DIRTY_HEAD]!;
  if (head === 0) {
    dirtyAppend(memory, user, tick);
    return;
  }
  const headDue = users[memory.userAt(head) + USER.DIRTY_DUE]!;
  memory.put(at + USER.STATE, users[at + USER.STATE]! | USER_QUEUED);
  memory.put(at + USER.DIRTY_DUE, ((headDue - tick) | 0) < 0 ? headDue : tick); // the head may be overdue (I3)
  memory.put(at + USER.DIRTY_PREVIOUS, 0);
  memory.put(at + USER.DIRTY_NEXT, head);
  memory.put(memory.userAt(head) + USER.DIRTY_PREVIOUS, user);
  memory.putHeader(HEADER.DIRTY_HEAD, user);
}

/**
 * Takes a user out of sight: nothing finds it or its records any more, and `sweep` frees them. O(1), however many
 * records it has. What is on its way to the store may still be confirmed.
 */
export function detachUser(memory: SlabMemory, user: UserSlot): void {
  const { users, header } = memory;
  const at = memory.userAt(user);
  if ((users[at + USER.STATE]! & USER_QUEUED) !== 0) dirtyRemove(memory, user);
  markSaved(memory, user);
  if (users[at + USER.IN_FLIGHT] !== 0) {
    memory.putHeader(HEADER.DETACHED_IN_FLIGHT, header[HEADER.DETACHED_IN_FLIGHT]! + 1);
  }
  lruRemove(memory, user);
  removeUser(memory, user);
  memory.put(at + USER.TOUCHED, userHashOf(memory, user));
  memory.put(at + USER.ID_LO, 0);
  memory.put(at + USER.ID_HI, 0);
  memory.put(at + USER.STATE, users[at + USER.STATE]! | USER_DETACHED);
  memory.put(at + USER.LRU_NEWER, header[HEADER.DETACHED]!);
  memory.put(at + USER.LRU_OLDER, 0); // records of the chain that had to stay
  memory.putHeader(HEADER.DETACHED, user);
}
