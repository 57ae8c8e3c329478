/** A lane that warms up, stepped by hand: the store's side, the front's and the clock are played by the test. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { hashUser } from '../../engine/hash.js';
import {
  ANSWERED,
  ENTRY,
  KIND_LOAD_USER,
  KIND_LOADED,
  LOAD,
  LOADED,
  LOADED_LAST,
  OP_GET,
  REPLY,
  REQUEST,
  ROUTED,
  ROW,
  STATUS_OK,
  STATUS_STORE_UNAVAILABLE,
} from '../../engine/messages.js';
import { RingReader, type RingWriter } from '../../engine/ring.js';
import { type Lane, OP_STOP } from '../../workers/lane.js';
import { COLD_START, type ServiceOptions, TICK_MS } from '../../workers/lane-options.js';
import { LANE_STATS } from '../../workers/stats.js';
import { createLaneRig, type LaneRig } from '../support/lane-rig.js';

/** Users 1 to HOT are to be loaded, 1 first. */
const HOT = 100;
const CHANNEL = 7;

interface Load {
  readonly kind: number;
  readonly tag: number;
  readonly user: number;
}

let nowMs = 0;
let rig: LaneRig;
let lane: Lane;
let stats: Float64Array;
let loads: RingReader;
let answers: RingWriter;
let requests: RingWriter;
let replies: RingReader;

function start(perSecond: number, options: Partial<ServiceOptions> = {}): void {
  const ids = new SharedArrayBuffer(HOT * 8);
  for (let user = 1; user <= HOT; user++) new Int32Array(ids)[(user - 1) * 2] = user;
  rig = createLaneRig(options, { start: { ...COLD_START, hotUsers: ids, hotUsersPerSecond: perSecond } });
  ({ stats, loads, storeAnswers: answers, requests, replies } = rig);
  lane = rig.attach(nowMs);
  expect(lane.isReady(false)).toBe(true);
}

beforeEach(() => {
  nowMs = 1000;
});
afterEach(() => rig.close());

function turn(ms = 0): void {
  nowMs += ms;
  rig.turn(lane, nowMs);
}

function takeLoads(): Load[] {
  const taken: Load[] = [];
  loads.refresh();
  for (let at = loads.next(); at !== -1; at = loads.next()) {
    const { words } = loads;
    taken.push({
      kind: words[at + LOAD.KIND]!,
      tag: words[at + LOAD.TAG]!,
      user: words[at + LOAD.USER_LO]!,
    });
  }
  loads.release();
  return taken;
}

/** Answers loads: each user has `rows` rows, channels from CHANNEL on. */
function answer(taken: readonly Load[], rows = 1, status = STATUS_OK): void {
  for (const { tag, user } of taken) {
    const count = status === STATUS_OK ? rows : 0;
    const at = answers.reserve(LOADED.WORDS + count * ROW.WORDS);
    answers.words[at + LOADED.KIND] = KIND_LOADED | (status << 8) | LOADED_LAST;
    answers.words[at + LOADED.TAG] = tag;
    answers.words[at + LOADED.VERSION] = 3;
    answers.words[at + LOADED.DELETED_VERSION] = 0;
    answers.words[at + LOADED.COUNT] = count;
    for (let row = 0; row < count; row++) {
      const to = at + LOADED.WORDS + row * ROW.WORDS;
      answers.words.fill(0, to, to + ROW.WORDS);
      answers.words[to + ENTRY.CHANNEL_LO] = CHANNEL + row;
      answers.words[to + ENTRY.MESSAGE_LO] = user;
    }
    answers.commit(LOADED.WORDS + count * ROW.WORDS);
  }
  answers.publish();
}

function get(user: number, channel = CHANNEL): void {
  const at = requests.reserve(ROUTED.WORDS + REQUEST.WORDS);
  const { words } = requests;
  words.fill(0, at, at + ROUTED.WORDS + REQUEST.WORDS);
  words[at + ROUTED.ROUTE] = user;
  words[at + ROUTED.USER_HASH] = hashUser(user, 0);
  words[at + ROUTED.WORDS + REQUEST.HEAD] = OP_GET;
  words[at + ROUTED.WORDS + REQUEST.USER_LO] = user;
  words[at + ROUTED.WORDS + REQUEST.CHANNEL_LO] = channel;
  requests.commit(ROUTED.WORDS + REQUEST.WORDS);
  requests.publish();
}

/** Users that were answered, with the status. */
function takeReplies(): [number, number][] {
  const taken: [number, number][] = [];
  replies.refresh();
  for (let at = replies.next(); at !== -1; at = replies.next()) {
    const status = (replies.words[at + ANSWERED.WORDS + REPLY.HEAD]! >>> 8) & 0xff;
    taken.push([replies.words[at + ANSWERED.ROUTE]!, status]);
  }
  replies.release();
  return taken;
}

const usersOf = (taken: readonly Load[]): number[] => taken.map(({ user }) => user);
const left = (): number => stats[LANE_STATS.HOT_USERS_LEFT]!;

