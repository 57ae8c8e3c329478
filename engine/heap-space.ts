/** The users and records of a heap partition: found, made, freed, marked dirty. The operations on top: heap-operations.ts. */

import { hashRecord } from './hash.js';
import { DueQueue, HeapRecord, HeapUser, UserList } from './heap-objects.js';
import { assert, broken, META_TYPE_MASK } from './layout.js';
import { ENTRY } from './messages.js';
import type { PartitionOptions, RecordSlot, UserSlot } from './partition.js';
import { RETRY_QUEUES } from './retry.js';
import { laterVersion } from './versions.js';

const SLOTS_MAX = (1 << 25) - 1;

/** A user id as one value. Slow, and used only where a user is admitted or watched. */
function watchKey(lo: number, hi: number): bigint {
  return (BigInt(hi) << 32n) | BigInt(lo >>> 0);
}

export abstract class HeapSpace {
  readonly options: PartitionOptions;
  tick = 0;
  evictedUserCount = 0;
  /** Parity of the journal's epoch, and dirty users by the parity of theirs. */
  epoch = 0;
  readonly unsaved: [number, number] = [0, 0];
  /** By slot; null where the slot is free. Slot 0 is never used. */
  readonly users: (HeapUser | null)[] = [null];
  readonly records: (HeapRecord | null)[] = [null];
  readonly freeUserSlots: UserSlot[] = [];
  readonly freeRecordSlots: RecordSlot[] = [];
  readonly usersByHash = new Map<number, HeapUser>();
  readonly watched = new Set<bigint>();
  readonly active = new UserList();
  readonly passive = new UserList();
  /** Dirty users: chosen for eviction, or late because they had to wait; in order of their first change; failed. */
  readonly urgent = new DueQueue();
  readonly pending = new DueQueue();
  readonly retries = Array.from({ length: RETRY_QUEUES }, () => new DueQueue());

  constructor(options: PartitionOptions) {
    const { recordsMax, usersMax } = options;
    assert(
      recordsMax >= 1 && recordsMax <= SLOTS_MAX,
      `${recordsMax} records in a partition, not 1 to ${SLOTS_MAX}`,
    );
    assert(usersMax >= 1 && usersMax <= SLOTS_MAX, `${usersMax} users in a partition, not 1 to ${SLOTS_MAX}`);
    this.options = options;
  }

  get recordCount(): number {
    return this.records.length - 1 - this.freeRecordSlots.length;
  }
  get freeRecordCount(): number {
    return this.options.recordsMax - this.recordCount;
  }
  get userCount(): number {
    return this.users.length - 1 - this.freeUserSlots.length;
  }
  get hasFreeUser(): boolean {
    return this.userCount < this.options.usersMax;
  }

  /** A deleted user stays in its slot: what is on its way of it counts here, too. */
  get dirtyUserCount(): number {
    return this.unsaved[0] + this.unsaved[1];
  }
  unsavedUsers(parity: number): number {
    return this.unsaved[parity]!;
  }

  setTick(tick: number): void {
    this.tick = tick;
  }

  /** The user of a slot that the caller has been given. */
  protected userAt(slot: UserSlot): HeapUser {
    const user = this.users[slot] ?? null;
    if (user === null) broken('no user has the slot', slot);
    return user;
  }

  protected find(hash: number, lo: number, hi: number): HeapUser | null {
    let user = this.usersByHash.get(hash) ?? null;
    while (user !== null && (user.lo !== lo || user.hi !== hi)) user = user.chained;
    return user;
  }

  findUser(hash: number, lo: number, hi: number): UserSlot {
    return this.find(hash, lo, hi)?.slot ?? 0;
  }

  admitUser(hash: number, lo: number, hi: number): UserSlot {
    const found = this.find(hash, lo, hi);
    if (found !== null) return found.slot;
    if (!this.hasFreeUser) return 0;
    const slot = this.freeUserSlots.pop() ?? this.users.length;
    const user = new HeapUser(slot, hash, lo, hi, this.passive);
    this.users[slot] = user;
    user.chained = this.usersByHash.get(hash) ?? null;
    this.usersByHash.set(hash, user);
    user.watched = this.watched.size > 0 && this.watched.has(watchKey(lo, hi));
    user.touched = this.tick;
    this.passive.append(user);
    return slot;
  }

  protected removeUser(user: HeapUser): void {
    if (user.recordCount > 0 || user.queue !== null) broken('a user is freed with something left', user.slot);
    user.list.remove(user);
    const first = this.usersByHash.get(user.hash)!;
    if (first !== user) {
      let before = first;
      while (before.chained !== user) before = before.chained!;
      before.chained = user.chained;
    } else if (user.chained === null) this.usersByHash.delete(user.hash);
    else this.usersByHash.set(user.hash, user.chained);
    this.users[user.slot] = null;
    this.freeUserSlots.push(user.slot);
  }

