/**
 * A lane and the store: takes what the persister answers, and sends what is due.
 */
import { COUNT_MAX } from '../engine/layout.js';
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
  STORE_WORDS_MAX,
} from '../engine/messages.js';
import { NO_DUE, type Partition } from '../engine/partition.js';
import { HOLD_CLEANING, HOLD_STREAMING } from './holds.js';
import { WAIT } from './introspection/slow-log.js';
import { answerBadge, sinceOf } from './lane-lists.js';
import { HOLD, LANE } from './lane-memory.js';
import { RETRY_FIRST_MS, RETRY_MAX_MS } from './lane-options.js';
import type { LaneState } from './lane-state.js';
import { fail, resume, waitForRoom } from './lane-waiting.js';
import { LANE_STATS } from './stats.js';
import { takeWarmed } from './warm/hot-loader.js';

/** Groups sent in one turn, and records looked at for each. */
const GROUPS_A_TURN = 32;
const FLUSH_STEPS = 512;
/** Answers of the store taken in one turn, and rows in them after which it is enough: others wait for the turn to end. */
const ANSWERS_A_TURN = 32;
const ROWS_A_TURN = 512;
/** Enough for RETRY_MAX_MS; more are not told apart. */
const WRITE_FAILURES_MAX = 16;

/** Takes some answers of the store. @returns whether any could be taken */
export function takeStoreAnswers(lane: LaneState): boolean {
  const { storeAnswers: ring } = lane;
  if (!ring.refresh()) return false;
  let wrote = false;
  let rows = 0;
  let count = 0;
  for (; count < ANSWERS_A_TURN && rows < ROWS_A_TURN && lane.hasReplyRoom(); count++) {
    const at = ring.next();
    if (at === -1) break;
    if ((ring.words[at + LOADED.KIND]! & 0xff) === KIND_FLUSHED) {
      takeFlushed(lane, ring.words, at);
      wrote = true;
    } else {
      takeLoaded(lane, ring.words, at);
      rows += ring.words[at + LOADED.COUNT]!;
    }
    lane.memory.put(LANE.ANSWERS_DONE, ring.position);
    lane.done();
  }
  ring.release();
  if (wrote) lane.roomMayBe = true;
  return count > 0;
}

function takeFlushed(lane: LaneState, words: Int32Array, at: number): void {
  const kind = words[at + FLUSHED.KIND]!;
  const ok = ((kind >>> 8) & 0xff) === STATUS_OK;
  const partition = lane.partition(words[at + FLUSHED.PARTITION]!);
  if (ok) {
    if (lane.memory.get(LANE.WRITE_FAILURES) !== 0) lane.memory.put(LANE.WRITE_FAILURES, 0);
    lane.count(LANE_STATS.FLUSH_GROUPS);
    lane.count(LANE_STATS.FLUSHED_ROWS, words[at + FLUSHED.COUNT]!);
  } else {
    lane.count(LANE_STATS.FLUSH_FAILURES);
    noteFailure(lane);
  }
  lane.unsavedAges.answered(words[at + FLUSHED.PARTITION]!, ok, lane.tick);
  if (lane.forgetsFlights(words[at + FLUSHED.PARTITION]!)) return;
  partition.flushed(words, at, ok);
}

/** For what a stop forces. The failures of one batch count once: those that follow find the backoff set. */
function noteFailure(lane: LaneState): void {
  const { memory } = lane;
  if (((lane.tick - memory.get(LANE.BACKOFF_UNTIL)) | 0) < 0) return;
  const failures = memory.get(LANE.WRITE_FAILURES);
  memory.put(LANE.BACKOFF_UNTIL, lane.tickAfter(Math.min(RETRY_FIRST_MS * 2 ** failures, RETRY_MAX_MS)));
  memory.put(LANE.WRITE_FAILURES, Math.min(failures + 1, WRITE_FAILURES_MAX));
}

