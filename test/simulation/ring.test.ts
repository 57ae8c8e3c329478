/** Rings in every order of steps: nothing is lost, nothing is seen half written, the order is kept. */
import { describe, expect, it } from 'vitest';
import { createDoorbell, type Doorbell } from '../../engine/doorbell.js';
import { assert } from '../../engine/layout.js';
import { createRing, RING, type RingReader, type RingWriter } from '../../engine/ring.js';
import { explore, type Scenario, type Thread } from './interleavings.js';
import { loadParked, type Mutation, type Parked, park } from './parked-code.js';

type WriterClass = new (memory: SharedArrayBuffer) => Parked<RingWriter>;
type ReaderClass = new (memory: SharedArrayBuffer) => Parked<RingReader>;
type DoorbellClass = new (memory: SharedArrayBuffer) => Parked<Doorbell>;

const CAPACITY = 16;

interface Variant {
  mutation?: Mutation;
  /** Words of each message. */
  lengths: number[];
  /** Messages before each `publish`. */
  batch?: number;
  /** How often the reader looks; what is left is read when the writer has ended. */
  looks?: number;
  /** The reader sleeps when there is nothing, until it has all; else it looks `looks` times. */
  hasDoorbell?: boolean;
}

/** Both ends of an empty ring, and a doorbell, anew at each call. */
function loadEnds(mutation?: Mutation) {
  const createRingModule = loadParked('ring', mutation);
  const createDoorbellModule = loadParked('doorbell');
  return () => {
    const { RingWriter: Writer, RingReader: Reader } = createRingModule() as unknown as {
      RingWriter: WriterClass;
      RingReader: ReaderClass;
    };
    const DoorbellOf = createDoorbellModule().Doorbell as DoorbellClass;
    const memory = createRing(CAPACITY);
    return { writer: new Writer(memory), reader: new Reader(memory), DoorbellOf, bell: createDoorbell() };
  };
}

/** One writer sends messages whose words are all the message's number; a full ring refuses some. */
function scenario(variant: Variant): () => Scenario {
  const createEnds = loadEnds(variant.mutation);
  return () => {
    const { lengths, batch = 1, looks = 2 } = variant;
    const { writer, reader, DoorbellOf, bell } = createEnds();
    const sent: number[] = [];
    const received: number[] = [];
    let hasEnded = false;

    function* write(): Thread {
      const doorbell = new DoorbellOf(bell);
      for (let i = 0; i < lengths.length; i++) {
        const length = lengths[i]!;
        const at = yield* writer.reserve(length);
        if (at !== -1) {
          for (let word = 0; word < length; word++) {
            writer.words[at + word] = i + 1;
            if (word < length - 1) yield* park();
          }
          yield* writer.commit(length);
          sent.push(i + 1);
        }
        if ((i + 1) % batch !== 0 && i + 1 !== lengths.length) continue;
        yield* writer.publish();
        if (variant.hasDoorbell) yield* doorbell.ring();
      }
      hasEnded = true;
    }

    function* readAll(): Thread<boolean> {
      const found = yield* reader.refresh();
      for (;;) {
        const at = yield* reader.next();
        if (at === -1) break;
        const number = reader.words[at]!;
        const { length } = reader;
        assert(length === lengths[number - 1], `message ${number} has ${length} words`);
        for (let word = 1; word < length; word++) {
          yield* park();
          assert(reader.words[at + word] === number, `word ${word} of message ${number} changed`);
        }
        received.push(number);
      }
      if (found) yield* reader.release();
      return found;
    }

    function* read(): Thread {
      const doorbell = new DoorbellOf(bell);
      if (!variant.hasDoorbell) {
        for (let i = 0; i < looks; i++) yield* readAll();
        yield () => hasEnded;
        yield* readAll();
        return;
      }
      while (received.at(-1) !== lengths.length) {
        if (yield* readAll()) continue;
        yield* doorbell.sleep();
        if (yield* readAll()) yield* doorbell.rise();
        else yield* doorbell.wait(1000);
      }
    }

    return {
      threads: [read(), write()],
      finish: () => {
        assert(received.join() === sent.join(), `sent ${sent.join()}, received ${received.join()}`);
        assert(writer.filledWords === 0, `${writer.filledWords} words are not given back`);
        assert(!variant.hasDoorbell || sent.length === lengths.length, `only ${sent.length} were sent`);
      },
    };
  };
}

describe('a ring', () => {
  it('hands over one message', () => {
    expect(explore(scenario({ lengths: [2] }))).toBeGreaterThan(20);
  });

  it('hands over three, published one by one', { timeout: 60_000 }, () => {
    expect(explore(scenario({ lengths: [1, 2, 2], looks: 2 }))).toBeGreaterThan(10_000);
  });

  it('hands over three, published together', { timeout: 60_000 }, () => {
    expect(explore(scenario({ lengths: [2, 1, 3], batch: 3, looks: 2 }))).toBeGreaterThan(200);
  });

  it('wraps, pads and refuses what has no room', { timeout: 60_000 }, () => {
    // 16 words: 5 + 7 are used, then 4 do not fit before the end, and later not before what is still unread.
    const search = { interruptionsMax: 4 };
    expect(explore(scenario({ lengths: [4, 6, 4, 6, 1], looks: 3 }), search)).toBeGreaterThan(9_000);
    expect(explore(scenario({ lengths: [7, 7, 3, 7], looks: 3 }), search)).toBeGreaterThan(12_000);
  });

  it('hands over all to a reader that sleeps', { timeout: 60_000 }, () => {
    expect(explore(scenario({ lengths: [1], hasDoorbell: true }))).toBeGreaterThan(2_500);
    expect(
      explore(scenario({ lengths: [2, 1], hasDoorbell: true }), { interruptionsMax: 4 }),
    ).toBeGreaterThan(3_500);
  });
});

