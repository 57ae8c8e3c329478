/**
 * Lists all entries of one user in (channel, type) order, in slices.
 *
 * The chain of a user's records is in no order, and they lie anywhere in the partition. The cursor walks it once and
 * copies slots and keys, then sorts the copies with a least-significant-digit radix sort on bytes: linear, stable,
 * without a comparator, and it can stop at any entry. Sorting slots alone had each pass load every record anew: 100,000
 * entries that had been deleted and written again took 50 ms of passes, the longest 14 ms (2-core AMD EPYC, Node 20).
 *
 * The digits are counted on the walk. Those in which all keys agree have no pass: the high bytes of snowflakes mostly do,
 * so 7,713 entries take about six.
 *
 * The arrays grow to the largest user listed so far and are kept: no garbage in the steady state.
 */
import { assert, COUNT_MAX, layout, META_DELETED, META_TYPE_MASK, RECORD, USER } from './layout.js';
import { ENTRY } from './messages.js';
import type { Cursor, RecordSlot, UserSlot } from './partition.js';
import type { SlabMemory } from './slab-memory.js';
import { writeEntry } from './slab-records.js';

/** Digits of a key, least significant first: the type, the channel's low word, its high word. */
const KEY_BYTES = 9;
const RADIX = 256;

/** An entry of which a list is made: three words, sorted together. */
const ITEM = layout({
  SLOT: 1, // record << TYPE_BITS | type
  CHANNEL_LO: 1,
  CHANNEL_HI: 1,
});
const TYPE_BITS = 3;
const TYPE_MASK = (1 << TYPE_BITS) - 1;
assert(META_TYPE_MASK <= TYPE_MASK, 'a type has more bits than an item has for it');

/** What copies of which no cache line has to be waited for cost, beside a record of the chain. */
const MOVES_A_STEP = 16;

const COLLECTING = 0;
const SORTING = 1;
const READY = 2;

export class SlabCursor implements Cursor {
  mentionCount = 0;
  mentionedEntries = 0;
  #phase = READY;
  #since = 0;
  #sorted = false;
  #record: RecordSlot = 0;
  #count = 0;
  #written = 0;
  /** Of the pass at hand, and how many items it has moved. */
  #byte = 0;
  #moves = 0;
  #items = new Int32Array(64 * ITEM.WORDS);
  #moved = new Int32Array(64 * ITEM.WORDS);
  /** Of each byte, how often each digit occurs; during its pass, where the next item with that digit goes. */
  readonly #places = new Int32Array(KEY_BYTES * RADIX);

  constructor(private readonly memory: SlabMemory) {}

  get remaining(): number {
    return this.#count - this.#written;
  }

  begin(user: UserSlot, since: number, sorted: boolean, written = 0): void {
    this.#record = this.memory.users[this.memory.userAt(user) + USER.FIRST_RECORD]!;
    this.#since = since;
    this.#sorted = sorted;
    this.#phase = COLLECTING;
    this.#count = 0;
    this.#written = written;
    this.#byte = 0;
    this.#moves = 0;
    this.#places.fill(0);
    this.mentionCount = 0;
    this.mentionedEntries = 0;
  }

