/**
 * Operations of a lane that cannot run at once: they wait in holds, for a load or a cursor, or in a lobby, for room.
 *
 * I1  A held user has exactly one hold; the hold's queue is empty only while `resume` or `fail` are at work.
 * I2  What waits goes on in the order in which it came, and each operation is answered once.
 * I3  Who waits for room has no hold and can be evicted; it waits in the lobby of its partition, first come, first
 *     served. While an operation of a user is in the lobby, later ones of that user go there too, also when the user has
 *     got a slot meanwhile: in a hold they would overtake it.
 */
import {
  OP_ACK_BULK,
  OP_DELETE_USER,
  OP_MENTION,
  REQUEST,
  ROUTED,
  STATUS_BUSY,
  STATUS_STORE_UNAVAILABLE,
} from '../engine/messages.js';
import {
  OUTCOME_CURSOR,
  OUTCOME_DONE,
  OUTCOME_HELD,
  OUTCOME_NEEDS_ROWS,
  OUTCOME_NEEDS_SPACE,
  OUTCOME_NEEDS_USER,
  type Outcome,
  type Partition,
  type RecordSlot,
  type UserSlot,
} from '../engine/partition.js';
import { HOLD_CURSOR_WAIT, HOLD_LOADING, HOLD_READY, HOLD_STREAMING } from './holds.js';
import { WAIT } from './introspection/slow-log.js';
import { LOAD_WORDS_MAX, loadRows, loadUser, opOf, recordsWanted } from './lane-loads.js';
import { HOLD } from './lane-memory.js';
import { TICK_MS } from './lane-options.js';
import type { LaneState } from './lane-state.js';
import { LANE_STATS } from './stats.js';

/** Waiting operations of one user that run in one go; others get their turn in between. */
const RESUME_OPERATIONS_MAX = 256;
/** Records to make room for beside those that are needed now, so that the next miss finds some. */
const ROOM_RECORDS = 16;

function residentUser(partition: Partition, words: Int32Array, at: number): UserSlot {
  const opAt = at + ROUTED.WORDS;
  return partition.findUser(
    words[at + ROUTED.USER_HASH]!,
    words[opAt + REQUEST.USER_LO]!,
    words[opAt + REQUEST.USER_HI]!,
  );
}

/**
 * Runs an operation that has just come from the front; one that cannot run now waits, or is refused.
 * @param likely  its record, as `touch` has found it
 */
export function submit(
  lane: LaneState,
  words: Int32Array,
  at: number,
  length: number,
  likely: RecordSlot,
): void {
  const hash = words[at + ROUTED.USER_HASH]!;
  const index = lane.partitionOf(hash);
  const partition = lane.partition(index);
  if (lane.lobbyCount > 0 && mustQueueUp(lane, index, words, at)) {
    lane.parking.seen(lane.nowUs);
    enterLobby(lane, index, words, at, length);
    return;
  }
  const outcome = lane.execute(partition, words, at, length, false, likely);
  if (outcome === OUTCOME_DONE) {
    lane.count(LANE_STATS.HITS);
    return;
  }
  lane.parking.seen(lane.nowUs);
  if (outcome === OUTCOME_HELD) {
    const hold = partition.holdOf(residentUser(partition, words, at));
    if (!lane.parking.push(hold, words, at, length)) refuseBusy(lane, words, at);
    return;
  }
  if (outcome !== OUTCOME_CURSOR) lane.count(LANE_STATS.MISSES);
  hold(lane, index, outcome, words, at, length);
}

/** Whether an operation has to wait in the lobby of its partition: behind others of its user (I3), or for a slot. */
function mustQueueUp(lane: LaneState, index: number, words: Int32Array, at: number): boolean {
  if (lane.reloads(index)) return true;
  if (lane.parking.isEmpty(lane.lobbyOf(index))) return false;
  if (lane.mayBeInLobby(words[at + ROUTED.USER_HASH]!)) return true;
  return residentUser(lane.partition(index), words, at) === 0;
}

function refuseBusy(lane: LaneState, words: Int32Array, at: number): void {
  lane.refuse(words, at, STATUS_BUSY, LANE_STATS.BUSY);
}

/** The first operation of a user that must wait. */
function hold(
  lane: LaneState,
  index: number,
  outcome: Outcome,
  words: Int32Array,
  at: number,
  length: number,
): void {
  const partition = lane.partition(index);
  const user = admit(lane, partition, words, at);
  if (user === 0) {
    enterLobby(lane, index, words, at, length);
    return;
  }
  const taken = lane.holds.take(index, user);
  if (taken === 0 || !lane.parking.push(taken, words, at, length)) {
    if (taken !== 0) lane.holds.release(taken);
    partition.dropIfEmpty(user);
    refuseBusy(lane, words, at);
    return;
  }
  partition.setHold(user, taken);
  waitFor(lane, taken, outcome, words, at);
}

