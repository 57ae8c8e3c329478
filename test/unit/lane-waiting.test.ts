/** Operations of a lane that wait for a load or for room: how many run in one go, and for how long they wait. */
import { afterEach, describe, expect, it } from 'vitest';
import { hashUser, partitionOf } from '../../engine/hash.js';
import { splitHigh, splitLow } from '../../engine/ids.js';
import {
  ANSWERED,
  BULK_ITEM,
  BULK_ITEMS_MAX,
  ENTRY,
  FLUSH,
  KIND_LOADED,
  LOAD,
  LOAD_PART_ROWS,
  LOADED,
  LOADED_LAST,
  OP_ACK,
  OP_ACK_BULK,
  OP_BADGE,
  OP_EVENT,
  OP_GET,
  OP_LIST,
  OP_MENTION,
  OP_SUBSCRIBE,
  OP_UNSUBSCRIBE,
  REPLY,
  REQUEST,
  REQUEST_MANUAL,
  ROUTED,
  ROW,
  STATUS_BUSY,
  STATUS_OK,
  STATUS_STORE_UNAVAILABLE,
} from '../../engine/messages.js';
import type { Lane } from '../../workers/lane.js';
import { type ServiceOptions, TICK_MS } from '../../workers/lane-options.js';
import { createLaneRig, type LaneRig } from '../support/lane-rig.js';

let rig: LaneRig;
let lane: Lane;
let nowMs: number;

function start(options: Partial<ServiceOptions>): void {
  rig = createLaneRig({ flushDelayMs: 3_600_000, ...options });
  nowMs = 0;
  lane = rig.attach(nowMs);
  lane.isReady(false);
}

afterEach(() => rig.close());

/** Turns for so long, at least one. */
function turn(ms = 1): void {
  for (const end = nowMs + ms; nowMs < end; ) {
    nowMs = Math.min(nowMs + TICK_MS, end);
    rig.turn(lane, nowMs);
  }
}

/** @param items  of a bulk ack, of as many channels from `channel` on */
function send(op: number, user: number, channel = 0, items = 0): void {
  const { requests } = rig;
  const length = ROUTED.WORDS + REQUEST.WORDS + items * BULK_ITEM.WORDS;
  const at = requests.reserve(length);
  const { words } = requests;
  words.fill(0, at, at + length);
  words[at + ROUTED.ROUTE] = user;
  words[at + ROUTED.USER_HASH] = hashUser(user, 0);
  const opAt = at + ROUTED.WORDS;
  words[opAt + REQUEST.HEAD] = op;
  words[opAt + REQUEST.USER_LO] = user;
  words[opAt + REQUEST.CHANNEL_LO] = op === OP_ACK_BULK ? items : splitLow(channel);
  words[opAt + REQUEST.CHANNEL_HI] = op === OP_ACK_BULK ? 0 : splitHigh(channel);
  words[opAt + REQUEST.ARGUMENT_LO] = op === OP_ACK ? 9 : 0;
  for (let i = 0; i < items; i++) {
    const item = opAt + REQUEST.WORDS + i * BULK_ITEM.WORDS;
    words[item + BULK_ITEM.CHANNEL_LO] = channel + i;
    words[item + BULK_ITEM.MESSAGE_LO] = 9;
  }
  requests.commit(length);
  requests.publish();
}

/** Tag of the load that the lane has sent, by user. */
function takeLoads(): Map<number, number> {
  const tags = new Map<number, number>();
  const { loads } = rig;
  for (loads.refresh(); ; loads.release()) {
    const at = loads.next();
    if (at === -1) return tags;
    tags.set(loads.words[at + LOAD.USER_LO]!, loads.words[at + LOAD.TAG]!);
  }
}

/** The rows of channels `from` to `to`, not included. */
function answerLoad(tag: number, from = 0, to = 0, isLast = true, status = STATUS_OK): void {
  const { storeAnswers: ring } = rig;
  const length = LOADED.WORDS + (to - from) * ROW.WORDS;
  const at = ring.reserve(length);
  ring.words.fill(0, at, at + length);
  ring.words[at + LOADED.KIND] = KIND_LOADED | (status << 8) | (isLast ? LOADED_LAST : 0);
  ring.words[at + LOADED.TAG] = tag;
  ring.words[at + LOADED.VERSION] = 1;
  ring.words[at + LOADED.COUNT] = to - from;
  for (let channel = from; channel < to; channel++) {
    const row = at + LOADED.WORDS + (channel - from) * ROW.WORDS;
    ring.words[row + ENTRY.CHANNEL_LO] = channel;
    ring.words[row + ENTRY.MENTION_COUNT] = 1;
    ring.words[row + ENTRY.VERSION] = 1;
  }
  ring.commit(length);
  ring.publish();
}

