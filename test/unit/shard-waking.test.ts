/** Whom a turn of a shard wakes: only who has something to look at. */
import { MessageChannel } from 'node:worker_threads';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createDoorbell, Doorbell } from '../../engine/doorbell.js';
import { hashUser } from '../../engine/hash.js';
import { KIND_LOADED, LOAD, LOADED, LOADED_LAST, OP_ACK, REQUEST, ROUTED } from '../../engine/messages.js';
import { createRing, RingReader, RingWriter } from '../../engine/ring.js';
import { slab } from '../../engine/slab.js';
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

const ACK_WORDS = ROUTED.WORDS + REQUEST.WORDS;

/** Who sleeps until it is rung. */
class Sleeper {
  readonly memory = createDoorbell();
  readonly #doorbell = new Doorbell(this.memory);
  readonly channel = new MessageChannel();
  #posts = 0;

  constructor() {
    this.channel.port2.on('message', () => this.#posts++);
    this.sleep();
  }

  sleep(): void {
    this.#doorbell.sleep();
  }

  /** How often it was woken since the last call; it sleeps again. */
  async takeWakeUps(): Promise<number> {
    await new Promise((resolve) => setTimeout(resolve, 5));
    const posts = this.#posts;
    this.#posts = 0;
    this.sleep();
    return posts;
  }
}

let shard: Shard;
let requests: RingWriter;
let loads: RingReader;
let answers: RingWriter;
let front: Sleeper;
let persister: Sleeper;
let message = 0;

beforeEach(() => {
  const rings = {
    requests: createRing(REQUEST_RING_WORDS),
    replies: createRing(REPLY_RING_WORDS),
    loads: createRing(LOAD_RING_WORDS),
    flushes: createRing(FLUSH_RING_WORDS),
    storeAnswers: createRing(STORE_ANSWER_RING_WORDS),
  };
  const sizes = { recordsMax: 100, usersMax: 100, watchedMax: 1, lastWrite: false };
  const ticks = { flushDelayTicks: 0, retryFirstTicks: 1, retryMaxTicks: 1, touchTicks: 0 };
  const memory = new SharedArrayBuffer(slab.sharedBytes({ ...sizes, ...ticks }));
  front = new Sleeper();
  persister = new Sleeper();
  shard = new Shard(
    {
      engine: 'slab',
      rings,
      doorbell: createDoorbell(),
      frontDoorbell: front.memory,
      frontPort: front.channel.port1,
      persisterDoorbell: persister.memory,
      persisterPort: persister.channel.port1,
      stats: createStats(SHARD_STATS),
      introspection: null,
      partitionStats: createStats(PARTITION_STATS),
      shard: 0,
      shards: 1,
      limits: { userPerS: 0, channelPerS: 0 },
      partitions: 1,
      owned: [{ index: 0, memory, byteOffset: 0 }],
      flushDelayMs: 3_600_000,
      loadTimeoutMs: 60_000,
      roomTimeoutMs: 1000,
      parkedMax: 100,
      journal: null,
      replay: null,
      start: COLD_START,
      ...sizes,
    },
    0,
  );
  requests = new RingWriter(rings.requests);
  loads = new RingReader(rings.loads);
  answers = new RingWriter(rings.storeAnswers);
});

afterEach(() => {
  for (const { channel } of [front, persister]) {
    channel.port1.close();
    channel.port2.close();
  }
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

describe('a turn of a shard', () => {
  it('wakes the persister for a load, and the front for an answer', async () => {
    sendAcks(5);
    shard.turn(1);
    expect([await front.takeWakeUps(), await persister.takeWakeUps()]).toEqual([0, 1]);
    answerLoad();
    shard.turn(2);
    expect([await front.takeWakeUps(), await persister.takeWakeUps()]).toEqual([1, 0]);
    sendAcks(5);
    shard.turn(3);
    expect([await front.takeWakeUps(), await persister.takeWakeUps()]).toEqual([1, 0]);
  });

  it('wakes nobody when it has nothing for them', async () => {
    for (let tick = 1; tick <= 20; tick++) shard.turn(tick * TICK_MS);
    expect([await front.takeWakeUps(), await persister.takeWakeUps()]).toEqual([0, 0]);
  });
});