interface WaitVariant {
  mutation?: Mutation;
  /** The producer waits without looking again after it said that it waits. */
  isCareless?: boolean;
  /** The consumer looks whether it has to ring before it releases. */
  isHasty?: boolean;
}

/** The producer has sent a message, and sleeps until it is released. */
function waitScenario(variant: WaitVariant): () => Scenario {
  const createEnds = loadEnds(variant.mutation);
  return () => {
    const { writer, reader, DoorbellOf, bell } = createEnds();
    let isReleased = false;

    function* produce(): Thread {
      const doorbell = new DoorbellOf(bell);
      yield* writer.reserve(2);
      yield* writer.commit(2);
      yield* writer.publish();
      const { position } = writer;
      while (!(yield* writer.isReleased(position))) {
        yield* writer.setWaits(true);
        yield* doorbell.sleep();
        if (!variant.isCareless && (yield* writer.isReleased(position))) yield* doorbell.rise();
        else yield* doorbell.wait(1000);
      }
      yield* writer.setWaits(false);
      isReleased = true;
    }

    function* consume(): Thread {
      const doorbell = new DoorbellOf(bell);
      for (let isTaken = false; !isTaken; ) {
        yield* reader.refresh();
        isTaken = (yield* reader.next()) !== -1;
        const rings = variant.isHasty && (yield* reader.producerWaits());
        yield* reader.release();
        if (rings || (!variant.isHasty && (yield* reader.producerWaits()))) yield* doorbell.ring();
        if (!isTaken) yield () => reader.filledWords > 0;
      }
    }

    return { threads: [produce(), consume()], finish: () => assert(isReleased, 'it has not ended') };
  };
}

describe('a producer that waits for a release', () => {
  it('is rung, in every order', { timeout: 60_000 }, () => {
    expect(explore(waitScenario({}), { interruptionsMax: 5 })).toBeGreaterThan(500);
  });

  it.each<[string, WaitVariant]>([
    ['does not look again before it sleeps', { isCareless: true }],
    ['has a consumer that looks before it releases', { isHasty: true }],
    [
      'does not say that it waits',
      { mutation: [[`Atomics.store(this.#positions, ${RING.PRODUCER_WAITS}, waits ? 1 : 0);`, '']] },
    ],
  ])('sleeps for ever in some order if it %s', (_name, variant) => {
    expect(() => explore(waitScenario(variant), { interruptionsMax: 5 })).toThrow('nobody wakes thread 0');
  });
});

/** The tail is stored before the length of the message. */
const PUBLISHED_EARLY: Mutation = [
  [
    'this.words[this.#tail & (this.capacity - 1)] = length;\n        this.#tail = (this.#tail + 1 + length) | 0;',
    `const index = this.#tail & (this.capacity - 1);
        this.#tail = (this.#tail + 1 + length) | 0;
        Atomics.store(this.#positions, RING.TAIL, this.#tail);
        this.words[index] = length;`,
  ],
];
/** The head is stored before the messages are read. */
const RELEASED_EARLY: Mutation = [
  [
    'return this.#tail !== this.#head;',
    'Atomics.store(this.#positions, RING.HEAD, this.#tail);\n        return this.#tail !== this.#head;',
  ],
];
/** The writer does not ask how far the reader is. (The build has numbers in the places of the layout's names.) */
const OVERWRITTEN: Mutation = [
  [
    `this.#head = Atomics.load(this.#positions, ${RING.HEAD});\n            if (capacity - ((this.#tail - this.#head) | 0) < needed)\n                return -1;`,
    'this.#head = this.#tail;',
  ],
];
/** The writer does not say where it skips to the start. */
const NO_PAD: Mutation = [['this.words[index] = -pad;', '']];
/** The reader gives back less than it has read. */
const RELEASED_LATE: Mutation = [
  ['this.#head = (this.#head - length) | 0;', 'this.#head = (this.#head - length - 1) | 0;'],
];

describe('the scheduler finds', () => {
  it.each<[string, string, Mutation, number[]]>([
    ['a message that is published before it is complete', 'a ring message of no words', PUBLISHED_EARLY, [2]],
    [
      'room that is given back before it is read',
      'word 2 of message 2 changed',
      RELEASED_EARLY,
      [4, 6, 4, 6, 1],
    ],
    ['a writer that overwrites what is unread', 'message 1 has 1 words', OVERWRITTEN, [7, 7, 3]],
    ['a writer that does not mark its pad', 'a ring message of no words', NO_PAD, [4, 6, 4]],
    ['a reader that misses the end of a pad', 'a ring message of no words', RELEASED_LATE, [4, 6, 4]],
  ])('%s', (_name, message, mutation, lengths) => {
    expect(() => explore(scenario({ lengths, mutation, looks: 3 }), { interruptionsMax: 3 })).toThrow(
      message,
    );
  });
});