interface Answer {
  readonly user: number;
  readonly op: number;
  readonly status: number;
  /** Of a list; of a badge, the mentions. */
  readonly entries: number;
}

function takeAnswers(): Answer[] {
  const answers: Answer[] = [];
  const { replies } = rig;
  const { words } = replies;
  for (replies.refresh(); ; replies.release()) {
    const at = replies.next();
    if (at === -1) return answers;
    const head = words[at + ANSWERED.WORDS + REPLY.HEAD]!;
    answers.push({
      user: words[at + ANSWERED.ROUTE]!,
      op: head & 0xff,
      status: (head >>> 8) & 0xff,
      entries: words[at + ANSWERED.WORDS + REPLY.MENTION_COUNT]!,
    });
  }
}

/** [user, status] of each. */
function statuses(): [number, number][] {
  return takeAnswers().map(({ user, status }) => [user, status]);
}

describe('operations behind a load', () => {
  it('are a unit each: together they store more than the undo log takes', () => {
    const COUNT = 200;
    start({ recordsMax: 25_000, usersMax: 100, parkedMax: 10_000 });
    send(OP_LIST, 1);
    for (let i = 0; i < COUNT; i++) send(OP_ACK_BULK, 1, 1 + i * BULK_ITEMS_MAX, BULK_ITEMS_MAX);
    turn();
    answerLoad(takeLoads().get(1)!);
    for (let i = 0; i < 10; i++) turn();
    const answers = takeAnswers();
    expect(answers.map(({ op }) => op)).toEqual([OP_LIST, ...new Array(COUNT).fill(OP_ACK_BULK)]);
    expect(answers.every(({ status }) => status === STATUS_OK)).toBe(true);
    const partition = lane.state.partition(0);
    expect(partition.recordCount).toBe(COUNT * BULK_ITEMS_MAX);
    partition.check();
  });

  it('that fails are refused a slice a turn', () => {
    const COUNT = 600;
    start({});
    for (let i = 0; i < COUNT; i++) send(OP_ACK, 1, 1 + i);
    for (let i = 0; i < 3; i++) turn();
    answerLoad(takeLoads().get(1)!, 0, 0, true, STATUS_STORE_UNAVAILABLE);
    const refused: number[] = [];
    for (let left = COUNT; left > 0; left -= refused.at(-1)!) {
      turn();
      refused.push(takeAnswers().length);
    }
    expect(refused).toEqual([256, 256, 88]);
    expect(lane.state.holds.count).toBe(0);
    lane.state.partition(0).check();
  });

  it('that fails run if they lack nothing of the store', () => {
    start({});
    send(OP_ACK, 1, 7);
    turn();
    answerLoad(takeLoads().get(1)!);
    turn();
    takeAnswers();
    send(OP_LIST, 1);
    send(OP_GET, 1, 7);
    send(OP_GET, 1, 8);
    turn();
    answerLoad(takeLoads().get(1)!, 0, 0, true, STATUS_STORE_UNAVAILABLE);
    turn();
    expect(takeAnswers().map(({ status }) => status)).toEqual([
      STATUS_STORE_UNAVAILABLE,
      STATUS_OK,
      STATUS_STORE_UNAVAILABLE,
    ]);
  });
});

