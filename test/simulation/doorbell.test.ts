/** Sleeping and waking, in every order of steps: no wake-up is lost, whoever sends and however the sleeper sleeps. */
import { describe, expect, it } from 'vitest';
import { createDoorbell, DOORBELL, type Doorbell } from '../../engine/doorbell.js';
import { assert } from '../../engine/layout.js';
import { explore, type Scenario, type Thread } from './interleavings.js';
import { loadParked, type Mutation, type Parked, park } from './parked-code.js';

type ParkedDoorbell = Parked<Doorbell>;
type DoorbellClass = new (memory: SharedArrayBuffer, wake?: (() => void) | null) => ParkedDoorbell;

function load(mutation?: Mutation): () => DoorbellClass {
  const create = loadParked('doorbell', mutation);
  return () => create().Doorbell as DoorbellClass;
}

interface Variant {
  mutation?: Mutation;
  producers: number;
  messages: number;
  /** The sleeper has an event loop: it is woken by a message to its port. */
  hasPort?: boolean;
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
    let port = 0;
    const wake = () => {
      port++;
    };

    function* produce(producer: number): Thread {
      const doorbell = new DoorbellOf(memory, variant.hasPort ? wake : null);
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
        if (variant.hasPort) {
          yield () => port > 0;
          port = 0;
          yield* doorbell.rise();
        } else yield* doorbell.wait(1000);
      }
    }
    return {
      threads: [consume(), ...published.map((_, producer) => produce(producer))],
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
    expect(explore(scenario({ producers: 1, messages: 2, hasPort: true }))).toBeGreaterThan(3_000);
    const orders = explore(scenario({ producers: 2, messages: 1, hasPort: true }), { interruptionsMax: 4 });
    expect(orders).toBeGreaterThan(1_000);
  });
});

/** As the build has it: with numbers in the places of the layout's names. */
const ADD_SIGNAL = `Atomics.add(this.#words, ${DOORBELL.SIGNAL}, 1);`;
const NOTIFY = `Atomics.notify(this.#words, ${DOORBELL.SIGNAL}, 1);`;
const FALL_ASLEEP = `Atomics.store(this.#words, ${DOORBELL.ASLEEP}, 1);`;

/** Bugs that look harmless: each loses a wake-up in some order, and the search must find it. */
const NOTIFIED_EARLY: Mutation = [[`${ADD_SIGNAL}\n        ${NOTIFY}`, `${NOTIFY}\n        ${ADD_SIGNAL}`]];
const NO_SIGNAL: Mutation = [[ADD_SIGNAL, '']];
const NEVER_SAYS_SO: Mutation = [[FALL_ASLEEP, '']];

describe('the scheduler finds the lost wake-up', () => {
  it.each<[string, Omit<Variant, 'producers' | 'messages'>]>([
    ['when the sleeper does not look again before it waits', { isCareless: true }],
    ['when the sleeper with an event loop does not look again', { isCareless: true, hasPort: true }],
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
