/**
 * The lists of users in a slab partition: two LRU lists, two dirty queues, the detached users.
 *
 * I1  A live user that is not detached is in exactly one LRU list, the one USER_ACTIVE says.
 * I2  A user is in a dirty queue if and only if it has USER_QUEUED; which one says USER_RETRYING.
 * I3  The dirty queue is in order of due time: the delay is one and the same, and what is made due at once goes to
 *     the front.
 * I4  HEADER.DIRTY_USERS counts the users that are queued or have writes on their way.
 */
import { USER, USER_ACTIVE, USER_DETACHED, USER_QUEUED, USER_RETRYING } from './layout.js';
import type { UserSlot } from './partition.js';
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
  users[at + USER.TOUCHED] = tick;
  users[at + USER.LRU_NEWER] = 0;
  users[at + USER.LRU_OLDER] = newest;
  if (newest === 0) header[oldestField(state)] = user;
  else users[memory.userAt(newest) + USER.LRU_NEWER] = user;
  header[newestField(state)] = user;
  if ((state & USER_ACTIVE) === 0) {
    header[HEADER.PASSIVE_RECORDS] = header[HEADER.PASSIVE_RECORDS]! + users[at + USER.RECORD_COUNT]!;
  }
}

export function lruRemove(memory: SlabMemory, user: UserSlot): void {
  const { users, header } = memory;
  const at = memory.userAt(user);
  const state = users[at + USER.STATE]!;
  const newer = users[at + USER.LRU_NEWER]!;
  const older = users[at + USER.LRU_OLDER]!;
  if (newer === 0) header[newestField(state)] = older;
  else users[memory.userAt(newer) + USER.LRU_OLDER] = older;
  if (older === 0) header[oldestField(state)] = newer;
  else users[memory.userAt(older) + USER.LRU_NEWER] = newer;
  if ((state & USER_ACTIVE) === 0) {
    header[HEADER.PASSIVE_RECORDS] = header[HEADER.PASSIVE_RECORDS]! - users[at + USER.RECORD_COUNT]!;
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
  users[at + USER.STATE] = state | USER_ACTIVE;
  lruInsert(memory, user, tick);
}

function headField(state: number): number {
  return (state & USER_RETRYING) !== 0 ? HEADER.RETRY_HEAD : HEADER.DIRTY_HEAD;
}
function tailField(state: number): number {
  return (state & USER_RETRYING) !== 0 ? HEADER.RETRY_TAIL : HEADER.DIRTY_TAIL;
}

function isBusyWriting(memory: SlabMemory, at: number): boolean {
  return (memory.users[at + USER.STATE]! & USER_QUEUED) !== 0 || memory.users[at + USER.IN_FLIGHT] !== 0;
}

/** Changes IN_FLIGHT and keeps I4. */
export function addInFlight(memory: SlabMemory, user: UserSlot, count: number): void {
  const at = memory.userAt(user);
  const before = isBusyWriting(memory, at);
  memory.users[at + USER.IN_FLIGHT] = memory.users[at + USER.IN_FLIGHT]! + count;
  countDirty(memory, before, isBusyWriting(memory, at));
}

function countDirty(memory: SlabMemory, before: boolean, after: boolean): void {
  if (before === after) return;
  memory.header[HEADER.DIRTY_USERS] = memory.header[HEADER.DIRTY_USERS]! + (after ? 1 : -1);
}

/** Appends a user that is in no queue. `retry`: to the queue of the retries. */
export function dirtyAppend(memory: SlabMemory, user: UserSlot, due: number, retry: boolean): void {
  const { users, header } = memory;
  const at = memory.userAt(user);
  const before = isBusyWriting(memory, at);
  const state = (users[at + USER.STATE]! & ~USER_RETRYING) | USER_QUEUED | (retry ? USER_RETRYING : 0);
  users[at + USER.STATE] = state;
  const tail = header[tailField(state)]!;
  users[at + USER.DIRTY_DUE] = due;
  users[at + USER.DIRTY_NEXT] = 0;
  users[at + USER.DIRTY_PREVIOUS] = tail;
  if (tail === 0) header[headField(state)] = user;
  else users[memory.userAt(tail) + USER.DIRTY_NEXT] = user;
  header[tailField(state)] = user;
  countDirty(memory, before, true);
}

export function dirtyRemove(memory: SlabMemory, user: UserSlot): void {
  const { users, header } = memory;
  const at = memory.userAt(user);
  const state = users[at + USER.STATE]!;
  const next = users[at + USER.DIRTY_NEXT]!;
  const previous = users[at + USER.DIRTY_PREVIOUS]!;
  if (previous === 0) header[headField(state)] = next;
  else users[memory.userAt(previous) + USER.DIRTY_NEXT] = next;
  if (next === 0) header[tailField(state)] = previous;
  else users[memory.userAt(next) + USER.DIRTY_PREVIOUS] = previous;
  users[at + USER.STATE] = state & ~(USER_QUEUED | USER_RETRYING);
  countDirty(memory, true, isBusyWriting(memory, at));
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
    dirtyAppend(memory, user, tick, false);
    return;
  }
  const headDue = users[memory.userAt(head) + USER.DIRTY_DUE]!;
  users[at + USER.STATE] = users[at + USER.STATE]! | USER_QUEUED;
  users[at + USER.DIRTY_DUE] = ((headDue - tick) | 0) < 0 ? headDue : tick; // the head may be overdue (I3)
  users[at + USER.DIRTY_PREVIOUS] = 0;
  users[at + USER.DIRTY_NEXT] = head;
  users[memory.userAt(head) + USER.DIRTY_PREVIOUS] = user;
  header[HEADER.DIRTY_HEAD] = user;
  countDirty(memory, memory.users[at + USER.IN_FLIGHT] !== 0, true);
}

/**
 * Takes a user out of sight: nothing finds it or its records any more, and `sweep` frees them. O(1), however many
 * records it has. What is on its way to the store may still be confirmed.
 */
export function detachUser(memory: SlabMemory, user: UserSlot): void {
  const { users, header } = memory;
  const at = memory.userAt(user);
  if ((users[at + USER.STATE]! & USER_QUEUED) !== 0) dirtyRemove(memory, user);
  lruRemove(memory, user);
  removeUser(memory, user);
  users[at + USER.TOUCHED] = userHashOf(memory, user);
  users[at + USER.ID_LO] = 0;
  users[at + USER.ID_HI] = 0;
  users[at + USER.STATE] = users[at + USER.STATE]! | USER_DETACHED;
  users[at + USER.LRU_NEWER] = header[HEADER.DETACHED]!;
  users[at + USER.LRU_OLDER] = 0; // records of the chain that had to stay
  header[HEADER.DETACHED] = user;
}
