/**
 * Plays the shard around one real partition: loads what it lacks, makes room, flushes, and compares every answer
 * with the model. What takes time in reality (loads, lists, flushes) is done a piece at a time between other things.
 */
import { expect } from 'vitest';
import { assert } from '../../engine/layout.js';
import {
  ENTRY,
  LIST_PART_ENTRIES,
  OP_ACK_BULK,
  OP_BADGE,
  OP_DELETE_USER,
  OP_GET,
  OP_LIST,
  OP_MENTION,
  REPLY,
  REPLY_CHANGED,
  REPLY_ENTRY,
  REPLY_WORDS_MAX,
  REQUEST_WITH_ENTRY,
  ROW,
} from '../../engine/messages.js';
import {
  type Engine,
  NO_DUE,
  OUTCOME_CURSOR,
  OUTCOME_DONE,
  OUTCOME_HELD,
  OUTCOME_NEEDS_ROWS,
  OUTCOME_NEEDS_SPACE,
  OUTCOME_NEEDS_USER,
  type Partition,
  type PartitionOptions,
  type UserSlot,
} from '../../engine/partition.js';
import { FakeStore } from './fake-store.js';
import { expectEntry, FlushTraffic, hashOf } from './flush-traffic.js';
import type { Listing, Load } from './held-users.js';
import { JournalTraffic } from './journal-traffic.js';
import { decodeEntry, encode, keyOf, type Operation, PartitionModel } from './partition-model.js';
import type { Random } from './random.js';

const BUSY_ATTEMPTS = 4;
const HOLD_LOAD = 1;
const HOLD_LISTING = 2;

export class PartitionHarness {
  readonly model: PartitionModel;
  readonly store = new FakeStore();
  readonly flushes: FlushTraffic;
  readonly journal: JournalTraffic;
  readonly counts = {
    answered: 0,
    busy: 0,
    loads: 0,
    failedLoads: 0,
    evicted: 0,
    crashes: 0,
    replayWaits: 0,
  };
  partition: Partition;
  #tick: number;
  #requestId = 0;
  #memory: SharedArrayBuffer | null;
  readonly #loads = new Map<UserSlot, Load>();
  /** Users whose last load failed: rows may be there, and no version. */
  readonly #unknown = new Set<bigint>();
  readonly #listings = new Map<UserSlot, Listing>();
  readonly #out = new Int32Array(REPLY_WORDS_MAX + 8);

