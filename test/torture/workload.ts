/** What users of the torture test do: a function of the seed. */
import { Random } from '../../bench/random.js';
import type { AckFields, BulkItem, Key, Operation } from './operations.js';
import type { Use } from './shared-user.js';

/** Shares of operations, in thousandths. */
const MIX: [Operation['op'], number][] = [
  ['ack', 320],
  ['mention', 330],
  ['pin_ack', 60],
  ['get', 110],
  ['list', 60],
  ['badge', 25],
  ['delete', 45],
  ['ack_bulk', 45],
  ['delete_user', 5],
];
const COUNT_MAX = 2_147_483_647;
const FIRST_CHANNEL = 1_312_931_237_068;
/** Users of this share have ten times the channels. */
const LARGE_SHARE = 0.02;

/** What is remembered of one user to ask for what is interesting: the latest messages of each channel. */
interface UserPlan {
  readonly userId: number;
  readonly channels: number;
  message: number;
  pin: number;
  /** The latest mention with an id of each key, and one before it. */
  readonly mentions: Map<number, [number, number]>;
}

export interface SharedPlan {
  readonly userId: number;
  message: number;
}

export class Workload {
  readonly random: Random;
  readonly #plans = new Map<number, UserPlan>();
  readonly #channels: number;

  constructor(seed: number, channels: number) {
    this.random = new Random(seed);
    this.#channels = channels;
  }

  #plan(userId: number): UserPlan {
    let plan = this.#plans.get(userId);
    if (plan === undefined) {
      const isLarge = this.random.fraction() < LARGE_SHARE;
      const channels = 1 + this.random.below(this.#channels * 2) * (isLarge ? 10 : 1);
      plan = { userId, channels, message: 1000, pin: 1_700_000_000_000, mentions: new Map() };
      this.#plans.set(userId, plan);
    }
    return plan;
  }

  /** @param versions  that answers have told of this user */
  next(userId: number, versions: readonly number[], onlyReads = false): Operation {
    const { random } = this;
    const plan = this.#plan(userId);
    let roll = random.below(1000);
    let [op] = MIX.find(([, share]) => {
      roll -= share;
      return roll < 0;
    })!;
    if (onlyReads && op !== 'list' && op !== 'badge') op = 'get';
    switch (op) {
      case 'ack':
        return this.#ack(plan);
      case 'mention':
        return this.#mention(plan);
      case 'pin_ack': {
        plan.pin += random.below(1000);
        return { op, ...this.#key(plan), pin: plan.pin - random.below(2) * random.below(100_000) };
      }
      case 'ack_bulk':
        return { op, items: this.#items(plan) };
      case 'list':
        if (random.below(3) === 0) return { op };
        return { op, since: this.#since(versions) };
      case 'get':
      case 'delete':
        return { op, ...this.#key(plan) };
      case 'badge':
      case 'delete_user':
        return { op };
    }
  }

  #key(plan: UserPlan): Key {
    const { random } = this;
    // Half of all on a few channels, so that operations meet.
    const channel = random.below(2) === 0 ? random.below(plan.channels) : random.below(3);
    return { channel: FIRST_CHANNEL + channel * 7, type: random.below(12) === 0 ? 1 + random.below(5) : 0 };
  }

  #since(versions: readonly number[]): number {
    const { random } = this;
    if (versions.length === 0 || random.below(12) === 0) return random.below(2) * 1_000_000;
    // Mostly a recent one.
    const back =
      random.below(4) === 0 ? random.below(versions.length) : random.below(Math.min(4, versions.length));
    return versions[versions.length - 1 - back]!;
  }

  #ack(plan: UserPlan): Operation {
    const { random } = this;
    const manual = random.below(6) === 0;
    const fields: AckFields = {};
    if (random.below(4) === 0)
      fields.count = random.below(40) === 0 ? COUNT_MAX - random.below(2) : random.below(20);
    if (random.below(6) === 0) fields.flags = random.below(256);
    if (random.below(6) === 0) fields.viewed = random.below(65_535);
    // Often forward, often the newest again, sometimes far back.
    const roll = random.below(10);
    const message =
      roll < 6
        ? ++plan.message
        : roll < 8
          ? plan.message
          : Math.max(1, plan.message - 1 - random.below(manual ? 200 : 30));
    return { op: 'ack', ...this.#key(plan), message, manual, ...fields };
  }

  #mention(plan: UserPlan): Operation {
    const { random } = this;
    const key = this.#key(plan);
    const roll = random.below(100);
    if (roll < 35) return { op: 'mention', ...key, message: 0 };
    const at = key.channel * 8 + key.type;
    const [latest, before] = plan.mentions.get(at) ?? [0, 0];
    if (roll < 55 && latest > 0) return { op: 'mention', ...key, message: latest };
    if (roll < 58 && before > 0) return { op: 'mention', ...key, message: before };
    // One below the newest message now and then: it may have been read already.
    const message = roll < 62 ? Math.max(1, plan.message - random.below(50)) : ++plan.message;
    if (message !== latest) plan.mentions.set(at, [message, latest]);
    return { op: 'mention', ...key, message };
  }

  #items(plan: UserPlan): BulkItem[] {
    const { random } = this;
    const count = random.below(20) === 0 ? 100 : 2 + random.below(12);
    return Array.from({ length: Math.min(count, 3 + plan.channels) }, () => ({
      ...this.#key(plan),
      message: plan.message + 1 - random.below(10),
    }));
  }

  /** An operation on a user that several connections write to, and the use of its entry. */
  nextShared(plan: SharedPlan, versions: readonly number[]): [Operation, Use | undefined] {
    const { random } = this;
    const use = (['count', 'mark', 'once'] as const)[random.below(3)]!;
    const channel = FIRST_CHANNEL + (use === 'count' ? 0 : use === 'mark' ? 100 : 200) + random.below(3);
    const key = { channel, type: 0 };
    const roll = random.below(10);
    if (roll === 0)
      return [
        random.below(2) === 0 ? { op: 'list' } : { op: 'list', since: this.#since(versions) },
        undefined,
      ];
    if (roll === 1) return [{ op: 'get', ...key }, use];
    if (use === 'count') return [{ op: 'mention', ...key, message: 0 }, use];
    // Ids of `once` come from the caller, who sends each over several connections.
    if (use === 'once')
      return [{ op: 'mention', channel: FIRST_CHANNEL + 200, type: 0, message: plan.message }, use];
    return [{ op: 'ack', ...key, message: 1 + random.below(1_000_000), manual: false }, use];
  }
}
