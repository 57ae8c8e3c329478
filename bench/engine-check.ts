/**
 * Before anything is timed: all sides give the same answers to the same operations. Some operations come twice, so
 * that retries are among them, and there are few keys, so that each is met in many states.
 *
 * 1. Without eviction, all sides.
 * 2. Our engines with room for half of the records, over a store that remembers what was flushed: what was evicted
 *    must come back as it was, so the answers are still those of a side that evicts nothing.
 * 3. All sides as they are timed, full: they hold as many records as they may, and the expected share hits.
 */
import { ENTRY, REPLY, REPLY_ENTRY, REQUEST, ROW } from '../engine/messages.js';
import type { Engine } from '../engine/partition.js';
import { emptyStore, PartitionsSide, RememberingStore, type RowStore } from './engine-partitions.js';
import { prefill, type Side } from './engine-side.js';
import {
  Block,
  OperationStream,
  REPLY_STRIDE,
  type Universe,
  userLow,
  writeUserRows,
} from './engine-stream.js';
import { LruNestedSide, LruStringSide } from './peers-lru-cache.js';

const UNIVERSE: Universe = { users: 512, channelsPerUser: 8 };
const RECORDS = UNIVERSE.users * UNIVERSE.channelsPerUser;
/** Larger, as an engine may evict some 64 users at once. */
const FULL_UNIVERSE: Universe = { users: 8192, channelsPerUser: 8 };
const FULL_RECORDS = FULL_UNIVERSE.users * FULL_UNIVERSE.channelsPerUser;
const LOADED_USERS = 300;
const PARTITIONS = 4;
const BLOCKS = 40;
const REPEAT_PERCENT = 10;
const SEED = 1;
const FLUSH_DELAY_MS = 5;
/** Part of the records that there is room for when the cache is full, and how far the hits may be from it. */
const FULL_SHARE = 0.9;
const HIT_TOLERANCE = 0.02;

/** Word of an answer that a side does not have. */
type Ignored = 'VERSION' | null;

function ours(engine: Engine, partitions: number, records: number, usersMax: number, store: RowStore): Side {
  const recordsMax = Math.ceil(records / partitions);
  return new PartitionsSide({
    engine,
    partitions,
    recordsMax,
    usersMax,
    flushDelayMs: FLUSH_DELAY_MS,
    store,
  });
}

/** The side whose answers count: it evicts nothing. */
function reference(): Side {
  return new LruNestedSide(RECORDS, UNIVERSE.users);
}

/** @throws Error that names the first answer that is not the same */
export function checkSides(engines: readonly Engine[], peers: readonly Side[] = [reference()]): void {
  for (const engine of engines) {
    compare(reference(), ours(engine, PARTITIONS, RECORDS * 2, UNIVERSE.users, emptyStore), true, null);
    const store = new RememberingStore();
    const rows = new Int32Array(UNIVERSE.channelsPerUser * ROW.WORDS);
    for (let user = 0; user < LOADED_USERS; user++) {
      writeUserRows(UNIVERSE, user, rows);
      store.put(userLow(user), rows, UNIVERSE.channelsPerUser);
    }
    compare(reference(), ours(engine, PARTITIONS, RECORDS / 2, UNIVERSE.users, store), true, null);
    checkFull(ours(engine, 1, FULL_RECORDS * FULL_SHARE, FULL_UNIVERSE.users, emptyStore));
  }
  for (const peer of peers) compare(reference(), peer, false, null);
  compare(reference(), new LruStringSide(RECORDS), false, 'VERSION');
  checkFull(new LruStringSide(Math.ceil(FULL_RECORDS * FULL_SHARE)));
  checkFull(new LruNestedSide(Math.ceil(FULL_RECORDS * FULL_SHARE), FULL_UNIVERSE.users));
}

function compare(expected: Side, side: Side, batched: boolean, ignored: Ignored): void {
  prefill(expected, UNIVERSE, LOADED_USERS, FLUSH_DELAY_MS);
  prefill(side, UNIVERSE, LOADED_USERS, FLUSH_DELAY_MS);
  const stream = new OperationStream(UNIVERSE, SEED, REPEAT_PERCENT);
  const block = new Block();
  for (let i = 0; i < BLOCKS; i++) {
    stream.fill(block);
    block.makeTexts();
    expected.run(block, false);
    const answers = block.replies.slice();
    block.replies.fill(-1);
    side.run(block, batched && i % 2 === 0);
    compareAnswers(side.name, block, answers, ignored);
  }
}

function compareAnswers(name: string, block: Block, expected: Int32Array, ignored: Ignored): void {
  for (let i = 0; i < block.count; i++) {
    const replyAt = i * REPLY_STRIDE;
    const hasEntry = (expected[replyAt + REPLY.HEAD]! & REPLY_ENTRY) !== 0;
    const length = REPLY.WORDS + (hasEntry ? ENTRY.WORDS : 0);
    for (let word = 0; word < length; word++) {
      if (ignored !== null && (word === REPLY.VERSION || word === REPLY.WORDS + ENTRY.VERSION)) continue;
      const [want, got] = [expected[replyAt + word]!, block.replies[replyAt + word]!];
      if (want === got) continue;
      const request = block.words.slice(i * REQUEST.WORDS, (i + 1) * REQUEST.WORDS).join(' ');
      throw new Error(`${name}: word ${word} of the answer is ${got}, not ${want}, to operation ${request}`);
    }
  }
}

function checkFull(side: Side): void {
  prefill(side, FULL_UNIVERSE, FULL_UNIVERSE.users, FLUSH_DELAY_MS);
  const stream = new OperationStream(FULL_UNIVERSE, SEED);
  const block = new Block();
  let hitsBefore = 0;
  for (let i = 0; i < BLOCKS; i++) {
    stream.fill(block);
    block.makeTexts();
    if (i === BLOCKS / 2) hitsBefore = side.counts.hits;
    side.run(block, true);
  }
  const share = (side.counts.hits - hitsBefore) / ((BLOCKS / 2) * block.count);
  // Gets of what is not there insert nothing, and whole users go at once: a little less than full is right.
  if (Math.abs(share - FULL_SHARE) > HIT_TOLERANCE || side.recordCount > FULL_RECORDS * FULL_SHARE + 1) {
    throw new Error(
      `${side.name}, full: ${(share * 100).toFixed(1)}% hits with ${side.recordCount} of ${FULL_RECORDS} records, not ${FULL_SHARE * 100}%`,
    );
  }
}