describe('an operation behind a load', () => {
  /** Of how many answers of the store each brings one answer. @returns answers after each load */
  function answersByLoad(): number[] {
    const answers: number[] = [];
    turn();
    for (let loads = takeLoads(); loads.size > 0; loads = takeLoads()) {
      for (const tag of loads.values()) answerLoad(tag);
      turn();
      answers.push(takeAnswers().length);
    }
    return answers;
  }

  it('asks for its own entry when that differs in the type or the high word of the channel', () => {
    start({});
    const TYPE_1 = 1 << 8;
    send(OP_ACK, 1, 7);
    send(OP_ACK, 1, 7);
    send(OP_ACK, 1, 7 + 2 ** 32);
    send(OP_ACK | TYPE_1, 1, 7 + 2 ** 32);
    expect(answersByLoad()).toEqual([2, 1, 1]);
  });

  it('does not take the number of items of a bulk ack for a channel', () => {
    start({});
    const ITEMS = 7;
    send(OP_ACK_BULK, 1, 100, ITEMS);
    send(OP_ACK, 1, ITEMS);
    expect(answersByLoad()).toEqual([1, 1]);
    send(OP_ACK, 2, ITEMS);
    send(OP_ACK_BULK, 2, 100, ITEMS);
    expect(answersByLoad()).toEqual([1, 1]);
  });

  it('waits for the version of a user when a load before has failed half way', () => {
    start({});
    send(OP_LIST, 1);
    turn();
    const tag = takeLoads().get(1)!;
    answerLoad(tag, 1, 4, false);
    answerLoad(tag, 0, 0, true, STATUS_STORE_UNAVAILABLE);
    turn();
    expect(statuses()).toEqual([[1, STATUS_STORE_UNAVAILABLE]]);
    send(OP_ACK_BULK, 1, 1, 3);
    expect(answersByLoad()).toEqual([1]);
  });

  it('hears nothing of one that was given up and answered late', () => {
    const COUNT = 600;
    start({ loadTimeoutMs: 1000 });
    for (let i = 0; i < COUNT; i++) send(OP_ACK, 1, 1 + i);
    for (let i = 0; i < 3; i++) turn();
    const tag = takeLoads().get(1)!;
    const answers: Answer[] = [];
    while (answers.length === 0) {
      turn(TICK_MS);
      answers.push(...takeAnswers());
    }
    answerLoad(tag);
    for (let i = 0; i < 10; i++) {
      turn();
      answers.push(...takeAnswers());
    }
    expect(answers.map(({ status }) => status)).toEqual(new Array(COUNT).fill(STATUS_STORE_UNAVAILABLE));
    expect(lane.state.holds.count).toBe(0);
  });

  it('waits for each part anew', () => {
    start({ loadTimeoutMs: 1000 });
    send(OP_LIST, 1);
    turn();
    const tag = takeLoads().get(1)!;
    for (let part = 0; part < 4; part++) {
      turn(800);
      answerLoad(tag, part, part + 1, part === 3);
    }
    turn(2 * TICK_MS);
    expect(takeAnswers()).toEqual([{ user: 1, op: OP_LIST, status: STATUS_OK, entries: 4 }]);
  });

  it('leaves nothing behind when there is no place for it', () => {
    start({ parkedMax: 64 });
    const USERS = 70;
    for (let user = 1; user <= USERS; user++) send(OP_ACK_BULK, user, 1, BULK_ITEMS_MAX);
    turn();
    const busy = Array.from({ length: USERS - 1 }, (_, i) => [2 + i, STATUS_BUSY]);
    expect(statuses()).toEqual(busy);
    expect([lane.state.holds.count, lane.state.partition(0).userCount]).toEqual([1, 1]);
    answerLoad(takeLoads().get(1)!);
    turn();
    expect(statuses()).toEqual([[1, STATUS_OK]]);
    expect([lane.state.holds.count, lane.state.parking.count]).toEqual([0, 0]);
  });
});

describe('of a user who does not fit, a list', () => {
  const ROWS = 200;

  /** Answers all loads, until there are no more. */
  function answerLoads(): Answer[] {
    turn(TICK_MS);
    for (let loads = takeLoads(); loads.size > 0; loads = takeLoads()) {
      for (const tag of loads.values()) answerLoad(tag, 0, ROWS);
      turn(2 * TICK_MS);
    }
    return takeAnswers();
  }

  it('is whole, and a badge counts each mention once, however many are asked for in a row', () => {
    start({ recordsMax: 64 });
    for (const op of [OP_BADGE, OP_LIST, OP_BADGE, OP_LIST]) send(op, 1);
    expect(answerLoads().map(({ op, entries }) => [op, entries])).toEqual([
      [OP_BADGE, ROWS],
      [OP_LIST, ROWS],
      [OP_BADGE, ROWS],
      [OP_LIST, ROWS],
    ]);
    expect(lane.state.holds.count).toBe(0);
  });

  it('is refused when the store does not take what is unsaved of the user', () => {
    start({ recordsMax: 64, loadTimeoutMs: 1000 });
    send(OP_ACK, 1, 7);
    turn();
    answerLoad(takeLoads().get(1)!);
    turn();
    takeAnswers();
    send(OP_LIST, 1);
    turn();
    answerLoad(takeLoads().get(1)!, 0, ROWS);
    turn(500);
    expect(takeAnswers()).toEqual([]);
    turn(1000);
    expect(statuses()).toEqual([[1, STATUS_STORE_UNAVAILABLE]]);
    expect(lane.state.holds.count).toBe(0);
  });
});

/** Nothing more can be answered until `takeAnswers`. */
function fillReplies(): void {
  const { state } = lane;
  while (state.hasReplyRoom()) {
    const at = state.replies.reserve(1000);
    state.replies.words.fill(0, at, at + 1000);
    state.replies.commit(1000);
  }
  state.done();
}

