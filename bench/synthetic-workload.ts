/**
 * Operations of a made-up chat: users drawn by a Zipf distribution, each with a fixed set of channels, and a mix of
 * operations. Words are written in place; nothing is allocated for an operation.
 *
 * Ids are snowflakes of their rank: spread over all bits by a hash, as real ones are over time, and below 2^63.
 */
import { mix } from '../engine/hash.js';
import {
  OP_ACK,
  OP_BADGE,
  OP_GET,
  OP_LIST,
  OP_MENTION,
  REQUEST,
  REQUEST_WITH_ENTRY,
} from '../engine/messages.js';
import { Random } from './random.js';
import { KINDS, type Kind } from './run-stats.js';
import { Zipf } from './zipf.js';

export interface WorkloadOptions {
  users: number;
  channelsPerUser: number;
  zipfExponent: number;
  mix: Partial<Record<Kind, number>>;
  seed: number;
}

const MIX_SLOTS = 1000;
const HEADS: Record<string, number> = {
  ack: OP_ACK | REQUEST_WITH_ENTRY,
  mention: OP_MENTION,
  get: OP_GET | REQUEST_WITH_ENTRY,
  list: OP_LIST,
  badge: OP_BADGE,
};
/** High words: about what snowflakes of today have, so that decimal texts have their usual length. */
const USER_HI = 0x10000000;
const CHANNEL_HI = 0x11000000;
const MESSAGE_HI = 0x12000000;

/** Parses `ack=50,mention=30`. @throws Error that names the part */
export function parseMix(text: string): Partial<Record<Kind, number>> {
  const shares: Partial<Record<Kind, number>> = {};
  for (const part of text.split(',')) {
    const found = /^(\w+)=(\d+(?:\.\d+)?)$/.exec(part.trim());
    if (found === null || HEADS[found[1]!] === undefined)
      throw new Error(`"${part}" is not ${Object.keys(HEADS).join(', ')} with a share, as in ack=50`);
    shares[found[1] as Kind] = Number(found[2]);
  }
  if (!Object.values(shares).some((share) => share > 0)) throw new Error('all shares are 0');
  return shares;
}

/** Low word of the id of user number `rank`: different for each rank. */
export function userLow(rank: number): number {
  return mix(rank);
}

/** Low word of the id of a user's channel: users share channels, as they do in a chat. */
function channelLow(userRank: number, index: number, channels: number): number {
  return (mix(Math.imul(userRank, 0x9e3779b1) ^ Math.imul(index + 1, 0x85ebca6b)) >>> 0) % channels;
}

export class Workload {
  /** Index in KINDS of what `write` wrote. */
  kind = 0;
  readonly #options: WorkloadOptions;
  readonly #random: Random;
  readonly #zipf: Zipf;
  readonly #kindOfSlot = new Uint8Array(MIX_SLOTS);
  readonly #headOfKind: Int32Array;
  readonly #channels: number;
  #message = 1;

  constructor(options: WorkloadOptions) {
    this.#options = options;
    this.#random = new Random(options.seed);
    this.#zipf = new Zipf(this.#random, options.users, options.zipfExponent);
    this.#headOfKind = Int32Array.from(KINDS, (kind) => HEADS[kind] ?? 0);
    // About 32 members in each channel.
    this.#channels = Math.max(1, Math.ceil((options.users * options.channelsPerUser) / 32));
    this.#fillSlots(options.mix);
    // Message ids grow from run to run, so that the acks of a later run move the marks too.
    this.#message = Date.now() * 4096;
  }

  #fillSlots(shares: Partial<Record<Kind, number>>): void {
    const sum = Object.values(shares).reduce((a, b) => a + b, 0);
    let slot = 0;
    let reached = 0;
    KINDS.forEach((kind, index) => {
      reached += (shares[kind] ?? 0) / sum;
      while (slot < Math.round(reached * MIX_SLOTS)) this.#kindOfSlot[slot++] = index;
    });
  }

  /** Writes one operation (REQUEST words) at `words[at]`; `kind` says which. */
  write(words: Int32Array, at: number): void {
    const rank = this.#zipf.next();
    const random = this.#random.next();
    this.kind = this.#kindOfSlot[random % MIX_SLOTS]!;
    const userLo = userLow(rank);
    words[at + REQUEST.HEAD] = this.#headOfKind[this.kind]!;
    words[at + REQUEST.USER_LO] = userLo;
    words[at + REQUEST.USER_HI] = USER_HI;
    const index = (random >>> 10) % this.#options.channelsPerUser;
    words[at + REQUEST.CHANNEL_LO] = channelLow(rank, index, this.#channels);
    words[at + REQUEST.CHANNEL_HI] = CHANNEL_HI;
    const op = this.#headOfKind[this.kind]! & 0xff;
    const hasMessage = op === OP_ACK || op === OP_MENTION;
    const message = hasMessage ? ++this.#message : 0;
    words[at + REQUEST.ARGUMENT_LO] = message | 0;
    words[at + REQUEST.ARGUMENT_HI] = hasMessage ? MESSAGE_HI + Math.floor(message / 4294967296) : 0;
  }
}
