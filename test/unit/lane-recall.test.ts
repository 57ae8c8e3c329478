/** What a lane makes of what is on its way to the store when the persister has ended, or one of its partitions is broken. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  ANSWERED,
  ENTRY,
  FLUSH,
  FLUSH_ROW,
  FLUSHED,
  KIND_FLUSHED,
  KIND_LOADED,
  LOAD,
  LOAD_PART_ROWS,
  LOADED,
  LOADED_LAST,
  OP_ACK,
  OP_LIST,
  REPLY,
  ROW,
} from '../../engine/messages.js';
import { RingReader } from '../../engine/ring.js';
import { HEADER } from '../../engine/slab-memory.js';
import type { Lane } from '../../workers/lane.js';
import { COLD_START, RETRY_FIRST_MS, TICK_MS } from '../../workers/lane-options.js';
import { LANE_STATS } from '../../workers/stats.js';
import { createLaneRig, type LaneRig } from '../support/lane-rig.js';

const USER = 5;
const FLUSH_DELAY_MS = 1000;

let rig: LaneRig;
let lane: Lane;
let nowMs: number;
/** The persister's ends. */
let loads: RingReader;
let flushes: RingReader;

function attach(recordsMax: number, engine: 'slab' | 'heap' = 'slab'): void {
  rig = createLaneRig({ recordsMax, flushDelayMs: FLUSH_DELAY_MS, engine });
  lane = rig.attach(0);
  lane.isReady(false);
  nowMs = 0;
  beginPersister();
}

function beginPersister(): void {
  loads = new RingReader(rig.own.rings.loads);
  flushes = new RingReader(rig.own.rings.flushes);
}

afterEach(() => rig.close());

/** Turns for so long, at least one. */
function turn(ms = 1): void {
  for (const end = nowMs + ms; nowMs < end; ) {
    nowMs = Math.min(nowMs + TICK_MS, end);
    rig.turn(lane, nowMs);
  }
}

function ask(op: number, channel: number, message: number): void {
  rig.ask(op, USER, channel, message);
  turn();
}

/** Tags of the loads that the lane has sent. */
function takeLoads(): number[] {
  const tags: number[] = [];
  for (loads.refresh(); ; loads.release()) {
    const at = loads.next();
    if (at === -1) return tags;
    tags.push(loads.words[at + LOAD.TAG]!);
  }
}

/** The rows of channels `from` to `to`, not included, as a part of a load. */
function answerLoad(tag: number, from = 0, to = 0, isLast = true): void {
  const { storeAnswers: ring } = rig;
  const length = LOADED.WORDS + (to - from) * ROW.WORDS;
  const at = ring.reserve(length);
  ring.words.fill(0, at, at + length);
  ring.words[at + LOADED.KIND] = KIND_LOADED | (isLast ? LOADED_LAST : 0);
  ring.words[at + LOADED.TAG] = tag;
  ring.words[at + LOADED.VERSION] = isLast ? 1 : 0;
  ring.words[at + LOADED.COUNT] = to - from;
  for (let channel = from; channel < to; channel++) {
    const row = at + LOADED.WORDS + (channel - from) * ROW.WORDS;
    ring.words[row + ENTRY.CHANNEL_LO] = channel;
    ring.words[row + ENTRY.MESSAGE_LO] = 9;
    ring.words[row + ENTRY.VERSION] = 1;
  }
  ring.commit(length);
  ring.publish();
}

interface Sent {
  readonly slot: number;
  readonly rows: readonly { readonly slot: number; readonly message: number }[];
  readonly clock: number;
}

function takeFlushes(): Sent[] {
  const sent: Sent[] = [];
  const { words } = flushes;
  for (flushes.refresh(); ; flushes.release()) {
    const at = flushes.next();
    if (at === -1) return sent;
    const rows = Array.from({ length: words[at + FLUSH.COUNT]! }, (_, i) => {
      const rowAt = at + FLUSH.WORDS + i * FLUSH_ROW.WORDS;
      return { slot: words[rowAt]!, message: words[rowAt + FLUSH_ROW.ROW + ENTRY.MESSAGE_LO]! };
    });
    const clock = words[at + FLUSH.CLOCK_HI]! * 2 ** 32 + (words[at + FLUSH.CLOCK_LO]! >>> 0);
    sent.push({ slot: words[at + FLUSH.USER_SLOT]!, rows, clock });
  }
}

