/**
 * Walks a whole slab partition and throws on the first broken invariant. O(slots); for tests, and after a shard
 * died. Each function checks what the header of one file promises.
 *
 * A walk over a large partition takes longer than a thread may be silent: it says again and again that it goes on.
 */
import { hashRecord } from './hash.js';
import {
  ATTEMPTS_SHIFT,
  assert,
  META_DIRTY,
  META_FLUSHING,
  META_TYPE_MASK,
  RECORD,
  USER,
  USER_ACTIVE,
  USER_ATTEMPTS,
  USER_DETACHED,
  USER_EPOCH,
  USER_LIVE,
  USER_QUEUED,
  USER_RETRYING,
  USER_UNSAVED,
  USER_WIPE,
  USER_WIPING,
} from './layout.js';
import { RETRY_QUEUES, retryQueueOf } from './retry.js';
import { checkHead } from './slab-head.js';
import { findRecord, findUser, hashOfRecord, homeBucket, userHashOf } from './slab-index.js';
import { DISTANCE_MAX, HEADER, type SlabMemory } from './slab-memory.js';
import { SlotSet } from './slot-set.js';
import type { Words } from './undo-log.js';

/** Records, users or buckets looked at between two beats: some 2 ms. */
const BEAT_STEPS = 1024;

/** To be called at each step of a walk. */
type Step = () => void;

function stepsTo(beat: () => void = () => {}): Step {
  let left = BEAT_STEPS;
  return () => {
    if (--left > 0) return;
    left = BEAT_STEPS;
    beat();
  };
}

/** @param beat  called every few milliseconds */
export function checkSlab(memory: SlabMemory, beat?: () => void): void {
  const step = stepsTo(beat);
  const { usersMax, recordsMax } = memory.options;
  checkHead(memory);
  const recordCount = checkUsers(memory, step);
  checkSlots(memory, recordCount, step);
  const userCount = liveUsers(memory, step);
  checkBuckets(memory, 'user', userBucketsOf(memory), memory.userSlotMask, usersMax, userCount, step);
  checkBuckets(
    memory,
    'record',
    recordBucketsOf(memory),
    memory.recordSlotMask,
    recordsMax,
    recordCount,
    step,
  );
  checkDistances(memory, step);
  checkLru(memory, 0, step);
  checkLru(memory, USER_ACTIVE, step);
  checkQueue(memory, 'dirty', HEADER.DIRTY_HEAD, HEADER.DIRTY_TAIL, step);
  checkRetries(memory, step);
  memory.mentions.check();
}

function userBucketsOf(memory: SlabMemory): Words {
  const { userBuckets, userBucketsBase: base, userBucketCount } = memory;
  return userBuckets.subarray(base, base + userBucketCount);
}

function recordBucketsOf(memory: SlabMemory): Words {
  const { recordBuckets, recordBucketsBase: base, recordBucketCount } = memory;
  return recordBuckets.subarray(base, base + recordBucketCount);
}

function field(words: Words, base: number, offset: number): number {
  return words[base + offset]!;
}

function* usedUsers(memory: SlabMemory, step: Step): Generator<number> {
  const fresh = field(memory.header, 0, HEADER.USER_FRESH);
  for (let user = 1; user < fresh; user++) {
    step();
    if (isLive(memory, user)) yield user;
  }
}

function isDetached(memory: SlabMemory, user: number): boolean {
  return (field(memory.users, memory.userAt(user), USER.STATE) & USER_DETACHED) !== 0;
}

function liveUsers(memory: SlabMemory, step: Step): number {
  let count = 0;
  for (const user of usedUsers(memory, step)) if (!isDetached(memory, user)) count++;
  return count;
}

/**
 * What lies around words of a partition: the header, and of each user whose own words, records or index entries are among
 * them, all that belongs to the user. For whoever takes over from a thread that was ended from outside while it
 * stored to those words; the cost is that of the users' records, whatever the size of the partition.
 * @param words  of the partition's buffer
 * @param beat   as of `checkSlab`
 */
