/** Sleeping and waking, in every order of steps: no wake-up is lost, whoever sends and however the sleeper sleeps. */
import { describe, expect, it } from 'vitest';
import { createDoorbell, DOORBELL, type Doorbell } from '../../engine/doorbell.js';
import { assert } from '../../engine/layout.js';
import { explore, type Scenario, type Thread } from './interleavings.js';
import { loadParked, type Mutation, type Parked, park, type Waiter } from './parked-code.js';

type ParkedDoorbell = Parked<Doorbell>;
type DoorbellClass = new (memory: SharedArrayBuffer) => ParkedDoorbell;

function load(mutation?: Mutation): () => DoorbellClass {
  const create = loadParked('doorbell', mutation);
  return () => create().Doorbell as DoorbellClass;
}

interface Variant {
  mutation?: Mutation;
  producers: number;
  messages: number;
  /** The sleeper has an event loop, and listens as workers/listen.ts does. */
  hasEventLoop?: boolean;
  /** It listens for the next ring only when it has looked for the one before. */
  listensLate?: boolean;
  /** It takes the place of one that slept, and has ended. */
  takesOver?: boolean;
  /** The sleeper waits without looking again after it said that it sleeps. */
  isCareless?: boolean;
  /** A producer rings before it publishes. */
  isHasty?: boolean;
}

/** Producers publish messages (a counter each) and ring; the sleeper takes all of them and ends. */
function scenario(variant: Variant): () => Scenario {
  const createClass = load(variant.mutation);
  return () => {
    const { producers, messages } = variant;
    const DoorbellOf = createClass();
    const memory = createDoorbell();
    const published = new Array<number>(producers).fill(0);
    let taken = 0;
    if (variant.takesOver) new Int32Array(memory)[DOORBELL.ASLEEP] = 1;

    function* produce(producer: number): Thread {
      const doorbell = new DoorbellOf(memory);
      for (let i = 0; i < messages; i++) {
        if (variant.isHasty) yield* doorbell.ring();
        published[producer]!++;
        yield* park();
        if (!variant.isHasty) yield* doorbell.ring();
      }
    }
    const look = () => {
      const seen = published.reduce((sum, count) => sum + count, 0);
      const found = seen > taken;
      taken = seen;
      return found;
    };
    function* consume(): Thread {
      const doorbell = new DoorbellOf(memory);
      while (taken < producers * messages) {
        const found = look();
        yield* park();
        if (found) continue;
        yield* doorbell.sleep();
        if (!variant.isCareless) {
          const foundAfterAll = look();
          yield* park();
          if (foundAfterAll) {
            yield* doorbell.rise();
            continue;
          }
        }
        yield* doorbell.wait(1000);
      }
    }
    /** Takes what is there, and sleeps. */
    function* drain(doorbell: ParkedDoorbell): Thread {
      for (let found = true; found; ) {
        yield* doorbell.rise();
        look();
        yield* park();
        yield* doorbell.sleep();
        found = !variant.isCareless && look();
        yield* park();
      }
    }
    function* listen(): Thread {
      const doorbell = new DoorbellOf(memory);
      const nextRing = () => doorbell.nextRing() as Thread<unknown> as Thread<Waiter>;
      let next = yield* nextRing();
      yield* drain(doorbell);
      while (taken < producers * messages) {
        const ring = next;
        yield () => ring.woken;
        if (!variant.listensLate) next = yield* nextRing();
        yield* drain(doorbell);
        if (variant.listensLate) next = yield* nextRing();
      }
    }
    return {
      threads: [
        variant.hasEventLoop ? listen() : consume(),
        ...published.map((_, producer) => produce(producer)),
      ],
      finish: () => assert(taken === producers * messages, `${taken} messages were taken`),
    };
  };
}

describe('a doorbell', () => {
  it('wakes for a message, in every order', () => {
    expect(explore(scenario({ producers: 1, messages: 1 }))).toBeGreaterThan(100);
  });

  it('wakes for the second message as for the first', { timeout: 60_000 }, () => {
    expect(explore(scenario({ producers: 1, messages: 2 }))).toBeGreaterThan(10_000);
  });

  it('wakes for two producers, with up to four interruptions', { timeout: 60_000 }, () => {
    const orders = explore(scenario({ producers: 2, messages: 1 }), { interruptionsMax: 4 });
    expect(orders).toBeGreaterThan(5_000);
  });

  it('wakes a sleeper with an event loop', { timeout: 60_000 }, () => {
    const one = { producers: 1, messages: 2, hasEventLoop: true };
    expect(explore(scenario(one), { interruptionsMax: 5 })).toBeGreaterThan(1_000);
    const two = { producers: 2, messages: 1, hasEventLoop: true };
    expect(explore(scenario(two), { interruptionsMax: 4 })).toBeGreaterThan(1_000);
  });

  it('wakes one that has the place of another', { timeout: 60_000 }, () => {
    const variant = { producers: 1, messages: 1, hasEventLoop: true, takesOver: true };
    expect(explore(scenario(variant))).toBeGreaterThan(1_000);
  });
});

/** As the build has it: with numbers in the places of the layout's names. */
const ADD_SIGNAL = `Atomics.add(this.#words, ${DOORBELL.SIGNAL}, 1);`;
const NOTIFY = `Atomics.notify(this.#words, ${DOORBELL.SIGNAL});`;
const FALL_ASLEEP = `Atomics.store(this.#words, ${DOORBELL.ASLEEP}, 1);`;

/** Bugs that look harmless: each loses a wake-up in some order, and the search must find it. */
const NOTIFIED_EARLY: Mutation = [[`${ADD_SIGNAL}\n        ${NOTIFY}`, `${NOTIFY}\n        ${ADD_SIGNAL}`]];
const NO_SIGNAL: Mutation = [[ADD_SIGNAL, '']];
const NEVER_SAYS_SO: Mutation = [[FALL_ASLEEP, '']];

describe('the scheduler finds the lost wake-up', () => {
  it.each<[string, Partial<Variant>]>([
    ['when the sleeper does not look again before it waits', { isCareless: true }],
    ['when the sleeper with an event loop does not look again', { isCareless: true, hasEventLoop: true }],
    [
      'when the sleeper with an event loop looks before it listens',
      { listensLate: true, hasEventLoop: true, messages: 2 },
    ],
    ['when the producer rings before it publishes', { isHasty: true }],
    ['when the waiter is notified before the signal changes', { mutation: NOTIFIED_EARLY }],
    ['when the signal does not change', { mutation: NO_SIGNAL }],
    ['when the sleep is never announced', { mutation: NEVER_SAYS_SO }],
  ])('%s', (_name, variant) => {
    expect(() => explore(scenario({ producers: 1, messages: 1, ...variant }))).toThrow(
      'nobody wakes thread 0',
    );
  });

  it('and refuses a mutation of what is not there', () => {
    expect(() => loadParked('doorbell', [['no such line', '']])).toThrow('does not have once');
  });
});
