/** The persister's side of the rings of one shard, and the groups of writes that come through them. */
import { setTimeout } from 'node:timers/promises';
import { LaneBell, type LaneControlMemory } from '../engine/lane-control.js';
import { assert, broken } from '../engine/layout.js';
import { FLUSH, FLUSH_ROW, FLUSH_WIPE, KIND_FLUSH, ROW, STORE_WORDS_MAX } from '../engine/messages.js';
import { RingReader, RingWriter } from '../engine/ring.js';
import { RingWindow } from './ring-window.js';
import type { WriteGroup } from './stores/store.js';

/** The rings between one shard and the persister. */
export interface PersisterShard {
  /** LOAD messages; the shard is the producer. */
  readonly loads: SharedArrayBuffer;
  /** FLUSH messages; the shard is the producer. */
  readonly flushes: SharedArrayBuffer;
  /** LOADED and FLUSHED messages; the shard is the consumer. At least 8,192 words. */
  readonly answers: SharedArrayBuffer;
  /** Whose thread's doorbell is rung after each publish to `answers`. */
  readonly control: LaneControlMemory;
  readonly lane: number;
}

/** The smallest answers ring (a power of two): a message is at most half of it, and two should fit. */
const ANSWERS_WORDS_MIN = 8192;
assert(
  (STORE_WORDS_MAX + 1) * 4 <= ANSWERS_WORDS_MIN,
  `answers of ${STORE_WORDS_MAX} words and a ring of 8192`,
);

/** How long an answer without room waits before it looks again. */
const ROOM_POLL_MS = 1;

/** The persister's ends of one shard's rings. */
export class ShardEnd {
  readonly loads: RingReader;
  readonly flushes: RingReader;
  readonly answers: RingWriter;
  /** For the parts of long loads in `answers`. */
  readonly loadWindow: RingWindow;
  readonly #bell: LaneBell;
  #publishes = false;
  #publishesLater = false;
  #room: Promise<void> | null = null;
  loadsInWork = 0;
  rowsInWork = 0;

  constructor(shard: PersisterShard) {
    this.loads = new RingReader(shard.loads);
    this.flushes = new RingReader(shard.flushes);
    this.answers = new RingWriter(shard.answers);
    this.loadWindow = new RingWindow(this.answers);
    this.#bell = new LaneBell(shard.control, shard.lane);
    assert(
      this.answers.capacity >= ANSWERS_WORDS_MIN,
      `an answers ring of ${this.answers.capacity} words is smaller than ${ANSWERS_WORDS_MIN}`,
    );
  }

  /** Makes the answers visible when what runs now has ended: somebody waits for them. */
  publishSoon(): void {
    if (this.#publishes) return;
    this.#publishes = true;
    queueMicrotask(() => this.publish());
  }

  /** As `publishSoon`, after all that this turn of the event loop brings: one wake-up for many answers. */
  publishLater(): void {
    if (this.#publishes || this.#publishesLater) return;
    this.#publishesLater = true;
    setImmediate(() => this.publish());
  }

  publish(): void {
    this.#publishes = false;
    this.#publishesLater = false;
    this.answers.publish();
    this.#bell.ring();
  }

  /** Ends when it is worth looking for room in the answers ring again. */
  room(): Promise<void> {
    this.publish();
    this.#room ??= setTimeout(ROOM_POLL_MS).then(() => {
      this.#room = null;
    });
    return this.#room;
  }

  get isIdle(): boolean {
    const { loadsInWork, rowsInWork, loads, flushes } = this;
    return loadsInWork === 0 && rowsInWork === 0 && !loads.refresh() && !flushes.refresh();
  }
}

/** A group on its way to the store, with what its answer needs. */
export interface Group extends WriteGroup {
  readonly shard: ShardEnd;
  readonly head: number;
  readonly partition: number;
  readonly userSlot: number;
  readonly slots: Int32Array;
}

/** The FLUSH message at `words[at]` of the shard's ring, whose place is then free. */
export function copyGroup(shard: ShardEnd, at: number): Group {
  const { words, length } = shard.flushes;
  const head = words[at + FLUSH.KIND]!;
  const count = words[at + FLUSH.COUNT]!;
  if ((head & 0xff) !== KIND_FLUSH) broken('a message of another kind in a flushes ring', head & 0xff);
  if (length !== FLUSH.WORDS + count * FLUSH_ROW.WORDS) broken('a flush of another number of rows', count);
  const rows = new Int32Array(count * ROW.WORDS);
  const slots = new Int32Array(count);
  for (let i = 0; i < count; i++) {
    const from = at + FLUSH.WORDS + i * FLUSH_ROW.WORDS;
    slots[i] = words[from + FLUSH_ROW.SLOT]!;
    for (let word = 0; word < ROW.WORDS; word++) {
      rows[i * ROW.WORDS + word] = words[from + FLUSH_ROW.ROW + word]!;
    }
  }
  return {
    shard,
    head: head & ~0xffff,
    partition: words[at + FLUSH.PARTITION]!,
    userSlot: words[at + FLUSH.USER_SLOT]!,
    slots,
    userLo: words[at + FLUSH.USER_LO]!,
    userHi: words[at + FLUSH.USER_HI]!,
    version: words[at + FLUSH.VERSION]!,
    deletedVersion: words[at + FLUSH.DELETED_VERSION]!,
    clockLo: words[at + FLUSH.CLOCK_LO]!,
    clockHi: words[at + FLUSH.CLOCK_HI]!,
    wipe: (head & FLUSH_WIPE) !== 0,
    rows,
    count,
  };
}