/** A slot for the operation's user, if one can be had now. */
function admit(lane: LaneState, partition: Partition, words: Int32Array, at: number): UserSlot {
  const opAt = at + ROUTED.WORDS;
  const hash = words[at + ROUTED.USER_HASH]!;
  const lo = words[opAt + REQUEST.USER_LO]!;
  const hi = words[opAt + REQUEST.USER_HI]!;
  const user = partition.admitUser(hash, lo, hi);
  if (user !== 0) return user;
  makeRoom(lane, partition, words, at);
  return partition.admitUser(hash, lo, hi);
}

/** Room for what the operation may create; false if there is none now. A resident user needs no slot of its own. */
function makeRoom(lane: LaneState, partition: Partition, words: Int32Array, at: number): boolean {
  const op = opOf(words, at);
  const wanted = recordsWanted(words, at);
  const { recordsMax } = partition.options;
  const records = Math.min(wanted + Math.min(ROOM_RECORDS, recordsMax >>> 4), recordsMax);
  lane.flushSoon = true;
  if (partition.makeRoom(records, op === OP_MENTION)) return true;
  const hasSlot = partition.userCount < partition.options.usersMax;
  return (
    partition.freeRecordCount >= wanted &&
    (hasSlot || (op !== OP_DELETE_USER && residentUser(partition, words, at) !== 0))
  );
}

/** Sees that what the hold's first operation (at `words[at]`) lacks comes about. */
function waitFor(lane: LaneState, hold: number, outcome: Outcome, words: Int32Array, at: number): void {
  const { holds } = lane;
  holds.set(hold, HOLD.SINCE_US, lane.nowUs);
  if (outcome === OUTCOME_CURSOR) {
    holds.set(hold, HOLD.KIND, HOLD_CURSOR_WAIT);
    lane.ready.push(hold);
    return;
  }
  if (outcome === OUTCOME_NEEDS_SPACE) {
    if (makeRoom(lane, lane.partition(holds.get(hold, HOLD.PARTITION)), words, at)) {
      holds.set(hold, HOLD.KIND, HOLD_READY);
      holds.set(hold, HOLD.ROWS_KNOWN, 0);
      lane.ready.push(hold);
    } else {
      waitForRoom(lane, hold);
    }
    return;
  }
  holds.set(hold, HOLD.OVERFLOWED, 0);
  const sent =
    outcome === OUTCOME_NEEDS_USER ? loadUser(lane, hold, words, at) : loadRows(lane, hold, words, at);
  if (!sent) waitForRoom(lane, hold);
}

/**
 * For room in the partition, or in the ring to the persister: what the hold has goes to the front of the lobby, and
 * the hold ends. A user who kept its hold would keep its records, and a few such users could fill a partition and
 * wait for each other.
 */
export function waitForRoom(lane: LaneState, hold: number): void {
  const { holds, parking, scratch } = lane;
  const index = holds.get(hold, HOLD.PARTITION);
  const lobby = lane.lobbyOf(index);
  parking.peek(hold, scratch);
  if (parking.isEmpty(lobby)) lane.setLobbySince(index);
  lane.countInLobby(scratch[ROUTED.USER_HASH]!, parking.moveToFront(hold, lobby));
  const partition = lane.partition(index);
  partition.setHold(holds.get(hold, HOLD.USER), 0);
  partition.dropIfEmpty(holds.get(hold, HOLD.USER));
  release(lane, hold);
}

/** The entry that the last load of a single row was for; what else asks for it need not ask the store again. */
const loaded = { lo: 0, hi: 0, type: 0 };

/**
 * Runs what waits in a hold until something must wait again, or nothing is left and the hold ends.
 * @param rowsKnown  the rows that the first operation names have just been loaded
 */
