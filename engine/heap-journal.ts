/**
 * A heap partition and the journal: images of changes, images carried to a newer epoch, and images applied again. The
 * USER_VERSION of a user's images never falls, as slab-journal.ts explains.
 */
import { hashRecord } from './hash.js';
import type { HeapRecord, HeapUser } from './heap-objects.js';
import { HeapOperations } from './heap-operations.js';
import { broken, META_DELETED, META_TYPE_MASK, META_WIPE } from './layout.js';
import { ENTRY, IMAGE, ROW } from './messages.js';
import type { RecordSlot, UserSlot } from './partition.js';
import { RestoredWipes } from './restored-wipes.js';
import { isLater, laterVersion } from './versions.js';

const ENTRY_AT = IMAGE.ROW + ROW.ENTRY;

export abstract class HeapJournal extends HeapOperations {
  readonly #wipes = new RestoredWipes();
  /** Where `carryUnsaved` goes on: all users in the order of their slots, round and round. */
  #carrySlot: UserSlot = 0;
  /** What its user had not saved when its turn came; null = it has not come. */
  #carried: HeapRecord[] | null = null;

  setEpoch(parity: number): void {
    if (this.epoch === parity) return;
    if (this.unsaved[parity] !== 0) broken('users are unsaved of an epoch gone', this.unsaved[parity]);
    this.epoch = parity;
    this.#carried = null;
    this.#wipes.clear();
  }

  writeImage(slot: RecordSlot, out: Int32Array, at: number): void {
    this.#writeImage(this.records[slot]!, out, at);
  }

  #writeImage(record: HeapRecord, out: Int32Array, at: number): void {
    out[at + IMAGE.USER_LO] = record.user.lo;
    out[at + IMAGE.USER_HI] = record.user.hi;
    out[at + IMAGE.USER_VERSION] = record.user.version;
    record.writeRow(out, at + IMAGE.ROW);
  }

  writeWipeImage(slot: UserSlot, out: Int32Array, at: number): void {
    const user = this.userAt(slot);
    out.fill(0, at, at + IMAGE.WORDS);
    out[at + IMAGE.USER_LO] = user.lo;
    out[at + IMAGE.USER_HI] = user.hi;
    out[at + IMAGE.USER_VERSION] = user.version;
    out[at + ENTRY_AT + ENTRY.META] = META_WIPE;
    out[at + ENTRY_AT + ENTRY.VERSION] = user.wipeVersion;
  }

  carryUnsaved(out: Int32Array, at: number, max: number, steps: number): number {
    const other = this.epoch ^ 1;
    let written = 0;
    for (; steps > 0 && written < max && this.unsaved[other]! > 0; steps--) {
      const user = this.users[this.#carrySlot] ?? null;
      if (user === null || !user.dirty || user.epoch !== other) {
        this.#toNextUser();
        continue;
      }
      this.#carried ??= unsavedOf(user);
      if (user.wipe || user.wiping) {
        const records = unsavedOf(user).filter((record) => isLater(record.version, user.wipeVersion));
        const needed = records.length + 1;
        if (needed > max - written) {
          if (written > 0 && needed <= max) break;
          this.#toNextUser();
          continue;
        }
        this.writeWipeImage(user.slot, out, at + written++ * IMAGE.WORDS);
        for (const record of records) this.#writeImage(record, out, at + written++ * IMAGE.WORDS);
        steps -= needed;
        this.#carried = [];
      }
      const record = this.#carried.pop();
      if (record === undefined) {
        this.moveToEpoch(user, this.epoch);
        user.sentEpoch = this.epoch; // the flight that ends later must not take it back
        this.#toNextUser();
      } else if (this.records[record.slot] === record && (record.dirty || record.inFlight)) {
        this.#writeImage(record, out, at + written++ * IMAGE.WORDS);
      }
    }
    return written;
  }

  #toNextUser(): void {
    this.#carried = null;
    this.#carrySlot = this.#carrySlot + 1 < this.users.length ? this.#carrySlot + 1 : 0;
  }

  restoreImage(hash: number, words: Int32Array, at: number): boolean {
    const userLo = words[at + IMAGE.USER_LO]!;
    const userHi = words[at + IMAGE.USER_HI]!;
    const entry = at + ENTRY_AT;
    const meta = words[entry + ENTRY.META]!;
    const version = words[entry + ENTRY.VERSION]!;
    const userVersion = words[at + IMAGE.USER_VERSION]!;
    const found = this.find(hash, userLo, userHi);
    if ((meta & META_WIPE) !== 0) {
      if (found !== null && found.groupsInFlight > 0) return false;
      const slot = this.admitUser(hash, userLo, userHi);
      if (slot === 0) return false;
      this.#wipes.add(userLo, userHi, version);
      this.#restoreWipe(this.userAt(slot), version, userVersion);
      return true;
    }
    if (this.#wipes.covers(userLo, userHi, version)) return true;
    const lo = words[entry + ENTRY.CHANNEL_LO]!;
    const hi = words[entry + ENTRY.CHANNEL_HI]!;
    const type = meta & META_TYPE_MASK;
    const recordHash = hashRecord(hash, lo, hi, type);
    let record = found?.find(recordHash, lo, hi, type) ?? null;
    if (record !== null && !isLater(version, record.version)) {
      if (raiseVersions(record.user, userVersion, meta)) this.markDirty(record.user, record);
      return true;
    }
    if (record === null) {
      if (this.freeRecordCount === 0) return false;
      const slot = this.admitUser(hash, userLo, userHi);
      if (slot === 0) return false;
      record = this.createRecord(this.userAt(slot), recordHash, lo, hi, type);
      record.deleted = true;
    }
    const { user } = record;
    const deleted = (meta & META_DELETED) !== 0;
    user.liveCount += (record.deleted ? 1 : 0) - (deleted ? 1 : 0);
    record.readRow(words, at + IMAGE.ROW);
    record.deleted = deleted;
    record.stored = true;
    raiseVersions(user, userVersion, meta);
    this.markDirty(user, record);
    return true;
  }

  /** The user as its deletion leaves it, but for what is newer: that is all to be written again, behind the wipe. */
  #restoreWipe(user: HeapUser, version: number, userVersion: number): void {
    while (user.shiftDirty() !== null);
    user.dirtyCount = 0;
    user.forEach((record) => {
      record.dirty = false;
      if (!isLater(version, record.version)) return;
      if (!record.deleted) user.liveCount--;
      this.freeRecord(record);
    });
    user.forEach((record) => {
      this.markDirty(user, record);
    });
    raiseVersions(user, userVersion, META_WIPE);
    user.wipeVersion = version;
    user.known = true;
    user.complete = true;
    user.wipe = true;
    this.userChanged(user);
  }
}

/** As in slab-journal.ts. */
function raiseVersions(user: HeapUser, userVersion: number, meta: number): boolean {
  const isDeletion = (meta & (META_DELETED | META_WIPE)) !== 0;
  const raised =
    isLater(userVersion, user.version) || (isDeletion && isLater(userVersion, user.deletedVersion));
  if (!raised) return false;
  user.version = laterVersion(user.version, userVersion);
  if (isDeletion) user.deletedVersion = userVersion;
  return true;
}

/** Records with a change that the store has not confirmed. */
function unsavedOf(user: HeapUser): HeapRecord[] {
  const records: HeapRecord[] = [];
  user.forEach((record) => {
    if (record.dirty || record.inFlight) records.push(record);
  });
  return records;
}
