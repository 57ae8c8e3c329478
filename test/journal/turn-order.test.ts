/** A shard stepped by hand: what leaves it in a turn, and that its journal is written before. */
import { MessageChannel } from 'node:worker_threads';
import { afterEach, describe, expect, it } from 'vitest';
import { createDoorbell } from '../../engine/doorbell.js';
import { hashUser } from '../../engine/hash.js';
import { KIND_LOADED, LOADED, LOADED_LAST, OP_ACK, REQUEST, ROUTED } from '../../engine/messages.js';
import { createRing, RingReader, RingWriter } from '../../engine/ring.js';
import { slab } from '../../engine/slab.js';
import { readJournal } from '../../workers/journal/reader.js';
import { Shard } from '../../workers/shard.js';
import {
  COLD_START,
  FLUSH_RING_WORDS,
  LOAD_RING_WORDS,
  REPLY_RING_WORDS,
  REQUEST_RING_WORDS,
  STORE_ANSWER_RING_WORDS,
  TICK_MS,
} from '../../workers/shard-options.js';
import { createStats, PARTITION_STATS, SHARD_STATS } from '../../workers/stats.js';
import { newDirectory, openRig, SEGMENT_BYTES } from './files.js';

const USER = 5;
const sizes = { recordsMax: 100, usersMax: 100, watchedMax: 1, lastWrite: false };
const ticks = { flushDelayTicks: 0, retryFirstTicks: 1, retryMaxTicks: 1, touchTicks: 0 };

const ports: MessageChannel[] = [];
afterEach(() => {
  for (const { port1, port2 } of ports.splice(0)) {
    port1.close();
    port2.close();
  }
});

/** A shard of one partition whose changes are due at once, with a journal in the directory. */
async function startShard(directory: string) {
  const { keeper } = await openRig(directory, { shards: 2 }); // shard 0 is the rig's own, 1 ours
  await keeper.step();
  const rings = {
    requests: createRing(REQUEST_RING_WORDS),
    replies: createRing(REPLY_RING_WORDS),
    loads: createRing(LOAD_RING_WORDS),
    flushes: createRing(FLUSH_RING_WORDS),
    storeAnswers: createRing(STORE_ANSWER_RING_WORDS),
  };
  const channels = [new MessageChannel(), new MessageChannel()] as const;
  ports.push(...channels);
  const shard = new Shard(
    {
      engine: 'slab',
      rings,
      doorbell: createDoorbell(),
      frontDoorbell: createDoorbell(),
      frontPort: channels[0].port1,
      persisterDoorbell: createDoorbell(),
      persisterPort: channels[1].port1,
      stats: createStats(SHARD_STATS),
      introspection: null,
      partitionStats: createStats(PARTITION_STATS),
      shard: 1,
      shards: 2,
      limits: { userPerS: 0, channelPerS: 0 },
      partitions: 1,
      owned: [
        { index: 0, memory: new SharedArrayBuffer(slab.sharedBytes({ ...sizes, ...ticks })), byteOffset: 0 },
      ],
      flushDelayMs: 0,
      loadTimeoutMs: 60_000,
      roomTimeoutMs: 1000,
      parkedMax: 100,
      journal: {
        directory,
        shard: 1,
        run: keeper.run,
        segmentBytes: SEGMENT_BYTES,
        sync: false,
        words: keeper.words,
      },
      replay: null,
      start: COLD_START,
      ...sizes,
    },
    0,
  );
  return {
    shard,
    requests: new RingWriter(rings.requests),
    replies: new RingReader(rings.replies),
    flushes: new RingReader(rings.flushes),
    storeAnswers: new RingWriter(rings.storeAnswers),
    loads: new RingReader(rings.loads),
  };
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

describe('A turn of a shard with a journal', () => {
  it('writes the journal before an answer or a write to the store goes out', async () => {
    const directory = newDirectory();
    const { shard, requests, replies, flushes, storeAnswers, loads } = await startShard(directory);
    expect(shard.isReady(0)).toBe(true);
    sendAck(requests, 1);
    shard.turn(1);
    answerLoad(loads, storeAnswers);
    shard.turn(2);
    expect(replies.refresh()).toBe(true);
    while (replies.next() !== -1);
    replies.release();
    const before = await imagesIn(directory);
    expect(before).toBe(1);

    const journal = shard.state.journal!;
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
    shard.turn(2 + TICK_MS);
    expect(commits).toBe(1);
    expect([replies.refresh(), flushes.refresh()], 'both are out after the turn').toEqual([true, true]);
    expect(await imagesIn(directory)).toBe(before + 1);
  });
});