export function resume(lane: LaneState, hold: number, rowsKnown: boolean): void {
  const { holds, parking, scratch } = lane;
  const partition = lane.partition(holds.get(hold, HOLD.PARTITION));
  let user = holds.get(hold, HOLD.USER);
  partition.setHold(user, 0);
  let known = rowsKnown;
  let single = false;
  for (let count = 0; !parking.isEmpty(hold); count++) {
    const length = parking.peek(hold, scratch);
    const op = opOf(scratch, 0);
    if (rowsKnown) {
      const at = ROUTED.WORDS;
      const lo = scratch[at + REQUEST.CHANNEL_LO]!;
      const hi = scratch[at + REQUEST.CHANNEL_HI]!;
      const type = (scratch[at + REQUEST.HEAD]! >>> 8) & 0xff;
      if (count === 0) {
        single = op !== OP_ACK_BULK && op !== OP_DELETE_USER;
        loaded.lo = lo;
        loaded.hi = hi;
        loaded.type = type;
      } else {
        known = single && op !== OP_ACK_BULK && lo === loaded.lo && hi === loaded.hi && type === loaded.type;
      }
    }
    let outcome: Outcome = OUTCOME_NEEDS_SPACE;
    const later = count === RESUME_OPERATIONS_MAX || !lane.hasReplyRoom();
    if (!later) outcome = lane.execute(partition, scratch, 0, length, known);
    if (!later && outcome === OUTCOME_NEEDS_SPACE) {
      partition.setHold(user, hold); // not this user, who may be the coldest and clean
      const found = makeRoom(lane, partition, scratch, 0);
      partition.setHold(user, 0);
      if (found) outcome = lane.execute(partition, scratch, 0, length, known);
    }
    if (outcome === OUTCOME_DONE) {
      parking.shift(hold);
      if (op === OP_DELETE_USER) {
        user = residentUser(partition, scratch, 0);
        holds.set(hold, HOLD.USER, user);
      }
      continue;
    }
    partition.setHold(user, hold);
    if (later) {
      holds.set(hold, HOLD.KIND, HOLD_READY);
      holds.set(hold, HOLD.ROWS_KNOWN, known ? 1 : 0); // or each slice of those who ask for an absent entry would load it again
      lane.ready.push(hold);
    } else {
      waitFor(lane, hold, outcome, scratch, 0);
    }
    return;
  }
  release(lane, hold);
}

/** The hold's user can be evicted again: that may be the room that others wait for. */
function release(lane: LaneState, hold: number): void {
  lane.holds.release(hold);
  if (lane.lobbyCount > 0 || lane.waiting.count > 0) lane.roomMayBe = true;
}

/** What the first operation waited for will not come: it is refused, and so is what needs the same; the rest runs. */
export function fail(lane: LaneState, hold: number, status: number): void {
  const { holds, parking, scratch } = lane;
  const stat = status === STATUS_BUSY ? LANE_STATS.BUSY : LANE_STATS.STORE_UNAVAILABLE;
  const partition = lane.partition(holds.get(hold, HOLD.PARTITION));
  let user = holds.get(hold, HOLD.USER);
  partition.setHold(user, 0);
  if (holds.get(hold, HOLD.WARMING) !== 0) {
    lane.warmingFailures++;
    lane.warmingFailed = true;
    holds.endWarming(hold);
  }
  for (let count = 0; !parking.isEmpty(hold); count++) {
    if (!lane.hasReplyRoom()) {
      // The rest goes on when the front has taken some answers; what still lacks something will ask again.
      partition.setHold(user, hold);
      holds.renew(hold);
      holds.set(hold, HOLD.KIND, HOLD_READY);
      holds.set(hold, HOLD.ROWS_KNOWN, 0);
      lane.ready.push(hold);
      return;
    }
    const length = parking.peek(hold, scratch);
    const outcome = count === 0 ? OUTCOME_NEEDS_ROWS : lane.execute(partition, scratch, 0, length, false);
    if (outcome === OUTCOME_CURSOR) {
      partition.setHold(user, hold);
      holds.renew(hold);
      waitFor(lane, hold, outcome, scratch, 0);
      return;
    }
    if (outcome !== OUTCOME_DONE) {
      lane.refuse(scratch, 0, status, stat);
    } else if (opOf(scratch, 0) === OP_DELETE_USER) {
      user = residentUser(partition, scratch, 0);
      holds.set(hold, HOLD.USER, user);
    }
    parking.shift(hold);
  }
  partition.dropIfEmpty(user);
  release(lane, hold);
}

function enterLobby(lane: LaneState, index: number, words: Int32Array, at: number, length: number): void {
  const lobby = lane.lobbyOf(index);
  const first = lane.parking.isEmpty(lobby);
  if (!lane.parking.push(lobby, words, at, length)) {
    refuseBusy(lane, words, at);
    return;
  }
  lane.countInLobby(words[at + ROUTED.USER_HASH]!, 1);
  if (first) lane.setLobbySince(index);
}

/** Whatever an operation that leaves a lobby has not waited for elsewhere, it has waited for room. */
function noteRoom(waits: Int32Array, nowUs: number): void {
  const since = (nowUs - waits[WAIT.SEEN]!) | 0;
  waits[WAIT.ROOM] = Math.max(0, since - waits[WAIT.LOAD]! - waits[WAIT.CURSOR]!);
}

