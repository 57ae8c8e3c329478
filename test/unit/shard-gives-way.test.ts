/** A thread that only long lists keep busy gives way to others now and then, but not while anybody asks for anything. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createLaneControl } from '../../engine/lane-control.js';
import { ANSWERED, LOADED, OP_GET, OP_LIST, REPLY, REPLY_MORE } from '../../engine/messages.js';
import { TOUCH_MAX } from '../../engine/partition.js';
import type { Shard } from '../../workers/shard.js';
import { createLaneRig, type LaneRig } from '../support/lane-rig.js';
import { createShardRig, loadUser } from '../support/shard-rig.js';

const USER = 1;
const ENTRIES = 20_000;
/** More than a list may have without a pause. */
const LONG_MS = 0.6;

let rig: LaneRig;
let shard: Shard;
let close: () => void;

beforeEach(() => {
  rig = createLaneRig({ recordsMax: ENTRIES });
  const lane = rig.attach(0);
  lane.isReady(false);
  lane.state.partition(0).markComplete(loadUser(lane, USER, ENTRIES));
  lane.state.done();
  ({ shard, close } = createShardRig(rig, createLaneControl(1, 1)));
});

afterEach(() => {
  close();
  rig.close();
});

/** Takes what has been answered. @returns whether the end of the list was among it */
function takeAnswers(): boolean {
  const { replies } = rig;
  let ended = false;
  replies.refresh();
  for (let at = replies.next(); at !== -1; at = replies.next())
    if ((replies.words[at + ANSWERED.WORDS + REPLY.HEAD]! & (0xff | REPLY_MORE)) === OP_LIST) ended = true;
  replies.release();
  return ended;
}

describe('a long list', () => {
  it('gives way each half millisecond until it ends', () => {
    rig.ask(OP_LIST, USER);
    shard.turn();
    expect(shard.givesWay).toBe(false);
    let pauses = 0;
    for (let turns = 0; !takeAnswers(); turns++) {
      expect(turns).toBeLessThan(ENTRIES);
      rig.clock.ms += LONG_MS / 2;
      expect(shard.turn()).toBe(true);
      if (!shard.givesWay) continue;
      pauses++;
      shard.woke();
    }
    expect(pauses).toBeGreaterThan(10);
    rig.clock.ms += LONG_MS;
    shard.turn();
    expect(shard.givesWay).toBe(false);
  });

  it('does not give way while requests wait', () => {
    rig.ask(OP_LIST, USER);
    shard.turn();
    rig.clock.ms += LONG_MS;
    shard.turn();
    expect(shard.givesWay).toBe(true);
    for (let i = 0; i < 2 * TOUCH_MAX; i++) rig.ask(OP_GET, USER + 1 + i);
    expect(shard.hasWorkBesideLists).toBe(true);
    rig.clock.ms += LONG_MS;
    shard.turn(); // takes one batch of them
    expect(shard.givesWay).toBe(false);
  });

  it('does not give way while answers of the store wait', () => {
    rig.ask(OP_LIST, USER);
    shard.turn();
    rig.clock.ms += LONG_MS;
    shard.turn();
    expect(shard.hasWorkBesideLists).toBe(false);
    const { storeAnswers } = rig;
    storeAnswers.words.fill(0, storeAnswers.reserve(LOADED.WORDS));
    storeAnswers.commit(LOADED.WORDS);
    storeAnswers.publish();
    expect(shard.hasWorkBesideLists).toBe(true);
  });
});

describe('a short list', () => {
  it('never gives way, whatever was done before it', () => {
    rig.ask(OP_GET, USER);
    shard.turn();
    rig.clock.ms += LONG_MS;
    rig.ask(OP_GET, USER);
    shard.turn();
    rig.ask(OP_LIST, USER);
    shard.turn();
    expect(shard.givesWay).toBe(false);
  });
});
