/**
 * lru-cache as a side of the engine benchmark, in the two ways in which a service would use it:
 *
 * - `string`: one entry for each read state, with the key `user:channel` (mnemonist's LRUMap takes the same);
 * - `nested`: one entry for each user, which holds a Map of the user's read states.
 *
 * Ids are decimal texts, as they come in JSON: a 64-bit id fits in no number. What speaks for the peer: the texts are
 * made outside of the measured time, message ids are two numbers and no texts, nothing is written to a store, what is
 * evicted is just dropped, and a mention is only known again by the latest one of its channel.
 */
import { LRUCache } from 'lru-cache';
import { LRUMap } from 'mnemonist';
import { fingerprint } from '../engine/hash.js';
import { compareIds, formatId } from '../engine/ids.js';
import {
  ENTRY,
  OP_ACK,
  OP_GET,
  OP_MENTION,
  REPLY,
  REPLY_CHANGED,
  REPLY_ENTRY,
  REQUEST,
  ROW,
  STATUS_DUPLICATE,
  STATUS_OK,
  STATUS_SUPPRESSED,
  STATUS_UNKNOWN,
} from '../engine/messages.js';
import type { Side, SideCounts } from './engine-side.js';
import { type Block, REPLY_STRIDE, userHigh } from './engine-stream.js';

interface ReadState {
  messageLo: number;
  messageHi: number;
  mentionCount: number;
  version: number;
  fingerprint: number;
  meta: number;
  pinMs: number;
}

function createReadState(messageLo: number, messageHi: number, version: number): ReadState {
  return { messageLo, messageHi, mentionCount: 0, version, fingerprint: 0, meta: 0, pinMs: 0 };
}

/** What both ways have in common: the operations on a read state that was found or made. */
abstract class LruCacheSide implements Side {
  abstract readonly name: string;
  readonly wantsTexts = true;
  readonly counts: SideCounts = { hits: 0, misses: 0, flushedRows: 0 };
  abstract readonly recordCount: number;
  abstract loadUser(userLo: number, rows: Int32Array, count: number): void;
  abstract run(block: Block): void;

  setClockMs(): void {}

  /** @returns whether the state changed */
  protected apply(
    state: ReadState,
    isNew: boolean,
    version: number,
    words: Int32Array,
    at: number,
    out: Int32Array,
    outAt: number,
  ): boolean {
    const op = words[at + REQUEST.HEAD]! & 0xff;
    const messageLo = words[at + REQUEST.ARGUMENT_LO]!;
    const messageHi = words[at + REQUEST.ARGUMENT_HI]!;
    let status = STATUS_OK;
    let flags = 0;
    if (op === OP_ACK) {
      const order = compareIds(messageLo, messageHi, state.messageLo, state.messageHi);
      if (isNew || order > 0 || (order === 0 && state.mentionCount > 0)) {
        state.messageLo = messageLo;
        state.messageHi = messageHi;
        state.mentionCount = 0;
        flags = REPLY_CHANGED;
      }
    } else if (op === OP_MENTION) {
      const print = fingerprint(messageLo, messageHi);
      if (!isNew && compareIds(state.messageLo, state.messageHi, messageLo, messageHi) >= 0) {
        status = STATUS_SUPPRESSED;
      } else if (state.fingerprint === print) {
        status = STATUS_DUPLICATE;
      } else {
        state.fingerprint = print;
        state.mentionCount++;
        flags = REPLY_CHANGED;
      }
    } else {
      flags = REPLY_ENTRY;
      const entry = outAt + REPLY.WORDS;
      out[entry + ENTRY.CHANNEL_LO] = words[at + REQUEST.CHANNEL_LO]!;
      out[entry + ENTRY.CHANNEL_HI] = words[at + REQUEST.CHANNEL_HI]!;
      out[entry + ENTRY.MESSAGE_LO] = state.messageLo;
      out[entry + ENTRY.MESSAGE_HI] = state.messageHi;
      out[entry + ENTRY.MENTION_COUNT] = state.mentionCount;
      out[entry + ENTRY.META] = state.meta;
      out[entry + ENTRY.VERSION] = state.version;
      out[entry + ENTRY.PIN_LO] = 0;
      out[entry + ENTRY.PIN_HI] = state.pinMs;
    }
    if (flags === REPLY_CHANGED) state.version = version;
    out[outAt + REPLY.HEAD] = op | (status << 8) | flags;
    out[outAt + REPLY.REQUEST_ID] = words[at + REQUEST.REQUEST_ID]!;
    out[outAt + REPLY.MENTION_COUNT] = state.mentionCount;
    out[outAt + REPLY.VERSION] = state.version;
    return flags === REPLY_CHANGED;
  }

  protected replyUnknown(words: Int32Array, at: number, out: Int32Array, outAt: number): void {
    out[outAt + REPLY.HEAD] = (words[at + REQUEST.HEAD]! & 0xff) | (STATUS_UNKNOWN << 8);
    out[outAt + REPLY.REQUEST_ID] = words[at + REQUEST.REQUEST_ID]!;
    out[outAt + REPLY.MENTION_COUNT] = 0;
    out[outAt + REPLY.VERSION] = 0;
  }
}

