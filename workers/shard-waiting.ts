/**
 * Operations of a shard that cannot run at once: they wait in holds, for a load or a cursor, or in a lobby, for room.
 *
 * I1  A held user has exactly one hold; the hold's queue is empty only while `resume` or `fail` are at work.
 * I2  What waits goes on in the order in which it came, and each operation is answered once.
 * I3  Who waits for room has no hold and can be evicted; it waits in the lobby of its partition, first come, first
 *     served. While an operation of a user is in the lobby, later ones of that user go there too, also when the user has
 *     got a slot meanwhile: in a hold they would overtake it.
 */
import {
  BULK_ITEM,
  BULK_ITEMS_MAX,
  KIND_LOAD_ROWS,
  KIND_LOAD_USER,
  LOAD,
  LOAD_KEY,
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
  type UserSlot,
} from '../engine/partition.js';
import { HOLD_CURSOR_WAIT, HOLD_LOADING, HOLD_READY, HOLD_STREAMING } from './holds.js';
import { WAIT } from './introspection/slow-log.js';
import { TICK_MS } from './shard-options.js';
import type { ShardState } from './shard-state.js';
import { SHARD_STATS } from './stats.js';

/** Waiting operations of one user that run in one go; others get their turn in between. */
const RESUME_OPERATIONS_MAX = 256;
/** Records to make room for beside those that are needed now, so that the next miss finds some. */
const ROOM_RECORDS = 16;

/** The longest load, with its length word. */
const LOAD_WORDS_MAX = 1 + LOAD.WORDS + BULK_ITEMS_MAX * LOAD_KEY.WORDS;

function opOf(words: Int32Array, at: number): number {
  return words[at + ROUTED.WORDS + REQUEST.HEAD]! & 0xff;
}

function residentUser(partition: Partition, words: Int32Array, at: number): UserSlot {
  const opAt = at + ROUTED.WORDS;
  return partition.findUser(
    words[at + ROUTED.USER_HASH]!,
    words[opAt + REQUEST.USER_LO]!,
    words[opAt + REQUEST.USER_HI]!,
  );
}

/** Records that an operation may have to create. */
function recordsWanted(words: Int32Array, at: number): number {
  return opOf(words, at) === OP_ACK_BULK ? words[at + ROUTED.WORDS + REQUEST.CHANNEL_LO]! : 1;
}

/** Runs an operation that has just come from the front; one that cannot run now waits, or is refused. */
export function submit(shard: ShardState, words: Int32Array, at: number, length: number): void {
  const hash = words[at + ROUTED.USER_HASH]!;
  const index = shard.partitionOf(hash);
  const partition = shard.partition(index);
  if (shard.lobbyCount > 0 && mustQueueUp(shard, index, words, at)) {
    shard.parking.seen(shard.nowUs);
    enterLobby(shard, index, words, at, length);
    return;
  }
  const outcome = shard.execute(partition, words, at, length, false);
  if (outcome === OUTCOME_DONE) {
    shard.count(SHARD_STATS.HITS);
    return;
  }
  shard.parking.seen(shard.nowUs);
  if (outcome === OUTCOME_HELD) {
    const hold = partition.holdOf(residentUser(partition, words, at));
    if (!shard.parking.push(hold, words, at, length)) refuseBusy(shard, words, at);
    return;
  }
  if (outcome !== OUTCOME_CURSOR) shard.count(SHARD_STATS.MISSES);
  hold(shard, index, outcome, words, at, length);
}

/** Whether an operation has to wait in the lobby of its partition: behind others of its user (I3), or for a slot. */
function mustQueueUp(shard: ShardState, index: number, words: Int32Array, at: number): boolean {
  if (shard.parking.isEmpty(shard.lobbyOf(index))) return false;
  if (shard.mayBeInLobby(words[at + ROUTED.USER_HASH]!)) return true;
  return residentUser(shard.partition(index), words, at) === 0;
}

