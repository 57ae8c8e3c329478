/** A thread that only long lists keep busy gives way to others now and then, but not while anybody asks for anything. */
import { MessageChannel, type MessagePort } from 'node:worker_threads';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { hashUser } from '../../engine/hash.js';
import { createLaneControl } from '../../engine/lane-control.js';
import { ENTRY, OP_GET, OP_LIST, REPLY_MORE, REQUEST, ROUTED, ROW } from '../../engine/messages.js';
import { TOUCH_MAX } from '../../engine/partition.js';
import { VERSIONS } from '../../workers/lane-options.js';
import { Shard } from '../../workers/shard.js';
import { createStats, THREAD_STATS } from '../../workers/stats.js';
import { createLaneRig, type LaneRig } from '../support/lane-rig.js';

const USER = 1;
const ENTRIES = 20_000;
/** More than a list may have without a pause. */
const LONG_MS = 0.6;

let rig: LaneRig;
let shard: Shard;
let ports: MessagePort[];

beforeEach(() => {
  rig = createLaneRig({ recordsMax: ENTRIES });
  const lane = rig.attach(0);
  lane.isReady(false);
  const { state } = lane;
  const partition = state.partition(0);
  const user = partition.admitUser(hashUser(USER, 0), USER, 0);
  const row = new Int32Array(ROW.WORDS);
  for (let channel = 1; channel <= ENTRIES; channel++) {
    row[ROW.ENTRY + ENTRY.CHANNEL_LO] = channel;
    partition.insertRow(user, row, 0);
    state.done();
  }
  partition.applyUserRow(user, 1, 0);
  partition.markComplete(user);
  state.done();
  const { port1, port2 } = new MessageChannel();
  ports = [port1, port2];
  shard = new Shard(
    {
      port: port1,
      versions: VERSIONS,
      service: rig.service,
      lanes: [rig.own],
      control: createLaneControl(1, 1),
      seat: 0,
      stats: createStats(THREAD_STATS),
      replay: null,
    },
    rig.clock,
  );
});

afterEach(() => {
  shard.close();
  for (const port of ports) port.close();
  rig.close();
});

function send(op: number): void {
  const { requests } = rig;
  const length = ROUTED.WORDS + REQUEST.WORDS;
  const at = requests.reserve(length);
  requests.words.fill(0, at, at + length);
  requests.words[at + ROUTED.ROUTE] = 1;
  requests.words[at + ROUTED.USER_HASH] = hashUser(USER, 0);
  requests.words[at + ROUTED.WORDS + REQUEST.HEAD] = op;
  requests.words[at + ROUTED.WORDS + REQUEST.USER_LO] = USER;
  requests.commit(length);
  requests.publish();
}

/** Takes what has been answered. @returns whether the end of the list was among it */
function takeAnswers(): boolean {
  const { replies } = rig;
  let ended = false;
  replies.refresh();
  for (let at = replies.next(); at !== -1; at = replies.next())
    if ((replies.words[at + 1]! & (0xff | REPLY_MORE)) === OP_LIST) ended = true;
  replies.release();
  return ended;
}

describe('a long list', () => {
  it('gives way each half millisecond until it ends', () => {
    send(OP_LIST);
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

  it('does not give way while a request waits', () => {
    send(OP_LIST);
    shard.turn();
    rig.clock.ms += LONG_MS;
    shard.turn();
    expect(shard.givesWay).toBe(true);
    for (let i = 0; i < 2 * TOUCH_MAX; i++) send(OP_GET);
    expect(shard.isAsked).toBe(true);
    rig.clock.ms += LONG_MS;
    shard.turn(); // takes one batch of them
    expect(shard.givesWay).toBe(false);
  });
});

describe('a short list', () => {
  it('never gives way, whatever was done before it', () => {
    send(OP_GET);
    shard.turn();
    rig.clock.ms += LONG_MS;
    send(OP_GET);
    shard.turn();
    send(OP_LIST);
    shard.turn();
    expect(shard.givesWay).toBe(false);
  });
});
