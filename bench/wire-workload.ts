/**
 * The read states that the wire benchmark works on: `users` with `channelsPerUser` channels each, and one user with
 * very many. Every record can be computed from its number, so that no table of ids takes part in what is measured.
 */
import { mix } from '../engine/hash.js';
import { formatId } from '../engine/ids.js';
import { OP_ACK, OP_GET, OP_LIST, OP_MENTION, REQUEST, REQUEST_WITH_ENTRY } from '../engine/messages.js';
import type { HttpRequestText } from './http-blaster.js';

const USER_HI = 0x10000000;
const BIG_USER_HI = 0x20000000;
const CHANNEL_HI = 0x11000000;
export const MESSAGE_HI = 0x12000000;

export class WireWorkload {
  readonly users: number;
  readonly channelsPerUser: number;
  /** Users whom `mixed` is about: as many in a row, from `#first`. */
  readonly #present: number;
  #first: number;
  #state = 0x2545f491;
  /** Of the last ack or mention; they grow, so that every one of them moves something. */
  #message = 1;
  #next = 0;

  /** @param present  users who are there at one time (`visits`): at first the last ones */
  constructor(users: number, channelsPerUser: number, present = users) {
    this.users = users;
    this.channelsPerUser = channelsPerUser;
    this.#present = present;
    this.#first = users - present;
  }

  get records(): number {
    return this.users * this.channelsPerUser;
  }

  userId(user: number): string {
    return formatId(mix(user + 1), USER_HI);
  }

  /** Starts the sequences below from the first user again. */
  rewind(): void {
    this.#next = 0;
  }

  /** A list of each user in turn: they are then known to have no rows in the store, and acks need not look. */
  readonly listNext = (words: Int32Array, at: number, requestId: number): number =>
    this.write(words, at, requestId, OP_LIST, this.#next++ % this.users, -1, 0);

  /** The first ack of each record in turn. */
  readonly ackNext = (words: Int32Array, at: number, requestId: number): number => {
    const record = this.#next++ % this.records;
    const user = Math.floor(record / this.channelsPerUser);
    return this.write(words, at, requestId, OP_ACK, user, record % this.channelsPerUser, ++this.#message);
  };

  /** Acks, mentions and gets (70, 20, 10 in a hundred) of records at random, all of those present equally likely. */
  readonly mixed = (words: Int32Array, at: number, requestId: number): number => {
    const random = this.#random();
    const user = (this.#first + Math.floor((this.#random() / 4294967296) * this.#present)) % this.users;
    const channel = (random >>> 16) % this.channelsPerUser;
    const kind = (random & 0xffff) % 10;
    if (kind === 0) return this.write(words, at, requestId, OP_GET | REQUEST_WITH_ENTRY, user, channel, 0);
    return this.write(words, at, requestId, kind < 3 ? OP_MENTION : OP_ACK, user, channel, ++this.#message);
  };

  /** As `mixed`, and one in five is a list of a user at random: clients that connect. */
  readonly mixedWithLists = (words: Int32Array, at: number, requestId: number): number => {
    if (this.#random() % 5 !== 0) return this.mixed(words, at, requestId);
    const user = Math.floor((this.#random() / 4294967296) * this.users);
    return this.write(words, at, requestId, OP_LIST, user, -1, 0);
  };

  /**
   * As `mixed`, and once in `operations` a user comes, who is listed, and the one who came first of all goes: nobody asks
   * for that one until it comes again.
   */
  visits(operations: number): (words: Int32Array, at: number, requestId: number) => number {
    let left = operations;
    return (words, at, requestId) => {
      if (--left > 0) return this.mixed(words, at, requestId);
      left = operations;
      const user = (this.#first + this.#present) % this.users;
      this.#first = (this.#first + 1) % this.users;
      return this.write(words, at, requestId, OP_LIST, user, -1, 0);
    };
  }

  /** An ack of a record at random: what `httpAck` is, in words. */
  readonly ackRandom = (words: Int32Array, at: number, requestId: number): number => {
    const user = Math.floor((this.#random() / 4294967296) * this.users);
    const channel = this.#random() % this.channelsPerUser;
    return this.write(words, at, requestId, OP_ACK, user, channel, ++this.#message);
  };

  /** Acks of the user with very many channels, one channel after another. */
  readonly ackBigUser = (words: Int32Array, at: number, requestId: number): number => {
    const next = this.write(words, at, requestId, OP_ACK, 0, 0, ++this.#message);
    words[at + REQUEST.USER_LO] = 1;
    words[at + REQUEST.USER_HI] = BIG_USER_HI;
    words[at + REQUEST.CHANNEL_LO] = mix(++this.#next);
    return next;
  };

  readonly bigUserId = formatId(1, BIG_USER_HI);

  /** An ack of a record at random, over HTTP. */
  readonly httpAck = (): HttpRequestText => {
    const user = Math.floor((this.#random() / 4294967296) * this.users);
    const channel = formatId(this.channelLow(user, this.#random() % this.channelsPerUser), CHANNEL_HI);
    const message = formatId(++this.#message, MESSAGE_HI);
    const path = `/v1/users/${this.userId(user)}/read-states/${channel}/ack`;
    return { method: 'POST', path, body: `{"message_id":"${message}"}` };
  };

  /** The lower word of its id. */
  channelLow(user: number, channel: number): number {
    return mix(Math.imul(user, this.channelsPerUser) + channel);
  }

  /** One operation; where the next one begins. @param channel  of the user, by number; -1: none */
  write(
    words: Int32Array,
    at: number,
    requestId: number,
    head: number,
    user: number,
    channel: number,
    message: number,
  ): number {
    words[at + REQUEST.HEAD] = head;
    words[at + REQUEST.REQUEST_ID] = requestId;
    words[at + REQUEST.USER_LO] = mix(user + 1);
    words[at + REQUEST.USER_HI] = USER_HI;
    words[at + REQUEST.CHANNEL_LO] = channel < 0 ? 0 : this.channelLow(user, channel);
    words[at + REQUEST.CHANNEL_HI] = channel < 0 ? 0 : CHANNEL_HI;
    words[at + REQUEST.ARGUMENT_LO] = message | 0;
    words[at + REQUEST.ARGUMENT_HI] = message === 0 ? 0 : MESSAGE_HI;
    return at + REQUEST.WORDS;
  }

  /** xorshift: 1 to 2^32-1. */
  #random(): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x;
    return x >>> 0;
  }
}