function refuseBusy(shard: ShardState, words: Int32Array, at: number): void {
  shard.refuse(words, at, STATUS_BUSY, SHARD_STATS.BUSY);
}

/** The first operation of a user that must wait. */
function hold(
  shard: ShardState,
  index: number,
  outcome: Outcome,
  words: Int32Array,
  at: number,
  length: number,
): void {
  const partition = shard.partition(index);
  const user = admit(shard, partition, words, at);
  if (user === 0) {
    enterLobby(shard, index, words, at, length);
    return;
  }
  const taken = shard.holds.take(index, user);
  if (taken === 0 || !shard.parking.push(taken, words, at, length)) {
    if (taken !== 0) shard.holds.release(taken);
    partition.dropIfEmpty(user);
    refuseBusy(shard, words, at);
    return;
  }
  partition.setHold(user, taken);
  waitFor(shard, taken, outcome, words, at);
}

/** A slot for the operation's user, if one can be had now. */
function admit(shard: ShardState, partition: Partition, words: Int32Array, at: number): UserSlot {
  const opAt = at + ROUTED.WORDS;
  const hash = words[at + ROUTED.USER_HASH]!;
  const lo = words[opAt + REQUEST.USER_LO]!;
  const hi = words[opAt + REQUEST.USER_HI]!;
  const user = partition.admitUser(hash, lo, hi);
  if (user !== 0) return user;
  makeRoom(shard, partition, words, at);
  return partition.admitUser(hash, lo, hi);
}

/** Room for what the operation may create; false if there is none now. A resident user needs no slot of its own. */
function makeRoom(shard: ShardState, partition: Partition, words: Int32Array, at: number): boolean {
  const op = opOf(words, at);
  const wanted = recordsWanted(words, at);
  const { recordsMax } = partition.options;
  const records = Math.min(wanted + Math.min(ROOM_RECORDS, recordsMax >>> 4), recordsMax);
  shard.flushSoon = true;
  if (partition.makeRoom(records, op === OP_MENTION)) return true;
  const hasSlot = partition.userCount < partition.options.usersMax;
  return (
    partition.freeRecordCount >= wanted &&
    (hasSlot || (op !== OP_DELETE_USER && residentUser(partition, words, at) !== 0))
  );
}

/** Sees that what the hold's first operation (at `words[at]`) lacks comes about. */
function waitFor(shard: ShardState, hold: number, outcome: Outcome, words: Int32Array, at: number): void {
  const { holds } = shard;
  holds.sinceUs[hold] = shard.nowUs;
  if (outcome === OUTCOME_CURSOR) {
    holds.kind[hold] = HOLD_CURSOR_WAIT;
    shard.ready.push(hold);
    return;
  }
  if (outcome === OUTCOME_NEEDS_SPACE) {
    if (makeRoom(shard, shard.partition(holds.partition[hold]!), words, at)) {
      holds.kind[hold] = HOLD_READY;
      holds.rowsKnown[hold] = 0;
      shard.ready.push(hold);
    } else {
      waitForRoom(shard, hold);
    }
    return;
  }
  holds.overflowed[hold] = 0;
  const sent =
    outcome === OUTCOME_NEEDS_USER ? loadUser(shard, hold, words, at) : loadRows(shard, hold, words, at);
  if (!sent) waitForRoom(shard, hold);
}

/**
 * For room in the partition, or in the ring to the persister: what the hold has goes to the front of the lobby, and
 * the hold ends. A user who kept its hold would keep its records, and a few such users could fill a partition and
 * wait for each other.
 */
export function waitForRoom(shard: ShardState, hold: number): void {
  const { holds, parking, scratch } = shard;
  const index = holds.partition[hold]!;
  const lobby = shard.lobbyOf(index);
  parking.peek(hold, scratch);
  if (parking.isEmpty(lobby)) shard.lobbySince[index] = shard.tick;
  shard.countInLobby(scratch[ROUTED.USER_HASH]!, parking.moveToFront(hold, lobby));
  const partition = shard.partition(index);
  partition.setHold(holds.user[hold]!, 0);
  partition.dropIfEmpty(holds.user[hold]!);
  release(shard, hold);
}

