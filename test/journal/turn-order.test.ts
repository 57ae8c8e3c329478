/** A lane stepped by hand: what leaves it in a turn, and that its journal is written before. */
import { afterEach, describe, expect, it } from 'vitest';
import { hashUser } from '../../engine/hash.js';
import { FLUSH, KIND_LOADED, LOADED, LOADED_LAST, OP_ACK, REQUEST, ROUTED } from '../../engine/messages.js';
import type { RingReader, RingWriter } from '../../engine/ring.js';
import { HEADER } from '../../engine/slab-memory.js';
import { readJournal } from '../../workers/journal/reader.js';
import { JOURNAL_SHARD, shardAt } from '../../workers/journal/shared.js';
import { FRAME_BYTES } from '../../workers/journal/writer.js';
import { TICK_MS } from '../../workers/lane-options.js';
import { createLaneRig, type LaneRig } from '../support/lane-rig.js';
import { newDirectory, openRig, SEGMENT_BYTES } from './files.js';

const USER = 5;

const rigs: LaneRig[] = [];
afterEach(() => {
  for (const rig of rigs.splice(0)) rig.close();
});

/** A lane of one partition whose changes are due at once, with a journal in the directory. */
async function startLane(directory: string, flushDelayMs = 0) {
  const { keeper } = await openRig(directory, { shards: 2 }); // shard 0 is the rig's own, 1 ours
  await keeper.step();
  const journal = {
    directory,
    shard: 1,
    run: keeper.run,
    segmentBytes: SEGMENT_BYTES,
    sync: false,
    words: keeper.words,
    frame: new SharedArrayBuffer(FRAME_BYTES),
  };
  const rig = createLaneRig({ flushDelayMs }, { journal });
  rigs.push(rig);
  return { ...rig, lane: rig.attach(0), journal };
}

function sendAck(requests: RingWriter, message: number): void {
  const at = requests.reserve(ROUTED.WORDS + REQUEST.WORDS);
  const { words } = requests;
  words.fill(0, at, at + ROUTED.WORDS + REQUEST.WORDS);
  words[at + ROUTED.ROUTE] = 1;
  words[at + ROUTED.USER_HASH] = hashUser(USER, 0);
  const operation = at + ROUTED.WORDS;
  words[operation + REQUEST.HEAD] = OP_ACK;
  words[operation + REQUEST.USER_LO] = USER;
  words[operation + REQUEST.CHANNEL_LO] = 7;
  words[operation + REQUEST.ARGUMENT_LO] = message;
  requests.commit(ROUTED.WORDS + REQUEST.WORDS);
  requests.publish();
}

/** The store has nothing of the user who is being loaded. */
function answerLoad(loads: RingReader, storeAnswers: RingWriter): void {
  expect(loads.refresh()).toBe(true);
  const tag = loads.words[loads.next() + 1]!;
  loads.release();
  const at = storeAnswers.reserve(LOADED.WORDS);
  storeAnswers.words.fill(0, at, at + LOADED.WORDS);
  storeAnswers.words[at + LOADED.KIND] = KIND_LOADED | LOADED_LAST;
  storeAnswers.words[at + LOADED.TAG] = tag;
  storeAnswers.commit(LOADED.WORDS);
  storeAnswers.publish();
}

async function imagesIn(directory: string): Promise<number> {
  return (await readJournal(directory)).images;
}

describe('A turn of a lane with a journal', () => {
  it('writes the journal before an answer or a write to the store goes out', async () => {
    const directory = newDirectory();
    const { lane, turn, requests, replies, flushes, storeAnswers, loads } = await startLane(directory);
    expect(lane.isReady(false)).toBe(true);
    sendAck(requests, 1);
    turn(lane, 1);
    answerLoad(loads, storeAnswers);
    turn(lane, 2);
    expect(replies.refresh()).toBe(true);
    while (replies.next() !== -1);
    replies.release();
    const before = await imagesIn(directory);
    expect(before).toBe(1);

    const journal = lane.state.journal!;
    const commit = journal.commit.bind(journal);
    let commits = 0;
    journal.commit = (nowMs, ticked) => {
      expect([replies.refresh(), flushes.refresh()], 'nothing is out before the commit').toEqual([
        false,
        false,
      ]);
      commits++;
      return commit(nowMs, ticked);
    };
    sendAck(requests, 2);
    turn(lane, 2 + TICK_MS);
    expect(commits).toBe(1);
    expect([replies.refresh(), flushes.refresh()], 'both are out after the turn').toEqual([true, true]);
    expect(await imagesIn(directory)).toBe(before + 1);
  });
});

describe('A partition that comes back from the journal', () => {
  it('has its changes kept until they are restored, as unsaved', async () => {
    const directory = newDirectory();
    const started = await startLane(directory, 3_600_000);
    const { lane, turn, requests, flushes, storeAnswers, loads, journal, own } = started;
    expect(lane.isReady(false)).toBe(true);
    sendAck(requests, 1);
    turn(lane, 1);
    answerLoad(loads, storeAnswers);
    turn(lane, 2);
    sendAck(requests, 2);
    turn(lane, 3);
    const shared = new Int32Array(journal.words);
    const unsaved = (): number[] =>
      [JOURNAL_SHARD.UNSAVED_EVEN, JOURNAL_SHARD.UNSAVED_ODD].map((field) => shared[shardAt(1) + field]!);
    new Int32Array(own.owned[0]!.memory!)[HEADER.USER_COUNT] = -1;
    const heir = started.attach(4);
    turn(heir, 4 + TICK_MS);
    expect([heir.state.partition(0).userCount, heir.state.reloads(0)]).toEqual([0, true]);
    expect(unsaved(), 'neither epoch may go').toEqual([1, 1]);

    heir.restoreFrom(await readJournal(directory));
    for (let turns = 0; heir.state.reloads(0); turns++) {
      expect(turns).toBeLessThan(10);
      turn(heir, 5 + TICK_MS);
    }
    turn(heir, 5 + 2 * TICK_MS);
    const partition = heir.state.partition(0);
    partition.check();
    expect(partition.isComplete(partition.findUser(hashUser(USER, 0), USER, 0))).toBe(false);
    const other = (heir.state.journal!.epoch & 1) ^ 1;
    expect(unsaved(), 'since the epoch before').toEqual(other === 0 ? [1, 0] : [0, 1]);
    heir.state.flushAll = true;
    turn(heir, 5 + 3 * TICK_MS);
    expect(flushes.refresh()).toBe(true);
    expect(flushes.words[flushes.next() + FLUSH.VERSION]).toBe(2);
  });
});
