/** A lane that changes its thread while a producer publishes, in every order of steps: no message stays lying. */
import { describe, expect, it } from 'vitest';
import type { Doorbell } from '../../engine/doorbell.js';
import {
  createLaneControl,
  type LaneControl,
  type LaneControlMemory,
  SEAT,
} from '../../engine/lane-control.js';
import { assert } from '../../engine/layout.js';
import { explore, type Scenario, type Thread } from './interleavings.js';
import { loadParked, type Mutation, type Parked, park } from './parked-code.js';

type DoorbellClass = new (memory: SharedArrayBuffer, at: number) => Parked<Doorbell>;
type ControlClass = new (control: LaneControlMemory) => Parked<LaneControl>;

interface Variant {
  messages: number;
  /** Times that the supervisor asks for the lane to move: to seat 1, back to 0, ... */
  moves: number;
  /** The producer looks for the owner before it publishes. */
  isHasty?: boolean;
  /** The new owner takes the lane up, and goes to sleep without a look at its ring. */
  isCareless?: boolean;
  /** A seat that is about to sleep does not look at its calls again. */
  isDeaf?: boolean;
  mutation?: Mutation;
}

const SEATS = 2;
const LANE = 0;

function scenario(variant: Variant): () => Scenario {
  const createDoorbells = loadParked('doorbell');
  const createControl = loadParked('lane-control', variant.mutation, {
    DOORBELL: { WORDS: SEAT.CALLS },
    Doorbell: class {},
  });
  return () => {
    const { messages, moves } = variant;
    const DoorbellOf = createDoorbells().Doorbell as DoorbellClass;
    const ControlOf = createControl().LaneControl as ControlClass;
    const shared = createLaneControl(SEATS, 1);
    const bells = () =>
      Array.from({ length: SEATS }, (_, seat) => new DoorbellOf(shared.memory, seat * SEAT.WORDS));
    let published = 0;
    /** As HEAD of the ring: shared by whoever owns the lane. */
    let taken = 0;
    let owners = 0;

    function* produce(): Thread {
      const control = new ControlOf(shared);
      const doorbells = bells();
      for (let i = 0; i < messages; i++) {
        let owner = variant.isHasty ? yield* control.ownerOf(LANE) : 0;
        published++;
        yield* park();
        if (!variant.isHasty) owner = yield* control.ownerOf(LANE);
        yield* doorbells[owner]!.ring();
      }
    }
    function* supervise(): Thread {
      const control = new ControlOf(shared);
      const doorbells = bells();
      for (let move = 1; move <= moves; move++) {
        const from = (move - 1) % SEATS;
        yield* control.want(LANE, move % SEATS);
        yield* doorbells[from]!.ring();
        yield () => owners === move; // the next is asked for when this one is done
      }
    }
    function* consume(seat: number): Thread {
      const control = new ControlOf(shared);
      const doorbells = bells();
      const own = doorbells[seat]!;
      let calls = 0;
      let isOwner = seat === 0;
      let looked = true;
      const isOver = () => taken === messages && owners === moves;
      const look = () => {
        const found = published > taken;
        taken = published;
        return found;
      };
      while (!isOver()) {
        const now = yield* control.callsOf(seat);
        if (now !== calls) {
          calls = now;
          if (isOwner) {
            const wanted = yield* control.wantedOf(LANE);
            if (wanted !== seat) {
              isOwner = false;
              yield* control.hand(LANE, wanted);
              yield* doorbells[wanted]!.ring();
            }
          } else if ((yield* control.ownerOf(LANE)) === seat) {
            isOwner = true;
            owners++;
            looked = !variant.isCareless;
          }
          continue;
        }
        if (isOwner && looked && look()) {
          yield* park();
          continue;
        }
        yield* own.sleep();
        const isCalled = !variant.isDeaf && (yield* control.callsOf(seat)) !== calls;
        const found = isOwner && looked && look();
        looked = true;
        yield* park();
        if (isCalled || found || isOver()) {
          yield* own.rise();
          continue;
        }
        yield* own.wait(1000);
      }
      // Whoever sleeps has nobody left to wake it.
      for (const bell of doorbells) yield* bell.ring();
    }
    return {
      threads: [produce(), supervise(), consume(0), consume(1)],
      finish: () => assert(taken === messages && owners === moves, `${taken} taken, ${owners} moves`),
    };
  };
}

describe('a lane that changes its thread', () => {
  it('loses no wake-up, with up to two interruptions', { timeout: 120_000 }, () => {
    const orders = explore(scenario({ messages: 1, moves: 1 }), { interruptionsMax: 2 });
    expect(orders).toBeGreaterThan(1000);
  });

  it('also when it goes and comes back, with one interruption', { timeout: 120_000 }, () => {
    const orders = explore(scenario({ messages: 2, moves: 2 }), { interruptionsMax: 1 });
    expect(orders).toBeGreaterThan(1000);
  });
});

const HANDED_EARLY: Mutation = [
  [
    'Atomics.store(this.#words, this.#lanes + lane * LANE_SEAT.WORDS + LANE_SEAT.OWNER, seat);\n        this.call(seat);',
    'this.call(seat);\n        Atomics.store(this.#words, this.#lanes + lane * LANE_SEAT.WORDS + LANE_SEAT.OWNER, seat);',
  ],
];

describe('the scheduler finds the message that stays lying', () => {
  // The fewer interruptions a bug needs, the sooner it is found with no more than those.
  it.each<[string, Omit<Variant, 'messages' | 'moves'>, number]>([
    ['when the producer looks for the owner before it publishes', { isHasty: true }, 2],
    ['when the new owner does not look at the rings before it sleeps', { isCareless: true }, 2],
    ['when a seat does not look at its calls again before it sleeps', { isDeaf: true }, 2],
    ['when the call comes before the owner is stored', { mutation: HANDED_EARLY }, 2],
  ])('%s', { timeout: 60_000 }, (_name, variant, interruptionsMax) => {
    expect(() => explore(scenario({ messages: 1, moves: 1, ...variant }), { interruptionsMax })).toThrow(
      'nobody wakes',
    );
  });
});