/** @returns false if the ring to the persister is full */
function loadUser(shard: ShardState, hold: number, words: Int32Array, at: number): boolean {
  const opAt = at + ROUTED.WORDS;
  return sendUserLoad(shard, hold, words[opAt + REQUEST.USER_LO]!, words[opAt + REQUEST.USER_HI]!);
}

/** Asks for all rows of a user, for the hold. @returns false if the ring to the persister is full */
export function sendUserLoad(shard: ShardState, hold: number, lo: number, hi: number): boolean {
  return sendLoad(shard, hold, KIND_LOAD_USER, lo, hi, 0) !== -1;
}

function loadRows(shard: ShardState, hold: number, words: Int32Array, at: number): boolean {
  const opAt = at + ROUTED.WORDS;
  const op = opOf(words, at);
  const count = op === OP_DELETE_USER ? 0 : recordsWanted(words, at);
  const lo = words[opAt + REQUEST.USER_LO]!;
  const hi = words[opAt + REQUEST.USER_HI]!;
  const keysAt = sendLoad(shard, hold, KIND_LOAD_ROWS, lo, hi, count);
  if (keysAt === -1) return false;
  const out = shard.loads.words;
  if (op === OP_ACK_BULK) {
    for (let i = 0; i < count; i++) {
      const item = opAt + REQUEST.WORDS + i * BULK_ITEM.WORDS;
      out[keysAt + i * LOAD_KEY.WORDS + LOAD_KEY.CHANNEL_LO] = words[item + BULK_ITEM.CHANNEL_LO]!;
      out[keysAt + i * LOAD_KEY.WORDS + LOAD_KEY.CHANNEL_HI] = words[item + BULK_ITEM.CHANNEL_HI]!;
      out[keysAt + i * LOAD_KEY.WORDS + LOAD_KEY.TYPE] = words[item + BULK_ITEM.TYPE]!;
    }
  } else if (count === 1) {
    out[keysAt + LOAD_KEY.CHANNEL_LO] = words[opAt + REQUEST.CHANNEL_LO]!;
    out[keysAt + LOAD_KEY.CHANNEL_HI] = words[opAt + REQUEST.CHANNEL_HI]!;
    out[keysAt + LOAD_KEY.TYPE] = (words[opAt + REQUEST.HEAD]! >>> 8) & 0xff;
  }
  return true;
}

/** @returns where the keys of the load go, or -1: the ring is full */
function sendLoad(
  shard: ShardState,
  hold: number,
  kind: number,
  lo: number,
  hi: number,
  keys: number,
): number {
  const { loads, holds } = shard;
  const length = LOAD.WORDS + keys * LOAD_KEY.WORDS;
  const to = loads.reserve(length);
  if (to === -1) return -1;
  holds.renew(hold);
  holds.kind[hold] = HOLD_LOADING;
  holds.deadline[hold] = shard.tickAfter(shard.options.loadTimeoutMs);
  loads.words[to + LOAD.KIND] = kind;
  loads.words[to + LOAD.TAG] = holds.tag(hold);
  loads.words[to + LOAD.USER_LO] = lo;
  loads.words[to + LOAD.USER_HI] = hi;
  loads.words[to + LOAD.COUNT] = keys;
  loads.commit(length);
  shard.count(SHARD_STATS.LOADS);
  return to + LOAD.WORDS;
}

/** The entry that the last load of a single row was for; what else asks for it need not ask the store again. */
const loaded = { lo: 0, hi: 0, type: 0 };

/**
 * Runs what waits in a hold until something must wait again, or nothing is left and the hold ends.
 * @param rowsKnown  the rows that the first operation names have just been loaded
 */