export function checkAround(memory: SlabMemory, words: Iterable<number>, beat?: () => void): void {
  const step = stepsTo(beat);
  checkHead(memory);
  const concerned = new Set<number>();
  for (const word of words) {
    const named = userNamedBy(memory, word);
    if (named !== 0)
      assert(isLive(memory, named), `word ${word} of a partition names user ${named}, who is free`);
    concerned.add(named).add(userWith(memory, word));
  }
  const chained = new Set<number>();
  for (const user of concerned) {
    if (user === 0 || !isLive(memory, user)) continue;
    checkUser(memory, user, chained, step);
    checkNeighbours(memory, user);
  }
}

function isLive(memory: SlabMemory, user: number): boolean {
  return (field(memory.users, memory.userAt(user), USER.STATE) & USER_LIVE) !== 0;
}

/** The user slot that a word of a partition is in, or 0. */
function userWith(memory: SlabMemory, word: number): number {
  const slot = memory.userSlotWith(word);
  return slot > 0 && slot < field(memory.header, 0, HEADER.USER_FRESH) ? slot : 0;
}

/** The user whose record a word of a partition is in, or who is named by the bucket that it is; or 0. */
function userNamedBy(memory: SlabMemory, word: number): number {
  const { users, records, userBucketsBase, userBucketCount, recordBucketsBase, recordBucketCount } = memory;
  const fresh = field(memory.header, 0, HEADER.RECORD_FRESH);
  const ownerOf = (record: number): number =>
    record < fresh ? field(records, memory.recordAt(record), RECORD.USER_SLOT) : 0;
  if (word >= memory.recordAt(0) && word < memory.recordAt(fresh))
    return ownerOf(Math.floor((word - memory.recordAt(0)) / RECORD.WORDS));
  if (word >= userBucketsBase && word < userBucketsBase + userBucketCount)
    return field(users, word, 0) & memory.userSlotMask;
  if (word >= recordBucketsBase && word < recordBucketsBase + recordBucketCount)
    return ownerOf(field(records, word, 0) & memory.recordSlotMask);
  return 0;
}

/** A user's neighbours in the list and the queue that it is in name it. */
function checkNeighbours(memory: SlabMemory, user: number): void {
  if (isDetached(memory, user)) return;
  const { users } = memory;
  const at = memory.userAt(user);
  const links: [number, number][] = [
    [USER.LRU_OLDER, USER.LRU_NEWER],
    [USER.LRU_NEWER, USER.LRU_OLDER],
  ];
  if ((field(users, at, USER.STATE) & USER_QUEUED) !== 0)
    links.push([USER.DIRTY_NEXT, USER.DIRTY_PREVIOUS], [USER.DIRTY_PREVIOUS, USER.DIRTY_NEXT]);
  for (const [link, back] of links) {
    const neighbour = field(users, at, link);
    if (neighbour === 0) continue;
    const named = field(users, memory.userAt(neighbour), back);
    assert(named === user, `the neighbour of user ${user} in a list, ${neighbour}, names ${named}`);
  }
}

/** Chains and the counts of each user. @returns the records that are in a chain */
function checkUsers(memory: SlabMemory, step: Step): number {
  const { users } = memory;
  const chained = new SlotSet(memory.options.recordsMax);
  const unsaved: [number, number] = [0, 0];
  let detachedInFlight = 0;
  let passiveRecords = 0;
  for (const user of usedUsers(memory, step)) {
    const counts = checkUser(memory, user, chained, step);
    const at = memory.userAt(user);
    const state = field(users, at, USER.STATE);
    if ((state & USER_UNSAVED) !== 0) unsaved[(state & USER_EPOCH) === 0 ? 0 : 1]++;
    if (!isDetached(memory, user)) {
      if ((state & USER_ACTIVE) === 0) passiveRecords += counts;
    } else if (field(users, at, USER.IN_FLIGHT) !== 0) {
      detachedInFlight++;
    }
  }
  const { header } = memory;
  for (const parity of [0, 1] as const) {
    const counted = field(header, 0, HEADER.UNSAVED_0 + parity);
    assert(
      unsaved[parity] === counted,
      `${unsaved[parity]} users are unsaved of parity ${parity}, not ${counted}`,
    );
  }
  const flying = field(header, 0, HEADER.DETACHED_IN_FLIGHT);
  assert(
    detachedInFlight === flying,
    `${detachedInFlight} detached users have writes on their way, not ${flying}`,
  );
  assert(
    passiveRecords === field(header, 0, HEADER.PASSIVE_RECORDS),
    `${passiveRecords} records are of passive users, not ${field(header, 0, HEADER.PASSIVE_RECORDS)}`,
  );
  return chained.size;
}