  constructor(
    readonly engine: Engine,
    readonly options: PartitionOptions,
    readonly random: Random,
  ) {
    const bytes = engine.sharedBytes(options);
    this.#memory = bytes === 0 ? null : new SharedArrayBuffer(bytes);
    this.partition = engine.attach(options, this.#memory);
    this.model = new PartitionModel(options.lastWrite, options.watchedMax);
    this.flushes = new FlushTraffic(this.store, this.model, random);
    this.journal = new JournalTraffic(this.model, random);
    this.#tick = (random.next(1 << 16) << 16) | 0; // also where ticks wrap
    this.partition.setTick(this.#tick);
  }

  /** One operation arrives. */
  run(operation: Operation): void {
    const slot = this.partition.findUser(...hashOf(operation.user));
    const held = this.#loads.get(slot) ?? this.#listings.get(slot);
    const outcome = this.#execute(operation, false);
    if (outcome !== OUTCOME_HELD) return;
    expect(held, 'who is held is waited for').toBeDefined();
    held!.waiting.push(operation);
  }

  /** Runs it as far as it goes; what it lacks is asked for. */
  #execute(operation: Operation, rowsKnown: boolean): number {
    for (let attempt = 0; ; attempt++) {
      const { partition } = this;
      const [hash, lo, hi] = hashOf(operation.user);
      const words = encode(operation, ++this.#requestId);
      const outAt = this.random.next(8);
      const before = partition.findUser(hash, lo, hi);
      const wasComplete = before !== 0 && partition.isComplete(before);
      const likely = this.random.next(partition.options.recordsMax + 1);
      const outcome = partition.execute(hash, words, 0, this.#out, outAt, rowsKnown, likely);
      if (outcome === OUTCOME_DONE) {
        this.#compare(operation, outAt, wasComplete);
      } else if (outcome === OUTCOME_NEEDS_SPACE) {
        const records = operation.op === OP_ACK_BULK ? operation.items.length : 1;
        const slot = partition.findUser(hash, lo, hi);
        // The user must still be there when the room is.
        partition.setHold(slot, HOLD_LOAD);
        const room = this.#makeRoom(records, operation.op === OP_MENTION);
        partition.setHold(slot, 0);
        if (attempt < BUSY_ATTEMPTS && room) continue;
        this.counts.busy++;
      } else if (outcome === OUTCOME_NEEDS_ROWS || outcome === OUTCOME_NEEDS_USER) {
        expect(rowsKnown && outcome === OUTCOME_NEEDS_ROWS, 'rows are asked for again').toBe(false);
        this.#startLoad(operation, outcome === OUTCOME_NEEDS_USER);
      } else if (outcome === OUTCOME_CURSOR) {
        this.#startListing(operation);
      }
      return outcome;
    }
  }

  /** Room, now or after a flush of everything. */
  #makeRoom(records: number, forMention: boolean): boolean {
    const before = this.partition.evictedUserCount;
    let room = this.partition.makeRoom(records, forMention);
    if (!room && this.random.chance(70)) {
      this.flush(1000, true);
      const failPercent = this.random.pick([0, 0, 40]);
      while (this.answerFlush(failPercent));
      room = this.partition.makeRoom(records, forMention);
    }
    this.counts.evicted += this.partition.evictedUserCount - before;
    if (room) {
      expect(this.partition.freeRecordCount).toBeGreaterThanOrEqual(records);
      expect(this.partition.userCount).toBeLessThan(this.options.usersMax);
    }
    return room;
  }

  #compare(operation: Operation, outAt: number, wasComplete: boolean): void {
    const out = this.#out;
    const expected = this.model.apply(operation, wasComplete);
    const head = out[outAt + REPLY.HEAD]!;
    const got = [
      head & 0xff,
      (head >>> 8) & 0xff,
      (head & REPLY_CHANGED) !== 0,
      out[outAt + REPLY.REQUEST_ID],
      out[outAt + REPLY.MENTION_COUNT],
      out[outAt + REPLY.VERSION],
    ];
    const { status, changed, count, version } = expected;
    const wanted = [operation.op, status, changed, this.#requestId, count, version];
    if (got.some((value, i) => value !== wanted[i])) {
      expect(got, 'operation, status, changed, request id, count, version').toEqual(wanted);
    }
    this.counts.answered++;
    const isBulk = operation.op === OP_ACK_BULK;
    const asked = isBulk || (operation.flags & REQUEST_WITH_ENTRY) !== 0 || operation.op === OP_GET;
    const shown = isBulk ? expected.entries : expected.entry !== null && asked ? [expected.entry] : [];
    expect((head & REPLY_ENTRY) !== 0).toBe(shown.length > 0);
    shown.forEach((entry, i) => {
      expectEntry(out, outAt + REPLY.WORDS + i * ENTRY.WORDS, entry);
    });
    if (!expected.changed) return;
    this.#compareChanges(operation, expected.changedKeys);
    this.journal.log(this.partition);
  }

  #compareChanges(operation: Operation, keys: string[]): void {
    const { partition } = this;
    expect(partition.changedUser).toBe(partition.findUser(...hashOf(operation.user)));
    const words = new Int32Array(ENTRY.WORDS);
    const user = this.model.user(operation.user);
    const got: string[] = [];
    for (let i = 0; i < partition.changedCount; i++) {
      partition.writeEntry(partition.changed[i]!, words, 0);
      const { channel, type, version } = decodeEntry(words, 0);
      const key = keyOf(channel, type);
      got.push(key);
      const entry = user.entries.get(key);
      if (entry !== undefined) expectEntry(words, 0, entry);
      else expect(words.slice(ENTRY.MESSAGE_LO, ENTRY.META).every((word) => word === 0)).toBe(true);
      expect(version).toBe(entry?.version ?? user.deletedVersion);
    }
    expect(got, 'the records that changed, in the order of their versions').toEqual(keys);
  }

  #startLoad(operation: Operation, all: boolean): void {
    const { partition } = this;
    const user = this.#admit(operation.user);
    if (user === 0) {
      this.counts.busy++;
      return;
    }
    const keys =
      operation.op === OP_DELETE_USER
        ? []
        : operation.op === OP_ACK_BULK
          ? operation.items.map((item) => keyOf(item.channel, item.type))
          : [keyOf(operation.channel, operation.type)];
    const snapshot = this.random.chance(50) ? this.store.snapshot(operation.user, all ? null : keys) : null;
    expect(this.#loads.has(user) || this.#listings.has(user), 'a user is loaded once at a time').toBe(false);
    partition.setHold(user, HOLD_LOAD);
    this.#loads.set(user, {
      user,
      id: operation.user,
      all,
      keys,
      waiting: [operation],
      snapshot,
      rows: null,
      versions: [0, 0],
      attempts: 0,
    });
    this.counts.loads++;
  }

  #admit(id: bigint): UserSlot {
    const user = this.partition.admitUser(...hashOf(id));
    if (user !== 0 || !this.#makeRoom(0, false)) return user;
    return this.partition.admitUser(...hashOf(id));
  }

  /** One part of one load arrives, or its failure. */
  stepLoad(mayFail: boolean): boolean {
    const { partition, random } = this;
    if (this.#loads.size === 0) return false;
    const load = random.pick([...this.#loads.values()]);
    if (mayFail && random.chance(10)) {
      this.#endLoad(load, false);
      this.counts.failedLoads++;
      return true;
    }
    if (load.rows === null) {
      const { version, deletedVersion, rows } =
        load.snapshot ?? this.store.snapshot(load.id, load.all ? null : load.keys);
      load.rows = [...rows.values()];
      load.versions = [version, deletedVersion];
    }
    for (let parts = 1 + random.next(3); parts > 0 && load.rows.length > 0; parts--) {
      if (!partition.insertRow(load.user, load.rows[0]!, 0)) {
        if (this.#makeRoom(1, false)) continue;
        if (load.attempts++ > BUSY_ATTEMPTS) this.#endLoad(load, false);
        return true;
      }
      load.rows.shift();
    }
    if (load.rows.length === 0) this.#endLoad(load, true);
    return true;
  }

  #endLoad(load: Load, ok: boolean): void {
    const { partition } = this;
    this.#loads.delete(load.user);
    if (ok) {
      partition.applyUserRow(load.user, ...load.versions);
      if (load.all) partition.markComplete(load.user);
      this.#unknown.delete(load.id);
    } else this.#unknown.add(load.id);
    partition.setHold(load.user, 0);
    if (ok) this.#execute(load.waiting.shift()!, true);
    else {
      this.counts.busy++;
      load.waiting.shift();
      partition.dropIfEmpty(load.user);
    }
    for (const operation of load.waiting) this.run(operation);
  }

  #startListing(operation: Operation): void {
    const { partition } = this;
    const id = operation.user;
    const user = partition.findUser(...hashOf(id));
    const model = this.model.user(id);
    expect(partition.isComplete(user)).toBe(true);
    expect(partition.versionOf(user)).toBe(model.version);
    expect(this.model.isDeletedVersion(id, partition.deletedVersionOf(user), true)).toBe(true);
    partition.setHold(user, HOLD_LISTING);
    const sorted = operation.op === OP_LIST;
    const since = Number(operation.argument);
    const entries = [...model.entries.values()];
    const cursor = partition.createCursor();
    cursor.begin(user, since, sorted);
    this.#listings.set(user, {
      user,
      id,
      operation,
      waiting: [],
      cursor,
      expected: sorted ? this.model.list(id, since).map((entry) => ({ ...entry })) : [],
      mentions: Math.min(
        entries.reduce((sum, entry) => sum + entry.count, 0),
        0x7fffffff,
      ),
      mentioned: entries.filter((entry) => entry.count > 0).length,
      collected: false,
    });
  }

  /** A slice of one list or badge. */
  stepListing(): boolean {
    const { random } = this;
    if (this.#listings.size === 0) return false;
    const listing = random.pick([...this.#listings.values()]);
    const { cursor, expected } = listing;
    if (!listing.collected) {
      if (!cursor.advance(1 + random.next(4))) return true;
      listing.collected = true;
      expect(cursor.mentionCount).toBe(listing.mentions);
      expect(cursor.mentionedEntries).toBe(listing.mentioned);
      if (listing.operation.op === OP_LIST) expect(cursor.remaining).toBe(expected.length);
      return true;
    }
    if (listing.operation.op !== OP_BADGE && expected.length > 0) {
      const words = new Int32Array(LIST_PART_ENTRIES * ENTRY.WORDS);
      const count = cursor.write(words, 0, 1 + random.next(3));
      expect(count).toBeGreaterThan(0);
      expected.splice(0, count).forEach((entry, i) => {
        expectEntry(words, i * ENTRY.WORDS, entry);
      });
      expect(cursor.remaining).toBe(expected.length);
      if (expected.length > 0) return true;
    }
    this.#listings.delete(listing.user);
    this.partition.setHold(listing.user, 0);
    this.counts.answered++;
    for (const operation of listing.waiting) this.run(operation);
    return true;
  }

  tick(ticks: number): void {
    this.#tick = (this.#tick + ticks) | 0;
    this.partition.setTick(this.#tick);
  }

  flush(steps: number, force: boolean): void {
    this.flushes.send(this.partition, steps, force);
  }

  answerFlush(failPercent: number): boolean {
    return this.flushes.answer(this.partition, failPercent);
  }

  /** Another owner attaches the same memory. */
  handOver(): void {
    if (this.#memory === null || this.#listings.size > 0) return;
    this.partition = this.engine.attach(this.options, this.#memory);
    this.partition.setTick(this.#tick);
  }

  /** Somebody needs the user to be saved. */
  hurry(id: bigint): void {
    const slot = this.partition.findUser(...hashOf(id));
    if (slot === 0) return;
    const isSaved = this.partition.hurry(slot);
    expect(isSaved).toBe(isSaved && !this.flushes.isUnderWay(slot));
    if (isSaved) this.#expectStored(id);
  }

  /** A cold start: only what the store holds is left. After `drain`. */
  restart(): void {
    this.#attachEmpty();
    this.model.restart();
    this.flushes.restart();
    this.journal.clear();
  }

  #attachEmpty(): void {
    if (this.#memory !== null) this.#memory = new SharedArrayBuffer(this.#memory.byteLength);
    this.partition = this.engine.attach(this.options, this.#memory);
    this.partition.setTick(this.#tick);
  }

  /** Killed, and started again with what the journal and the store have; also killed while it replays, or replayed twice. */
  crash(): void {
    const { random, journal, flushes } = this;
    this.#loads.clear();
    this.#listings.clear();
    this.model.crash();
    flushes.isReplaying = true;
    journal.beginReplay();
    let images: readonly Int32Array[] = [];
    do {
      journal.replay(this.partition, images.slice(0, random.next(images.length + 1)), flushes);
      this.#attachEmpty();
      flushes.crash();
      images = journal.images;
    } while (random.chance(20));
    // An owner that ends while it replays takes along what it knows of wipes: its heir begins with the first image.
    while (random.chance(20)) {
      journal.replay(this.partition, images.slice(0, random.next(images.length + 1)), flushes);
      this.handOver();
    }
    journal.replay(this.partition, images, flushes);
    if (random.chance(20)) journal.replay(this.partition, images, flushes);
    flushes.isReplaying = false;
    journal.endReplay(this.partition);
    this.counts.crashes++;
  }

  evict(records: number, forMention: boolean): void {
    const before = this.partition.evictedUserCount;
    this.partition.makeRoom(records, forMention);
    this.counts.evicted += this.partition.evictedUserCount - before;
  }

  /** After every step. */
  check(users: readonly bigint[]): void {
    const { partition, options } = this;
    partition.check();
    const { recordCount, freeRecordCount, userCount } = partition;
    assert(
      recordCount + freeRecordCount === options.recordsMax,
      `${recordCount} records, ${freeRecordCount} free`,
    );
    assert(
      freeRecordCount >= 0 && userCount <= options.usersMax,
      `${freeRecordCount} free, ${userCount} users`,
    );
    assert(
      partition.dirtyUserCount > 0 || partition.nextDue() === NO_DUE,
      'a flush is due, and nobody is dirty',
    );
    for (const id of users) {
      const slot = partition.findUser(...hashOf(id));
      if (slot === 0) continue;
      const isHeld = this.#loads.has(slot) || this.#listings.has(slot);
      assert((partition.holdOf(slot) !== 0) === isHeld, `user ${id} is held: ${partition.holdOf(slot)}`);
      assert(partition.isWatched(slot) === this.model.watched.has(id), `user ${id} is watched, or not`);
      const version = partition.versionOf(slot);
      const isRight = version === this.model.user(id).version || (version === 0 && this.#unknown.has(id));
      assert(isHeld || isRight, `user ${id} has version ${version}`);
    }
  }

  /** Ends all that is under way, writes all that is dirty, evicts everybody: the store must hold what the model does. */
  drain(users: readonly bigint[]): void {
    const { partition, options } = this;
    for (let step = 0; this.#loads.size + this.#listings.size > 0; step++) {
      expect(step, 'loads and lists come to an end').toBeLessThan(10_000);
      this.stepListing();
      this.stepLoad(false);
      this.flush(1000, true);
      while (this.answerFlush(0));
    }
    for (let step = 0; partition.dirtyUserCount > 0; step++) {
      expect(step, 'everything dirty is written some time').toBeLessThan(100);
      this.flush(1000, true);
      while (this.answerFlush(0));
    }
    expect(partition.nextDue()).toBe(NO_DUE);
    expect(partition.unsavedUsers(0) + partition.unsavedUsers(1)).toBe(0);
    for (const id of users) this.#expectStored(id);
    for (let call = 0; call < 3; call++) {
      partition.makeRoom(options.recordsMax, false);
      partition.sweep(1000);
    }
    expect(partition.freeRecordCount).toBe(options.recordsMax);
    this.check(users);
  }

  #expectStored(id: bigint): void {
    const { version, deletedVersion, rows } = this.store.snapshot(id, null);
    const user = this.model.user(id);
    expect(version).toBe(user.version);
    expect(this.model.isDeletedVersion(id, deletedVersion, true), `deleted ${deletedVersion}`).toBe(true);
    expect([...rows.keys()].sort()).toEqual([...user.entries.keys()].sort());
    for (const [key, entry] of user.entries) expectEntry(rows.get(key)!, ROW.ENTRY, entry);
  }
}
