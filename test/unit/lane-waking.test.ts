/** Whom a turn of a lane wakes: only who has something to look at; and when the lane itself may sleep. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createDoorbell, DOORBELL, Doorbell } from '../../engine/doorbell.js';
import { hashUser } from '../../engine/hash.js';
import {
  ENTRY,
  KIND_LOADED,
  LOAD,
  LOADED,
  LOADED_LAST,
  OP_ACK,
  REQUEST,
  ROUTED,
  ROW,
} from '../../engine/messages.js';
import type { RingReader, RingWriter } from '../../engine/ring.js';
import type { Lane } from '../../workers/lane.js';
import type { LaneJournal } from '../../workers/lane-journal.js';
import { TICK_MS } from '../../workers/lane-options.js';
import { createLaneRig, type LaneRig } from '../support/lane-rig.js';

const ACK_WORDS = ROUTED.WORDS + REQUEST.WORDS;

/** Who sleeps until it is rung. */
class Sleeper {
  readonly memory = createDoorbell();
  readonly #doorbell = new Doorbell(this.memory);
  readonly #signals = new Int32Array(this.memory);
  #seen = 0;

  constructor() {
    this.#doorbell.sleep();
  }

  /** How often it was woken since the last call; it sleeps again. */
  takeWakeUps(): number {
    const before = this.#seen;
    this.#seen = this.#signals[DOORBELL.SIGNAL]!;
    this.#doorbell.sleep();
    return this.#seen - before;
  }
}

let rig: LaneRig;
let lane: Lane;
let requests: RingWriter;
let loads: RingReader;
let answers: RingWriter;
let front: Sleeper;
let persister: Sleeper;
let message = 0;

beforeEach(() => {
  front = new Sleeper();
  persister = new Sleeper();
  rig = createLaneRig({
    frontDoorbell: front.memory,
    persisterDoorbell: persister.memory,
    flushDelayMs: 3_600_000,
  });
  ({ requests, loads, storeAnswers: answers } = rig);
  lane = rig.attach(0);
  lane.isReady(false);
});

afterEach(() => {
  rig.close();
});

function sendAcks(user: number, count = 1): void {
  for (let i = 0; i < count; i++) {
    const at = requests.reserve(ACK_WORDS);
    const { words } = requests;
    words.fill(0, at, at + ACK_WORDS);
    words[at + ROUTED.ROUTE] = 1;
    words[at + ROUTED.USER_HASH] = hashUser(user, 0);
    words[at + ROUTED.WORDS + REQUEST.HEAD] = OP_ACK;
    words[at + ROUTED.WORDS + REQUEST.USER_LO] = user;
    words[at + ROUTED.WORDS + REQUEST.CHANNEL_LO] = 7;
    words[at + ROUTED.WORDS + REQUEST.ARGUMENT_LO] = ++message;
    requests.commit(ACK_WORDS);
  }
  requests.publish();
}

/** The store has nothing of the user who is being loaded. */
function answerLoad(): void {
  expect(loads.refresh()).toBe(true);
  const tag = loads.words[loads.next() + LOAD.TAG]!;
  loads.release();
  const at = answers.reserve(LOADED.WORDS);
  answers.words.fill(0, at, at + LOADED.WORDS);
  answers.words[at + LOADED.KIND] = KIND_LOADED | LOADED_LAST;
  answers.words[at + LOADED.TAG] = tag;
  answers.commit(LOADED.WORDS);
  answers.publish();
}

describe('a turn of a lane', () => {
  it('wakes the persister for a load, and the front for an answer', () => {
    sendAcks(5);
    rig.turn(lane, 1);
    expect([front.takeWakeUps(), persister.takeWakeUps()]).toEqual([0, 1]);
    answerLoad();
    rig.turn(lane, 2);
    expect([front.takeWakeUps(), persister.takeWakeUps()]).toEqual([1, 0]);
    sendAcks(5);
    rig.turn(lane, 3);
    expect([front.takeWakeUps(), persister.takeWakeUps()]).toEqual([1, 0]);
  });

  it('wakes nobody when it has nothing for them', () => {
    for (let tick = 1; tick <= 20; tick++) rig.turn(lane, tick * TICK_MS);
    expect([front.takeWakeUps(), persister.takeWakeUps()]).toEqual([0, 0]);
  });

  it('wakes both when another thread goes on with the lane: the last may have published, and not rung', () => {
    lane.detach();
    rig.turn(rig.attach(1), 2);
    expect([front.takeWakeUps(), persister.takeWakeUps()]).toEqual([1, 1]);
  });
});

it('a lane whose journal waits for a file sleeps, whatever it could go on with', () => {
  sendAcks(1);
  rig.turn(lane, 1);
  answerLoad();
  sendAcks(2);
  const journal = {
    isFull: true,
    isWaiting: true,
    refuses: false,
    begin: () => {},
    note: () => {},
    commit: () => false,
  };
  lane.state.journal = journal as unknown as LaneJournal;
  lane.state.roomMayBe = false;
  expect(rig.turn(lane, 2)).toBe(false);
  expect(lane.hasWork).toBe(false);
  Object.assign(journal, { isFull: false, isWaiting: false });
  expect(lane.hasWork).toBe(true);
  expect(rig.turn(lane, 3)).toBe(true);
  expect(lane.state.holds.count).toBe(1); // of the second, who misses
});

it('a lane goes on at once with the flush of a user of whom it has found nothing yet', () => {
  const RECORDS = 40_000; // more than a turn looks at
  rig.close();
  rig = createLaneRig({ recordsMax: RECORDS, flushDelayMs: TICK_MS });
  ({ requests, loads, storeAnswers: answers } = rig);
  lane = rig.attach(0);
  lane.isReady(false);
  sendAcks(1);
  rig.turn(lane, 1);
  answerLoad();
  rig.turn(lane, 2);
  const { state } = lane;
  const partition = state.partition(0);
  const row = new Int32Array(ROW.WORDS);
  for (let channel = 100; partition.freeRecordCount > 0; channel++) {
    row[ROW.ENTRY + ENTRY.CHANNEL_LO] = channel;
    partition.insertRow(partition.findUser(hashUser(1, 0), 1, 0), row, 0);
    state.done();
  }
  rig.turn(lane, 2 * TICK_MS);
  for (let turns = 0; !rig.flushes.refresh(); turns++) {
    expect(lane.hasWork).toBe(true);
    expect(turns).toBeLessThan(4);
    rig.turn(lane, 2 * TICK_MS);
  }
});
