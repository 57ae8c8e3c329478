/**
 * Operations of a lane that cannot run at once: they wait in holds, for a load or a cursor, or in a lobby, for room.
 *
 * I1  A held user has exactly one hold. Its queue is empty only while the user is loaded without being asked for
 *     (warm/hot-loader.ts, I3).
 * I2  What waits goes on in the order in which it came, and each operation is answered once. Each is a unit of work of its
 *     own, however many wait for the same: between two of them the hold is ready, with those that are left.
 * I3  Who waits for room has no hold and can be evicted; it waits in the lobby of its partition, first come, first
 *     served. While an operation of a user is in the lobby, later ones of that user go there too, also when the user has
 *     got a slot meanwhile: in a hold they would overtake it.
 */
import {
  OP_ACK_BULK,
  OP_DELETE_USER,
  OP_MENTION,
  OP_SUBSCRIBE,
  OP_UNSUBSCRIBE,
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
import { HOLD_CURSOR_WAIT, HOLD_FAILED, HOLD_LOADING, HOLD_READY, HOLD_STREAMING } from './holds.js';
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
  const op = opOf(words, at);
  // They need no slot, nor what reloads. An unsubscribe that were refused here would leave the user watched for good: the front has forgotten it.
  if (op === OP_SUBSCRIBE || op === OP_UNSUBSCRIBE) return false;
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
    const found = makeRoom(lane, lane.partition(holds.get(hold, HOLD.PARTITION)), words, at);
    if (found) awaitTurn(lane, hold, HOLD_READY, false);
    else waitForRoom(lane, hold);
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
  lane.setLobbySince(index);
  lane.countInLobby(scratch[ROUTED.USER_HASH]!, parking.moveToFront(hold, lobby));
  endHold(lane, hold);
}

/**
 * What the first operation of a hold waited for is there: it runs when the hold has its turn, and so do those behind it.
 * @param rowsKnown  the rows that the first operation names have just been loaded
 */
export function resume(lane: LaneState, hold: number, rowsKnown: boolean): void {
  awaitTurn(lane, hold, HOLD_READY, rowsKnown);
}

/** What the first operation waited for will not come: whoever lacks something of the store is refused, the rest runs. */
export function fail(lane: LaneState, hold: number): void {
  const { holds } = lane;
  if (holds.get(hold, HOLD.WARMING) !== 0) {
    lane.warmingFailures++;
    lane.warmingFailed = true;
    holds.endWarming(hold);
  }
  holds.renew(hold);
  awaitTurn(lane, hold, HOLD_FAILED, false);
}

function awaitTurn(lane: LaneState, hold: number, kind: number, rowsKnown: boolean): void {
  const { holds } = lane;
  if (lane.parking.isEmpty(hold)) {
    endHold(lane, hold);
    return;
  }
  holds.set(hold, HOLD.KIND, kind);
  holds.set(hold, HOLD.ROWS_KNOWN, rowsKnown ? 1 : 0);
  lane.ready.push(hold);
}

/** The entry that the last load of a single row was for; what else asks for it need not ask the store again. */
const loaded = { isOne: false, lo: 0, hi: 0, type: 0 };

function noteLoaded(words: Int32Array): void {
  const op = opOf(words, 0);
  loaded.isOne = op !== OP_ACK_BULK && op !== OP_DELETE_USER;
  loaded.lo = words[ROUTED.WORDS + REQUEST.CHANNEL_LO]!;
  loaded.hi = words[ROUTED.WORDS + REQUEST.CHANNEL_HI]!;
  loaded.type = (words[ROUTED.WORDS + REQUEST.HEAD]! >>> 8) & 0xff;
}

function isLoaded(words: Int32Array): boolean {
  return (
    loaded.isOne &&
    opOf(words, 0) !== OP_ACK_BULK &&
    loaded.lo === words[ROUTED.WORDS + REQUEST.CHANNEL_LO]! &&
    loaded.hi === words[ROUTED.WORDS + REQUEST.CHANNEL_HI]! &&
    loaded.type === ((words[ROUTED.WORDS + REQUEST.HEAD]! >>> 8) & 0xff)
  );
}

/**
 * The turn of the hold that is the first of `ready`: runs what waits in it until something must wait again, or nothing is
 * left and the hold ends, or others are to have their turn. The hold stays the first of `ready` from one unit to the next.
 */
