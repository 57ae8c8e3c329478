/**
 * Write-behind of a slab partition: groups of dirty records to the store, and what its answers do.
 *
 * I1  A record on its way (META_FLUSHING) keeps its slot and is not sent again until it is answered.
 * I2  While a wipe is on its way nothing else of that user is: a wipe that is tried again must not meet newer rows.
 * I3  A record is clean only when the store has confirmed just what it holds now.
 */
import { joinWords, splitHigh, splitLow } from './ids.js';
import {
  assert,
  META_DELETED,
  META_DIRTY,
  META_FLUSHING,
  META_STORED,
  RECORD,
  USER,
  USER_DETACHED,
  USER_FLIGHT_FAILED,
  USER_FLIGHT_WHOLE,
  USER_QUEUED,
  USER_WIPE,
  USER_WIPING,
} from './layout.js';
import { FLUSH, FLUSH_ROW, FLUSH_ROWS_MAX, FLUSH_WIPE, FLUSHED, KIND_FLUSH } from './messages.js';
import { NO_DUE, type RecordSlot, type UserSlot } from './partition.js';
import { hashOfRecord, removeRecord } from './slab-index.js';
import type { JournalState } from './slab-journal.js';
import {
  beginFlight,
  dirtyAppend,
  dirtyRemove,
  dirtyToFront,
  endFlight,
  failFlight,
  markSaved,
  nextRetry,
  retryAppend,
} from './slab-lists.js';
import { HEADER, loadedAhead, type SlabMemory } from './slab-memory.js';
import { countPassive, writeRow } from './slab-records.js';

/** Due ticks wrap: `due` is reached when it is not after `tick`. */
function isDue(due: number, tick: number): boolean {
  return ((due - tick) | 0) <= 0;
}

/**
 * Strictly growing, also when the wall clock is set back, and not ahead of the limit but by what was flushed. The wall clock
 * is asked once a tick: `Date.now` makes an object of its number.
 */
function nextClock(memory: SlabMemory, tick: number): void {
  const { header, wallClock } = memory;
  if (wallClock.us === 0 || wallClock.tick !== tick) {
    wallClock.us = Date.now() * 1000;
    wallClock.tick = tick;
  }
  const last = joinWords(header[HEADER.CLOCK_LO]!, header[HEADER.CLOCK_HI]!);
  const now = Math.max(Math.min(wallClock.us, memory.clockLimitUs), last + 1);
  memory.putHeader(HEADER.CLOCK_LO, splitLow(now));
  memory.putHeader(HEADER.CLOCK_HI, splitHigh(now));
}

/** See `Partition.boundClock`. */
export function boundClock(memory: SlabMemory, floorUs: number, limitUs: number): void {
  const { header } = memory;
  memory.clockLimitUs = limitUs;
  if (joinWords(header[HEADER.CLOCK_LO]!, header[HEADER.CLOCK_HI]!) >= floorUs) return;
  memory.putHeader(HEADER.CLOCK_LO, splitLow(floorUs));
  memory.putHeader(HEADER.CLOCK_HI, splitHigh(floorUs));
}

/** See `Partition.nextDue`. */
export function nextDue(memory: SlabMemory): number {
  const { header, users } = memory;
  const dirty = header[HEADER.DIRTY_HEAD]!;
  const retry = nextRetry(memory);
  if (dirty === 0 && retry === 0) return NO_DUE;
  const dirtyDue = users[memory.userAt(dirty) + USER.DIRTY_DUE]!;
  const retryDue = users[memory.userAt(retry) + USER.DIRTY_DUE]!;
  if (dirty === 0) return retryDue;
  if (retry === 0) return dirtyDue;
  return ((dirtyDue - retryDue) | 0) <= 0 ? dirtyDue : retryDue;
}

/** See `Partition.hurry`. */
export function hurry(memory: SlabMemory, user: UserSlot, tick: number): boolean {
  const at = memory.userAt(user);
  if ((memory.users[at + USER.STATE]! & USER_QUEUED) !== 0) {
    dirtyToFront(memory, user, tick);
    return false;
  }
  return memory.users[at + USER.IN_FLIGHT] === 0;
}

/**
 * Where the walk for the next group goes on: a user with very many records takes several calls. An heir, who has none,
 * begins at the head of the chain: what was sent is on its way there (I1).
 */
export class FlushWalk {
  user: UserSlot = 0;
  record: RecordSlot = 0;
  /** Users of the queue, from the one at hand on, whose records were loaded ahead. */
  loadedUsers = 0;
}

