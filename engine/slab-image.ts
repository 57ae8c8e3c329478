/**
 * What of a slab partition is kept over a restart, and what is done to it after one. A partition's memory refers to
 * itself by slots only, so its bytes are all that there is to it.
 *
 * I1  All words outside the used ranges may be 0, as in new memory: slots never used, and the watched users, whose
 *     connections are gone.
 */
import { hashUser } from './hash.js';
import { joinWords } from './ids.js';
import { assert, LAYOUT_VERSION, RECORD, USER, USER_ACTIVE, USER_LIVE, USER_WATCHED } from './layout.js';
import type { PartitionOptions } from './partition.js';
import { findUser } from './slab-index.js';
import { HEADER, placeOf, regionsOf, type SlabMemory, stripeRanges } from './slab-memory.js';
import { OwnWords } from './undo-log.js';
import { WatchSet } from './watch-set.js';

/** Bytes of a buffer, counted from the start of a partition: `from` is in it, `to` is not. */
export interface ByteRange {
  readonly from: number;
  readonly to: number;
}

/** What must be kept of a partition that nobody is using (I1), in order. */
export function usedRanges(
  options: PartitionOptions,
  memory: SharedArrayBuffer,
  byteOffset: number,
): ByteRange[] {
  const regions = regionsOf(options);
  const header = new Int32Array(memory, byteOffset, HEADER.WORDS);
  const range = (from: number, to: number): ByteRange => ({ from: from * 4, to: to * 4 });
  const start = byteOffset / 4;
  const { stripes } = placeOf(options, memory.byteLength, byteOffset);
  return [
    range(0, regions.records + header[HEADER.RECORD_FRESH]! * RECORD.WORDS),
    range(regions.userBuckets, regions.end),
    ...stripeRanges(stripes, header[HEADER.USER_FRESH]!).map(({ from, to }) =>
      range(from - start, to - start),
    ),
  ];
}

/** Why the memory holds no partition of these sizes; null if it does. */
export function checkHeader(
  options: PartitionOptions,
  memory: SharedArrayBuffer,
  byteOffset: number,
): string | null {
  const header = new Int32Array(memory, byteOffset, HEADER.WORDS);
  const wanted: readonly [string, number, number][] = [
    ['layout version', HEADER.LAYOUT_VERSION, LAYOUT_VERSION],
    ['records', HEADER.RECORDS_MAX, options.recordsMax],
    ['users', HEADER.USERS_MAX, options.usersMax],
    ['watched users', HEADER.WATCHED_MAX, options.watchedMax],
  ];
  for (const [what, field, value] of wanted) {
    if (header[field] !== value) return `${what}: ${header[field]}, not ${value}`;
  }
  return null;
}

/** See `Partition.afterRestart`. */
export function afterRestart(memory: SlabMemory): void {
  const { header, users } = memory;
  const unsaved = header[HEADER.UNSAVED_0]! + header[HEADER.UNSAVED_1]!;
  assert(unsaved === 0, `${unsaved} users of a saved partition are unsaved`);
  assert(
    header[HEADER.DETACHED_IN_FLIGHT] === 0,
    'a saved partition has writes of evicted users on their way',
  );
  assert(memory.watched.size === 0, 'a saved partition has watched users');
  const fresh = header[HEADER.USER_FRESH]!;
  for (let user = 1; user < fresh; user++) {
    const at = memory.userAt(user);
    const state = users[at + USER.STATE]!;
    if ((state & USER_LIVE) === 0) continue;
    assert(users[at + USER.IN_FLIGHT] === 0, 'a saved partition has writes on their way');
    // Only what differs: all of it has to fit into the undo log.
    if (users[at + USER.HOLD] !== 0) memory.put(at + USER.HOLD, 0);
    if ((state & USER_WATCHED) !== 0) memory.put(at + USER.STATE, state & ~USER_WATCHED);
  }
}

/** See `Partition.hottestUsers`. */
export function hottestUsers(
  memory: SlabMemory,
  out: Int32Array,
  at: number,
  max: number,
  count: number,
  since: number,
): number {
  const { header, users } = memory;
  let user = count === 0 ? header[HEADER.ACTIVE_NEWEST]! : olderThanListed(memory, out, at, count, since);
  let listed = count;
  for (; user !== 0 && listed < max; listed++) {
    const userAt = memory.userAt(user);
    out[at + listed * 2] = users[userAt + USER.ID_LO]!;
    out[at + listed * 2 + 1] = users[userAt + USER.ID_HI]!;
    user = users[userAt + USER.LRU_OLDER]!;
  }
  return listed;
}

/** The older neighbour of the last of `count` listed users who has not moved since a tick; 0: there is none. */
function olderThanListed(
  memory: SlabMemory,
  out: Int32Array,
  at: number,
  count: number,
  since: number,
): number {
  const { users } = memory;
  for (let i = count - 1; i >= 0; i--) {
    const lo = out[at + i * 2]!;
    const hi = out[at + i * 2 + 1]!;
    const user = findUser(memory, hashUser(lo, hi), lo, hi);
    if (user === 0) continue;
    const userAt = memory.userAt(user);
    const hasMoved = ((users[userAt + USER.TOUCHED]! - since) | 0) >= 0;
    if (!hasMoved && (users[userAt + USER.STATE]! & USER_ACTIVE) !== 0)
      return users[userAt + USER.LRU_OLDER]!;
  }
  return 0;
}

/**
 * Makes a partition that is broken an empty one; nobody has it attached. Who is watched stays, if that part is whole.
 * @returns users that were unsaved, as far as its header says; and whether it is known still who is watched
 */
export function emptyPartition(
  options: PartitionOptions,
  memory: SharedArrayBuffer,
  byteOffset: number,
): { unsaved: number; knowsWatched: boolean; clockUs: number } {
  const words = new Int32Array(memory, byteOffset, regionsOf(options).end);
  const unsaved = words[HEADER.UNSAVED_0]! + words[HEADER.UNSAVED_1]!;
  const clockUs = joinWords(words[HEADER.CLOCK_LO]!, words[HEADER.CLOCK_HI]!);
  words.fill(0);
  const { stripes, watched } = placeOf(options, memory.byteLength, byteOffset);
  const all = new Int32Array(memory);
  for (const { from, to } of stripeRanges(stripes)) all.fill(0, from, to);
  const knowsWatched = new WatchSet(new OwnWords(all), watched.from, options.watchedMax).isWhole;
  if (!knowsWatched) all.fill(0, watched.from, watched.to);
  return { unsaved: Math.min(Math.max(unsaved, 0), options.usersMax), knowsWatched, clockUs };
}
