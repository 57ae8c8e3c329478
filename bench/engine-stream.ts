/**
 * The operations of the engine benchmark: seeded, the same for every side, uniform over all keys of a universe of
 * users with a fixed number of channels each. Uniform keys are the worst case for every cache; and a cache that is
 * full holds a fixed share of the universe, so that share of the operations hits, whatever it evicts.
 *
 * Peers in Go and Rust make the same operations (bench/peers): only whole numbers, and products and sums of doubles.
 *
 * Ids are spread over all bits as those of real snowflakes are, and their decimal texts have the usual length.
 */
import { hashUser, mix } from '../engine/hash.js';
import { formatId } from '../engine/ids.js';
import { ENTRY, OP_ACK, OP_GET, OP_MENTION, REPLY, REQUEST, ROW } from '../engine/messages.js';
import { Random } from './random.js';
import { type ZipfConstants, zipfRank } from './zipf-portable.js';

const USER_HI = 0x10000000;
const CHANNEL_HI = 0x11000000;
/** Marks of what was there from the start are older than any message of the stream. */
const OLD_MESSAGE_HI = 0x12000000;
const MESSAGE_HI = 0x13000000;

/** Shares in percent; the rest are gets. */
export const ACK_PERCENT = 60;
export const MENTION_PERCENT = 30;
/** Messages that a read-state may be behind or ahead: some acks and mentions come late. */
const MESSAGE_LAG = 1024;

/** Operations that are made at once, outside of the time that is measured. */
export const BLOCK_OPERATIONS = 2048;
export const REPLY_STRIDE = REPLY.WORDS + ENTRY.WORDS;

/** Some operations in the forms that the sides take, and room for their answers. */
export class Block {
  count = 0;
  readonly words = new Int32Array(BLOCK_OPERATIONS * REQUEST.WORDS);
  readonly hashes = new Int32Array(BLOCK_OPERATIONS);
  /** Decimal ids, as a service gets them in JSON; only made for sides that want them. */
  readonly userTexts: string[] = new Array(BLOCK_OPERATIONS).fill('');
  readonly channelTexts: string[] = new Array(BLOCK_OPERATIONS).fill('');
  /** REPLY_STRIDE words for each. */
  readonly replies = new Int32Array(BLOCK_OPERATIONS * REPLY_STRIDE);

  /** Appends one operation. */
  add(
    op: number,
    user: number,
    channelLo: number,
    messageLo: number,
    messageHi: number,
    requestId: number,
  ): void {
    const { words } = this;
    const at = this.count * REQUEST.WORDS;
    words[at + REQUEST.HEAD] = op;
    words[at + REQUEST.REQUEST_ID] = requestId;
    words[at + REQUEST.USER_LO] = userLow(user);
    words[at + REQUEST.USER_HI] = USER_HI;
    words[at + REQUEST.CHANNEL_LO] = channelLo;
    words[at + REQUEST.CHANNEL_HI] = CHANNEL_HI;
    words[at + REQUEST.ARGUMENT_LO] = messageLo;
    words[at + REQUEST.ARGUMENT_HI] = messageHi;
    this.hashes[this.count] = hashUser(userLow(user), USER_HI);
    this.count++;
  }

  /** Appends the latest operation once more: a retry. */
  repeat(): void {
    const at = this.count * REQUEST.WORDS;
    this.words.copyWithin(at, at - REQUEST.WORDS, at);
    this.hashes[this.count] = this.hashes[this.count - 1]!;
    this.count++;
  }

  makeTexts(): void {
    const { words } = this;
    for (let i = 0; i < this.count; i++) {
      const at = i * REQUEST.WORDS;
      this.userTexts[i] = formatId(words[at + REQUEST.USER_LO]!, words[at + REQUEST.USER_HI]!);
      this.channelTexts[i] = formatId(words[at + REQUEST.CHANNEL_LO]!, words[at + REQUEST.CHANNEL_HI]!);
    }
  }
}