  advance(steps: number): boolean {
    if (this.#phase === COLLECTING) {
      steps = this.#collect(steps);
      if (this.#record !== 0) return false;
      this.#phase = this.#count > 1 ? SORTING : READY;
    }
    if (this.#phase === SORTING && this.#sort(steps * MOVES_A_STEP)) this.#phase = READY;
    return this.#phase === READY;
  }

  /** @returns the steps that are left */
  #collect(steps: number): number {
    const { records } = this.memory;
    let record = this.#record;
    for (; record !== 0 && steps > 0; steps--) {
      const at = this.memory.recordAt(record);
      const meta = records[at + RECORD.META]!;
      if ((meta & META_DELETED) === 0) {
        const mentions = records[at + RECORD.MENTION_COUNT]!;
        if (mentions > 0) {
          this.mentionCount = Math.min(this.mentionCount + mentions, COUNT_MAX);
          this.mentionedEntries++;
        }
        if (this.#sorted && records[at + RECORD.VERSION]! >>> 0 > this.#since) this.#add(record, at);
      }
      record = records[at + RECORD.NEXT_OF_USER]!;
    }
    this.#record = record;
    return steps;
  }

  #add(record: RecordSlot, at: number): void {
    const { records } = this.memory;
    const item = this.#count++ * ITEM.WORDS;
    if (item === this.#items.length) this.#grow();
    const items = this.#items;
    const places = this.#places;
    const type = records[at + RECORD.META]! & META_TYPE_MASK;
    const lo = records[at + RECORD.CHANNEL_LO]!;
    const hi = records[at + RECORD.CHANNEL_HI]!;
    items[item + ITEM.SLOT] = (record << TYPE_BITS) | type;
    items[item + ITEM.CHANNEL_LO] = lo;
    items[item + ITEM.CHANNEL_HI] = hi;
    places[type]!++;
    for (let byte = 0; byte < 4; byte++) {
      places[(byte + 1) * RADIX + ((lo >>> (byte * 8)) & 0xff)]!++;
      places[(byte + 5) * RADIX + ((hi >>> (byte * 8)) & 0xff)]!++;
    }
  }

  #grow(): void {
    const items = new Int32Array(this.#items.length * 2);
    items.set(this.#items);
    this.#items = items;
    this.#moved = new Int32Array(items.length);
  }

  /** Goes on by so many moves. @returns whether the items are in order */
  #sort(moves: number): boolean {
    while (this.#byte < KEY_BYTES) {
      if (moves === 0) return false; // before a pass is begun: that is done once
      if (this.#moves === 0 && !this.#beginPass()) {
        this.#byte++;
        continue;
      }
      moves -= this.#move(Math.min(moves, this.#count - this.#moves));
      if (this.#moves < this.#count) return false;
      const sorted = this.#moved;
      this.#moved = this.#items;
      this.#items = sorted;
      this.#moves = 0;
      this.#byte++;
    }
    return true;
  }

  /** Counts become places. @returns false if all keys agree in this byte */
  #beginPass(): boolean {
    const places = this.#places;
    const from = this.#byte * RADIX;
    let place = 0;
    for (let digit = from; digit < from + RADIX; digit++) {
      const items = places[digit]!;
      if (items === this.#count) return false;
      places[digit] = place;
      place += items;
    }
    return true;
  }

  /** Of one pass. Byte 0 is the type, 1 to 4 are of the channel's low word, 5 to 8 of its high word. @returns `count` */
  #move(count: number): number {
    const items = this.#items;
    const moved = this.#moved;
    const places = this.#places;
    const byte = this.#byte;
    const field = byte === 0 ? ITEM.SLOT : byte < 5 ? ITEM.CHANNEL_LO : ITEM.CHANNEL_HI;
    const shift = byte === 0 ? 0 : ((byte - 1) & 3) * 8;
    const mask = byte === 0 ? TYPE_MASK : RADIX - 1;
    const from = byte * RADIX;
    const end = (this.#moves + count) * ITEM.WORDS;
    for (let at = this.#moves * ITEM.WORDS; at < end; at += ITEM.WORDS) {
      const place = from + ((items[at + field]! >>> shift) & mask);
      const to = places[place]! * ITEM.WORDS;
      places[place]!++;
      moved[to + ITEM.SLOT] = items[at + ITEM.SLOT]!;
      moved[to + ITEM.CHANNEL_LO] = items[at + ITEM.CHANNEL_LO]!;
      moved[to + ITEM.CHANNEL_HI] = items[at + ITEM.CHANNEL_HI]!;
    }
    this.#moves += count;
    return count;
  }

  write(out: Int32Array, at: number, max: number): number {
    const count = Math.min(max, this.remaining);
    for (let i = 0; i < count; i++) {
      const slot = this.#items[this.#written++ * ITEM.WORDS + ITEM.SLOT]!;
      writeEntry(this.memory, slot >>> TYPE_BITS, out, at);
      at += ENTRY.WORDS;
    }
    return count;
  }
}
