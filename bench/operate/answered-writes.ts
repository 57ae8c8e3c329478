/**
 * The model of answered writes, for load at full speed: what each record must be by the answers so far, in typed arrays.
 *
 * All operations of a user go over one connection, and so are answered in the order in which they were sent. Each answer
 * is checked as it comes: its user's version must be the one after the last, so that a write that was lost, done twice
 * or out of order shows at the next one; and mark and count must be what all answers before it lead to. What is refused
 * must have done nothing, which the next answer shows. At the end every user is listed and compared; who is refused then,
 * again, until there is an answer.
 */
import { hashUser, partitionOf } from '../../engine/hash.js';
import { assert } from '../../engine/layout.js';
import {
  ENTRY,
  OP_ACK,
  OP_GET,
  OP_LIST,
  OP_MENTION,
  REPLY,
  REPLY_CHANGED,
  REQUEST,
  REQUEST_WITH_ENTRY,
  STATUS_BUSY,
  STATUS_JOURNAL_UNAVAILABLE,
  STATUS_OK,
  STATUS_STORE_UNAVAILABLE,
} from '../../engine/messages.js';
import { Random } from '../random.js';
import { MESSAGE_HI, type WireWorkload } from '../wire-workload.js';

/** More than are sent while one waits for its answer: some seconds of them. */
const RING = 1 << 22;
const SHOWN_MAX = 5;
/** Of a hundred operations; the rest are gets. */
const ACKS = 70;
const MENTIONS = 20;
/** One in so many operations is of the same user as the one before: the order of those is what can go wrong. */
const AGAIN = 4;
/** What may be answered for lack of room or of a neighbour; anything else that is not OK is wrong. */
const REFUSALS = new Set([STATUS_BUSY, STATUS_STORE_UNAVAILABLE, STATUS_JOURNAL_UNAVAILABLE]);

export class AnsweredWrites {
  /** Lower word of the last message; 0 = there is no such entry. */
  readonly #marks: Int32Array;
  readonly #mentions: Uint16Array;
  /** By user. */
  readonly #versions: Int32Array;
  readonly #lastIds: Int32Array;
  /** 1: listed and compared since `beginComparison`. */
  readonly #isCompared: Uint8Array;
  /** Of operations in flight: record, and message or 0. */
  readonly #records = new Int32Array(RING);
  readonly #messages = new Int32Array(RING);
  readonly #random: Random;
  readonly #workload: WireWorkload;
  #message = 1;
  #next = 0;
  /** Of what was sent. */
  #newestId = 0;
  #lastUser = -1;
  #lastSocket = -1;
  readonly #channels: Int32Array;
  answered = 0;
  writes = 0;
  /** Answered writes that a read does not have. */
  lost = 0;
  /** Other answers than must be, those that show a loss apart; and answers in another order than was asked. */
  wrong = 0;
  reordered = 0;
  /** By status. */
  readonly refused = new Map<number, number>();
  /** The first that went wrong, in words. */
  readonly shown: string[] = [];

  /** @param sockets  over which the load goes */
  constructor(
    workload: WireWorkload,
    readonly sockets: number,
    seed: number,
  ) {
    assert(workload.users % sockets === 0, `${workload.users} users on ${sockets} connections`);
    this.#workload = workload;
    this.#random = new Random(seed);
    this.#marks = new Int32Array(workload.records);
    this.#mentions = new Uint16Array(workload.records);
    this.#versions = new Int32Array(workload.users);
    this.#lastIds = new Int32Array(workload.users);
    this.#isCompared = new Uint8Array(workload.users);
    this.#channels = new Int32Array(workload.channelsPerUser);
  }

  /** The lane of each user. */
  lanesOfUsers(partitions: number, lanes: number): Uint8Array {
    const words = new Int32Array(REQUEST.WORDS);
    return Uint8Array.from({ length: this.#workload.users }, (_, user) => {
      this.#workload.write(words, 0, 0, OP_LIST, user, -1, 0);
      return partitionOf(hashUser(words[REQUEST.USER_LO]!, words[REQUEST.USER_HI]!), partitions) % lanes;
    });
  }