export function goOn(lane: LaneState, hold: number): void {
  const { holds, parking, ready, scratch } = lane;
  const partition = lane.partition(holds.get(hold, HOLD.PARTITION));
  const hasFailed = holds.get(hold, HOLD.KIND) === HOLD_FAILED;
  const rowsKnown = holds.get(hold, HOLD.ROWS_KNOWN) !== 0;
  let known = rowsKnown;
  let length = parking.peek(hold, scratch);
  if (rowsKnown) noteLoaded(scratch);
  for (let left = RESUME_OPERATIONS_MAX; left > 0 && lane.hasReplyRoom(); left--) {
    // A list of which some is on its way to the client does not begin again.
    const isLost = hasFailed && holds.isBegun(hold);
    const outcome = isLost ? OUTCOME_NEEDS_USER : executeHeld(lane, partition, hold, length, known);
    if (outcome === OUTCOME_NEEDS_SPACE && makeRoom(lane, partition, scratch, 0)) {
      lane.done();
      continue;
    }
    if (hasFailed && (outcome === OUTCOME_NEEDS_ROWS || outcome === OUTCOME_NEEDS_USER)) {
      lane.refuse(scratch, 0, STATUS_STORE_UNAVAILABLE, LANE_STATS.STORE_UNAVAILABLE);
    } else if (outcome !== OUTCOME_DONE) {
      ready.shift();
      if (outcome === OUTCOME_NEEDS_SPACE) waitForRoom(lane, hold);
      else waitFor(lane, hold, outcome, scratch, 0);
      return;
    }
    holds.endFirst(hold);
    parking.shift(hold);
    if (parking.isEmpty(hold)) {
      ready.shift();
      endHold(lane, hold);
      return;
    }
    length = parking.peek(hold, scratch);
    known = rowsKnown && isLoaded(scratch);
    // For who goes on here, or each slice of those who ask for an absent entry would load it again.
    if (holds.get(hold, HOLD.ROWS_KNOWN) !== (known ? 1 : 0)) holds.set(hold, HOLD.ROWS_KNOWN, known ? 1 : 0);
    lane.done();
  }
  ready.push(ready.shift());
}

/** Runs the first operation of a hold, which is in the scratch. The user is held again when it is done. */
function executeHeld(
  lane: LaneState,
  partition: Partition,
  hold: number,
  length: number,
  rowsKnown: boolean,
): Outcome {
  const { holds, scratch } = lane;
  const user = holds.get(hold, HOLD.USER);
  partition.setHold(user, 0);
  const outcome = lane.execute(partition, scratch, 0, length, rowsKnown);
  if (outcome === OUTCOME_DONE && opOf(scratch, 0) === OP_DELETE_USER)
    holds.set(hold, HOLD.USER, residentUser(partition, scratch, 0));
  partition.setHold(holds.get(hold, HOLD.USER), hold);
  return outcome;
}

/** Nothing waits in it any more: its user can be evicted again, and that may be the room that others wait for. */
function endHold(lane: LaneState, hold: number): void {
  const { holds } = lane;
  const partition = lane.partition(holds.get(hold, HOLD.PARTITION));
  const user = holds.get(hold, HOLD.USER);
  partition.setHold(user, 0);
  partition.dropIfEmpty(user);
  holds.release(hold);
  if (lane.lobbyCount > 0 || lane.waiting.count > 0) lane.roomMayBe = true;
}

function enterLobby(lane: LaneState, index: number, words: Int32Array, at: number, length: number): void {
  if (lane.parking.push(lane.lobbyOf(index), words, at, length))
    lane.countInLobby(words[at + ROUTED.USER_HASH]!, 1);
  else refuseBusy(lane, words, at);
}

/** Whatever an operation that leaves a lobby has not waited for elsewhere, it has waited for room. */
function noteRoom(waits: Int32Array, nowUs: number): void {
  const since = (nowUs - waits[WAIT.SEEN]!) | 0;
  waits[WAIT.ROOM] = Math.max(0, since - waits[WAIT.LOAD]! - waits[WAIT.CURSOR]!);
}

/** The first operation of a lobby, which is in the scratch, leaves it. */
function leaveLobby(lane: LaneState, lobby: number): void {
  lane.countInLobby(lane.scratch[ROUTED.USER_HASH]!, -1);
  lane.parking.shift(lobby);
}

/** Whether the first of a lobby has waited for too long, and nobody has got room for as long. */
function hasWaitedTooLong(lane: LaneState, index: number): boolean {
  const waitedTicks = (lane.tick - lane.parking.sinceOf(lane.lobbyOf(index))) | 0;
  const stillTicks = (lane.tick - lane.lobbySince(index)) | 0;
  return Math.min(waitedTicks, stillTicks) > Math.ceil(lane.options.roomTimeoutMs / TICK_MS);
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
    lane.done(); // room was made, which is much by itself
    const outcome = user === 0 ? OUTCOME_NEEDS_SPACE : executeWithRoom(lane, partition, length);
    if (outcome === OUTCOME_NEEDS_SPACE) {
      if (!hasWaitedTooLong(lane, index)) return;
      refuseBusy(lane, scratch, 0);
      leaveLobby(lane, lobby);
    } else {
      leaveLobby(lane, lobby);
      lane.setLobbySince(index);
      if (outcome === OUTCOME_HELD) {
        if (!parking.push(partition.holdOf(user), scratch, 0, length)) refuseBusy(lane, scratch, 0);
      } else if (outcome !== OUTCOME_DONE) {
        hold(lane, index, outcome, scratch, 0, length);
      }
    }
    lane.done();
  }
}

/** The partition does not serve: who has waited for too long is refused. */
function expireLobby(lane: LaneState, index: number): void {
  const { parking, scratch } = lane;
  const lobby = lane.lobbyOf(index);
  while (!parking.isEmpty(lobby) && lane.hasReplyRoom() && hasWaitedTooLong(lane, index)) {
    parking.peek(lobby, scratch);
    refuseBusy(lane, scratch, 0);
    leaveLobby(lane, lobby);
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
  const found = makeRoom(lane, partition, lane.scratch, 0);
  lane.done();
  if (!found) return OUTCOME_NEEDS_SPACE;
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
      fail(lane, hold);
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
    fail(lane, hold);
    lane.done();
  }
}