export interface Universe {
  readonly users: number;
  readonly channelsPerUser: number;
}

/** Different for each user; `userHigh` is the same for all. */
export function userLow(user: number): number {
  return mix(user + 1);
}
export const userHigh = USER_HI;
export const channelHigh = CHANNEL_HI;

/** Different for each channel of all users. */
export function channelLow(universe: Universe, user: number, channel: number): number {
  return mix(user * universe.channelsPerUser + channel + 1);
}

/** Rows of one user as a store has them: ROW words each, versions 1 to `channelsPerUser`. */
export function writeUserRows(universe: Universe, user: number, rows: Int32Array): void {
  rows.fill(0);
  for (let channel = 0; channel < universe.channelsPerUser; channel++) {
    const at = channel * ROW.WORDS;
    rows[at + ENTRY.CHANNEL_LO] = channelLow(universe, user, channel);
    rows[at + ENTRY.CHANNEL_HI] = CHANNEL_HI;
    rows[at + ENTRY.MESSAGE_LO] = mix(channel + 1);
    rows[at + ENTRY.MESSAGE_HI] = OLD_MESSAGE_HI;
    rows[at + ENTRY.VERSION] = channel + 1;
  }
}

/** One ack for each of some users, in the first of their channels. */
export function fillFirstAcks(block: Block, universe: Universe, from: number, to: number): void {
  block.count = 0;
  for (let user = from; user < to; user++) {
    block.add(OP_ACK, user, channelLow(universe, user, 0), mix(user), OLD_MESSAGE_HI + 1, user);
  }
}

/** Which users the operations are about; all alike if nothing is said. */
export interface Mixture {
  /** Operations about a user who never came before. */
  readonly coldPercent: number;
  /** User 0 comes the most often; null = all the same. */
  readonly zipf: ZipfConstants | null;
}
const UNIFORM: Mixture = { coldPercent: 0, zipf: null };

export class OperationStream {
  readonly #universe: Universe;
  readonly #random: Random;
  readonly #repeatPercent: number;
  readonly #mixture: Mixture;
  #made = 0;
  #cold = 0;

  /** @param repeatPercent  operations that come twice in a row */
  constructor(universe: Universe, seed: number, repeatPercent = 0, mixture = UNIFORM) {
    this.#universe = universe;
    this.#random = new Random(seed);
    this.#repeatPercent = repeatPercent;
    this.#mixture = mixture;
  }

  fill(block: Block): void {
    block.count = 0;
    while (block.count < BLOCK_OPERATIONS) this.#next(block);
  }

  #pickUser(): number {
    const random = this.#random;
    const { users } = this.#universe;
    const { coldPercent, zipf } = this.#mixture;
    if (coldPercent > 0 && random.below(100) < coldPercent) return users + this.#cold++;
    return zipf === null ? random.below(users) : zipfRank(zipf, users, random.fraction());
  }

  #next(block: Block): void {
    const random = this.#random;
    if (this.#repeatPercent > 0 && block.count > 0 && random.below(100) < this.#repeatPercent) {
      block.repeat();
      return;
    }
    const kind = random.below(100);
    const op = kind < ACK_PERCENT ? OP_ACK : kind < ACK_PERCENT + MENTION_PERCENT ? OP_MENTION : OP_GET;
    const user = this.#pickUser();
    const channel = random.below(this.#universe.channelsPerUser);
    const made = this.#made++;
    // Low bits at random: no two operations are about one message by chance.
    const message = made + random.below(MESSAGE_LAG);
    const messageLo = (message << 12) | (random.next() & 0xfff);
    const messageHi = MESSAGE_HI + Math.floor(message / (1 << 20));
    const channelLo = channelLow(this.#universe, user, channel);
    if (op === OP_GET) block.add(op, user, channelLo, 0, 0, made);
    else block.add(op, user, channelLo, messageLo, messageHi, made);
  }
}