/** Records that were found in chains. */
interface Chained {
  has(record: number): boolean;
  add(record: number): unknown;
}

/** Chains and counts of a user, and that it is found. @param chained  gets its records @returns how many they are */
function checkUser(memory: SlabMemory, user: number, chained: Chained, step: Step): number {
  const { users } = memory;
  const at = memory.userAt(user);
  const state = field(users, at, USER.STATE);
  const detached = isDetached(memory, user);
  const heads = [field(users, at, USER.FIRST_RECORD), detached ? field(users, at, USER.LRU_OLDER) : 0];
  const counts = { records: 0, dirty: 0, flushing: 0, waiting: 0 };
  for (const head of heads) checkChain(memory, user, head, chained, counts, step);
  assert(
    counts.records === field(users, at, USER.RECORD_COUNT),
    `user ${user} counts ${field(users, at, USER.RECORD_COUNT)} records and has ${counts.records}`,
  );
  const flights = counts.flushing + ((state & USER_WIPING) !== 0 ? 1 : 0);
  if (!detached)
    assert(
      flights === field(users, at, USER.IN_FLIGHT),
      `user ${user} has ${flights} in flight, not ${field(users, at, USER.IN_FLIGHT)}`,
    );
  const queued = (state & USER_QUEUED) !== 0;
  const isUnsaved = !detached && (queued || flights > 0);
  assert(
    isUnsaved === ((state & USER_UNSAVED) !== 0),
    `user ${user} is unsaved: ${isUnsaved}, and its state is another`,
  );
  if (detached) return counts.records;
  assert(
    counts.dirty === field(users, at, USER.DIRTY_COUNT),
    `user ${user} counts ${field(users, at, USER.DIRTY_COUNT)} dirty records and has ${counts.dirty}`,
  );
  const waits = counts.waiting > 0 || (state & USER_WIPE) !== 0;
  assert(!waits || queued || flights > 0, `user ${user} is dirty and in no queue`);
  const hash = userHashOf(memory, user);
  const found = findUser(memory, hash, field(users, at, USER.ID_LO), field(users, at, USER.ID_HI));
  assert(found === user, `user ${user} is found as ${found}`);
  return counts.records;
}

function checkChain(
  memory: SlabMemory,
  user: number,
  head: number,
  chained: Chained,
  counts: { records: number; dirty: number; flushing: number; waiting: number },
  step: Step,
): void {
  const { records, users } = memory;
  const userAt = memory.userAt(user);
  for (
    let record = head;
    record !== 0;
    record = field(records, memory.recordAt(record), RECORD.NEXT_OF_USER)
  ) {
    step();
    assert(!chained.has(record), `record ${record} is in two chains, or in a circle`);
    chained.add(record);
    const at = memory.recordAt(record);
    assert(
      field(records, at, RECORD.USER_SLOT) === user,
      `record ${record} in the chain of user ${user} is of ${field(records, at, RECORD.USER_SLOT)}`,
    );
    const meta = field(records, at, RECORD.META);
    counts.records++;
    if ((meta & META_DIRTY) !== 0) counts.dirty++;
    if ((meta & META_FLUSHING) !== 0) counts.flushing++;
    if ((meta & (META_DIRTY | META_FLUSHING)) === META_DIRTY) counts.waiting++;
    if (isDetached(memory, user)) continue;
    const lo = field(records, at, RECORD.CHANNEL_LO);
    const hi = field(records, at, RECORD.CHANNEL_HI);
    const type = meta & META_TYPE_MASK;
    const hash = hashRecord(userHashOf(memory, user), lo, hi, type);
    const found = findRecord(
      memory,
      hash,
      field(users, userAt, USER.ID_LO),
      field(users, userAt, USER.ID_HI),
      lo,
      hi,
      type,
    );
    assert(found === record, `record ${record} is found as ${found}`);
  }
}