function answerFlush({ slot, rows }: Sent): void {
  const { storeAnswers: ring } = rig;
  const length = FLUSHED.WORDS + rows.length;
  const at = ring.reserve(length);
  ring.words[at + FLUSHED.KIND] = KIND_FLUSHED;
  ring.words[at + FLUSHED.PARTITION] = 0;
  ring.words[at + FLUSHED.USER_SLOT] = slot;
  ring.words[at + FLUSHED.COUNT] = rows.length;
  rows.forEach((row, i) => {
    ring.words[at + FLUSHED.WORDS + i] = row.slot;
  });
  ring.commit(length);
  ring.publish();
}

function recall(msATurn = 1): void {
  lane.recall();
  for (let turns = 0; !lane.hasRecalled; turns++) {
    expect(turns).toBeLessThan(100);
    turn(msATurn);
  }
  beginPersister();
}

const unsaved = (): number => lane.state.partition(0).dirtyUserCount;

/** Channels of the lists that were answered. */
function takeListed(): number[] {
  const channels: number[] = [];
  const { words } = rig.replies;
  for (rig.replies.refresh(); ; rig.replies.release()) {
    const at = rig.replies.next();
    if (at === -1) return channels;
    const reply = at + ANSWERED.WORDS;
    if ((words[reply + REPLY.HEAD]! & 0xff) !== OP_LIST) continue;
    for (let i = 0; i < words[reply + REPLY.MENTION_COUNT]!; i++)
      channels.push(words[reply + REPLY.WORDS + i * ENTRY.WORDS + ENTRY.CHANNEL_LO]!);
  }
}

function ackAndFlush(): Sent {
  ask(OP_ACK, 7, 1);
  const [tag] = takeLoads();
  answerLoad(tag!);
  turn(FLUSH_DELAY_MS + TICK_MS);
  const [sent] = takeFlushes();
  expect(sent!.rows).toHaveLength(1);
  return sent!;
}

describe.each(['slab', 'heap'] as const)('when the persister has ended, --engine %s, it', (engine) => {
  beforeEach(() => attach(1000, engine));

  it('sends again what nobody has answered, with a later clock, after the delay of a retry', () => {
    const first = ackAndFlush();
    recall();
    expect(unsaved()).toBe(1);
    turn(RETRY_FIRST_MS + 2 * TICK_MS);
    const again = takeFlushes();
    expect(again.map(({ rows }) => rows)).toEqual([first.rows]);
    expect(again[0]!.clock).toBeGreaterThan(first.clock);
    answerFlush(again[0]!);
    turn();
    expect(unsaved()).toBe(0);
    lane.state.partition(0).check();
  });

  it('takes what was answered before it takes back the rest', () => {
    const sent = ackAndFlush();
    for (let i = 0; i < 100; i++) answerLoad(0); // more than a turn takes, of loads that were given up
    answerFlush(sent);
    recall();
    expect(unsaved()).toBe(0);
    turn(FLUSH_DELAY_MS);
    expect(takeFlushes()).toEqual([]);
    lane.state.partition(0).check();
  });

  it('drops what the persister has not taken', () => {
    ask(OP_ACK, 7, 1);
    const [tag] = takeLoads();
    answerLoad(tag!);
    turn(FLUSH_DELAY_MS + TICK_MS); // the group stays in the ring
    recall();
    expect(takeFlushes()).toEqual([]);
    turn(RETRY_FIRST_MS + 2 * TICK_MS);
    expect(takeFlushes()).toHaveLength(1);
  });

  it('keeps what changed on the way for the next group', () => {
    ackAndFlush();
    ask(OP_ACK, 7, 2);
    recall();
    turn(FLUSH_DELAY_MS + 2 * TICK_MS);
    expect(takeFlushes().flatMap(({ rows }) => rows.map(({ message }) => message))).toEqual([2]);
  });

  it('sends nothing while it takes back', () => {
    ask(OP_ACK, 7, 1);
    const [tag] = takeLoads();
    answerLoad(tag!);
    while (nowMs < FLUSH_DELAY_MS - 1) turn();
    recall(TICK_MS / 2); // the flush is due now
    turn(2 * TICK_MS);
    expect(takeFlushes()).toHaveLength(1);
  });

  it('sends loads again once that were not taken', () => {
    ask(OP_ACK, 7, 1);
    recall();
    expect(takeLoads()).toHaveLength(1);
  });

  it('sends loads again, and hears only the new ones', () => {
    ask(OP_ACK, 7, 1);
    const [old] = takeLoads();
    recall();
    const [tag, ...more] = takeLoads();
    expect([tag === old, more]).toEqual([false, []]);
    answerLoad(old!);
    turn();
    expect(lane.state.holds.count).toBe(1);
    answerLoad(tag!);
    turn();
    expect(lane.state.holds.count).toBe(0);
  });

  it('goes on in the middle of a user that does not fit, with each entry once', () => {
    attach(64, engine);
    const ROWS = 3 * LOAD_PART_ROWS;
    ask(OP_LIST, 0, 0);
    const [probe] = takeLoads();
    for (let from = 0; from < ROWS; from += LOAD_PART_ROWS)
      answerLoad(probe!, from, from + LOAD_PART_ROWS, from + LOAD_PART_ROWS === ROWS);
    turn(2 * TICK_MS);
    const [streamed] = takeLoads();
    expect(streamed).toBeDefined();
    answerLoad(streamed!, 0, LOAD_PART_ROWS, false);
    turn();
    recall();
    turn(TICK_MS);
    const [again] = takeLoads();
    // The parts need not be the same.
    answerLoad(again!, 0, 100, false);
    answerLoad(again!, 100, 200, false);
    answerLoad(again!, 200, 300, false);
    answerLoad(again!, 300, ROWS);
    turn();
    expect(takeListed()).toEqual(Array.from({ length: ROWS }, (_, i) => i));
    expect(lane.state.holds.count).toBe(0);
  });
});