describe('a lane that warms up', () => {
  it('loads the newest first, a few at once, and not more than its rate', () => {
    start(1000);
    turn();
    expect(takeLoads()).toEqual([]);
    turn(TICK_MS);
    const first = takeLoads();
    expect(usersOf(first)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    expect(left()).toBe(HOT);
    turn(TICK_MS);
    expect(takeLoads()).toEqual([]);
    answer(first.slice(0, 3));
    turn();
    expect(usersOf(takeLoads())).toEqual([9, 10, 11]);
    expect(left()).toBe(HOT - 3);
    expect(stats[LANE_STATS.HOT_USERS_LOADED]).toBe(3);

    start(30);
    let loaded = 0;
    for (let ticks = 1; ticks <= 20; ticks++) {
      turn(TICK_MS);
      const taken = takeLoads();
      answer(taken);
      loaded += taken.length;
      expect(loaded).toBeLessThanOrEqual(3 * ticks + 1);
    }
    expect(loaded).toBeGreaterThan(50);
  });

  it('waits while many real loads are on their way', () => {
    start(1000);
    for (let user = 1001; user <= 1050; user++) get(user);
    turn(TICK_MS);
    const real = takeLoads();
    expect(usersOf(real)).toEqual(Array.from({ length: 50 }, (_, i) => 1001 + i));
    turn(TICK_MS);
    expect(takeLoads()).toEqual([]);
    answer(real);
    turn();
    turn(TICK_MS);
    expect(takeReplies().length).toBe(50);
    expect(takeLoads().length).toBe(8);
  });

  it('lets a request wait for a load that is on its way, and answers it', () => {
    start(1000);
    turn(TICK_MS);
    const own = takeLoads();
    get(2);
    turn();
    expect(takeLoads()).toEqual([]);
    expect(takeReplies()).toEqual([]);
    answer(own);
    turn();
    expect(takeReplies()).toEqual([[2, STATUS_OK]]);
    get(3);
    turn();
    expect(takeReplies()).toEqual([[3, STATUS_OK]]);
    expect(stats[LANE_STATS.HITS]).toBe(1);
  });

  it('pauses after failures, tries one, and goes on when one has succeeded', () => {
    start(1000);
    turn(TICK_MS);
    answer(takeLoads(), 0, STATUS_STORE_UNAVAILABLE);
    for (let ticks = 0; ticks < 10; ticks++) {
      turn(TICK_MS);
      expect(takeLoads()).toEqual([]);
    }
    turn(TICK_MS);
    const probe = takeLoads();
    expect(usersOf(probe)).toEqual([9]);
    expect(stats[LANE_STATS.HOT_USERS_SKIPPED]).toBe(8);
    turn(TICK_MS);
    expect(takeLoads()).toEqual([]);
    answer(probe);
    turn(TICK_MS);
    expect(takeLoads().length).toBe(8);
    expect(lane.state.partition(0).userCount).toBe(9);
    lane.state.partition(0).check();
  });

  it('skips who is there, and those for whom there is no room, without evicting anybody', () => {
    start(1000, { recordsMax: 100 });
    get(2);
    turn();
    const real = takeLoads();
    for (let ticks = 0; left() > 0 || ticks === 0; ticks++) {
      turn(TICK_MS);
      const taken = takeLoads();
      expect(usersOf(taken)).not.toContain(2);
      answer(taken, 10);
    }
    expect(left()).toBe(0);
    expect(stats[LANE_STATS.HOT_USERS_LOADED]).toBeGreaterThanOrEqual(8);
    expect(stats[LANE_STATS.HOT_USERS_LOADED]! + stats[LANE_STATS.HOT_USERS_SKIPPED]!).toBe(HOT);
    const partition = lane.state.partition(0);
    expect(partition.evictedUserCount).toBe(0);
    partition.check();
    answer(real);
    turn(TICK_MS);
    expect(takeReplies()).toEqual([[2, STATUS_OK]]);
  });

  it('asks for the whole user again when the persister has ended and somebody waits for the user', () => {
    start(1000);
    turn(TICK_MS);
    const own = takeLoads();
    get(2);
    turn();
    lane.recall();
    for (let turns = 0; turns < 10 && !lane.hasRecalled; turns++) turn();
    loads = new RingReader(rig.own.rings.loads);
    const [again] = takeLoads();
    expect([again!.user, again!.kind]).toEqual([2, KIND_LOAD_USER]);
    expect(again!.tag).not.toBe(own[1]!.tag);
    answer([again!], 3);
    turn();
    expect(takeReplies()).toEqual([[2, STATUS_OK]]);
  });

  it('does not take a user for complete who did not fit', () => {
    const ROWS = 40;
    start(1000, { recordsMax: 32 });
    turn(TICK_MS);
    answer(takeLoads().slice(0, 1), ROWS);
    turn();
    expect(stats[LANE_STATS.HOT_USERS_SKIPPED]).toBeGreaterThan(0);
    get(1, CHANNEL + ROWS - 1);
    turn();
    expect(usersOf(takeLoads())).toContain(1);
    expect(takeReplies()).toEqual([]);
  });

  it('takes no hold and no slot while the ring to the store is full', () => {
    start(1000);
    const { loads: ring } = lane.state;
    while (ring.reserve(LOAD.WORDS) !== -1) ring.commit(LOAD.WORDS);
    lane.state.done();
    for (let ticks = 0; ticks < 10; ticks++) turn(TICK_MS);
    expect([lane.state.holds.count, lane.state.partition(0).userCount]).toEqual([0, 0]);
    takeLoads();
    turn(TICK_MS);
    expect(usersOf(takeLoads())[0]).toBe(1);
  });

  it('ends with the lane', () => {
    start(1000);
    turn(TICK_MS);
    const own = takeLoads();
    const at = requests.reserve(ROUTED.WORDS + REQUEST.WORDS);
    requests.words[at + ROUTED.WORDS + REQUEST.HEAD] = OP_STOP;
    requests.commit(ROUTED.WORDS + REQUEST.WORDS);
    requests.publish();
    turn(TICK_MS);
    expect(lane.finished).toBe(false);
    answer(own);
    turn(TICK_MS);
    expect(takeLoads()).toEqual([]);
    expect(left()).toBe(0);
    expect(lane.finished).toBe(true);
  });
});