/** Each slot is live and chained, or in its free list, or fresh; the counts agree. */
function checkSlots(memory: SlabMemory, chained: number, step: Step): void {
  const { header, records, users } = memory;
  const recordCount = field(header, 0, HEADER.RECORD_COUNT);
  assert(chained === recordCount, `${chained} records are in chains, ${recordCount} are counted`);
  for (let word = 0; word < RECORD.WORDS; word++)
    assert(field(records, memory.recordAt(0), word) === 0, `word ${word} of record 0, who is none, is not 0`);
  for (let word = 0; word < USER.WORDS; word++)
    assert(field(users, memory.userAt(0), word) === 0, `word ${word} of user 0, who is none, is not 0`);
  const used = field(header, 0, HEADER.RECORD_FRESH) - 1;
  const usedSlots = field(header, 0, HEADER.USER_FRESH) - 1;
  let free = 0;
  for (
    let slot = field(header, 0, HEADER.RECORD_FREE);
    slot !== 0;
    slot = field(records, memory.recordAt(slot), RECORD.NEXT_OF_USER)
  ) {
    step();
    assert(
      field(records, memory.recordAt(slot), RECORD.USER_SLOT) === 0,
      `record ${slot} is free and in use`,
    );
    assert(++free <= used, `the list of free records is longer than ${used}, or a circle`);
  }
  assert(
    free + recordCount === used,
    `${free} free and ${recordCount} live records, but ${used} slots were used`,
  );
  let freeUsers = 0;
  for (
    let slot = field(header, 0, HEADER.USER_FREE);
    slot !== 0;
    slot = field(users, memory.userAt(slot), USER.FIRST_RECORD)
  ) {
    step();
    assert(field(users, memory.userAt(slot), USER.STATE) === 0, `user ${slot} is free and in use`);
    assert(++freeUsers <= usedSlots, `the list of free users is longer than ${usedSlots}, or a circle`);
  }
  const userCount = field(header, 0, HEADER.USER_COUNT);
  assert(
    freeUsers + userCount === usedSlots,
    `${freeUsers} free and ${userCount} live users, but ${usedSlots} slots were used`,
  );
}

/** An index holds each slot once and nothing else (that each is reachable, the walk over the users has shown). */
function checkBuckets(
  memory: SlabMemory,
  name: string,
  buckets: Words,
  slotMask: number,
  slotsMax: number,
  expected: number,
  step: Step,
): void {
  const seen = new SlotSet(slotsMax);
  for (const word of buckets) {
    step();
    if (word === 0) continue;
    const slot = word & slotMask;
    assert(!seen.has(slot), `${name} ${slot} is twice in its index`);
    seen.add(slot);
  }
  assert(seen.size === expected, `${seen.size} ${name}s are in the index, ${expected} are live`);
  assert(seen.size * 5 <= buckets.length * 4, `the ${name} index is over its load`);
  assert(memory.header[HEADER.RECORDS_MAX] === memory.options.recordsMax, 'the header is of another size');
}

/** The distances that buckets of records tell are true. */
function checkDistances(memory: SlabMemory, step: Step): void {
  const { recordBucketCount: size } = memory;
  for (const [bucket, word] of recordBucketsOf(memory).entries()) {
    step();
    if (word === 0) continue;
    const slot = word & memory.recordSlotMask;
    const distance = (bucket - homeBucket(hashOfRecord(memory, slot), size) + size) % size;
    const told = (word >>> memory.recordSlotBits) & DISTANCE_MAX;
    assert(
      told === Math.min(distance, DISTANCE_MAX),
      `record ${slot} is ${distance} buckets from its home, not ${told}`,
    );
  }
}