it('a list of which some is sent does not begin again when the rest does not come, and there is no room to say so', () => {
  const ROWS = 3 * LOAD_PART_ROWS;
  start({ lanes: 32, recordsMax: 64, loadTimeoutMs: 1000 });
  send(OP_LIST, 1);
  turn();
  answerLoad(takeLoads().get(1)!, 0, LOAD_PART_ROWS, false);
  answerLoad(lane.state.holds.tag(1), LOAD_PART_ROWS, ROWS);
  turn(2 * TICK_MS);
  answerLoad(takeLoads().get(1)!, 0, LOAD_PART_ROWS, false);
  turn();
  expect(takeAnswers()).toEqual([{ user: 1, op: OP_LIST, status: STATUS_OK, entries: LOAD_PART_ROWS }]);
  fillReplies();
  turn(rig.service.loadTimeoutMs + 3 * TICK_MS);
  takeAnswers();
  for (let i = 0; i < 10; i++) {
    turn(TICK_MS);
    for (const tag of takeLoads().values()) answerLoad(tag, 0, ROWS);
  }
  expect(takeAnswers()).toEqual([{ user: 1, op: OP_LIST, status: STATUS_STORE_UNAVAILABLE, entries: 0 }]);
  expect(lane.state.holds.count).toBe(0);
});

describe('for room, an operation waits', () => {
  /** All records are unsaved, and the store takes none. */
  function fill(): void {
    start({ recordsMax: 8, usersMax: 100, roomTimeoutMs: 1000 });
    send(OP_ACK_BULK, 1, 1, 8);
    turn();
    answerLoad(takeLoads().get(1)!);
    turn();
    expect(statuses()).toEqual([[1, STATUS_OK]]);
  }

  /** From now on, the operation of a user waits for room. */
  function waitForRoom(user: number): void {
    send(OP_ACK, user, 1);
    turn();
    for (const tag of takeLoads().values()) answerLoad(tag);
    turn();
    expect(statuses()).toEqual([]);
    expect(lane.state.lobbyCount).toBeGreaterThan(0);
  }

  it('for its own time, not for that of those before it', () => {
    fill();
    waitForRoom(2);
    turn(600);
    waitForRoom(3);
    turn(600);
    expect(statuses()).toEqual([[2, STATUS_BUSY]]);
    turn(300);
    expect(statuses()).toEqual([]);
    turn(300);
    expect(statuses()).toEqual([[3, STATUS_BUSY]]);
  });

  it('but not what makes a user watched, or ends it', () => {
    fill();
    waitForRoom(2);
    send(OP_SUBSCRIBE, 5);
    send(OP_UNSUBSCRIBE, 5);
    turn();
    expect(statuses()).toEqual([
      [5, STATUS_OK],
      [5, STATUS_OK],
    ]);
  });

  it('also when it comes to the front of others that have waited already, which go with it', () => {
    fill();
    send(OP_GET, 4, 1);
    turn();
    const tag = takeLoads().get(4)!;
    waitForRoom(2);
    turn(800);
    answerLoad(tag, 1, 2);
    turn(600);
    expect(statuses()).toEqual([]);
    expect(lane.state.lobbyCount).toBe(2);
    turn(600);
    expect(statuses()).toEqual([
      [4, STATUS_BUSY],
      [2, STATUS_BUSY],
    ]);
  });
});

it('what is due of all partitions goes to the store in turn, whatever more there is of one', () => {
  start({ partitions: 2, flushDelayMs: 1000 });
  const users = [0, 1].flatMap((partition) =>
    Array.from({ length: 1000 }, (_, i) => i + 1)
      .filter((user) => partitionOf(hashUser(user, 0), 2) === partition)
      .slice(0, 100),
  );
  for (const user of users) send(OP_ACK, user, 1);
  let answered = 0;
  for (let turns = 0; turns < 100 && answered < users.length; turns++) {
    turn();
    for (const tag of takeLoads().values()) answerLoad(tag);
    answered += takeAnswers().length;
  }
  expect(answered).toBe(users.length);
  nowMs += 2000;
  const { flushes } = rig;
  const counts = [0, 0];
  for (let turns = 0; turns < 4; turns++) {
    rig.turn(lane, nowMs);
    for (flushes.refresh(); ; flushes.release()) {
      const at = flushes.next();
      if (at === -1) break;
      counts[flushes.words[at + FLUSH.PARTITION]!]!++;
    }
  }
  expect(counts).toEqual([64, 64]); // 32 in a turn
});

it('only a manual ack is announced as one, though others may have the flag', () => {
  start({});
  send(OP_ACK, 1, 1);
  turn();
  answerLoad(takeLoads().get(1)!);
  turn();
  expect(statuses()).toEqual([[1, STATUS_OK]]);
  send(OP_SUBSCRIBE, 1);
  send(OP_MENTION | REQUEST_MANUAL, 1, 1);
  send(OP_ACK | REQUEST_MANUAL, 1, 1);
  turn();
  const { replies } = rig;
  const manual: boolean[] = [];
  for (replies.refresh(); ; replies.release()) {
    const at = replies.next();
    if (at === -1) break;
    const head = replies.words[at + ANSWERED.WORDS]!;
    if ((head & 0xff) === OP_EVENT) manual.push((head & REQUEST_MANUAL) !== 0);
  }
  expect(manual).toEqual([false, true]);
});
