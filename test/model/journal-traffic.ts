/**
 * The journal of a partition as a list of images: what is written when, in which epoch, and what a crash leaves. An epoch
 * ends when nobody is unsaved of the one before it, and that one is dropped.
 */
import { expect } from 'vitest';
import { hashUser } from '../../engine/hash.js';
import { META_DELETED, META_TYPE_MASK, META_WIPE } from '../../engine/layout.js';
import { ENTRY, IMAGE, ROW } from '../../engine/messages.js';
import type { Partition } from '../../engine/partition.js';
import { expectEntry, type FlushTraffic } from './flush-traffic.js';
import { joinId, keyOf, type PartitionModel } from './partition-model.js';
import type { Random } from './random.js';

interface Image {
  epoch: number;
  readonly words: Int32Array;
}

const ENTRY_AT = IMAGE.ROW + ROW.ENTRY;

function userOf(words: Int32Array): bigint {
  return joinId(words[IMAGE.USER_LO]!, words[IMAGE.USER_HI]!);
}

function keyOfImage(words: Int32Array): string {
  const channel = joinId(words[ENTRY_AT + ENTRY.CHANNEL_LO]!, words[ENTRY_AT + ENTRY.CHANNEL_HI]!);
  return keyOf(channel, words[ENTRY_AT + ENTRY.META]! & META_TYPE_MASK);
}

export class JournalTraffic {
  readonly counts = { carried: 0, carriedWipes: 0, epochs: 0, replayWaits: 0 };
  #images: Image[] = [];
  #epoch = 0;

  constructor(
    readonly model: PartitionModel,
    readonly random: Random,
  ) {}

  get images(): readonly Int32Array[] {
    return this.#images.map((image) => image.words);
  }

  #add(words: Int32Array): void {
    this.#images.push({ epoch: this.#epoch, words });
  }

  /** What the last operation changed. */
  log(partition: Partition): void {
    for (let i = 0; i < partition.changedCount; i++) {
      const words = new Int32Array(IMAGE.WORDS);
      partition.writeImage(partition.changed[i]!, words, 0);
      this.#add(words);
    }
    if (partition.changedCount > 0) return;
    const words = new Int32Array(IMAGE.WORDS);
    partition.writeWipeImage(partition.changedUser, words, 0);
    this.#add(words);
  }

  /** A new epoch, if the one before the current can go. */
  advance(partition: Partition): void {
    if (partition.unsavedUsers((this.#epoch + 1) & 1) > 0) return;
    this.#images = this.#images.filter((image) => image.epoch === this.#epoch);
    this.#epoch++;
    partition.setEpoch(this.#epoch & 1);
    this.counts.epochs++;
  }

  carry(partition: Partition): void {
    const { random } = this;
    const max = random.pick([1, 2, 5, 20]);
    const at = random.next(8);
    const out = new Int32Array(at + max * IMAGE.WORDS);
    const written = partition.carryUnsaved(out, at, max, random.pick([1, 3, 100]));
    expect(written).toBeLessThanOrEqual(max);
    for (let i = 0; i < written; i++) {
      const words = out.slice(at + i * IMAGE.WORDS, at + (i + 1) * IMAGE.WORDS);
      this.#checkCarried(words);
      this.#add(words);
      this.counts.carried++;
    }
  }

  /** It shows what holds, with the version of its last change. */
  #checkCarried(words: Int32Array): void {
    const user = this.model.user(userOf(words));
    const meta = words[ENTRY_AT + ENTRY.META]!;
    const version = words[ENTRY_AT + ENTRY.VERSION]!;
    if ((meta & META_WIPE) !== 0) {
      this.counts.carriedWipes++;
      expect(words[IMAGE.USER_VERSION]).toBe(user.version);
      expect(version).toBeLessThan(
        Math.min(user.version + 1, ...[...user.entries.values()].map((entry) => entry.version)),
      );
      return;
    }
    expect(words[IMAGE.USER_VERSION]).toBe(user.version);
    const entry = user.entries.get(keyOfImage(words));
    expect((meta & META_DELETED) !== 0).toBe(entry === undefined);
    if (entry !== undefined) expectEntry(words, ENTRY_AT, entry);
  }

  /** After a crash: all that there is counts as one old epoch, of parity 0, until it is saved or carried. */
  beginReplay(): void {
    this.#epoch += this.#epoch & 1;
    for (const image of this.#images) image.epoch = this.#epoch;
  }

  /** Applies the images, while the room is made that they need and the store takes some of them already. */
  replay(partition: Partition, images: readonly Int32Array[], flushes: FlushTraffic): void {
    const { random } = this;
    const { recordsMax } = partition.options;
    for (const image of images) {
      const hash = hashUser(image[IMAGE.USER_LO]!, image[IMAGE.USER_HI]!);
      for (let attempt = 0; ; attempt++) {
        const { recordCount, userCount } = partition;
        if (partition.restoreImage(hash, image, 0)) break;
        expect(attempt, 'there is room some time').toBeLessThan(1000);
        expect([partition.recordCount, partition.userCount]).toEqual([recordCount, userCount]);
        this.counts.replayWaits++;
        partition.makeRoom(1, false);
        flushes.send(partition, 1000, true);
        flushes.answer(partition, 10);
      }
      partition.check();
      if (random.chance(10)) flushes.send(partition, random.pick([1, 2, 1000]), true);
      if (random.chance(10)) flushes.answer(partition, 20);
      if (random.chance(2)) partition.makeRoom(random.next(recordsMax), false);
    }
  }

  endReplay(partition: Partition): void {
    this.#epoch++;
    partition.setEpoch(1);
  }

  /** After a clean stop. */
  clear(): void {
    this.#images = [];
    this.#epoch += this.#epoch & 1;
  }
}
