/** What is on its way between a partition and the store: checked when it is sent, stored and answered later. */
import { expect } from 'vitest';
import { hashUser } from '../../engine/hash.js';
import { META_DELETED, META_ENTRY_MASK } from '../../engine/layout.js';
import {
  ENTRY,
  FLUSH,
  FLUSH_ROW,
  FLUSH_WIPE,
  FLUSHED,
  KIND_FLUSHED,
  ROW,
  STORE_WORDS_MAX,
} from '../../engine/messages.js';
import type { Partition, UserSlot } from '../../engine/partition.js';
import { type FakeStore, flushClock } from './fake-store.js';
import { decodeEntry, joinId, keyOf, type ModelEntry, type PartitionModel } from './partition-model.js';
import type { Random } from './random.js';

/** The arguments of `findUser`. */
export function hashOf(id: bigint): [number, number, number] {
  const lo = Number(id & 0xffffffffn) | 0;
  const hi = Number(id >> 32n);
  return [hashUser(lo, hi), lo, hi];
}

export function expectEntry(words: Int32Array, at: number, entry: ModelEntry): void {
  const got = decodeEntry(words, at);
  const isSame = (Object.keys(got) as (keyof typeof got)[]).every((field) => got[field] === entry[field]);
  if (!isSame) expect(got).toEqual(entry); // shows where they differ
}

export class FlushTraffic {
  groups = 0;
  failedGroups = 0;
  #clock = 0;
  readonly #flushes: Int32Array[] = [];
  /** Failed for the shard, or sent by a process that is dead, and not stored yet: it may be some day. */
  readonly #late: Int32Array[] = [];
  /** What is sent is of the past, and not what the model holds. */
  isReplaying = false;
  readonly #out = new Int32Array(STORE_WORDS_MAX + 8);

  constructor(
    readonly store: FakeStore,
    readonly model: PartitionModel,
    readonly random: Random,
  ) {}

  isUnderWay(user: UserSlot): boolean {
    return this.#flushes.some((group) => group[FLUSH.USER_SLOT] === user);
  }

  /** A new process begins in a later millisecond: only then is its clock sure to be ahead. */
  restart(): void {
    while (Date.now() * 1000 <= this.#clock);
  }

  /** What was on its way is answered to nobody. */
  crash(): void {
    this.#late.push(...this.#flushes.splice(0));
    this.restart();
  }

  /** One of the writes that nobody waits for any more reaches the store, or none ever will. */
  storeLate(): void {
    const group = this.#late.splice(this.random.next(this.#late.length + 1), 1)[0];
    if (group !== undefined && this.random.chance(70)) this.store.apply(group);
  }

  /** Sends what is due. */
  send(partition: Partition, steps: number, force: boolean): void {
    const out = this.#out;
    const at = this.random.next(8);
    // A call may give nothing and still have looked at a part of what is due.
    for (let empty = 0; empty < 3; ) {
      const length = partition.flushNext(out, at, steps, force);
      if (length === 0) {
        empty++;
        continue;
      }
      this.groups++;
      this.#checkGroup(partition, out.slice(at, at + length));
    }
  }

  /** What is sent is what holds at this moment. */
  #checkGroup(partition: Partition, group: Int32Array): void {
    const clock = flushClock(group);
    expect(clock).toBeGreaterThan(this.#clock);
    this.#clock = clock;
    const id = joinId(group[FLUSH.USER_LO]!, group[FLUSH.USER_HI]!);
    const user = this.model.user(id);
    const count = group[FLUSH.COUNT]!;
    expect(group.length).toBe(FLUSH.WORDS + count * FLUSH_ROW.WORDS);
    expect(group[FLUSH.USER_SLOT]).toBe(partition.findUser(...hashOf(id)));
    if (!this.isReplaying) {
      expect(group[FLUSH.VERSION]).toBe(user.version);
      const isDeleted = this.model.isDeletedVersion(id, group[FLUSH.DELETED_VERSION]!, false);
      expect(isDeleted, `deleted version ${group[FLUSH.DELETED_VERSION]}`).toBe(true);
    }
    const isWiping = this.#flushes.some(
      (sent) => sent[FLUSH.USER_SLOT] === group[FLUSH.USER_SLOT] && (sent[FLUSH.KIND]! & FLUSH_WIPE) !== 0,
    );
    expect(isWiping, 'a wipe is on its way: tried again, it would meet newer rows').toBe(false);
    expect(count > 0 || (group[FLUSH.KIND]! & FLUSH_WIPE) !== 0, 'a group has something to write').toBe(true);
    for (let i = 0; i < count && !this.isReplaying; i++) {
      const at = FLUSH.WORDS + i * FLUSH_ROW.WORDS + FLUSH_ROW.ROW + ROW.ENTRY;
      const isDeleted = (group[at + ENTRY.META]! & META_DELETED) !== 0;
      const words = group.slice(at, at + ENTRY.WORDS);
      words[ENTRY.META]! &= META_ENTRY_MASK;
      const got = decodeEntry(words, 0);
      const entry = user.entries.get(keyOf(got.channel, got.type));
      expect(isDeleted).toBe(entry === undefined);
      if (entry !== undefined) expectEntry(words, 0, entry);
    }
    this.#flushes.push(group);
  }

  /** One group on its way is answered: any of them, a store may be concurrent. A failed one may be stored all the same. */
  answer(partition: Partition, failPercent: number): boolean {
    const { random } = this;
    if (this.#flushes.length === 0) return false;
    const index = random.chance(70) ? 0 : random.next(this.#flushes.length);
    const group = this.#flushes.splice(index, 1)[0]!;
    const ok = !random.chance(failPercent);
    if (!ok) this.failedGroups++;
    const isStored = ok || random.chance(30);
    if (isStored) this.store.apply(group);
    else if (random.chance(40)) this.#late.push(group);
    const count = group[FLUSH.COUNT]!;
    const words = new Int32Array(FLUSHED.WORDS + count);
    words[FLUSHED.KIND] = KIND_FLUSHED | (group[FLUSH.KIND]! & FLUSH_WIPE);
    words[FLUSHED.USER_SLOT] = group[FLUSH.USER_SLOT]!;
    words[FLUSHED.COUNT] = count;
    for (let i = 0; i < count; i++) {
      words[FLUSHED.WORDS + i] = group[FLUSH.WORDS + i * FLUSH_ROW.WORDS + FLUSH_ROW.SLOT]!;
    }
    partition.flushed(words, 0, ok);
    return true;
  }
}