describe('when threads end, too, it', () => {
  beforeEach(() => attach(1000));

  it('begins anew when its thread ends in between', () => {
    const first = ackAndFlush();
    lane.recall();
    rig.turn(lane, ++nowMs);
    lane = rig.attach(nowMs);
    recall();
    turn(RETRY_FIRST_MS + 2 * TICK_MS);
    expect(takeFlushes().map(({ rows }) => rows)).toEqual([first.rows]);
  });

  /** Another thread goes on with the lane, and finds its partition broken. */
  function breakPartition(): void {
    new Int32Array(rig.own.owned[0]!.memory!)[HEADER.RECORD_COUNT] = -1;
    lane = rig.attach(nowMs);
    turn();
    expect(lane.state.partition(0).userCount).toBe(0);
  }

  it('forgets what was on its way of a partition that was emptied, and waits for it', () => {
    const sent = ackAndFlush();
    breakPartition();
    turn(2 * TICK_MS);
    expect(lane.state.reloads(0)).toBe(true);
    answerFlush(sent);
    turn();
    expect(lane.state.reloads(0)).toBe(false);
    lane.state.partition(0).check();
    answerFlush(ackAndFlush());
    turn();
    expect(unsaved()).toBe(0);
  });

  it('forgets it also when nobody answers any more', () => {
    ackAndFlush();
    breakPartition();
    recall();
    turn();
    expect(lane.state.reloads(0)).toBe(false);
    lane.state.partition(0).check();
  });

  it('has operations of a partition that was emptied wait, those that waited before first', () => {
    const sent = ackAndFlush();
    ask(OP_LIST, 0, 0);
    const [old] = takeLoads();
    breakPartition();
    ask(OP_ACK, 9, 3);
    expect(takeLoads()).toEqual([]);
    answerLoad(old!); // of a hold that is gone
    answerFlush(sent);
    turn(3 * TICK_MS);
    const [tag, ...more] = takeLoads();
    expect(more).toEqual([]);
    answerLoad(tag!, 7, 8);
    turn(3 * TICK_MS);
    expect(takeListed()).toEqual([7]); // the list came first
  });

  it('has its writes go on with later clocks, also when the file of the clock could not be written for long', () => {
    rig.close();
    const clockLimit = new SharedArrayBuffer(8);
    const limitUs = (Date.now() - 3_600_000) * 1000;
    new Float64Array(clockLimit)[0] = limitUs;
    rig = createLaneRig({ flushDelayMs: FLUSH_DELAY_MS }, { start: { ...COLD_START, clockLimit } });
    lane = rig.attach(nowMs);
    lane.isReady(false);
    beginPersister();
    let [last, message] = [0, 0];
    for (let loss = 0; loss < 3; loss++) {
      for (let flush = 0; flush < 3; flush++) {
        ask(OP_ACK, 7, ++message);
        for (const tag of takeLoads()) answerLoad(tag);
        turn(FLUSH_DELAY_MS + TICK_MS);
        const [sent] = takeFlushes();
        expect(sent!.clock).toBeGreaterThan(last);
        last = sent!.clock;
        answerFlush(sent!);
        turn();
      }
      expect(last).toBeGreaterThan(limitUs);
      breakPartition();
      turn(3 * TICK_MS);
    }
    expect(last).toBeLessThan(limitUs + 1_000_000); // where the next process would begin
  });

  it('answers operations busy that have waited for too long for a partition', () => {
    ackAndFlush();
    breakPartition();
    ask(OP_ACK, 9, 3);
    turn(rig.service.roomTimeoutMs + 3 * TICK_MS);
    expect(rig.stats[LANE_STATS.BUSY]).toBe(1);
    expect(lane.state.reloads(0)).toBe(true);
  });
});