export function resume(shard: ShardState, hold: number, rowsKnown: boolean): void {
  const { holds, parking, scratch } = shard;
  const partition = shard.partition(holds.partition[hold]!);
  let user = holds.user[hold]!;
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
    const later = count === RESUME_OPERATIONS_MAX || !shard.hasReplyRoom();
    if (!later) outcome = shard.execute(partition, scratch, 0, length, known);
    if (!later && outcome === OUTCOME_NEEDS_SPACE) {
      partition.setHold(user, hold); // not this user, who may be the coldest and clean
      const found = makeRoom(shard, partition, scratch, 0);
      partition.setHold(user, 0);
      if (found) outcome = shard.execute(partition, scratch, 0, length, known);
    }
    if (outcome === OUTCOME_DONE) {
      parking.shift(hold);
      if (op === OP_DELETE_USER) {
        user = residentUser(partition, scratch, 0);
        holds.user[hold] = user;
      }
      continue;
    }
    partition.setHold(user, hold);
    if (later) {
      holds.kind[hold] = HOLD_READY;
      holds.rowsKnown[hold] = known ? 1 : 0; // or each slice of those who ask for an absent entry would load it again
      shard.ready.push(hold);
    } else {
      waitFor(shard, hold, outcome, scratch, 0);
    }
    return;
  }
  release(shard, hold);
}

/** The hold's user can be evicted again: that may be the room that others wait for. */
function release(shard: ShardState, hold: number): void {
  shard.holds.release(hold);
  if (shard.lobbyCount > 0 || shard.waiting.count > 0) shard.roomMayBe = true;
}

/** What the first operation waited for will not come: it is refused, and so is what needs the same; the rest runs. */
export function fail(shard: ShardState, hold: number, status: number): void {
  const { holds, parking, scratch } = shard;
  const stat = status === STATUS_BUSY ? SHARD_STATS.BUSY : SHARD_STATS.STORE_UNAVAILABLE;
  const partition = shard.partition(holds.partition[hold]!);
  let user = holds.user[hold]!;
  partition.setHold(user, 0);
  if (holds.warming[hold] !== 0) {
    shard.warmingFailures++;
    shard.warmingFailed = true;
    holds.endWarming(hold);
  }
  for (let count = 0; !parking.isEmpty(hold); count++) {
    if (!shard.hasReplyRoom()) {
      // The rest goes on when the front has taken some answers; what still lacks something will ask again.
      partition.setHold(user, hold);
      holds.renew(hold);
      holds.kind[hold] = HOLD_READY;
      holds.rowsKnown[hold] = 0;
      shard.ready.push(hold);
      return;
    }
    const length = parking.peek(hold, scratch);
    const outcome = count === 0 ? OUTCOME_NEEDS_ROWS : shard.execute(partition, scratch, 0, length, false);
    if (outcome === OUTCOME_CURSOR) {
      partition.setHold(user, hold);
      holds.renew(hold);
      waitFor(shard, hold, outcome, scratch, 0);
      return;
    }
    if (outcome !== OUTCOME_DONE) {
      shard.refuse(scratch, 0, status, stat);
    } else if (opOf(scratch, 0) === OP_DELETE_USER) {
      user = residentUser(partition, scratch, 0);
      holds.user[hold] = user;
    }
    parking.shift(hold);
  }
  partition.dropIfEmpty(user);
  release(shard, hold);
}

function enterLobby(shard: ShardState, index: number, words: Int32Array, at: number, length: number): void {
  const lobby = shard.lobbyOf(index);
  const first = shard.parking.isEmpty(lobby);
  if (!shard.parking.push(lobby, words, at, length)) {
    refuseBusy(shard, words, at);
    return;
  }
  shard.countInLobby(words[at + ROUTED.USER_HASH]!, 1);
  if (first) shard.lobbySince[index] = shard.tick;
}

/** Whatever an operation that leaves a lobby has not waited for elsewhere, it has waited for room. */
function noteRoom(waits: Int32Array, nowUs: number): void {
  const since = (nowUs - waits[WAIT.SEEN]!) | 0;
  waits[WAIT.ROOM] = Math.max(0, since - waits[WAIT.LOAD]! - waits[WAIT.CURSOR]!);
}

