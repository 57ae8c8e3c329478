/** HTTP and JSON requests that wait for the answer to one operation, and the JSON bodies of the answers. */
import { writeNumber } from '../engine/ids.js';
import {
  ENTRY,
  LIST_PART_ENTRIES,
  OP_ACK_BULK,
  OP_BADGE,
  OP_DELETE,
  OP_DELETE_USER,
  OP_LIST,
  REPLY,
  REPLY_MORE,
  REPLY_PARTIAL,
  STATUS_OK,
  STATUS_UNKNOWN,
} from '../engine/messages.js';
import { type ByteBudget, ByteBuilder } from './byte-builder.js';
import type { Counters } from './counters.js';
import { type ApiError, BUSY, errorOfStatus } from './errors.js';
import { ascii, ENTRY_JSON_BYTES_MAX, put, writeEntry } from './json-entry.js';

/** Who asked, over HTTP or a JSON WebSocket. One of the four is called, once. A caller that is gone ignores it. */
export interface Caller {
  /** @param body  valid only during the call */
  ok(body: Uint8Array): void;
  /** @param body  stays as it is until `release` is called */
  okLarge(body: Uint8Array, release: () => void): void;
  empty(): void;
  error(error: ApiError): void;
}

/** What holds a slot while its operations are in the shards. */
export interface Call {
  /** REPLY words, and entries, at `words[at]`. @returns true when that was all: the slot is freed */
  answer(words: Int32Array, at: number): boolean;
}

/** The status of an answer. */
export function statusOf(head: number): number {
  return (head >>> 8) & 0xff;
}

const ENTRIES = ascii('{"entries":[');
const PARTIAL_TRUE = ascii('],"partial":true,"version":');
const PARTIAL_FALSE = ascii('],"partial":false,"version":');
const ENTRIES_END = ascii(']}');
const MENTION_COUNT = ascii('{"mention_count":');
const MENTION_CHANNELS = ascii(',"unread_mention_channels":');
const COMMA = 44;
const CLOSE = 125;
/** Around the entries of one part. */
const FRAME_BYTES_MAX = 64;
const PART_BYTES_MAX = LIST_PART_ENTRIES * (ENTRY_JSON_BYTES_MAX + 1) + FRAME_BYTES_MAX;

/** For bodies that are sent at once. */
const scratch = new Uint8Array(PART_BYTES_MAX);

export class OperationCall implements Call {
  readonly #op: number;
  readonly #caller: Caller;
  readonly #budget: ByteBudget;
  readonly #counters: Counters;
  /** Of a list that came in more than one part. */
  #builder: ByteBuilder | null = null;

  constructor(op: number, caller: Caller, budget: ByteBudget, counters: Counters) {
    this.#op = op;
    this.#caller = caller;
    this.#budget = budget;
    this.#counters = counters;
  }

  answer(words: Int32Array, at: number): boolean {
    const head = words[at + REPLY.HEAD]!;
    const status = statusOf(head);
    switch (this.#op) {
      case OP_DELETE:
      case OP_DELETE_USER:
        if (status === STATUS_OK || status === STATUS_UNKNOWN) {
          this.#caller.empty();
          return true;
        }
        break;
      case OP_LIST:
      case OP_ACK_BULK:
        if (status === STATUS_OK) return this.#part(head, words, at);
        this.#builder?.release();
        break;
      case OP_BADGE:
        if (status === STATUS_OK) {
          this.#caller.ok(badge(words, at));
          return true;
        }
        break;
      default:
        if (status === STATUS_OK) {
          this.#caller.ok(scratch.subarray(0, writeEntry(scratch, 0, words, at + REPLY.WORDS)));
          return true;
        }
    }
    this.#caller.error(errorOfStatus(status, words[at + REPLY.MENTION_COUNT]!));
    return true;
  }

  /** A part of a list; most lists are one part and never see the builder. */
  #part(head: number, words: Int32Array, at: number): boolean {
    const more = (head & REPLY_MORE) !== 0;
    let builder = this.#builder;
    if (builder === null && !more) {
      this.#caller.ok(scratch.subarray(0, this.#writePart(scratch, 0, true, false, head, words, at)));
      return true;
    }
    const first = builder === null;
    builder ??= this.#builder = new ByteBuilder(this.#budget);
    if (!builder.reserve(PART_BYTES_MAX)) {
      builder.release();
      this.#counters.busy.max_list_memory++;
      this.#caller.error(BUSY);
      return true;
    }
    builder.length = this.#writePart(builder.bytes, builder.length, first, more, head, words, at);
    if (more) return false;
    this.#caller.okLarge(builder.view(), builder.release);
    return true;
  }

  #writePart(
    bytes: Uint8Array,
    to: number,
    first: boolean,
    more: boolean,
    head: number,
    words: Int32Array,
    at: number,
  ): number {
    if (first) to = put(bytes, to, ENTRIES);
    let from = at + REPLY.WORDS;
    for (let left = words[at + REPLY.MENTION_COUNT]!; left > 0; left--) {
      // A comma before each entry but the first of all; parts but the last may be empty.
      if (bytes[to - 1] === CLOSE) bytes[to++] = COMMA;
      to = writeEntry(bytes, to, words, from);
      from += ENTRY.WORDS;
    }
    if (more) return to;
    if (this.#op === OP_ACK_BULK) return put(bytes, to, ENTRIES_END);
    to = put(bytes, to, (head & REPLY_PARTIAL) !== 0 ? PARTIAL_TRUE : PARTIAL_FALSE);
    to = writeNumber(bytes, to, words[at + REPLY.VERSION]! >>> 0);
    bytes[to] = CLOSE;
    return to + 1;
  }
}

function badge(words: Int32Array, at: number): Uint8Array {
  let to = put(scratch, 0, MENTION_COUNT);
  to = writeNumber(scratch, to, words[at + REPLY.MENTION_COUNT]!);
  to = put(scratch, to, MENTION_CHANNELS);
  to = writeNumber(scratch, to, words[at + REPLY.VERSION]!);
  scratch[to] = CLOSE;
  return scratch.subarray(0, to + 1);
}
