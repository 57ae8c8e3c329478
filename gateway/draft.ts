/**
 * One operation being built from JSON values, and what is wrong with it. There is one draft for the whole front:
 * it is filled and submitted within one call.
 */
import { parsed, splitHigh, splitLow } from '../engine/ids.js';
import { META_FLAGS_SHIFT, META_VIEWED_SHIFT } from '../engine/layout.js';
import {
  ACK_EXTRA,
  BULK_ITEM,
  BULK_ITEMS_MAX,
  OP_ACK,
  OP_ACK_BULK,
  OP_GET,
  OP_PIN_ACK,
  REQUEST,
  REQUEST_HAS_COUNT,
  REQUEST_HAS_EXTRA,
  REQUEST_HAS_FLAGS,
  REQUEST_HAS_VIEWED,
  REQUEST_MANUAL,
  REQUEST_SINCE,
  REQUEST_WITH_ENTRY,
  REQUEST_WORDS_MAX,
  TYPE_MAX,
} from '../engine/messages.js';
import type { Problem } from './errors.js';
import {
  COUNT_MAX,
  FLAGS_MAX,
  isObject,
  LAST_VIEWED_MAX,
  parseWhole,
  readId,
  readTimestamp,
  readType,
  readWhole,
} from './json-fields.js';

/** `op:8 type:8 flags:16` */
const TYPE_SHIFT = 8;
const VERSION_MAX = 0xffffffff;

export class Draft {
  readonly words = new Int32Array(REQUEST_WORDS_MAX);
  /** Words of the operation. */
  length = 0;
  problems: Problem[] = [];

  begin(op: number): this {
    this.words.fill(0, 0, REQUEST.WORDS);
    const withEntry = op === OP_GET || op === OP_ACK || op === OP_PIN_ACK || op === OP_ACK_BULK;
    this.words[REQUEST.HEAD] = withEntry ? op | REQUEST_WITH_ENTRY : op;
    this.length = REQUEST.WORDS;
    if (this.problems.length > 0) this.problems = [];
    return this;
  }

  get op(): number {
    return this.words[REQUEST.HEAD]! & 0xff;
  }

  user(value: unknown): this {
    if (readId(value, 'user_id', this.problems)) this.#putId(REQUEST.USER_LO);
    return this;
  }

  channel(value: unknown): this {
    if (readId(value, 'channel_id', this.problems)) this.#putId(REQUEST.CHANNEL_LO);
    return this;
  }

  type(value: unknown): this {
    this.words[REQUEST.HEAD]! |= readType(value, 'read_state_type', this.problems) << TYPE_SHIFT;
    return this;
  }

  /** The type as a query parameter. */
  typeText(text: string | undefined): this {
    if (text === undefined) return this;
    const type = parseWhole(text, TYPE_MAX);
    if (type < 0)
      this.problems.push({ path: 'type', message: `must be a whole number from 0 to ${TYPE_MAX}` });
    else this.words[REQUEST.HEAD]! |= type << TYPE_SHIFT;
    return this;
  }

  /** A version that a list starts after; a JSON number, or digits of a query parameter. */
  since(value: unknown): this {
    if (value === undefined) return this;
    const version = typeof value === 'string' ? parseWhole(value, Number.MAX_SAFE_INTEGER) : value;
    if (typeof version !== 'number' || !Number.isSafeInteger(version) || version < 0) {
      this.problems.push({
        path: 'since',
        message: `must be a whole number from 0 to ${Number.MAX_SAFE_INTEGER}`,
      });
    } else if (version <= VERSION_MAX) {
      // No user has a version beyond that: it is unknown, and the whole list the answer.
      this.words[REQUEST.HEAD]! |= REQUEST_SINCE;
      this.words[REQUEST.ARGUMENT_LO] = version | 0;
    }
    return this;
  }

  /** `{message_id, manual?, mention_count?, flags?, last_viewed?}` */
  ack(body: Record<string, unknown>): this {
    const { words, problems } = this;
    if (readId(body.message_id, 'message_id', problems)) this.#putId(REQUEST.ARGUMENT_LO);
    let flags = 0;
    if (body.manual !== undefined) {
      if (typeof body.manual !== 'boolean')
        problems.push({ path: 'manual', message: 'must be true or false' });
      else if (body.manual) flags |= REQUEST_MANUAL;
    }
    let count = 0;
    let meta = 0;
    if (body.mention_count !== undefined) {
      flags |= REQUEST_HAS_COUNT;
      count = readWhole(body.mention_count, 0, COUNT_MAX, 'mention_count', problems);
    }
    if (body.flags !== undefined) {
      flags |= REQUEST_HAS_FLAGS;
      meta |= readWhole(body.flags, 0, FLAGS_MAX, 'flags', problems) << META_FLAGS_SHIFT;
    }
    if (body.last_viewed !== undefined) {
      flags |= REQUEST_HAS_VIEWED;
      meta |=
        (readWhole(body.last_viewed, 0, LAST_VIEWED_MAX, 'last_viewed', problems) + 1) << META_VIEWED_SHIFT;
    }
    words[REQUEST.HEAD]! |= flags;
    if ((flags & REQUEST_HAS_EXTRA) !== 0) {
      words[REQUEST.WORDS + ACK_EXTRA.MENTION_COUNT] = count;
      words[REQUEST.WORDS + ACK_EXTRA.ENTRY_META] = meta;
      this.length = REQUEST.WORDS + ACK_EXTRA.WORDS;
    }
    return this;
  }

  /** `{last_pin_timestamp}` */
  pin(body: Record<string, unknown>): this {
    const ms = readTimestamp(body.last_pin_timestamp, 'last_pin_timestamp', this.problems);
    if (ms > 0) {
      this.words[REQUEST.ARGUMENT_LO] = splitLow(ms);
      this.words[REQUEST.ARGUMENT_HI] = splitHigh(ms);
    }
    return this;
  }

  /** `{read_states:[{channel_id, message_id, read_state_type?}]}`, 1 to 100 */
  bulk(body: Record<string, unknown>): this {
    const { words, problems } = this;
    const items = body.read_states;
    if (!Array.isArray(items) || items.length < 1 || items.length > BULK_ITEMS_MAX) {
      problems.push({
        path: 'read_states',
        message: `must be an array of 1 to ${BULK_ITEMS_MAX} read states`,
      });
      return this;
    }
    words[REQUEST.CHANNEL_LO] = items.length;
    for (let i = 0; i < items.length; i++) {
      const item: unknown = items[i];
      const path = `read_states.${i}`;
      if (!isObject(item)) {
        problems.push({ path, message: 'must be an object' });
        continue;
      }
      const at = REQUEST.WORDS + i * BULK_ITEM.WORDS;
      if (readId(item.channel_id, `${path}.channel_id`, problems)) this.#putId(at + BULK_ITEM.CHANNEL_LO);
      if (readId(item.message_id, `${path}.message_id`, problems)) this.#putId(at + BULK_ITEM.MESSAGE_LO);
      words[at + BULK_ITEM.TYPE] = readType(item.read_state_type, `${path}.read_state_type`, problems);
    }
    this.length = REQUEST.WORDS + items.length * BULK_ITEM.WORDS;
    return this;
  }

  /** The message of a mention, which may be absent; the users are `readUsers`'s. */
  mention(body: Record<string, unknown>): this {
    if (body.message_id !== undefined && readId(body.message_id, 'message_id', this.problems)) {
      this.#putId(REQUEST.ARGUMENT_LO);
    }
    return this;
  }

  #putId(at: number): void {
    this.words[at] = parsed.lo;
    this.words[at + 1] = parsed.hi;
  }
}