/** Users whose records are loaded together, and how many of each. */
const AHEAD_USERS = 8;
const AHEAD_RECORDS = 64;
const aheadRecords = new Int32Array(AHEAD_USERS);

/**
 * Loads the records of the users that are due, from this one on. A chain is one cache miss after the other; the chains of
 * several users are walked together, so that their misses overlap.
 * @returns how many users
 */
function loadChains(memory: SlabMemory, first: UserSlot, tick: number, force: boolean): number {
  const { users, records } = memory;
  let count = 0;
  for (let user = first; user !== 0 && count < AHEAD_USERS; count++) {
    const at = memory.userAt(user);
    if (!(force || isDue(users[at + USER.DIRTY_DUE]!, tick))) break;
    aheadRecords[count] = users[at + USER.FIRST_RECORD]!;
    user = users[at + USER.DIRTY_NEXT]!;
  }
  let mixed = 0;
  let more = 1;
  for (let step = 0; more !== 0 && step < AHEAD_RECORDS; step++) {
    more = 0;
    for (let i = 0; i < count; i++) {
      const at = memory.recordAt(aheadRecords[i]!); // of slot 0 the words are 0
      mixed ^= records[at]!; // a record may lie in two lines
      const next = records[at + RECORD.NEXT_OF_USER]!;
      aheadRecords[i] = next;
      more |= next;
    }
  }
  loadedAhead[0] = mixed;
  return count;
}

/** See `Partition.flushNext`. */
export function flushNext(
  memory: SlabMemory,
  walk: FlushWalk,
  tick: number,
  out: Int32Array,
  at: number,
  steps: number,
  force: boolean,
): number {
  const { header, users, records } = memory;
  let user = header[HEADER.DIRTY_HEAD]!;
  if (user === 0 || !(force || isDue(users[memory.userAt(user) + USER.DIRTY_DUE]!, tick))) {
    user = nextRetry(memory);
    if (user === 0 || !(force || isDue(users[memory.userAt(user) + USER.DIRTY_DUE]!, tick))) return 0;
  }
  const userAt = memory.userAt(user);
  const state = users[userAt + USER.STATE]!;
  if ((state & USER_WIPING) !== 0) {
    dirtyRemove(memory, user); // I2; queued again by the answer
    return 0;
  }
  const wipe = (state & USER_WIPE) !== 0;
  // A wipe waits for what was sent before it: failed and tried again, that would come after the wipe.
  if (wipe && users[userAt + USER.IN_FLIGHT] !== 0) {
    dirtyRemove(memory, user);
    return 0;
  }
  if (walk.user !== user || walk.record === 0) {
    walk.user = user;
    walk.record = users[userAt + USER.FIRST_RECORD]!;
    if (walk.loadedUsers === 0) walk.loadedUsers = loadChains(memory, user, tick, force);
    walk.loadedUsers--;
    if (users[userAt + USER.IN_FLIGHT] === 0) beginFlight(memory, user);
  }
  let record = walk.record;
  let count = 0;
  let rowAt = at + FLUSH.WORDS;
  for (; record !== 0 && count < FLUSH_ROWS_MAX && steps > 0; steps--) {
    const recordAt = memory.recordAt(record);
    const meta = records[recordAt + RECORD.META]!;
    if ((meta & (META_DIRTY | META_FLUSHING)) === META_DIRTY) {
      out[rowAt + FLUSH_ROW.SLOT] = record;
      writeRow(memory, record, META_DELETED | META_STORED, out, rowAt + FLUSH_ROW.ROW);
      memory.put(recordAt + RECORD.META, (meta & ~META_DIRTY) | META_FLUSHING | META_STORED);
      rowAt += FLUSH_ROW.WORDS;
      count++;
    }
    record = records[recordAt + RECORD.NEXT_OF_USER]!;
  }
  walk.record = record;
  memory.put(userAt + USER.DIRTY_COUNT, users[userAt + USER.DIRTY_COUNT]! - count);
  memory.put(userAt + USER.IN_FLIGHT, users[userAt + USER.IN_FLIGHT]! + count + (wipe ? 1 : 0));
  if (record === 0 || users[userAt + USER.DIRTY_COUNT] === 0) endWalk(memory, walk, user, tick);
  if (wipe) {
    memory.put(userAt + USER.STATE, (users[userAt + USER.STATE]! & ~USER_WIPE) | USER_WIPING);
  } else if (count === 0) {
    return 0;
  }
  nextClock(memory, tick);
  out[at + FLUSH.KIND] = KIND_FLUSH | (wipe ? FLUSH_WIPE : 0);
  out[at + FLUSH.USER_SLOT] = user;
  out[at + FLUSH.USER_LO] = users[userAt + USER.ID_LO]!;
  out[at + FLUSH.USER_HI] = users[userAt + USER.ID_HI]!;
  out[at + FLUSH.VERSION] = users[userAt + USER.VERSION]!;
  out[at + FLUSH.DELETED_VERSION] = users[userAt + USER.DELETED_VERSION]!;
  out[at + FLUSH.CLOCK_LO] = header[HEADER.CLOCK_LO]!;
  out[at + FLUSH.CLOCK_HI] = header[HEADER.CLOCK_HI]!;
  out[at + FLUSH.COUNT] = count;
  return rowAt - at;
}

