/** Orders to a lane, to flush and to stop, and how much of its work goes on at once. */
import { afterEach, describe, expect, it } from 'vitest';
import {
  ANSWERED,
  FLUSH,
  KIND_LOADED,
  LOAD,
  LOADED,
  LOADED_LAST,
  OP_ACK,
  OP_GET,
  OP_LIST,
} from '../../engine/messages.js';
import { type Lane, OP_FLUSH, OP_STOP } from '../../workers/lane.js';
import { CURSORS_MAX } from '../../workers/lane-cursors.js';
import type { ServiceOptions } from '../../workers/lane-options.js';
import { createLaneRig, type LaneRig } from '../support/lane-rig.js';

let rig: LaneRig;
let lane: Lane;
let nowMs: number;

function start(options: Partial<ServiceOptions> = {}): void {
  rig = createLaneRig({ flushDelayMs: 3_600_000, ...options });
  nowMs = 0;
  lane = rig.attach(nowMs);
  lane.isReady(false);
}

afterEach(() => rig.close());

/** @returns false if the ring is full */
function send(op: number, user = 0, channel = 0): boolean {
  return rig.ask(op, user, channel, op === OP_ACK ? 9 : 0);
}

/** One turn, and the store answers what was asked: it has nothing. */
function turn(): void {
  rig.turn(lane, ++nowMs);
  const { loads, storeAnswers } = rig;
  for (loads.refresh(); ; loads.release()) {
    const from = loads.next();
    if (from === -1) break;
    const at = storeAnswers.reserve(LOADED.WORDS);
    storeAnswers.words.fill(0, at, at + LOADED.WORDS);
    storeAnswers.words[at + LOADED.KIND] = KIND_LOADED | LOADED_LAST;
    storeAnswers.words[at + LOADED.TAG] = loads.words[from + LOAD.TAG]!;
    storeAnswers.commit(LOADED.WORDS);
  }
  storeAnswers.publish();
}

/** Users that were answered. */
function takeAnswers(): number[] {
  const { replies } = rig;
  const users: number[] = [];
  for (replies.refresh(); ; replies.release()) {
    const at = replies.next();
    if (at === -1) return users;
    users.push(replies.words[at + ANSWERED.ROUTE]!);
  }
}

/** Users whose changes were sent to the store. */
function takeFlushed(): Set<number> {
  const { flushes } = rig;
  const users = new Set<number>();
  for (flushes.refresh(); ; flushes.release()) {
    const at = flushes.next();
    if (at === -1) return users;
    users.add(flushes.words[at + FLUSH.USER_LO]!);
  }
}

/** Each user acks so many channels. */
function ack(users: number, channels = 1): void {
  for (let user = 1; user <= users; user++)
    for (let channel = 1; channel <= channels; channel++) send(OP_ACK, user, channel);
  let answers = 0;
  while (answers < users * channels) {
    turn();
    answers += takeAnswers().length;
  }
}

describe('an order', () => {
  it('to flush is for all that has changed until then, however many turns that takes', () => {
    const USERS = 100;
    start();
    ack(USERS);
    for (let i = 0; i < 10; i++) turn();
    expect(takeFlushed().size).toBe(0);
    send(OP_FLUSH);
    for (let i = 0; i < 10; i++) turn();
    expect(takeFlushed().size).toBe(USERS);
    ack(1);
    for (let i = 0; i < 10; i++) turn();
    expect(takeFlushed().size).toBe(0);
  });

  it('to stop is for when all requests before it are answered, also when the front takes no answers', () => {
    start();
    const { state } = lane;
    while (state.hasReplyRoom()) {
      state.replies.reserve(1000);
      state.replies.commit(1000);
    }
    state.done();
    const USERS = [1, 2, 3];
    for (const user of USERS) send(OP_GET, user, 1);
    send(OP_STOP);
    for (let i = 0; i < 5; i++) {
      turn();
      expect(lane.finished).toBe(false);
    }
    takeAnswers();
    for (let i = 0; i < 5; i++) turn();
    expect([takeAnswers(), lane.finished]).toEqual([USERS, true]);
  });

  it('gives its place in the ring back, also when nothing else comes', () => {
    start({ lanes: 32 });
    for (let i = 0; i < 10_000; i++) {
      expect([i, send(OP_FLUSH)]).toEqual([i, true]);
      if (i % 100 === 0) turn();
    }
  });
});

it(`${CURSORS_MAX} lists are walked at once, and the others wait for them`, () => {
  const USERS = 3 * CURSORS_MAX;
  const CHANNELS = 600;
  start({ recordsMax: USERS * CHANNELS, parkedMax: 60_000 });
  ack(USERS, CHANNELS);
  for (let user = 1; user <= USERS; user++) send(OP_LIST, user);
  const answered = new Set<number>();
  let most = 0;
  for (let turns = 0; turns < 1000 && answered.size < USERS; turns++) {
    turn();
    most = Math.max(most, lane.state.cursors.count);
    for (const user of takeAnswers()) answered.add(user);
  }
  expect([answered.size, most]).toEqual([USERS, CURSORS_MAX]);
});
