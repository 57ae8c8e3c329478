/**
 * Lists and badges of a shard: walked by cursors, a slice of each in a turn, so that a user with very many channels
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
import { HOLD_CURSOR, HOLD_CURSOR_WAIT, HOLD_READY } from './holds.js';
import { WAIT } from './introspection/slow-log.js';
import { CURSORS_MAX, type ShardState } from './shard-state.js';
import { resume } from './shard-waiting.js';

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

/** Gives each hold that is ready its turn, once. @returns whether any was */
export function serveReady(shard: ShardState): boolean {
  const { ready, holds } = shard;
  const turns = ready.count;
  for (let count = turns; count > 0; count--) {
    const hold = ready.shift();
    if (!shard.hasReplyRoom()) {
      ready.push(hold);
      continue;
    }
    const kind = holds.kind[hold];
    if (kind === HOLD_READY) resume(shard, hold, holds.rowsKnown[hold] !== 0);
    else if (kind === HOLD_CURSOR_WAIT) openCursor(shard, hold);
    else if (kind === HOLD_CURSOR) stepCursor(shard, hold);
  }
  return turns > 0;
}

function openCursor(shard: ShardState, hold: number): void {
  const { holds, cursorOf, scratch } = shard;
  if (cursorOf.size >= CURSORS_MAX) {
    shard.ready.push(hold);
    return;
  }
  const index = holds.partition[hold]!;
  const partition = shard.partition(index);
  const user = holds.user[hold]!;
  const cursor = shard.idleCursors[index]!.pop() ?? partition.createCursor();
  cursorOf.set(hold, cursor);
  holds.kind[hold] = HOLD_CURSOR;
  shard.parking.peek(hold, scratch);
  const isList = (scratch[ROUTED.WORDS + REQUEST.HEAD]! & 0xff) === OP_LIST;
  cursor.begin(user, isList ? Math.max(0, sinceOf(partition, user, scratch)) : 0, isList);
  stepCursor(shard, hold);
}

function stepCursor(shard: ShardState, hold: number): void {
  const { holds, cursorOf, scratch } = shard;
  const cursor = cursorOf.get(hold)!;
  if (!cursor.advance(CURSOR_STEPS)) {
    shard.ready.push(hold);
    return;
  }
  shard.waited(hold, WAIT.CURSOR);
  shard.parking.peek(hold, scratch);
  const index = holds.partition[hold]!;
  if ((scratch[ROUTED.WORDS + REQUEST.HEAD]! & 0xff) === OP_BADGE) {
    answerBadge(shard, scratch, cursor.mentionCount, cursor.mentionedEntries);
  } else if (!answerPart(shard, shard.partition(index), holds.user[hold]!, cursor, scratch)) {
    shard.ready.push(hold);
    return;
  }
  cursorOf.delete(hold);
  shard.idleCursors[index]!.push(cursor);
  shard.parking.shift(hold);
  resume(shard, hold, false);
}

/** Sends the next entries. @returns whether they were the last */
function answerPart(
  shard: ShardState,
  partition: Partition,
  user: UserSlot,
  cursor: Cursor,
  words: Int32Array,
): boolean {
  const opAt = ROUTED.WORDS;
  const outAt = shard.beginReply(words[ROUTED.ROUTE]!, REPLY.WORDS + LIST_PART_ENTRIES * ENTRY.WORDS);
  const out = shard.replies.words;
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
  shard.commitReply(REPLY.WORDS + entries * ENTRY.WORDS);
  if (last) shard.answered(words, 0, OP_LIST);
  return last;
}

/** @param words  the operation, from ROUTED on: the shard's scratch */
export function answerBadge(shard: ShardState, words: Int32Array, mentions: number, mentioned: number): void {
  const outAt = shard.beginReply(words[ROUTED.ROUTE]!, REPLY.WORDS);
  const out = shard.replies.words;
  out[outAt + REPLY.HEAD] = OP_BADGE | (STATUS_OK << 8);
  out[outAt + REPLY.REQUEST_ID] = words[ROUTED.WORDS + REQUEST.REQUEST_ID]!;
  out[outAt + REPLY.MENTION_COUNT] = mentions;
  out[outAt + REPLY.VERSION] = mentioned;
  shard.commitReply(REPLY.WORDS);
  shard.answered(words, 0, OP_BADGE);
}
