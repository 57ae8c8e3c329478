/** Long lists are not in the way of others' answers: a lane writes of them what the front can take soon, then waits for it. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  ANSWERED,
  ENTRY,
  KIND_LOADED,
  LIST_PART_ENTRIES,
  LOAD,
  LOAD_PART_ROWS,
  LOADED,
  LOADED_LAST,
  OP_GET,
  OP_LIST,
  REPLY,
  REPLY_MORE,
  REPLY_WORDS_MAX,
  ROW,
} from '../../engine/messages.js';
import { createRing, RingReader, RingWriter } from '../../engine/ring.js';
import type { Lane } from '../../workers/lane.js';
import { RingWindow, WINDOW_WORDS } from '../../workers/ring-window.js';
import { createLaneRig, type LaneRig } from '../support/lane-rig.js';

const LARGE_USER = 5;
const ENTRIES = 20_000;
const OTHER_USER = 6;
const PART_WORDS = 1 + ANSWERED.WORDS + REPLY_WORDS_MAX;
/** What two windows and the rest of a part are in the ring, with the words around each part. */
const WORDS_MAX =
  2 * WINDOW_WORDS + 2 * PART_WORDS + 2 * (WINDOW_WORDS / (LIST_PART_ENTRIES * ENTRY.WORDS)) * 8;

let rig: LaneRig;
let lane: Lane;

beforeEach(() => {
  rig = createLaneRig({ recordsMax: 2 * ENTRIES, flushDelayMs: 3_600_000 });
  lane = rig.attach(0);
  lane.isReady(false);
});

afterEach(() => rig.close());

function send(op: number, user: number): void {
  rig.ask(op, user, 1);
}

/** The store's answer to the load that was asked for last. */
function load(rows: number): void {
  const { loads, storeAnswers } = rig;
  expect(loads.refresh()).toBe(true);
  const tag = loads.words[loads.next() + LOAD.TAG]!;
  loads.release();
  for (let from = 0; from === 0 || from < rows; from += LOAD_PART_ROWS) {
    const count = Math.min(LOAD_PART_ROWS, rows - from);
    const length = LOADED.WORDS + count * ROW.WORDS;
    const at = storeAnswers.reserve(length);
    expect(at).toBeGreaterThan(0);
    const { words } = storeAnswers;
    words.fill(0, at, at + length);
    words[at + LOADED.KIND] = KIND_LOADED | (from + count >= rows ? LOADED_LAST : 0);
    words[at + LOADED.TAG] = tag;
    words[at + LOADED.COUNT] = count;
    for (let row = 0; row < count; row++) {
      const rowAt = at + LOADED.WORDS + row * ROW.WORDS;
      words[rowAt + ENTRY.CHANNEL_LO] = from + row + 1;
      words[rowAt + ENTRY.VERSION] = 1;
    }
    storeAnswers.commit(length);
    storeAnswers.publish();
    rig.turn(lane, 1);
  }
}

/** Turns until the lane would sleep. */
function run(): void {
  for (let turns = 0; rig.turn(lane, 1) || lane.hasWork; turns++) expect(turns).toBeLessThan(10_000);
}

/** All answers that are in the ring: whose they are, and the channels of a list. */
function take(): { users: number[]; channels: number[]; isLast: boolean } {
  const { replies } = rig;
  const users: number[] = [];
  const channels: number[] = [];
  let isLast = false;
  replies.refresh();
  for (let at = replies.next(); at !== -1; at = replies.next()) {
    const { words } = replies;
    const user = words[at + ANSWERED.ROUTE]!;
    users.push(user);
    if (user !== LARGE_USER) continue;
    const reply = at + ANSWERED.WORDS;
    isLast = (words[reply + REPLY.HEAD]! & REPLY_MORE) === 0;
    for (let entry = 0; entry < words[reply + REPLY.MENTION_COUNT]!; entry++)
      channels.push(words[reply + REPLY.WORDS + entry * ENTRY.WORDS + ENTRY.CHANNEL_LO]!);
  }
  replies.release();
  return { users, channels, isLast };
}

describe('a lane with a long list', () => {
  beforeEach(() => {
    send(OP_LIST, OTHER_USER);
    run();
    load(0);
    run();
    take();
    send(OP_LIST, LARGE_USER);
    run();
    load(ENTRIES);
    run();
  });

  it('writes two windows of it, then sleeps until the front has taken one', () => {
    expect(rig.replies.filledWords).toBeGreaterThan(2 * WINDOW_WORDS);
    expect(rig.replies.filledWords).toBeLessThan(WORDS_MAX);
    expect(rig.replies.producerWaits()).toBe(true);
    expect(lane.hasWork).toBe(false);
    take();
    expect(lane.hasWork).toBe(true);
    run();
    expect(rig.replies.filledWords).toBeGreaterThan(2 * WINDOW_WORDS);
  });

  it('answers others behind what is written of it', () => {
    const filled = rig.replies.filledWords;
    send(OP_GET, OTHER_USER);
    run();
    expect(rig.replies.filledWords - filled).toBeLessThan(50);
    expect(take().users.at(-1)).toBe(OTHER_USER);
  });

  it('sends all of it in order, and has nobody ring afterwards', () => {
    const channels: number[] = [];
    for (let isLast = false; !isLast; run()) {
      const taken = take();
      expect(taken.users.length).toBeGreaterThan(0);
      channels.push(...taken.channels);
      isLast = taken.isLast;
    }
    expect(channels).toEqual(Array.from({ length: ENTRIES }, (_, index) => index + 1));
    expect(rig.replies.producerWaits()).toBe(false);
  });

  it('goes on when another thread has taken it over', () => {
    const channels = take().channels;
    lane.detach();
    lane = rig.attach(2);
    for (let isLast = false; !isLast; ) {
      run();
      const taken = take();
      channels.push(...taken.channels);
      isLast = taken.isLast;
    }
    expect(channels).toHaveLength(ENTRIES);
    expect(rig.replies.producerWaits()).toBe(false);
  });
});

describe('a window', () => {
  it('opens when the window before the last was taken, also when the ring is never empty', () => {
    const memory = createRing(2 ** 16);
    const writer = new RingWriter(memory);
    const reader = new RingReader(memory);
    const window = new RingWindow(writer);
    const write = (words: number): void => {
      writer.reserve(words);
      writer.commit(words);
      writer.publish();
    };
    for (let windows = 0; windows < 20; windows++) {
      expect(window.isOpen).toBe(true);
      write(WINDOW_WORDS);
      window.wrote(WINDOW_WORDS);
      write(1000); // of others
      if (windows < 1) continue;
      expect(window.isOpen).toBe(false);
      reader.refresh();
      reader.next(); // the window before
      reader.release();
      expect(window.isOpen).toBe(true);
      reader.next();
      reader.release();
      expect(writer.filledWords).toBeGreaterThan(WINDOW_WORDS);
    }
  });
});
