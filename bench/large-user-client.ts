/**
 * The large user's client: one connection, frames of words in and out, and no object for an entry. `TidemarkClient` makes
 * 100,000 of them for each list, and its collector's threads held one of the two cores for longer than the service needs to answer.
 */
import { compareIds } from '../engine/ids.js';
import {
  BULK_ITEM,
  BULK_ITEMS_MAX,
  ENTRY,
  OP_ACK_BULK,
  OP_DELETE_USER,
  OP_LIST,
  REPLY,
  REPLY_MORE,
  REQUEST,
  REQUEST_WORDS_MAX,
  STATUS_BUSY,
  STATUS_OK,
} from '../engine/messages.js';
import { replyEntries, replyStatus } from '../gateway/client/codec.js';
import { sleep } from './clock.js';
import { RawSocket } from './raw-socket.js';

/** A request that was answered `busy` is sent again after this time. */
const AGAIN_MS = 10;

/** What has been seen of an answer. */
interface Answer {
  status: number;
  entries: number;
  readonly done: () => void;
}

export class LargeUserClient {
  readonly #socket: RawSocket;
  readonly #waiting = new Map<number, Answer>();
  #nextId = 0;
  /** Of the list at hand: the entry before, whose channel is lower. */
  #lastLo = 0;
  #lastHi = 0;

  private constructor(socket: RawSocket) {
    this.#socket = socket;
    socket.onFrame = (words, length) => this.#receive(words, length);
    socket.onClose = (code, reason) => {
      throw new Error(`the connection was closed: ${code} ${reason}`);
    };
  }

  static async open(url: URL): Promise<LargeUserClient> {
    return new LargeUserClient(await RawSocket.open({ url, frameWords: REQUEST_WORDS_MAX }));
  }

  /** One list at a time. @throws Error if its entries are not in order */
  async list(user: bigint): Promise<number> {
    this.#lastLo = 0;
    this.#lastHi = 0;
    return await this.#ask(OP_LIST, user, REQUEST.WORDS, () => {});
  }

  /** Moves the marks of `count` channels from `first` on to `message`. */
  async ackBulk(user: bigint, first: bigint, count: number, message: bigint): Promise<void> {
    if (count > BULK_ITEMS_MAX) throw new Error(`${count} items in one frame`);
    const length = REQUEST.WORDS + count * BULK_ITEM.WORDS;
    const found = await this.#ask(OP_ACK_BULK, user, length, (words) => {
      words[REQUEST.CHANNEL_LO] = count;
      for (let i = 0; i < count; i++) {
        const item = REQUEST.WORDS + i * BULK_ITEM.WORDS;
        putId(words, item + BULK_ITEM.CHANNEL_LO, first + BigInt(i));
        putId(words, item + BULK_ITEM.MESSAGE_LO, message);
        words[item + BULK_ITEM.TYPE] = 0;
      }
    });
    if (found !== count) throw new Error(`${found} entries in the answer to ${count} acks`);
  }

  async deleteUser(user: bigint): Promise<void> {
    await this.#ask(OP_DELETE_USER, user, REQUEST.WORDS, () => {});
  }

  /** @returns entries in the answer */
  async #ask(op: number, user: bigint, length: number, fill: (words: Int32Array) => void): Promise<number> {
    for (;;) {
      const { status, entries } = await this.#send(op, user, length, fill);
      if (status === STATUS_OK) return entries;
      if (status !== STATUS_BUSY) throw new Error(`operation ${op} was answered with status ${status}`);
      await sleep(AGAIN_MS);
    }
  }

  #send(op: number, user: bigint, length: number, fill: (words: Int32Array) => void): Promise<Answer> {
    const id = this.#nextId++;
    const frame = this.#socket.takeFrame();
    frame.words.fill(0, 0, REQUEST.WORDS);
    frame.words[REQUEST.HEAD] = op;
    frame.words[REQUEST.REQUEST_ID] = id;
    putId(frame.words, REQUEST.USER_LO, user);
    fill(frame.words);
    return new Promise((resolve) => {
      const answer: Answer = { status: STATUS_OK, entries: 0, done: () => resolve(answer) };
      this.#waiting.set(id, answer);
      this.#socket.send(frame, length);
    });
  }

  #receive(words: Int32Array, length: number): void {
    for (let at = 0; at < length; ) {
      const head = words[at]!;
      const id = words[at + REPLY.REQUEST_ID]!;
      const answer = this.#waiting.get(id);
      if (answer === undefined) throw new Error(`an answer to ${id}, which nobody asked`);
      answer.status = replyStatus(head);
      const entries = replyEntries(words, at);
      answer.entries += entries;
      at += REPLY.WORDS;
      if ((head & 0xff) === OP_LIST) this.#checkOrder(words, at, entries);
      at += entries * ENTRY.WORDS;
      if ((head & REPLY_MORE) === 0) {
        this.#waiting.delete(id);
        answer.done();
      }
    }
  }

  #checkOrder(words: Int32Array, from: number, entries: number): void {
    for (let i = 0; i < entries; i++) {
      const lo = words[from + i * ENTRY.WORDS + ENTRY.CHANNEL_LO]!;
      const hi = words[from + i * ENTRY.WORDS + ENTRY.CHANNEL_HI]!;
      if (compareIds(this.#lastLo, this.#lastHi, lo, hi) >= 0) throw new Error('a list is not in order');
      this.#lastLo = lo;
      this.#lastHi = hi;
    }
  }
}

function putId(words: Int32Array, at: number, id: bigint): void {
  words[at] = Number(BigInt.asIntN(32, id));
  words[at + 1] = Number(id >> 32n);
}
