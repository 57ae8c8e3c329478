/** What a thread does with a lane whose last thread has thrown: what it looks at. */
import { MessageChannel } from 'node:worker_threads';
import { afterEach, describe, expect, it } from 'vitest';
import { hashUser } from '../../engine/hash.js';
import { createLaneControl, LaneControl } from '../../engine/lane-control.js';
import { ENTRY, ROW } from '../../engine/messages.js';
import type { Lane } from '../../workers/lane.js';
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