/**
 * The end of the chain. What is dirty still is on its way as well, and queued again when that is answered; or it changed
 * behind the walk, which took several calls, and all that was sent has been answered.
 */
function endWalk(memory: SlabMemory, walk: FlushWalk, user: UserSlot, tick: number): void {
  const { users } = memory;
  const userAt = memory.userAt(user);
  walk.record = 0;
  dirtyRemove(memory, user);
  memory.put(userAt + USER.STATE, users[userAt + USER.STATE]! | USER_FLIGHT_WHOLE);
  if (users[userAt + USER.IN_FLIGHT] !== 0) return;
  endFlight(memory, user);
  queueAgain(memory, user, tick);
}

/** An unsaved user in no queue: what changed meanwhile is due a delay from now, what failed when its retry is. */
function queueAgain(memory: SlabMemory, user: UserSlot, tick: number): void {
  const state = memory.users[memory.userAt(user) + USER.STATE]!;
  if ((state & USER_FLIGHT_FAILED) !== 0) retryAppend(memory, user, tick);
  else dirtyAppend(memory, user, (tick + memory.options.flushDelayTicks) | 0);
}

/** Records of a chain that one answer looks at for tombstones to free. */
const PRUNE_STEPS = 1024;

/**
 * Frees the tombstones that the store has confirmed, in the first PRUNE_STEPS records of the user. Deeper ones of
 * a very large user stay (they are known to be absent) until the user is evicted: a walk would stop the shard.
 */
function pruneTombstones(memory: SlabMemory, user: UserSlot): void {
  const { records, users } = memory;
  const userAt = memory.userAt(user);
  let previous = 0;
  let freed = 0;
  let record = users[userAt + USER.FIRST_RECORD]!;
  for (let steps = PRUNE_STEPS; record !== 0 && steps > 0; steps--) {
    const at = memory.recordAt(record);
    const next = records[at + RECORD.NEXT_OF_USER]!;
    if ((records[at + RECORD.META]! & (META_DELETED | META_DIRTY | META_FLUSHING)) === META_DELETED) {
      if (previous === 0) memory.put(userAt + USER.FIRST_RECORD, next);
      else memory.put(memory.recordAt(previous) + RECORD.NEXT_OF_USER, next);
      removeRecord(memory, hashOfRecord(memory, record), record);
      memory.freeRecord(record);
      freed++;
    } else {
      previous = record;
    }
    record = next;
  }
  memory.put(userAt + USER.RECORD_COUNT, users[userAt + USER.RECORD_COUNT]! - freed);
  countPassive(memory, user, -freed);
}

