/**
 * A shard and the store: takes what the persister answers, and sends what is due.
 */
import {
  ENTRY,
  FLUSH,
  FLUSHED,
  KIND_FLUSHED,
  LIST_PART_ENTRIES,
  LOADED,
  LOADED_LAST,
  OP_BADGE,
  OP_LIST,
  REPLY,
  REPLY_ENTRY,
  REPLY_MORE,
  REPLY_PARTIAL,
  REQUEST,
  ROUTED,
  ROW,
  STATUS_OK,
  STATUS_STORE_UNAVAILABLE,
  STORE_WORDS_MAX,
} from '../engine/messages.js';
import { NO_DUE, type Partition } from '../engine/partition.js';
import { HOLD_CLEANING, HOLD_STREAMING } from './holds.js';
import { WAIT } from './introspection/slow-log.js';
import { answerBadge, sinceOf } from './shard-lists.js';
import { RETRY_FIRST_MS, RETRY_MAX_MS } from './shard-options.js';
import type { ShardState } from './shard-state.js';
import { fail, resume, waitForRoom } from './shard-waiting.js';
import { SHARD_STATS } from './stats.js';
import { takeWarmed } from './warm/hot-loader.js';

/** Groups sent in one turn, and records looked at for each. */
const GROUPS_A_TURN = 32;
const FLUSH_STEPS = 512;
/** Answers of the store taken in one turn: up to 32 parts of 128 rows. */
const ANSWERS_A_TURN = 32;
/** Takes some answers of the store. @returns whether there were any */
export function takeStoreAnswers(shard: ShardState): boolean {
  const { storeAnswers: ring } = shard;
  if (!ring.refresh()) return false;
  let wrote = false;
  for (let count = 0; count < ANSWERS_A_TURN && shard.hasReplyRoom(); count++) {
    const at = ring.next();
    if (at === -1) break;
    if ((ring.words[at + LOADED.KIND]! & 0xff) === KIND_FLUSHED) {
      takeFlushed(shard, ring.words, at);
      wrote = true;
    } else {
      takeLoaded(shard, ring.words, at);
    }
  }
  ring.release();
  if (wrote) shard.roomMayBe = true;
  return true;
}

function takeFlushed(shard: ShardState, words: Int32Array, at: number): void {
  const kind = words[at + FLUSHED.KIND]!;
  const ok = ((kind >>> 8) & 0xff) === STATUS_OK;
  const partition = shard.partition(words[at + FLUSHED.PARTITION]!);
  if (ok) {
    shard.writeFailures = 0;
    shard.count(SHARD_STATS.FLUSH_GROUPS);
    shard.count(SHARD_STATS.FLUSHED_ROWS, words[at + FLUSHED.COUNT]!);
  } else {
    shard.count(SHARD_STATS.FLUSH_FAILURES);
    // For what a stop forces. The failures of one batch count once: those that follow find the backoff set.
    if (((shard.tick - shard.backoffUntil) | 0) >= 0) {
      shard.backoffUntil = shard.tickAfter(
        Math.min(RETRY_FIRST_MS * 2 ** shard.writeFailures++, RETRY_MAX_MS),
      );
    }
  }
  shard.unsavedAges.answered(words[at + FLUSHED.PARTITION]!, ok, shard.tick);
  partition.flushed(words, at, ok);
}

function takeLoaded(shard: ShardState, words: Int32Array, at: number): void {
  const { holds } = shard;
  const hold = holds.ofTag(words[at + LOADED.TAG]!);
  if (hold === 0) return; // given up
  const kind = words[at + LOADED.KIND]!;
  if (((kind >>> 8) & 0xff) !== STATUS_OK) {
    shard.count(SHARD_STATS.LOAD_FAILURES);
    shard.waited(hold, WAIT.LOAD);
    fail(shard, hold, STATUS_STORE_UNAVAILABLE);
    return;
  }
  const count = words[at + LOADED.COUNT]!;
  const last = (kind & LOADED_LAST) !== 0;
  const partition = shard.partition(holds.partition[hold]!);
  if (last) shard.waited(hold, WAIT.LOAD);
  shard.count(SHARD_STATS.LOADED_ROWS, count);
  holds.deadline[hold] = shard.tickAfter(shard.options.loadTimeoutMs);
  if (holds.warming[hold] !== 0) {
    takeWarmed(shard, partition, hold, words, at, last);
    return;
  }
  if (holds.kind[hold] === HOLD_STREAMING) {
    takeStreamed(shard, partition, hold, words, at + LOADED.WORDS, count, last);
    return;
  }
  const user = holds.user[hold]!;
  for (let i = 0; i < count && holds.overflowed[hold] === 0; i++) {
    const row = at + LOADED.WORDS + i * ROW.WORDS;
    if (partition.insertRow(user, words, row)) continue;
    shard.flushSoon = true;
    partition.makeRoom(count - i, false);
    if (!partition.insertRow(user, words, row)) holds.overflowed[hold] = 1;
  }
  if (!last) return;
  partition.applyUserRow(user, words[at + LOADED.VERSION]!, words[at + LOADED.DELETED_VERSION]!);
  shard.parking.peek(hold, shard.scratch);
  const op = shard.scratch[ROUTED.WORDS + REQUEST.HEAD]! & 0xff;
  const whole = op === OP_LIST || op === OP_BADGE;
  if (holds.overflowed[hold] === 0) {
    if (whole) partition.markComplete(user);
    resume(shard, hold, true);
  } else if (whole) {
    // Too much for the partition: write what is unsaved of the user, then answer straight from the store.
    holds.kind[hold] = HOLD_CLEANING;
    holds.mentions[hold] = 0;
    holds.mentioned[hold] = 0;
    shard.waiting.push(hold);
    shard.roomMayBe = true;
  } else {
    waitForRoom(shard, hold);
  }
}