interface StringCache {
  readonly size: number;
  get(key: string): ReadState | undefined;
  set(key: string, state: ReadState): unknown;
}

/** Versions are of the record: there is no user. */
class StringKeySide extends LruCacheSide {
  readonly name: string;
  readonly #cache: StringCache;

  constructor(name: string, cache: StringCache) {
    super();
    this.name = name;
    this.#cache = cache;
  }

  get recordCount(): number {
    return this.#cache.size;
  }

  loadUser(userLo: number, rows: Int32Array, count: number): void {
    const user = formatId(userLo, userHigh);
    for (let at = 0; at < count * ROW.WORDS; at += ROW.WORDS) {
      const channel = formatId(rows[at + ENTRY.CHANNEL_LO]!, rows[at + ENTRY.CHANNEL_HI]!);
      const state = createReadState(
        rows[at + ENTRY.MESSAGE_LO]!,
        rows[at + ENTRY.MESSAGE_HI]!,
        rows[at + ENTRY.VERSION]!,
      );
      this.#cache.set(`${user}:${channel}`, state);
    }
  }

  run({ count, words, userTexts, channelTexts, replies }: Block): void {
    const cache = this.#cache;
    for (let i = 0; i < count; i++) {
      const at = i * REQUEST.WORDS;
      const replyAt = i * REPLY_STRIDE;
      const key = `${userTexts[i]!}:${channelTexts[i]!}`;
      const state = cache.get(key);
      if (state !== undefined) {
        this.counts.hits++;
        this.apply(state, false, state.version + 1, words, at, replies, replyAt);
        continue;
      }
      this.counts.misses++;
      if ((words[at + REQUEST.HEAD]! & 0xff) === OP_GET) {
        this.replyUnknown(words, at, replies, replyAt);
        continue;
      }
      const fresh = createReadState(0, 0, 0);
      cache.set(key, fresh);
      this.apply(fresh, true, 1, words, at, replies, replyAt);
    }
  }
}

export class LruStringSide extends StringKeySide {
  constructor(recordsMax: number) {
    super('lru-cache string', new LRUCache<string, ReadState>({ max: recordsMax }));
  }
}

/** Of mnemonist's caches the fastest: its list is in typed arrays, and its keys are in a Map. */
export class MnemonistSide extends StringKeySide {
  constructor(recordsMax: number) {
    super('mnemonist LRUMap', new LRUMap<string, ReadState>(recordsMax));
  }
}

interface UserStates {
  version: number;
  readonly states: Map<string, ReadState>;
}

/** Evicts whole users; `max` counts users, so what counts records is beside it. */
export class LruNestedSide extends LruCacheSide {
  readonly name = 'lru-cache nested';
  readonly #cache: LRUCache<string, UserStates>;
  readonly #recordsMax: number;
  #records = 0;

  constructor(recordsMax: number, usersMax: number) {
    super();
    this.#recordsMax = recordsMax;
    this.#cache = new LRUCache({
      max: usersMax,
      dispose: (user) => {
        this.#records -= user.states.size;
      },
    });
  }

  get recordCount(): number {
    return this.#records;
  }

  loadUser(userLo: number, rows: Int32Array, count: number): void {
    const user = this.#admit(formatId(userLo, userHigh));
    user.version = count;
    for (let at = 0; at < count * ROW.WORDS; at += ROW.WORDS) {
      const channel = formatId(rows[at + ENTRY.CHANNEL_LO]!, rows[at + ENTRY.CHANNEL_HI]!);
      const state = createReadState(
        rows[at + ENTRY.MESSAGE_LO]!,
        rows[at + ENTRY.MESSAGE_HI]!,
        rows[at + ENTRY.VERSION]!,
      );
      this.#insert(user, channel, state);
    }
  }

  #admit(userId: string): UserStates {
    const user = { version: 0, states: new Map<string, ReadState>() };
    this.#cache.set(userId, user);
    return user;
  }

  #insert(user: UserStates, channelId: string, state: ReadState): void {
    user.states.set(channelId, state);
    this.#records++;
    while (this.#records > this.#recordsMax) this.#cache.pop();
  }

  run({ count, words, userTexts, channelTexts, replies }: Block): void {
    const cache = this.#cache;
    for (let i = 0; i < count; i++) {
      const at = i * REQUEST.WORDS;
      const replyAt = i * REPLY_STRIDE;
      let user = cache.get(userTexts[i]!);
      const state = user?.states.get(channelTexts[i]!);
      if (user !== undefined && state !== undefined) {
        this.counts.hits++;
        if (this.apply(state, false, user.version + 1, words, at, replies, replyAt)) user.version++;
        continue;
      }
      this.counts.misses++;
      if ((words[at + REQUEST.HEAD]! & 0xff) === OP_GET) {
        this.replyUnknown(words, at, replies, replyAt);
        continue;
      }
      user ??= this.#admit(userTexts[i]!);
      const fresh = createReadState(0, 0, 0);
      this.#insert(user, channelTexts[i]!, fresh);
      this.apply(fresh, true, ++user.version, words, at, replies, replyAt);
    }
  }
}