function takeLoaded(lane: LaneState, words: Int32Array, at: number): void {
  const { holds } = lane;
  const hold = holds.ofTag(words[at + LOADED.TAG]!);
  if (hold === 0) return; // given up
  const kind = words[at + LOADED.KIND]!;
  if (((kind >>> 8) & 0xff) !== STATUS_OK) {
    lane.count(LANE_STATS.LOAD_FAILURES);
    lane.waited(hold, WAIT.LOAD);
    fail(lane, hold);
    return;
  }
  const count = words[at + LOADED.COUNT]!;
  const last = (kind & LOADED_LAST) !== 0;
  const partition = lane.partition(holds.get(hold, HOLD.PARTITION));
  if (last) lane.waited(hold, WAIT.LOAD);
  lane.count(LANE_STATS.LOADED_ROWS, count);
  holds.set(hold, HOLD.DEADLINE, lane.tickAfter(lane.options.loadTimeoutMs));
  if (holds.get(hold, HOLD.WARMING) !== 0) {
    takeWarmed(lane, partition, hold, words, at, last);
    return;
  }
  if (holds.get(hold, HOLD.KIND) === HOLD_STREAMING) {
    const skipped = Math.min(count, holds.get(hold, HOLD.SKIPS));
    holds.set(hold, HOLD.SKIPS, holds.get(hold, HOLD.SKIPS) - skipped);
    holds.set(hold, HOLD.STREAMED, holds.get(hold, HOLD.STREAMED) + count - skipped);
    if (skipped > 0 && skipped === count && !last) return;
    const rowsAt = at + LOADED.WORDS + skipped * ROW.WORDS;
    takeStreamed(lane, partition, hold, words, rowsAt, count - skipped, last);
    return;
  }
  const user = holds.get(hold, HOLD.USER);
  for (let i = 0; i < count && holds.get(hold, HOLD.OVERFLOWED) === 0; i++) {
    const row = at + LOADED.WORDS + i * ROW.WORDS;
    if (partition.insertRow(user, words, row)) continue;
    lane.flushSoon = true;
    partition.makeRoom(count - i, false);
    lane.done(); // room was made, which is much by itself; who takes the answer again passes over what is there
    if (!partition.insertRow(user, words, row)) holds.set(hold, HOLD.OVERFLOWED, 1);
  }
  if (!last) return;
  partition.applyUserRow(user, words[at + LOADED.VERSION]!, words[at + LOADED.DELETED_VERSION]!);
  lane.parking.peek(hold, lane.scratch);
  const op = lane.scratch[ROUTED.WORDS + REQUEST.HEAD]! & 0xff;
  const whole = op === OP_LIST || op === OP_BADGE;
  if (holds.get(hold, HOLD.OVERFLOWED) === 0) {
    if (whole) partition.markComplete(user);
    resume(lane, hold, true);
  } else if (whole) {
    // Too much for the partition: write what is unsaved of the user, then answer straight from the store.
    holds.set(hold, HOLD.KIND, HOLD_CLEANING);
    holds.set(hold, HOLD.MENTIONS, 0);
    holds.set(hold, HOLD.MENTIONED, 0);
    lane.waiting.push(hold);
    lane.roomMayBe = true;
  } else {
    waitForRoom(lane, hold);
  }
}

/** Rows of a list or badge that does not fit into the partition go to the front as they come. */
function takeStreamed(
  lane: LaneState,
  partition: Partition,
  hold: number,
  words: Int32Array,
  rowsAt: number,
  count: number,
  last: boolean,
): void {
  const { holds, scratch } = lane;
  const user = holds.get(hold, HOLD.USER);
  lane.parking.peek(hold, scratch);
  const op = scratch[ROUTED.WORDS + REQUEST.HEAD]! & 0xff;
  if (op === OP_BADGE) {
    for (let i = 0; i < count; i++) {
      const mentions = words[rowsAt + i * ROW.WORDS + ENTRY.MENTION_COUNT]!;
      holds.set(hold, HOLD.MENTIONS, Math.min(holds.get(hold, HOLD.MENTIONS) + mentions, COUNT_MAX));
      if (mentions > 0) holds.set(hold, HOLD.MENTIONED, holds.get(hold, HOLD.MENTIONED) + 1);
    }
    if (!last) return;
    answerBadge(lane, scratch, holds.get(hold, HOLD.MENTIONS), holds.get(hold, HOLD.MENTIONED));
  } else {
    const since = sinceOf(partition, user, scratch);
    const outAt = lane.beginReply(scratch[ROUTED.ROUTE]!, REPLY.WORDS + LIST_PART_ENTRIES * ENTRY.WORDS);
    const out = lane.replies.words;
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
    lane.commitReply(REPLY.WORDS + entries * ENTRY.WORDS);
    if (!last) return;
    lane.answered(scratch, 0, OP_LIST);
  }
  holds.endFirst(hold);
  lane.parking.shift(hold);
  resume(lane, hold, false);
}

/** Sends what is due to the persister. @returns whether more may be sent at once */
export function flushDue(lane: LaneState): boolean {
  if (lane.recalls) return false; // nothing may join what is failed
  const { flushes } = lane;
  lane.flushSoon = false;
  const force =
    (lane.stopping || lane.flushAll) && ((lane.tick - lane.memory.get(LANE.BACKOFF_UNTIL)) | 0) >= 0;
  const isOrdered = lane.flushOrdered;
  const until = isOrdered ? lane.memory.get(LANE.FLUSH_UNTIL) : lane.tick;
  let sent = 0;
  let budget = GROUPS_A_TURN;
  let more = false;
  const { owned, flushFrom } = lane;
  for (let i = 0; i < owned.length; i++) {
    const position = (flushFrom + i) % owned.length;
    const index = owned[position]!;
    const partition = lane.partition(index);
    const before = sent;
    for (;;) {
      const due = partition.nextDue();
      if (due === NO_DUE || !(force || ((due - until) | 0) <= 0)) break;
      const at = budget > 0 ? flushes.reserve(STORE_WORDS_MAX) : -1;
      if (at === -1) {
        // Another partition is the next: a store that takes less than what becomes due would never get to the last otherwise.
        if (!more) lane.flushFrom = sent > before ? (position + 1) % owned.length : position;
        more = true;
        break;
      }
      budget--;
      const length = partition.flushNext(flushes.words, at, FLUSH_STEPS, force || isOrdered);
      if (length === 0) continue;
      flushes.words[at + FLUSH.PARTITION] = index;
      flushes.commit(length);
      lane.unsavedAges.sent(index, due);
      lane.done();
      sent++;
    }
  }
  if (flushes.publish()) lane.persister.ring();
  if (!more && isOrdered) lane.memory.put(LANE.FLUSH_ORDERED, 0);
  lane.done();
  // Nothing sent and groups left: the ring is full. None left: walks go on, which may have found nothing yet.
  lane.flushSoon = more && (sent > 0 || budget === 0);
  return lane.flushSoon;
}