/** See `Partition.flushed`. */
export function flushed(
  memory: SlabMemory,
  walk: FlushWalk,
  journal: JournalState,
  tick: number,
  words: Int32Array,
  at: number,
  ok: boolean,
): void {
  const { records, users, header } = memory;
  const user = words[at + FLUSHED.USER_SLOT]!;
  const userAt = memory.userAt(user);
  const wipe = (words[at + FLUSHED.KIND]! & FLUSH_WIPE) !== 0;
  const count = words[at + FLUSHED.COUNT]!;
  const detached = (users[userAt + USER.STATE]! & USER_DETACHED) !== 0;
  let tombstones = false;
  for (let i = 0; i < count; i++) {
    const slot = words[at + FLUSHED.WORDS + i]!;
    const recordAt = memory.recordAt(slot);
    const meta = records[recordAt + RECORD.META]! & ~META_FLUSHING;
    memory.put(recordAt + RECORD.META, meta);
    if (detached || (meta & META_DIRTY) !== 0) continue;
    if (!ok) {
      memory.put(recordAt + RECORD.META, meta | META_DIRTY);
      memory.put(userAt + USER.DIRTY_COUNT, users[userAt + USER.DIRTY_COUNT]! + 1);
    } else if ((meta & META_DELETED) !== 0) {
      tombstones = true;
    }
  }
  let state = users[userAt + USER.STATE]!;
  if (wipe) state = ok || detached ? state & ~USER_WIPING : (state & ~USER_WIPING) | USER_WIPE;
  memory.put(userAt + USER.STATE, state);
  const inFlight = users[userAt + USER.IN_FLIGHT]! - count - (wipe ? 1 : 0);
  memory.put(userAt + USER.IN_FLIGHT, inFlight);
  if (detached) {
    if (inFlight !== 0) return;
    memory.putHeader(HEADER.DETACHED_IN_FLIGHT, header[HEADER.DETACHED_IN_FLIGHT]! - 1);
    return;
  }
  // A held user may be under a cursor's walk; its tombstones can wait.
  if (tombstones && users[userAt + USER.HOLD] === 0) {
    if (walk.user === user) walk.record = 0;
    if (journal.user === user) journal.record = 0;
    pruneTombstones(memory, user);
  }
  if (users[userAt + USER.DIRTY_COUNT] === 0 && (state & USER_WIPE) === 0) {
    if (inFlight === 0) markSaved(memory, user);
    return;
  }
  if (!ok) failFlight(memory, user, tick);
  else if (inFlight === 0) endFlight(memory, user);
  if ((users[userAt + USER.STATE]! & USER_QUEUED) === 0) queueAgain(memory, user, tick);
}

/** Rows that are failed together, and in one call: a unit of work. The next call begins at the head of the user's chain again. */
const LOST_ROWS = FLUSH_ROWS_MAX;
const LOST_ROWS_A_CALL = 8192;
/** Records of a user whose looks cost what one at a user without any costs. */
const LOST_RECORDS_A_STEP = 2;
const lost = new Int32Array(FLUSHED.WORDS + LOST_ROWS);
/** Where `gatherLost` goes on in the records of a user, and the chain behind that. */
const lostWalk = { record: 0, stayed: 0 };

/** See `Partition.failFlights`. */
export function failFlights(
  memory: SlabMemory,
  walk: FlushWalk,
  journal: JournalState,
  tick: number,
  from: UserSlot,
  steps: number,
): UserSlot {
  const { header, users } = memory;
  let left = steps;
  let rows = 0;
  for (let user = from; user < header[HEADER.USER_FRESH]!; user++) {
    if (--left < 0) return user;
    const at = memory.userAt(user);
    if (users[at + USER.IN_FLIGHT] === 0) continue;
    // Of a detached user, those that `sweep` had to leave are a chain of their own.
    const isDetached = (users[at + USER.STATE]! & USER_DETACHED) !== 0;
    lostWalk.record = users[at + USER.FIRST_RECORD]!;
    lostWalk.stayed = isDetached ? users[at + USER.LRU_OLDER]! : 0;
    while (users[at + USER.IN_FLIGHT] !== 0) {
      if (rows >= LOST_ROWS_A_CALL) return user;
      left -= gatherLost(memory, user) / LOST_RECORDS_A_STEP;
      flushed(memory, walk, journal, tick, lost, 0, false); // leaves the chains as they are
      rows += lost[FLUSHED.COUNT]!;
    }
  }
  return 0;
}

/**
 * The next LOST_ROWS records of the user of the walk that are on their way, or what there are, as a FLUSHED message; with the last
 * of them a wipe. @returns how many records it has looked at
 */
function gatherLost(memory: SlabMemory, user: UserSlot): number {
  const { records, users } = memory;
  const at = memory.userAt(user);
  let count = 0;
  let looks = 0;
  while (count < LOST_ROWS) {
    if (lostWalk.record === 0) {
      lostWalk.record = lostWalk.stayed;
      lostWalk.stayed = 0;
      if (lostWalk.record === 0) break;
    }
    const recordAt = memory.recordAt(lostWalk.record);
    if ((records[recordAt + RECORD.META]! & META_FLUSHING) !== 0)
      lost[FLUSHED.WORDS + count++] = lostWalk.record;
    lostWalk.record = records[recordAt + RECORD.NEXT_OF_USER]!;
    looks++;
  }
  const isWiping = (users[at + USER.STATE]! & USER_WIPING) !== 0 && count < LOST_ROWS;
  assert(count + (isWiping ? 1 : 0) > 0, `user ${user} has writes on their way, and no record has`);
  lost[FLUSHED.KIND] = isWiping ? FLUSH_WIPE : 0;
  lost[FLUSHED.USER_SLOT] = user;
  lost[FLUSHED.COUNT] = count;
  return looks;
}