/** Rows of a list or badge that does not fit into the partition go to the front as they come. */
function takeStreamed(
  shard: ShardState,
  partition: Partition,
  hold: number,
  words: Int32Array,
  rowsAt: number,
  count: number,
  last: boolean,
): void {
  const { holds, scratch } = shard;
  const user = holds.user[hold]!;
  shard.parking.peek(hold, scratch);
  const op = scratch[ROUTED.WORDS + REQUEST.HEAD]! & 0xff;
  if (op === OP_BADGE) {
    for (let i = 0; i < count; i++) {
      const mentions = words[rowsAt + i * ROW.WORDS + ENTRY.MENTION_COUNT]!;
      holds.mentions[hold] = holds.mentions[hold]! + mentions;
      if (mentions > 0) holds.mentioned[hold] = holds.mentioned[hold]! + 1;
    }
    if (!last) return;
    answerBadge(shard, scratch, Math.min(holds.mentions[hold]!, 0x7fffffff), holds.mentioned[hold]!);
  } else {
    const since = sinceOf(partition, user, scratch);
    const outAt = shard.beginReply(scratch[ROUTED.ROUTE]!, REPLY.WORDS + LIST_PART_ENTRIES * ENTRY.WORDS);
    const out = shard.replies.words;
    let entries = 0;
    for (let i = 0; i < count; i++) {
      const row = rowsAt + i * ROW.WORDS;
      if (since >= 0 && words[row + ENTRY.VERSION]! >>> 0 <= since) continue;
      const to = outAt + REPLY.WORDS + entries++ * ENTRY.WORDS;
      for (let word = 0; word < ENTRY.WORDS; word++) out[to + word] = words[row + word]!;
    }
    out[outAt + REPLY.HEAD] =
      OP_LIST | (STATUS_OK << 8) | REPLY_ENTRY | (last ? 0 : REPLY_MORE) | (since >= 0 ? REPLY_PARTIAL : 0);
    out[outAt + REPLY.REQUEST_ID] = scratch[ROUTED.WORDS + REQUEST.REQUEST_ID]!;
    out[outAt + REPLY.MENTION_COUNT] = entries;
    out[outAt + REPLY.VERSION] = partition.versionOf(user);
    shard.commitReply(REPLY.WORDS + entries * ENTRY.WORDS);
    if (!last) return;
    shard.answered(scratch, 0, OP_LIST);
  }
  shard.parking.shift(hold);
  resume(shard, hold, false);
}

/** Sends what is due to the persister. @returns whether more could be sent at once */
export function flushDue(shard: ShardState): boolean {
  const { flushes } = shard;
  shard.flushSoon = false;
  const force = (shard.stopping || shard.flushAll) && ((shard.tick - shard.backoffUntil) | 0) >= 0;
  const until = shard.flushOrdered ? shard.flushUntil : shard.tick;
  let sent = 0;
  let budget = GROUPS_A_TURN;
  let more = false;
  for (const index of shard.owned) {
    const partition = shard.partition(index);
    for (;;) {
      const due = partition.nextDue();
      if (due === NO_DUE || !(force || ((due - until) | 0) <= 0)) break;
      const at = budget > 0 ? flushes.reserve(STORE_WORDS_MAX) : -1;
      if (at === -1) {
        more = true;
        break;
      }
      budget--;
      const length = partition.flushNext(flushes.words, at, FLUSH_STEPS, force || shard.flushOrdered);
      if (length === 0) continue;
      flushes.words[at + FLUSH.PARTITION] = index;
      flushes.commit(length);
      shard.unsavedAges.sent(index, due);
      sent++;
    }
  }
  if (sent > 0) {
    flushes.publish();
    shard.persister.ring();
  }
  if (!more) shard.flushOrdered = false;
  shard.flushSoon = more && sent > 0;
  return shard.flushSoon;
}
