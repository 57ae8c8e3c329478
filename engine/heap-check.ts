/** Walks a heap partition and throws on the first broken invariant, naming it. */
import type { HeapRecord, HeapUser, UserList } from './heap-objects.js';
import type { HeapOperations } from './heap-operations.js';
import { assert, META_ENTRY_MASK } from './layout.js';

function checkList(name: string, list: UserList, seen: Set<HeapUser>): void {
  let users = 0;
  let records = 0;
  let older: HeapUser | null = null;
  for (let user = list.oldest; user !== null; user = user.newer) {
    assert(!seen.has(user), `I1: user ${user.slot} is in an LRU list twice`);
    seen.add(user);
    assert(
      user.list === list && user.older === older,
      `I1: user ${user.slot} does not know its place in ${name}`,
    );
    users++;
    records += user.recordCount;
    older = user;
  }
  assert(list.newest === older, `I1: the newest end of ${name} is not where the list ends`);
  assert(list.userCount === users, `${name} counts ${list.userCount} users, and has ${users}`);
  assert(list.recordCount === records, `${name} counts ${list.recordCount} records, and has ${records}`);
}

function checkQueues(partition: HeapOperations): Set<HeapUser> {
  const queued = new Set<HeapUser>();
  for (const queue of [partition.urgent, partition.pending, ...partition.retries]) {
    let previous: HeapUser | null = null;
    for (let user = queue.head; user !== null; user = user.queueNext) {
      assert(
        user.queue === queue && user.queuePrevious === previous,
        `I1: user ${user.slot} is in no queue it knows`,
      );
      assert(
        previous === null || ((user.due - previous.due) | 0) >= 0,
        `user ${user.slot} is queued before its time`,
      );
      assert(!queued.has(user), `I1: user ${user.slot} is queued twice`);
      queued.add(user);
      previous = user;
    }
    assert(queue.tail === previous, 'the tail of a dirty queue is not where it ends');
  }
  return queued;
}

function checkUser(partition: HeapOperations, user: HeapUser, isQueued: boolean): number {
  const name = `user ${user.slot}`;
  const sendable = new Set<HeapRecord>();
  for (let record = user.firstDirty; record !== null; record = record.nextDirty) {
    assert(
      record.user === user && !sendable.has(record),
      `I2: record ${record.slot} is twice in the dirty list`,
    );
    sendable.add(record);
    if (record.nextDirty === null)
      assert(user.lastDirty === record, `I2: the dirty list of ${name} ends elsewhere`);
  }
  let records = 0;
  let live = 0;
  let dirty = 0;
  let inFlight = 0;
  user.forEach((record) => {
    assert(partition.records[record.slot] === record, `record ${record.slot} is not in its slot`);
    assert(record.user === user, `record ${record.slot} is with another user`);
    assert(
      user.find(record.hash, record.lo, record.hi, record.meta & 7) === record,
      `record ${record.slot} is hidden`,
    );
    assert((record.meta & ~META_ENTRY_MASK) === 0, `record ${record.slot} has meta ${record.meta}`);
    assert(record.mentionCount >= 0, `record ${record.slot} has ${record.mentionCount} mentions`);
    assert(
      sendable.has(record) === (record.dirty && !record.inFlight),
      `I2: record ${record.slot}: dirty list`,
    );
    if (record.deleted) {
      const rest =
        record.messageLo | record.messageHi | record.mentionCount | record.fingerprint | record.pinLo;
      assert((rest | record.pinHi | (record.meta & ~7)) === 0, `tombstone ${record.slot} is not empty`);
      const waits = record.dirty || record.inFlight || user.keptTombstones > 0;
      assert(waits, `tombstone ${record.slot} waits for nothing`);
    } else live++;
    records++;
    if (record.dirty) dirty++;
    if (record.inFlight) inFlight++;
  });
  assert(user.recordCount === records, `${name} counts ${user.recordCount} records, and has ${records}`);
  assert(user.liveCount === live, `${name} counts ${user.liveCount} entries, and has ${live}`);
  assert(user.dirtyCount === dirty, `${name} counts ${user.dirtyCount} dirty records, and has ${dirty}`);
  assert(inFlight === 0 || user.groupsInFlight > 0, `I3: ${name} has ${inFlight} records in no flight`);
  assert(!user.wiping || user.groupsInFlight > 0, `I4: the wipe of ${name} is nowhere`);
  assert(user.keptTombstones === 0 || user.hold !== 0, `${name} keeps tombstones without a hold`);
  const isUnsaved = dirty > 0 || user.wipe;
  assert(user.dirty === (isUnsaved || user.groupsInFlight > 0), `${name} is dirty: ${user.dirty}`);
  assert((user.queue !== null) === isQueued, `I1: ${name} and its queue disagree`);
  assert(!isQueued || isUnsaved, `I1: ${name} is queued and has nothing to write`);
  assert(!isUnsaved || isQueued || user.groupsInFlight > 0, `I1: ${name} is dirty and nobody will write it`);
  return records;
}

export function checkHeap(partition: HeapOperations): void {
  const listed = new Set<HeapUser>();
  checkList('the active list', partition.active, listed);
  checkList('the passive list', partition.passive, listed);
  const queued = checkQueues(partition);
  let users = 0;
  const unsaved: [number, number] = [0, 0];
  let records = 0;
  for (const user of partition.users) {
    if (user === null) continue;
    users++;
    assert(listed.has(user), `I1: user ${user.slot} is in no LRU list`);
    assert(partition.findUser(user.hash, user.lo, user.hi) === user.slot, `user ${user.slot} is not found`);
    records += checkUser(partition, user, queued.has(user));
    if (user.dirty) unsaved[user.epoch]!++;
  }
  assert(listed.size === users, `${listed.size} users in LRU lists, and ${users} in slots`);
  assert(partition.userCount === users, `${partition.userCount} users, and ${users} in slots`);
  assert(partition.recordCount === records, `${partition.recordCount} records, and users have ${records}`);
  assert(
    records <= partition.options.recordsMax,
    `${records} records, and ${partition.options.recordsMax} are the most`,
  );
  for (const parity of [0, 1]) {
    const counted = partition.unsavedUsers(parity);
    assert(
      counted === unsaved[parity],
      `${counted} users are unsaved of parity ${parity}, and found ${unsaved[parity]}`,
    );
  }
  assert(
    partition.watched.size <= partition.options.watchedMax,
    `${partition.watched.size} users are watched`,
  );
  partition.mentions.check();
}