/** Lets those who wait for room go on, in their order, as far as there is some; who waited too long is refused. */
export function serveLobby(lane: LaneState, index: number): void {
  const { parking, scratch } = lane;
  const partition = lane.partition(index);
  const lobby = lane.lobbyOf(index);
  if (lane.reloads(index)) {
    expireLobby(lane, index);
    return;
  }
  for (let left = RESUME_OPERATIONS_MAX; !parking.isEmpty(lobby); left--) {
    if (left === 0) lane.roomMayBe = true; // the rest at the next turn
    if (left === 0 || !lane.hasReplyRoom() || !lane.loads.hasRoom(LOAD_WORDS_MAX, LOAD_WORDS_MAX)) return;
    const length = parking.peek(lobby, scratch);
    noteRoom(parking.waits, lane.nowUs);
    const user = admit(lane, partition, scratch, 0);
    const outcome = user === 0 ? OUTCOME_NEEDS_SPACE : executeWithRoom(lane, partition, length);
    if (outcome === OUTCOME_NEEDS_SPACE) {
      if (lane.tick - lane.lobbySince(index) <= Math.ceil(lane.options.roomTimeoutMs / TICK_MS)) return;
      refuseBusy(lane, scratch, 0);
    }
    lane.countInLobby(scratch[ROUTED.USER_HASH]!, -1);
    parking.shift(lobby);
    if (outcome === OUTCOME_NEEDS_SPACE) continue;
    lane.setLobbySince(index);
    if (outcome === OUTCOME_HELD) {
      if (!parking.push(partition.holdOf(user), scratch, 0, length)) refuseBusy(lane, scratch, 0);
    } else if (outcome !== OUTCOME_DONE) {
      hold(lane, index, outcome, scratch, 0, length);
    }
  }
}

/** The partition does not serve: who has waited for too long is refused. */
function expireLobby(lane: LaneState, index: number): void {
  const { parking, scratch } = lane;
  const lobby = lane.lobbyOf(index);
  if (lane.tick - lane.lobbySince(index) <= Math.ceil(lane.options.roomTimeoutMs / TICK_MS)) return;
  while (!parking.isEmpty(lobby) && lane.hasReplyRoom()) {
    parking.peek(lobby, scratch);
    refuseBusy(lane, scratch, 0);
    lane.countInLobby(scratch[ROUTED.USER_HASH]!, -1);
    parking.shift(lobby);
    lane.done();
  }
}

/**
 * Runs the operation in the scratch, of a resident user; NEEDS_SPACE unless there is room for all that it may create.
 * Room comes before the load: an operation that found none after its load would come back here and load again, for ever.
 */
function executeWithRoom(lane: LaneState, partition: Partition, length: number): Outcome {
  const outcome = lane.execute(partition, lane.scratch, 0, length, false);
  if (outcome === OUTCOME_DONE || outcome === OUTCOME_HELD || outcome === OUTCOME_CURSOR) return outcome;
  if (!makeRoom(lane, partition, lane.scratch, 0)) return OUTCOME_NEEDS_SPACE;
  // The user itself may have been the coldest: then it is asked for again.
  return lane.execute(partition, lane.scratch, 0, length, false);
}

/** Looks once at all holds that wait for their user to be clean. */
export function serveWaiting(lane: LaneState): void {
  const { holds, waiting } = lane;
  for (let count = waiting.count; count > 0; count--) {
    const hold = waiting.shift();
    lane.flushSoon = true;
    if (lane.partition(holds.get(hold, HOLD.PARTITION)).hurry(holds.get(hold, HOLD.USER))) {
      lane.parking.peek(hold, lane.scratch);
      if (loadUser(lane, hold, lane.scratch, 0)) {
        holds.set(hold, HOLD.KIND, HOLD_STREAMING);
        holds.set(hold, HOLD.SKIPS, holds.get(hold, HOLD.STREAMED)); // of a load that nobody answers any more
        lane.done();
        continue;
      }
    }
    if (((lane.tick - holds.get(hold, HOLD.DEADLINE)) | 0) > 0) {
      lane.waited(hold, WAIT.LOAD);
      fail(lane, hold, STATUS_STORE_UNAVAILABLE);
    } else {
      waiting.push(hold);
    }
    lane.done();
  }
}

/** Loads that took too long are given up; an answer that comes later is dropped. */
export function expireLoads(lane: LaneState): void {
  const { holds } = lane;
  if (holds.count === 0) return;
  for (let hold = 1; hold <= holds.used; hold++) {
    const kind = holds.get(hold, HOLD.KIND);
    if (kind !== HOLD_LOADING && kind !== HOLD_STREAMING) continue;
    if (((lane.tick - holds.get(hold, HOLD.DEADLINE)) | 0) <= 0) continue;
    lane.count(LANE_STATS.LOAD_FAILURES);
    lane.waited(hold, WAIT.LOAD);
    fail(lane, hold, STATUS_STORE_UNAVAILABLE);
    lane.done();
  }
}
