/**
 * Lists and badges of a lane: walked by cursors, a slice of each in a turn, so that a user with very many channels
 * stops nobody else.
 */
import {
  ENTRY,
  LIST_PART_ENTRIES,
  OP_BADGE,
  OP_LIST,
  REPLY,
  REPLY_ENTRY,
  REPLY_MORE,
  REPLY_PARTIAL,
  REQUEST,
  REQUEST_SINCE,
  ROUTED,
  STATUS_OK,
} from '../engine/messages.js';
import type { Cursor, Partition, UserSlot } from '../engine/partition.js';
import { HOLD_CURSOR, HOLD_FAILED, HOLD_READY } from './holds.js';
import { WAIT } from './introspection/slow-log.js';
import { HOLD } from './lane-memory.js';
import type { LaneState } from './lane-state.js';
import { goOn, resume } from './lane-waiting.js';

/** Records that one cursor looks at in a turn: about 50 us when none is in a cache. */
const CURSOR_STEPS = 512;

/**
 * The version after which entries are to be listed, or -1 for all: not asked for, not a version of this user, or
 * something was deleted after it (a list of what changed could not say so).
 */
export function sinceOf(partition: Partition, user: UserSlot, words: Int32Array): number {
  const opAt = ROUTED.WORDS;
  if ((words[opAt + REQUEST.HEAD]! & REQUEST_SINCE) === 0 || words[opAt + REQUEST.ARGUMENT_HI] !== 0)
    return -1;
  const since = words[opAt + REQUEST.ARGUMENT_LO]! >>> 0;
  return since > partition.versionOf(user) || partition.deletedVersionOf(user) > since ? -1 : since;
}

/** Something but lists under way goes on by itself at the next turn; lists that wait for a cursor are such, too. */
export function hasWorkBesideLists(lane: LaneState): boolean {
  return (
    lane.recalls ||
    lane.restores ||
    lane.ready.count > lane.cursors.count ||
    lane.roomMayBe ||
    lane.flushSoon ||
    lane.requests.refresh() ||
    lane.storeAnswers.refresh()
  );
}

/** Gives each hold that is ready its turn, once. @returns whether any could use it */
export function serveReady(lane: LaneState): boolean {
  const { ready, holds } = lane;
  const turns = ready.count;
  let served = 0;
  lane.listsWaiting = 0;
  for (; served < turns && lane.hasReplyRoom(); served++) {
    const hold = ready.first;
    const kind = holds.get(hold, HOLD.KIND);
    if (kind === HOLD_READY || kind === HOLD_FAILED) goOn(lane, hold);
    else lookAtCursor(lane, ready.shift());
    lane.done();
  }
  lane.replies.setWaits(lane.listsWaiting > 0);
  return served > lane.listsWaiting;
}

function lookAtCursor(lane: LaneState, hold: number): void {
  // That of a thread before is gone.
  const isOpen = lane.holds.get(hold, HOLD.KIND) === HOLD_CURSOR;
  const cursor = isOpen ? lane.cursors.of(hold) : null;
  if (cursor !== null) stepCursor(lane, hold, cursor);
  else openCursor(lane, hold);
}

function openCursor(lane: LaneState, hold: number): void {
  const { holds, cursors, scratch } = lane;
  if (cursors.isFull) {
    lane.ready.push(hold);
    return;
  }
  const index = holds.get(hold, HOLD.PARTITION);
  const partition = lane.partition(index);
  const user = holds.get(hold, HOLD.USER);
  const cursor = cursors.take(hold, index, partition);
  holds.set(hold, HOLD.KIND, HOLD_CURSOR);
  lane.parking.peek(hold, scratch);
  const isList = (scratch[ROUTED.WORDS + REQUEST.HEAD]! & 0xff) === OP_LIST;
  const since = isList ? Math.max(0, sinceOf(partition, user, scratch)) : 0;
  cursor.begin(user, since, isList, holds.get(hold, HOLD.WRITTEN));
  stepCursor(lane, hold, cursor);
}

function stepCursor(lane: LaneState, hold: number, cursor: Cursor): void {
  const { holds, scratch } = lane;
  if (!cursor.advance(CURSOR_STEPS)) {
    lane.ready.push(hold);
    return;
  }
  lane.waited(hold, WAIT.CURSOR);
  lane.parking.peek(hold, scratch);
  const index = holds.get(hold, HOLD.PARTITION);
  const isBadge = (scratch[ROUTED.WORDS + REQUEST.HEAD]! & 0xff) === OP_BADGE;
  if (!isBadge && !lane.listWindow.isOpen) {
    lane.listsWaiting++;
    lane.ready.push(hold);
    return;
  }
  if (isBadge) {
    answerBadge(lane, scratch, cursor.mentionCount, cursor.mentionedEntries);
  } else if (!answerPart(lane, hold, cursor, scratch)) {
    lane.ready.push(hold);
    return;
  }
  lane.cursors.giveBack(hold, index);
  holds.endFirst(hold);
  lane.parking.shift(hold);
  resume(lane, hold, false);
}

/** Sends the next entries. @returns whether they were the last */
function answerPart(lane: LaneState, hold: number, cursor: Cursor, words: Int32Array): boolean {
  const { holds } = lane;
  const partition = lane.partition(holds.get(hold, HOLD.PARTITION));
  const user = holds.get(hold, HOLD.USER);
  const opAt = ROUTED.WORDS;
  const outAt = lane.beginReply(words[ROUTED.ROUTE]!, REPLY.WORDS + LIST_PART_ENTRIES * ENTRY.WORDS);
  const out = lane.replies.words;
  const entries = cursor.write(out, outAt + REPLY.WORDS, LIST_PART_ENTRIES);
  const last = cursor.remaining === 0;
  out[outAt + REPLY.HEAD] =
    OP_LIST |
    (STATUS_OK << 8) |
    REPLY_ENTRY |
    (last ? 0 : REPLY_MORE) |
    (sinceOf(partition, user, words) >= 0 ? REPLY_PARTIAL : 0);
  out[outAt + REPLY.REQUEST_ID] = words[opAt + REQUEST.REQUEST_ID]!;
  out[outAt + REPLY.MENTION_COUNT] = entries;
  out[outAt + REPLY.VERSION] = partition.versionOf(user);
  lane.commitReply(REPLY.WORDS + entries * ENTRY.WORDS);
  lane.listWindow.wrote(REPLY.WORDS + entries * ENTRY.WORDS);
  holds.set(hold, HOLD.WRITTEN, holds.get(hold, HOLD.WRITTEN) + entries);
  if (last) lane.answered(words, 0, OP_LIST);
  return last;
}

/** @param words  the operation, from ROUTED on: the lane's scratch */
export function answerBadge(lane: LaneState, words: Int32Array, mentions: number, mentioned: number): void {
  const outAt = lane.beginReply(words[ROUTED.ROUTE]!, REPLY.WORDS);
  const out = lane.replies.words;
  out[outAt + REPLY.HEAD] = OP_BADGE | (STATUS_OK << 8);
  out[outAt + REPLY.REQUEST_ID] = words[ROUTED.WORDS + REQUEST.REQUEST_ID]!;
  out[outAt + REPLY.MENTION_COUNT] = mentions;
  out[outAt + REPLY.VERSION] = mentioned;
  lane.commitReply(REPLY.WORDS);
  lane.answered(words, 0, OP_BADGE);
}
