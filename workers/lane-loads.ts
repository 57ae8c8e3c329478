/** What a lane asks of the store for operations that wait: a user with all rows, or the rows that an operation names. */
import {
  BULK_ITEM,
  BULK_ITEMS_MAX,
  KIND_LOAD_ROWS,
  KIND_LOAD_USER,
  LOAD,
  LOAD_KEY,
  OP_ACK_BULK,
  OP_BADGE,
  OP_DELETE_USER,
  OP_LIST,
  REQUEST,
  ROUTED,
} from '../engine/messages.js';
import { HOLD_LOADING } from './holds.js';
import { HOLD } from './lane-memory.js';
import type { LaneState } from './lane-state.js';
import { LANE_STATS } from './stats.js';

/** The longest load, with its length word. */
export const LOAD_WORDS_MAX = 1 + LOAD.WORDS + BULK_ITEMS_MAX * LOAD_KEY.WORDS;

export function opOf(words: Int32Array, at: number): number {
  return words[at + ROUTED.WORDS + REQUEST.HEAD]! & 0xff;
}

/** Records that an operation may have to create. */
export function recordsWanted(words: Int32Array, at: number): number {
  return opOf(words, at) === OP_ACK_BULK ? words[at + ROUTED.WORDS + REQUEST.CHANNEL_LO]! : 1;
}

/** Asks once more for what the first operation of a hold lacks. @returns false if the ring to the persister is full */
export function loadAgain(lane: LaneState, hold: number): boolean {
  const { holds, parking, scratch } = lane;
  parking.peek(hold, scratch);
  holds.set(hold, HOLD.OVERFLOWED, 0);
  const op = opOf(scratch, 0);
  const wholeUser = op === OP_LIST || op === OP_BADGE || holds.get(hold, HOLD.WARMING) !== 0;
  return wholeUser ? loadUser(lane, hold, scratch, 0) : loadRows(lane, hold, scratch, 0);
}

/** @returns false if the ring to the persister is full */
export function loadUser(lane: LaneState, hold: number, words: Int32Array, at: number): boolean {
  const opAt = at + ROUTED.WORDS;
  return sendUserLoad(lane, hold, words[opAt + REQUEST.USER_LO]!, words[opAt + REQUEST.USER_HI]!);
}

/** Asks for all rows of a user, for the hold. @returns false if the ring to the persister is full */
export function sendUserLoad(lane: LaneState, hold: number, lo: number, hi: number): boolean {
  return sendLoad(lane, hold, KIND_LOAD_USER, lo, hi, 0) !== -1;
}

/** Asks for the rows that the operation names. @returns false if the ring to the persister is full */
export function loadRows(lane: LaneState, hold: number, words: Int32Array, at: number): boolean {
  const opAt = at + ROUTED.WORDS;
  const op = opOf(words, at);
  const count = op === OP_DELETE_USER ? 0 : recordsWanted(words, at);
  const lo = words[opAt + REQUEST.USER_LO]!;
  const hi = words[opAt + REQUEST.USER_HI]!;
  const keysAt = sendLoad(lane, hold, KIND_LOAD_ROWS, lo, hi, count);
  if (keysAt === -1) return false;
  const out = lane.loads.words;
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
function sendLoad(lane: LaneState, hold: number, kind: number, lo: number, hi: number, keys: number): number {
  const { loads, holds } = lane;
  const length = LOAD.WORDS + keys * LOAD_KEY.WORDS;
  const to = loads.reserve(length);
  if (to === -1) return -1;
  holds.renew(hold);
  holds.set(hold, HOLD.KIND, HOLD_LOADING);
  holds.set(hold, HOLD.DEADLINE, lane.tickAfter(lane.options.loadTimeoutMs));
  loads.words[to + LOAD.KIND] = kind;
  loads.words[to + LOAD.TAG] = holds.tag(hold);
  loads.words[to + LOAD.USER_LO] = lo;
  loads.words[to + LOAD.USER_HI] = hi;
  loads.words[to + LOAD.COUNT] = keys;
  loads.commit(length);
  lane.count(LANE_STATS.LOADS);
  return to + LOAD.WORDS;
}
