/**
 * Operations of binary frames: how long they are, and whether every field is what the protocol allows.
 * The shards rely on it; nothing else looks at an operation's fields.
 */
import { isId, joinWords } from '../engine/ids.js';
import { META_FLAGS_MASK, META_FLAGS_SHIFT, META_VIEWED_MASK, META_VIEWED_SHIFT } from '../engine/layout.js';
import {
  ACK_EXTRA,
  BULK_ITEM,
  BULK_ITEMS_MAX,
  FIELD_CHANNEL,
  FIELD_COUNT,
  FIELD_FLAGS,
  FIELD_ITEMS,
  FIELD_MESSAGE,
  FIELD_OP,
  FIELD_PIN,
  FIELD_SINCE,
  FIELD_TYPE,
  FIELD_USER,
  FIELD_VIEWED,
  OP_ACK,
  OP_ACK_BULK,
  OP_BADGE,
  OP_DELETE,
  OP_DELETE_USER,
  OP_GET,
  OP_LIST,
  OP_MENTION,
  OP_PIN_ACK,
  OP_PING,
  OP_SUBSCRIBE,
  OP_UNSUBSCRIBE,
  REQUEST,
  REQUEST_HAS_COUNT,
  REQUEST_HAS_EXTRA,
  REQUEST_HAS_FLAGS,
  REQUEST_HAS_VIEWED,
  REQUEST_MANUAL,
  REQUEST_SINCE,
  REQUEST_WITH_ENTRY,
  TYPE_MAX,
} from '../engine/messages.js';
import { PIN_MS_MAX } from './json-fields.js';

const KNOWN_FLAGS = REQUEST_MANUAL | REQUEST_WITH_ENTRY | REQUEST_HAS_EXTRA | REQUEST_SINCE;
const FLAGS_FIELD = 0xffff << 16;
const META_FLAGS = META_FLAGS_MASK << META_FLAGS_SHIFT;
const META_VIEWED = META_VIEWED_MASK << META_VIEWED_SHIFT;

/** Words of the operation at `words[at]`, by what its head and item count say; REQUEST.WORDS must be there. */
export function operationWords(words: Int32Array, at: number): number {
  const head = words[at + REQUEST.HEAD]!;
  const op = head & 0xff;
  if (op === OP_ACK)
    return (head & REQUEST_HAS_EXTRA) === 0 ? REQUEST.WORDS : REQUEST.WORDS + ACK_EXTRA.WORDS;
  if (op === OP_ACK_BULK) return REQUEST.WORDS + (words[at + REQUEST.CHANNEL_LO]! >>> 0) * BULK_ITEM.WORDS;
  return REQUEST.WORDS;
}

/** 0, or the FIELD_* that is wrong with the whole operation at `words[at]`, whose op is known. */
export function invalidField(words: Int32Array, at: number): number {
  const head = words[at + REQUEST.HEAD]!;
  if ((head & FLAGS_FIELD & ~KNOWN_FLAGS) !== 0) return FIELD_OP;
  const op = head & 0xff;
  if (op === OP_PING) return 0;
  if (!isId(words[at + REQUEST.USER_LO]!, words[at + REQUEST.USER_HI]!)) return FIELD_USER;
  switch (op) {
    case OP_ACK:
      if (!isId(words[at + REQUEST.ARGUMENT_LO]!, words[at + REQUEST.ARGUMENT_HI]!))
        return invalidKey(words, at) || FIELD_MESSAGE;
      return (
        invalidKey(words, at) ||
        ((head & REQUEST_HAS_EXTRA) === 0 ? 0 : invalidExtra(head, words, at + REQUEST.WORDS))
      );
    case OP_MENTION:
      return invalidKey(words, at) || (words[at + REQUEST.ARGUMENT_HI]! < 0 ? FIELD_MESSAGE : 0);
    case OP_PIN_ACK:
      return (
        invalidKey(words, at) ||
        invalidPin(words[at + REQUEST.ARGUMENT_LO]!, words[at + REQUEST.ARGUMENT_HI]!)
      );
    case OP_GET:
    case OP_DELETE:
      return invalidKey(words, at);
    case OP_LIST:
      return (head & REQUEST_SINCE) !== 0 && words[at + REQUEST.ARGUMENT_HI] !== 0 ? FIELD_SINCE : 0;
    case OP_ACK_BULK:
      return invalidItems(words, at);
    case OP_BADGE:
    case OP_DELETE_USER:
    case OP_SUBSCRIBE:
    case OP_UNSUBSCRIBE:
      return 0;
    default:
      return FIELD_OP;
  }
}

function invalidKey(words: Int32Array, at: number): number {
  if (((words[at + REQUEST.HEAD]! >>> 8) & 0xff) > TYPE_MAX) return FIELD_TYPE;
  return isId(words[at + REQUEST.CHANNEL_LO]!, words[at + REQUEST.CHANNEL_HI]!) ? 0 : FIELD_CHANNEL;
}

function invalidPin(lo: number, hi: number): number {
  return isId(lo, hi) && joinWords(lo, hi) <= PIN_MS_MAX ? 0 : FIELD_PIN;
}

function invalidExtra(head: number, words: Int32Array, at: number): number {
  if ((head & REQUEST_HAS_COUNT) !== 0 && words[at + ACK_EXTRA.MENTION_COUNT]! < 0) return FIELD_COUNT;
  const meta = words[at + ACK_EXTRA.ENTRY_META]!;
  if ((meta & ~(META_FLAGS | META_VIEWED)) !== 0) return FIELD_FLAGS;
  if ((head & REQUEST_HAS_FLAGS) === 0 && (meta & META_FLAGS) !== 0) return FIELD_FLAGS;
  // One more than the day, so that 0 is null, which cannot be set.
  return ((head & REQUEST_HAS_VIEWED) !== 0) === ((meta & META_VIEWED) !== 0) ? 0 : FIELD_VIEWED;
}

function invalidItems(words: Int32Array, at: number): number {
  const count = words[at + REQUEST.CHANNEL_LO]! >>> 0;
  if (count < 1 || count > BULK_ITEMS_MAX) return FIELD_ITEMS;
  let item = at + REQUEST.WORDS;
  for (let left = count; left > 0; left--) {
    if (!isId(words[item + BULK_ITEM.CHANNEL_LO]!, words[item + BULK_ITEM.CHANNEL_HI]!)) return FIELD_CHANNEL;
    if (!isId(words[item + BULK_ITEM.MESSAGE_LO]!, words[item + BULK_ITEM.MESSAGE_HI]!)) return FIELD_MESSAGE;
    if (words[item + BULK_ITEM.TYPE]! >>> 0 > TYPE_MAX) return FIELD_TYPE;
    item += BULK_ITEM.WORDS;
  }
  return 0;
}
