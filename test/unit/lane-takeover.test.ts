/** What a thread does with a lane whose last thread has thrown: what it looks at, and which operation it does not run again. */
import { afterEach, describe, expect, it } from 'vitest';
import { hashUser } from '../../engine/hash.js';
import { createLaneControl, LaneControl } from '../../engine/lane-control.js';
import { ANSWERED, OP_SUBSCRIBE, REPLY, STATUS_INTERNAL, STATUS_OK } from '../../engine/messages.js';
import { type Lane, OP_FLUSH } from '../../workers/lane.js';
import { createLaneRig, type LaneRig } from '../support/lane-rig.js';
import { createShardRig, loadUser } from '../support/shard-rig.js';

let rig: LaneRig;
let lane: Lane;
afterEach(() => rig.close());

describe('a lane that is looked at whole', () => {
  const RECORDS = 40_000;

  it.each([
    ['after an error outside of operations', false],
    ['around what was taken back', true],
  ])('is no hang, however large it is: %s', (_when, hasHalfDone) => {
    rig = createLaneRig({ recordsMax: RECORDS });
    lane = rig.attach(0);
    lane.isReady(false);
    loadUser(lane, 1, RECORDS);
    const { state } = lane;
    state.memory.setInTurn(1);
    if (hasHalfDone) state.partition(0).setHold(state.partition(0).findUser(hashUser(1, 0), 1, 0), 5);
    const control = createLaneControl(1, 1);
    const seats = new LaneControl(control);
    seats.setSuspect(0, !hasHalfDone);
    const { close } = createShardRig(rig, control);
    expect(seats.turnsOf(0)).toBeGreaterThan(RECORDS / 2000);
    expect(seats.isSuspect(0)).toBe(false);
    close();
  });
});

describe('behind an order', () => {
  const users = [1, 2, 3, 4, 5, 6, 7, 8];
  const [USER] = users.filter((user) => (hashUser(user, 0) & 1) === 1) as [number];
  /** Of partition 0. */
  const [OTHER] = users.filter((user) => (hashUser(user, 0) & 1) === 0) as [number];

  /** A lane without partition 0, which an order would name. */
  function start(): void {
    const service = { partitions: 2, lanes: 2 };
    rig = createLaneRig(service);
    rig.close();
    rig = createLaneRig(service, { lane: 1, owned: [rig.own.owned[1]!] });
    lane = rig.attach(0);
    lane.isReady(false);
  }

  function statuses(): number[] {
    const found: number[] = [];
    const { replies } = rig;
    for (replies.refresh(); ; replies.release()) {
      const at = replies.next();
      if (at === -1) return found;
      found.push((replies.words[at + ANSWERED.WORDS + REPLY.HEAD]! >>> 8) & 0xff);
    }
  }

  /** Two threads in a row throw in an operation. */
  function dieTwice(): void {
    for (let death = 0; death < 2; death++) {
      lane.state.memory.setInTurn(1);
      lane.state.memory.setAtWork(1);
      lane = rig.attach(0, { isSuspect: true, beat: () => {} });
    }
  }

  it('an operation in which two threads have ended is refused', () => {
    start();
    rig.ask(OP_FLUSH, OTHER);
    rig.ask(OP_SUBSCRIBE, USER);
    rig.ask(OP_SUBSCRIBE, USER);
    dieTwice();
    rig.turn(lane, 1);
    expect(lane.state.flushOrdered).toBe(false); // nothing is unsaved
    expect(statuses()).toEqual([STATUS_INTERNAL, STATUS_OK]);
  });

  it('no other operation is refused in its place', () => {
    start();
    rig.ask(OP_FLUSH, OTHER);
    dieTwice();
    rig.turn(lane, 1);
    rig.ask(OP_SUBSCRIBE, USER);
    rig.turn(lane, 1);
    expect(statuses()).toEqual([STATUS_OK]);
  });
});