  get refusedCount(): number {
    let sum = 0;
    for (const count of this.refused.values()) sum += count;
    return sum;
  }

  /** Of an operation in flight. */
  userOf(requestId: number): number {
    return Math.floor(this.#records[requestId & (RING - 1)]! / this.#workload.channelsPerUser);
  }

  rewind(): void {
    this.#next = 0;
  }

  beginComparison(): void {
    this.#isCompared.fill(0);
  }

  /** Users who are still to be listed and compared. */
  get uncomparedCount(): number {
    return this.#isCompared.reduce((count, isCompared) => count + 1 - isCompared, 0);
  }

  /** A list of each user in turn. */
  readonly listNext = (words: Int32Array, at: number, requestId: number): number =>
    this.#list(words, at, requestId, this.#next++ % this.#workload.users);

  /** A list of each user in turn who is still to be compared; of anybody when there is none. */
  readonly listUncompared = (words: Int32Array, at: number, requestId: number): number => {
    const { users } = this.#workload;
    for (let looked = 1; looked < users && this.#isCompared[this.#next % users] === 1; looked++) this.#next++;
    return this.#list(words, at, requestId, this.#next++ % users);
  };

  #list(words: Int32Array, at: number, requestId: number, user: number): number {
    this.#newestId = requestId;
    this.#records[requestId & (RING - 1)] = user * this.#workload.channelsPerUser;
    return this.#workload.write(words, at, requestId, OP_LIST, user, -1, 0);
  }

  /** The first ack of each record in turn; a user's are all in one frame. */
  readonly ackNext = (words: Int32Array, at: number, requestId: number): number =>
    this.#write(words, at, requestId, this.#next++ % this.#workload.records, OP_ACK);

  /** Acks, mentions and gets of users of that socket. */
  readonly mixed = (words: Int32Array, at: number, requestId: number, socket: number): number => {
    const { users, channelsPerUser } = this.#workload;
    const random = this.#random.next();
    let user = this.#lastUser;
    if (socket !== this.#lastSocket || random % AGAIN !== 0)
      user = this.#random.below(users / this.sockets) * this.sockets + socket;
    this.#lastUser = user;
    this.#lastSocket = socket;
    const record = user * channelsPerUser + ((random >>> 16) % channelsPerUser);
    const kind = (random >>> 4) % 100;
    const op = kind < ACKS ? OP_ACK : kind < ACKS + MENTIONS ? OP_MENTION : OP_GET;
    return this.#write(words, at, requestId, record, op);
  };

  #write(words: Int32Array, at: number, requestId: number, record: number, op: number): number {
    const { channelsPerUser } = this.#workload;
    const message = op === OP_GET ? 0 : ++this.#message;
    this.#newestId = requestId;
    this.#records[requestId & (RING - 1)] = record;
    this.#messages[requestId & (RING - 1)] = message;
    const user = Math.floor(record / channelsPerUser);
    const head = op === OP_MENTION ? op : op | REQUEST_WITH_ENTRY;
    return this.#workload.write(words, at, requestId, head, user, record % channelsPerUser, message);
  }

  /** Takes the answer at `words[at]`. */
  take(words: Int32Array, at: number): void {
    this.answered++;
    const head = words[at + REPLY.HEAD]!;
    const status = (head >>> 8) & 0xff;
    if (status !== STATUS_OK) {
      this.refused.set(status, (this.refused.get(status) ?? 0) + 1);
      if (!REFUSALS.has(status)) {
        this.wrong++;
        this.#show(`an operation is answered with status ${status}`);
      }
      return;
    }
    const op = head & 0xff;
    const requestId = words[at + REPLY.REQUEST_ID]!;
    if (((this.#newestId - requestId) | 0) >= RING)
      throw new Error(
        `operation ${requestId} is answered after ${RING} others were sent: nothing is known of it`,
      );
    const record = this.#records[requestId & (RING - 1)]!;
    if (op === OP_LIST) {
      this.#compare(words, at, record);
      return;
    }
    const user = Math.floor(record / this.#workload.channelsPerUser);
    if (this.#versions[user] !== 0 && ((requestId - this.#lastIds[user]!) | 0) <= 0) {
      this.reordered++;
      this.#show(`user ${user}: operation ${requestId} is answered after ${this.#lastIds[user]}`);
    }
    this.#lastIds[user] = requestId;
    if (op === OP_GET) this.#checkEntry(words, at + REPLY.WORDS, record, 'a get');
    else this.#takeWrite(words, at, record, user, op);
  }

  #takeWrite(words: Int32Array, at: number, record: number, user: number, op: number): void {
    this.writes++;
    const message = this.#messages[words[at + REPLY.REQUEST_ID]! & (RING - 1)]!;
    const version = words[at + REPLY.VERSION]!;
    const due = this.#versions[user]! + 1;
    if (version !== due || (words[at + REPLY.HEAD]! & REPLY_CHANGED) === 0) {
      if (version < due) this.lost += due - version;
      else this.wrong++;
      this.#show(`user ${user}: a write is answered with version ${version}, and should be ${due}`);
    }
    this.#versions[user] = version;
    if (op === OP_ACK) {
      this.#marks[record] = message;
      this.#mentions[record] = 0;
      this.#checkEntry(words, at + REPLY.WORDS, record, 'an ack');
      return;
    }
    const mentions = ++this.#mentions[record]!;
    if (words[at + REPLY.MENTION_COUNT] === mentions) return;
    this.wrong++;
    this.#show(`record ${record}: ${words[at + REPLY.MENTION_COUNT]} mentions, and should be ${mentions}`);
    this.#mentions[record] = words[at + REPLY.MENTION_COUNT]!;
  }

  /** @param what  told of it */
  #checkEntry(words: Int32Array, at: number, record: number, what: string): void {
    const mark = words[at + ENTRY.MESSAGE_LO]!;
    const mentions = words[at + ENTRY.MENTION_COUNT]!;
    const dueMark = this.#marks[record]!;
    const dueMentions = this.#mentions[record]!;
    const hi = dueMark === 0 ? 0 : MESSAGE_HI;
    if (mark === dueMark && words[at + ENTRY.MESSAGE_HI] === hi && mentions === dueMentions) return;
    if (mark < dueMark || (mark === dueMark && mentions < dueMentions)) this.lost++;
    else this.wrong++;
    this.#show(
      `record ${record}: ${what} has mark ${mark} and ${mentions} mentions, and should have ${dueMark} and ${dueMentions}`,
    );
  }

  /** A whole list with what was answered. */
  #compare(words: Int32Array, at: number, first: number): void {
    const { channelsPerUser } = this.#workload;
    const user = first / channelsPerUser;
    this.#isCompared[user] = 1;
    const count = words[at + REPLY.MENTION_COUNT]!;
    const due = this.#versions[user] === 0 ? 0 : channelsPerUser;
    if (count !== due || words[at + REPLY.VERSION] !== this.#versions[user]) {
      if (count < due || words[at + REPLY.VERSION]! < this.#versions[user]!) this.lost++;
      else this.wrong++;
      this.#show(
        `user ${user}: ${count} entries and version ${words[at + REPLY.VERSION]}, and should be ${due} and ${this.#versions[user]}`,
      );
    }
    for (let channel = 0; channel < channelsPerUser; channel++)
      this.#channels[channel] = this.#workload.channelLow(user, channel);
    for (let i = 0; i < count; i++) {
      const entry = at + REPLY.WORDS + i * ENTRY.WORDS;
      const channel = this.#channels.indexOf(words[entry + ENTRY.CHANNEL_LO]!);
      if (channel >= 0) this.#checkEntry(words, entry, first + channel, 'a list');
      else {
        this.wrong++;
        this.#show(`user ${user}: a list has an entry that nobody made`);
      }
    }
  }

  #show(text: string): void {
    if (this.shown.length < SHOWN_MAX) this.shown.push(text);
  }
}