/** Lets those who wait for room go on, in their order, as far as there is some; who waited too long is refused. */
export function serveLobby(shard: ShardState, index: number): void {
  const { parking, scratch } = shard;
  const partition = shard.partition(index);
  const lobby = shard.lobbyOf(index);
  for (let left = RESUME_OPERATIONS_MAX; !parking.isEmpty(lobby); left--) {
    if (left === 0) shard.roomMayBe = true; // the rest at the next turn
    if (left === 0 || !shard.hasReplyRoom() || !shard.loads.hasRoom(LOAD_WORDS_MAX, LOAD_WORDS_MAX)) return;
    const length = parking.peek(lobby, scratch);
    noteRoom(parking.waits, shard.nowUs);
    const user = admit(shard, partition, scratch, 0);
    const outcome = user === 0 ? OUTCOME_NEEDS_SPACE : executeWithRoom(shard, partition, length);
    if (outcome === OUTCOME_NEEDS_SPACE) {
      if (shard.tick - shard.lobbySince[index]! <= Math.ceil(shard.options.roomTimeoutMs / TICK_MS)) return;
      refuseBusy(shard, scratch, 0);
    }
    shard.countInLobby(scratch[ROUTED.USER_HASH]!, -1);
    parking.shift(lobby);
    if (outcome === OUTCOME_NEEDS_SPACE) continue;
    shard.lobbySince[index] = shard.tick;
    if (outcome === OUTCOME_HELD) {
      if (!parking.push(partition.holdOf(user), scratch, 0, length)) refuseBusy(shard, scratch, 0);
    } else if (outcome !== OUTCOME_DONE) {
      hold(shard, index, outcome, scratch, 0, length);
    }
  }
}

/**
 * Runs the operation in the scratch, of a resident user; NEEDS_SPACE unless there is room for all that it may create.
 * Room comes before the load: an operation that found none after its load would come back here and load again, for ever.
 */
function executeWithRoom(shard: ShardState, partition: Partition, length: number): Outcome {
  const outcome = shard.execute(partition, shard.scratch, 0, length, false);
  if (outcome === OUTCOME_DONE || outcome === OUTCOME_HELD || outcome === OUTCOME_CURSOR) return outcome;
  if (!makeRoom(shard, partition, shard.scratch, 0)) return OUTCOME_NEEDS_SPACE;
  // The user itself may have been the coldest: then it is asked for again.
  return shard.execute(partition, shard.scratch, 0, length, false);
}

/** Looks once at all holds that wait for their user to be clean. */
export function serveWaiting(shard: ShardState): void {
  const { holds, waiting } = shard;
  for (let count = waiting.count; count > 0; count--) {
    const hold = waiting.shift();
    shard.flushSoon = true;
    if (shard.partition(holds.partition[hold]!).hurry(holds.user[hold]!)) {
      shard.parking.peek(hold, shard.scratch);
      if (loadUser(shard, hold, shard.scratch, 0)) {
        holds.kind[hold] = HOLD_STREAMING;
        continue;
      }
    }
    if (((shard.tick - holds.deadline[hold]!) | 0) > 0) {
      shard.waited(hold, WAIT.LOAD);
      fail(shard, hold, STATUS_STORE_UNAVAILABLE);
    } else {
      waiting.push(hold);
    }
  }
}

/** Loads that took too long are given up; an answer that comes later is dropped. */
export function expireLoads(shard: ShardState): void {
  const { holds } = shard;
  if (holds.count === 0) return;
  for (let hold = 1; hold <= holds.max; hold++) {
    const kind = holds.kind[hold];
    if (kind !== HOLD_LOADING && kind !== HOLD_STREAMING) continue;
    if (((shard.tick - holds.deadline[hold]!) | 0) <= 0) continue;
    shard.count(SHARD_STATS.LOAD_FAILURES);
    shard.waited(hold, WAIT.LOAD);
    fail(shard, hold, STATUS_STORE_UNAVAILABLE);
  }
}