/** One LRU list: linked both ways, holds just the users whose STATE names it. */
function checkLru(memory: SlabMemory, active: number, step: Step): void {
  const { users, header } = memory;
  const newest = field(header, 0, active !== 0 ? HEADER.ACTIVE_NEWEST : HEADER.PASSIVE_NEWEST);
  const oldest = field(header, 0, active !== 0 ? HEADER.ACTIVE_OLDEST : HEADER.PASSIVE_OLDEST);
  const listed = new SlotSet(memory.options.usersMax);
  let previous = 0;
  for (let user = newest; user !== 0; user = field(users, memory.userAt(user), USER.LRU_OLDER)) {
    step();
    assert(!listed.has(user), `user ${user} is twice in an LRU list`);
    assert(
      field(users, memory.userAt(user), USER.LRU_NEWER) === previous,
      `user ${user} has a wrong newer neighbour`,
    );
    listed.add(user);
    previous = user;
  }
  assert(previous === oldest, `the LRU list ends at user ${previous}, not at ${oldest}`);
  for (const user of usedUsers(memory, step)) {
    const belongs =
      !isDetached(memory, user) && (field(users, memory.userAt(user), USER.STATE) & USER_ACTIVE) === active;
    assert(listed.has(user) === belongs, `user ${user} is ${belongs ? 'not' : ''} in an LRU list`);
  }
}

/** One queue: linked both ways, in due order, of users that say so. */
function checkQueue(
  memory: SlabMemory,
  name: string,
  headField: number,
  tailField: number,
  step: Step,
): number {
  const { users, header } = memory;
  const queued = new SlotSet(memory.options.usersMax);
  let previous = 0;
  let due = 0;
  for (
    let user = field(header, 0, headField);
    user !== 0;
    user = field(users, memory.userAt(user), USER.DIRTY_NEXT)
  ) {
    step();
    const at = memory.userAt(user);
    assert(!queued.has(user), `user ${user} is twice in the ${name} queue`);
    assert(
      field(users, at, USER.DIRTY_PREVIOUS) === previous,
      `user ${user} has a wrong neighbour in the ${name} queue`,
    );
    const next = field(users, at, USER.DIRTY_DUE);
    assert(previous === 0 || ((next - due) | 0) >= 0, `user ${user} is due before its predecessor`);
    queued.add(user);
    previous = user;
    due = next;
  }
  assert(previous === field(header, 0, tailField), `the ${name} queue does not end at user ${previous}`);
  if (headField !== HEADER.DIRTY_HEAD) return queued.size;
  for (const user of usedUsers(memory, step)) {
    const state = field(users, memory.userAt(user), USER.STATE) & (USER_QUEUED | USER_RETRYING);
    assert(
      queued.has(user) === (state === USER_QUEUED),
      `user ${user} is in the dirty queue against its state`,
    );
  }
  return queued.size;
}

/** The retry queues hold just the users that say so, each in the queue of its attempts and hash. */
function checkRetries(memory: SlabMemory, step: Step): void {
  const { users, header } = memory;
  let queued = 0;
  for (let queue = 0; queue < RETRY_QUEUES; queue++) {
    queued += checkQueue(
      memory,
      `retry ${queue}`,
      HEADER.RETRY_HEADS + queue,
      HEADER.RETRY_TAILS + queue,
      step,
    );
    for (
      let user = field(header, 0, HEADER.RETRY_HEADS + queue);
      user !== 0;
      user = field(users, memory.userAt(user), USER.DIRTY_NEXT)
    ) {
      const state = field(users, memory.userAt(user), USER.STATE);
      const attempts = (state & USER_ATTEMPTS) >>> ATTEMPTS_SHIFT;
      const both = USER_QUEUED | USER_RETRYING;
      assert(
        (state & both) === both && retryQueueOf(attempts, userHashOf(memory, user)) === queue,
        `user ${user} is in retry queue ${queue} against its state`,
      );
    }
  }
  let retrying = 0;
  for (const user of usedUsers(memory, step)) {
    if ((field(users, memory.userAt(user), USER.STATE) & USER_RETRYING) !== 0) retrying++;
  }
  assert(queued === retrying, `${retrying} users wait for a retry, and ${queued} are in the queues`);
  assert(
    queued === field(header, 0, HEADER.RETRYING),
    `${queued} users wait for a retry, not ${field(header, 0, HEADER.RETRYING)}`,
  );
}
