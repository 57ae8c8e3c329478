/** What a thread does with a lane whose last thread has thrown: what it looks at, and which operation it does not run again. */
import { MessageChannel } from 'node:worker_threads';
import { afterEach, describe, expect, it } from 'vitest';
import { hashUser } from '../../engine/hash.js';
import { createLaneControl, LaneControl } from '../../engine/lane-control.js';
import {
  ANSWERED,
  ENTRY,
  OP_SUBSCRIBE,
  REPLY,
  REQUEST,
  ROUTED,
  ROW,
  STATUS_INTERNAL,
  STATUS_OK,
} from '../../engine/messages.js';
import { type Lane, OP_FLUSH } from '../../workers/lane.js';
import { VERSIONS } from '../../workers/lane-options.js';
import { Shard } from '../../workers/shard.js';
import { createStats, THREAD_STATS } from '../../workers/stats.js';
import { createLaneRig, type LaneRig } from '../support/lane-rig.js';

let rig: LaneRig;
let lane: Lane;
afterEach(() => rig.close());

/** Of the only partition: a user with so many records. */
function load(records: number): void {
  const { state } = lane;
  const partition = state.partition(0);
  const user = partition.admitUser(hashUser(1, 0), 1, 0);
  const row = new Int32Array(ROW.WORDS);
  for (let channel = 1; channel <= records; channel++) {
    row[ROW.ENTRY + ENTRY.CHANNEL_LO] = channel;
    partition.insertRow(user, row, 0);
    state.done();
  }
  partition.applyUserRow(user, 1, 0);
  state.done();
}

describe('a lane that is looked at whole', () => {
  const RECORDS = 40_000;

  it.each([
    ['after an error outside of operations', false],
    ['around what was taken back', true],
  ])('is no hang, however large it is: %s', (_when, hasHalfDone) => {
    rig = createLaneRig({ recordsMax: RECORDS });
    lane = rig.attach(0);
    lane.isReady(false);
    load(RECORDS);
    const { state } = lane;
    state.memory.setInTurn(1);
    if (hasHalfDone) state.partition(0).setHold(state.partition(0).findUser(hashUser(1, 0), 1, 0), 5);
    const control = createLaneControl(1, 1);
    const seats = new LaneControl(control);
    seats.setSuspect(0, !hasHalfDone);
    const { port1: port, port2: other } = new MessageChannel();
    const shard = new Shard(
      {
        port,
        versions: VERSIONS,
        service: rig.service,
        lanes: [rig.own],
        control,
        seat: 0,
        stats: createStats(THREAD_STATS),
        replay: null,
      },
      rig.clock,
    );
    expect(seats.turnsOf(0)).toBeGreaterThan(RECORDS / 2000);
    expect(seats.isSuspect(0)).toBe(false);
    shard.close();
    for (const each of [port, other]) each.close();
  });
});

describe('behind an order', () => {
  const [USER] = [1, 2, 3, 4, 5, 6, 7, 8].filter((user) => (hashUser(user, 0) & 1) === 1) as [number];

  /** A lane without partition 0, which an order would name. */
  function start(): void {
    const service = { partitions: 2, lanes: 2 };
    rig = createLaneRig(service);
    rig.close();
    rig = createLaneRig(service, { lane: 1, owned: [rig.own.owned[1]!] });
    lane = rig.attach(0);
    lane.isReady(false);
  }

  function send(op: number, hash: number): void {
    const { requests } = rig;
    const length = ROUTED.WORDS + REQUEST.WORDS;
    const at = requests.reserve(length);
    requests.words.fill(0, at, at + length);
    requests.words[at + ROUTED.ROUTE] = 1;
    requests.words[at + ROUTED.USER_HASH] = hash;
    requests.words[at + ROUTED.WORDS + REQUEST.HEAD] = op;
    requests.words[at + ROUTED.WORDS + REQUEST.USER_LO] = USER;
    requests.commit(length);
    requests.publish();
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
    send(OP_FLUSH, 0);
    send(OP_SUBSCRIBE, hashUser(USER, 0));
    send(OP_SUBSCRIBE, hashUser(USER, 0));
    dieTwice();
    rig.turn(lane, 1);
    expect(lane.state.flushOrdered).toBe(false); // nothing is unsaved
    expect(statuses()).toEqual([STATUS_INTERNAL, STATUS_OK]);
  });

  it('no other operation is refused in its place', () => {
    start();
    send(OP_FLUSH, 0);
    dieTwice();
    rig.turn(lane, 1);
    send(OP_SUBSCRIBE, hashUser(USER, 0));
    rig.turn(lane, 1);
    expect(statuses()).toEqual([STATUS_OK]);
  });
});
