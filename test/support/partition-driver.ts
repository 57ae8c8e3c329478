/** Drives one small partition of either engine: users 1, 2, 3, channels 1, 2, 3, and a store that answers when told. */
import { expect } from 'vitest';
import { hashUser } from '../../engine/hash.js';
import { RECORD } from '../../engine/layout.js';
import {
  FLUSH,
  FLUSH_ROW,
  FLUSH_WIPE,
  FLUSHED,
  IMAGE,
  KIND_FLUSHED,
  OP_DELETE_USER,
  REPLY_WORDS_MAX,
  REQUEST,
  REQUEST_WORDS_MAX,
  STORE_WORDS_MAX,
} from '../../engine/messages.js';
import { type Engine, OUTCOME_DONE, type Partition, type PartitionOptions } from '../../engine/partition.js';
import { slab } from '../../engine/slab.js';
import { regionsOf } from '../../engine/slab-memory.js';

export const OPTIONS = {
  recordsMax: 400,
  usersMax: 8,
  watchedMax: 10,
  lastWrite: false,
  flushDelayTicks: 0,
  retryFirstTicks: 2,
  retryMaxTicks: 100,
  touchTicks: 1,
};
export const TICK = 100;

export function create(engine: Engine): Partition {
  const partition = engine.attach(OPTIONS, new SharedArrayBuffer(slab.sharedBytes(OPTIONS)));
  partition.setTick(TICK);
  return partition;
}

/** Runs an operation; a user who is not there is new to the store. @returns images of what it changed */
export function run(partition: Partition, op: number, user: number, channel = 0, message = 0): Int32Array[] {
  const hash = hashUser(user, 0);
  if (partition.findUser(hash, user, 0) === 0) {
    const slot = partition.admitUser(hash, user, 0);
    partition.applyUserRow(slot, 0, 0);
    partition.markComplete(slot);
  }
  const words = new Int32Array(REQUEST_WORDS_MAX);
  words[REQUEST.HEAD] = op;
  words[REQUEST.USER_LO] = user;
  words[REQUEST.CHANNEL_LO] = channel;
  words[REQUEST.ARGUMENT_LO] = message;
  expect(partition.execute(hash, words, 0, new Int32Array(REPLY_WORDS_MAX), 0, false)).toBe(OUTCOME_DONE);
  const images: Int32Array[] = [];
  for (let i = 0; i < partition.changedCount; i++) {
    const image = new Int32Array(IMAGE.WORDS);
    partition.writeImage(partition.changed[i]!, image, 0);
    images.push(image);
  }
  if (op === OP_DELETE_USER) {
    const image = new Int32Array(IMAGE.WORDS);
    partition.writeWipeImage(partition.changedUser, image, 0);
    images.push(image);
  }
  return images;
}

/** The next group that is due. */
export function send(partition: Partition, steps = 1000, force = true): Int32Array {
  const group = new Int32Array(STORE_WORDS_MAX);
  const length = partition.flushNext(group, 0, steps, force);
  return group.slice(0, length);
}

export function answer(partition: Partition, group: Int32Array, ok: boolean): void {
  const count = group[FLUSH.COUNT]!;
  const words = new Int32Array(FLUSHED.WORDS + count);
  words[FLUSHED.KIND] = KIND_FLUSHED | (group[FLUSH.KIND]! & FLUSH_WIPE);
  words[FLUSHED.USER_SLOT] = group[FLUSH.USER_SLOT]!;
  words[FLUSHED.COUNT] = count;
  for (let i = 0; i < count; i++) {
    words[FLUSHED.WORDS + i] = group[FLUSH.WORDS + i * FLUSH_ROW.WORDS + FLUSH_ROW.SLOT]!;
  }
  partition.flushed(words, 0, ok);
  partition.check();
}

/** A copy of a slab partition's memory, without what means nothing: words of free records. */
export function meaningOf(options: PartitionOptions, memory: SharedArrayBuffer): Buffer {
  const copy = new Int32Array(memory.byteLength / 4);
  copy.set(new Int32Array(memory));
  const { records } = regionsOf(options);
  for (let slot = 1; slot <= options.recordsMax; slot++) {
    const at = records + slot * RECORD.WORDS;
    if (copy[at + RECORD.USER_SLOT] !== 0) continue;
    const link = copy[at + RECORD.NEXT_OF_USER]!;
    copy.fill(0, at, at + RECORD.WORDS);
    copy[at + RECORD.NEXT_OF_USER] = link;
  }
  return Buffer.from(copy.buffer);
}