  dropIfEmpty(slot: UserSlot): void {
    const user = this.userAt(slot);
    if (user.recordCount === 0 && !user.known && !user.dirty) this.removeUser(user);
  }

  setHold(slot: UserSlot, hold: number): void {
    const user = this.userAt(slot);
    user.hold = hold;
    if (hold === 0 && user.keptTombstones > 0) {
      user.keptTombstones = 0;
      user.forEach((record) => {
        if (record.deleted && !record.dirty && !record.inFlight) this.freeRecord(record);
      });
    }
  }
  holdOf(slot: UserSlot): number {
    return this.userAt(slot).hold;
  }
  isWatched(slot: UserSlot): boolean {
    return this.userAt(slot).watched;
  }
  isComplete(slot: UserSlot): boolean {
    return this.userAt(slot).complete;
  }
  versionOf(slot: UserSlot): number {
    return this.userAt(slot).version >>> 0;
  }
  deletedVersionOf(slot: UserSlot): number {
    return this.userAt(slot).deletedVersion >>> 0;
  }

  applyUserRow(slot: UserSlot, version: number, deletedVersion: number): void {
    const user = this.userAt(slot);
    if (user.known) return;
    user.version = laterVersion(user.version, version | 0);
    user.deletedVersion = laterVersion(user.deletedVersion, deletedVersion | 0);
    user.known = true;
  }

  insertRow(slot: UserSlot, words: Int32Array, at: number): boolean {
    const user = this.userAt(slot);
    const lo = words[at + ENTRY.CHANNEL_LO]!;
    const hi = words[at + ENTRY.CHANNEL_HI]!;
    const type = words[at + ENTRY.META]! & META_TYPE_MASK;
    const hash = hashRecord(user.hash, lo, hi, type);
    if (user.find(hash, lo, hi, type) !== null) return true;
    if (this.freeRecordCount === 0) return false;
    const record = this.createRecord(user, hash, lo, hi, type);
    record.readRow(words, at);
    record.stored = true;
    user.liveCount++;
    return true;
  }

  markComplete(slot: UserSlot): void {
    const user = this.userAt(slot);
    if (!user.known) broken('a user is complete before its version is known', slot);
    user.complete = true;
  }

  writeEntry(slot: RecordSlot, out: Int32Array, at: number): void {
    this.records[slot]!.writeEntry(out, at);
  }

  /** The caller has seen to the room, and counts it as live. */
  protected createRecord(user: HeapUser, hash: number, lo: number, hi: number, type: number): HeapRecord {
    const slot = this.freeRecordSlots.pop() ?? this.records.length;
    const record = new HeapRecord(slot, user, hash, lo, hi, type);
    this.records[slot] = record;
    user.link(record);
    return record;
  }

  protected freeRecord(record: HeapRecord): void {
    record.user.unlink(record);
    this.records[record.slot] = null;
    this.freeRecordSlots.push(record.slot);
  }

  /** The user asked for something itself: to the newest end of the active list, unless it moved a moment ago. */
  protected touchUser(user: HeapUser): void {
    const isActive = user.list === this.active;
    if (isActive && ((this.tick - user.touched) | 0) < this.options.touchTicks) return;
    user.touched = this.tick;
    user.list.remove(user);
    this.active.append(user);
  }

  /** The user has something to write, in `flushDelayTicks` at the latest. */
  protected userChanged(user: HeapUser): void {
    if (!user.dirty) {
      user.dirty = true;
      user.epoch = this.epoch;
      this.unsaved[user.epoch]!++;
    }
    if (user.queue === null) this.pending.insert(user, (this.tick + this.options.flushDelayTicks) | 0);
  }

  protected markSaved(user: HeapUser): void {
    user.dirty = false;
    user.attempts = 0;
    this.unsaved[user.epoch]!--;
  }

  protected moveToEpoch(user: HeapUser, parity: number): void {
    this.unsaved[user.epoch]!--;
    this.unsaved[parity]!++;
    user.epoch = parity;
  }

  protected recordChanged(user: HeapUser, record: HeapRecord): void {
    user.version = (user.version + 1) | 0;
    record.version = user.version;
    this.markDirty(user, record);
  }

  /** Sees that the record will be written. */
  protected markDirty(user: HeapUser, record: HeapRecord): void {
    if (!record.dirty) {
      record.dirty = true;
      user.dirtyCount++;
      if (!record.inFlight) user.pushDirty(record);
    }
    this.userChanged(user);
  }

  /** False if no more users can be watched. */
  protected watch(lo: number, hi: number): boolean {
    const key = watchKey(lo, hi);
    if (!this.watched.has(key) && this.watched.size >= this.options.watchedMax) return false;
    this.watched.add(key);
    return true;
  }
  protected unwatch(lo: number, hi: number): void {
    this.watched.delete(watchKey(lo, hi));
  }
}
