/**
 * The binary protocol (`docs/protocol.md`) as a client needs it: operations into words, words into answers and
 * events. The words are those of `engine/messages.ts`, in the byte order of the machine, which has to be little-endian.
 *
 * What a caller gives is checked here, before it is sent: a wrong id is an error of its own call, and never one of
 * the frame that it would have travelled in.
 */
import { formatId, joinWords, parsed, parseId, splitHigh, splitLow } from '../../engine/ids.js';
import {
  assert,
  META_FLAGS_MASK,
  META_FLAGS_SHIFT,
  META_TYPE_MASK,
  META_VIEWED_MASK,
  META_VIEWED_SHIFT,
} from '../../engine/layout.js';
import {
  ACK_EXTRA,
  BULK_ITEM,
  BULK_ITEMS_MAX,
  CAUSE_ACK,
  CAUSE_DELETE,
  CAUSE_MENTION,
  CAUSE_PINS,
  ENTRY,
  EVENT,
  FIELD_CHANNEL,
  FIELD_COUNT,
  FIELD_FLAGS,
  FIELD_ITEMS,
  FIELD_LENGTH,
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
  OP_USER_DELETED,
  REPLY,
  REPLY_ENTRY,
  REQUEST,
  REQUEST_HAS_COUNT,
  REQUEST_HAS_EXTRA,
  REQUEST_HAS_FLAGS,
  REQUEST_HAS_VIEWED,
  REQUEST_MANUAL,
  REQUEST_SINCE,
  REQUEST_WITH_ENTRY,
  TYPE_MAX,
} from '../../engine/messages.js';
import { invalid, TidemarkError } from './errors.js';

assert(new Uint8Array(Int32Array.of(1).buffer)[0] === 1, 'this machine is not little-endian');

export const SUBPROTOCOL = 'tidemark.v1.bin';

/** One read state. */
export interface ReadState {
  channelId: string;
  type: number;
  /** The tide mark: the last message that was read; null if none was yet. */
  lastMessageId: string | null;
  mentionCount: number;
  lastPinTimestamp: Date | null;
  flags: number;
  lastViewed: number | null;
  /** Of the user when this entry last changed. */
  version: number;
}

export interface AckOptions {
  /** Read-state type, 0 (a channel) if not given. */
  type?: number;
  /** Set mark and count exactly, also backwards (mark unread). */
  manual?: boolean;
  /** Mentions left after the ack, 0 if not given. */
  mentionCount?: number;
  flags?: number;
  lastViewed?: number;
}

export interface BulkAck {
  channelId: string;
  messageId: string;
  type?: number;
}

export type Cause = 'ack' | 'mention' | 'pins' | 'delete';

export type ChangeEvent =
  | { event: 'read_state'; userId: string; cause: Cause; manual: boolean; entry: ReadState }
  | { event: 'user_deleted'; userId: string; version: number };

const INT32_MAX = 0x7fffffff;
const VERSION_MAX = 0xffffffff;
const VIEWED_MAX = META_VIEWED_MASK - 1;
const DATE_MS_MAX = 8.64e15;

// ---- operations ---------------------------------------------------------------------------------------------

/** Largest operation that is no ack_bulk. */
const OPERATION_WORDS = REQUEST.WORDS + ACK_EXTRA.WORDS;

function needWhole(field: string, value: number, least: number, most: number): void {
  if (!Number.isInteger(value) || value < least || value > most)
    throw invalid(field, `is ${value}, and not a whole number from ${least} to ${most}`);
}

function putId(words: Int32Array, at: number, field: string, text: string): void {
  if (typeof text !== 'string' || !parseId(text)) {
    throw invalid(field, `is ${JSON.stringify(text)}, and not a decimal string from 1 to 2^63-1`);
  }
  words[at] = parsed.lo;
  words[at + 1] = parsed.hi;
}

function begin(op: number, length: number, requestId: number, flags = 0, type = 0): Int32Array {
  needWhole('read_state_type', type, 0, TYPE_MAX);
  const words = new Int32Array(length);
  words[REQUEST.HEAD] = op | (type << 8) | flags;
  words[REQUEST.REQUEST_ID] = requestId;
  return words;
}

/** The words of one operation on a user and, where given, one of their channels. */
function address(words: Int32Array, userId: string, channelId?: string): Int32Array {
  putId(words, REQUEST.USER_LO, 'user_id', userId);
  if (channelId !== undefined) putId(words, REQUEST.CHANNEL_LO, 'channel_id', channelId);
  return words;
}

export function encodePing(requestId: number): Int32Array {
  return begin(OP_PING, REQUEST.WORDS, requestId);
}

export function encodeGet(requestId: number, userId: string, channelId: string, type = 0): Int32Array {
  return address(begin(OP_GET, REQUEST.WORDS, requestId, REQUEST_WITH_ENTRY, type), userId, channelId);
}

export function encodeList(requestId: number, userId: string, since?: number): Int32Array {
  const words = begin(OP_LIST, REQUEST.WORDS, requestId, since === undefined ? 0 : REQUEST_SINCE);
  if (since !== undefined) {
    needWhole('since', since, 0, VERSION_MAX);
    words[REQUEST.ARGUMENT_LO] = since | 0;
  }
  return address(words, userId);
}

export function encodeBadge(requestId: number, userId: string): Int32Array {
  return address(begin(OP_BADGE, REQUEST.WORDS, requestId), userId);
}

export function encodeAck(
  requestId: number,
  userId: string,
  channelId: string,
  messageId: string,
  options: AckOptions = {},
): Int32Array {
  const { manual, mentionCount, flags, lastViewed, type } = options;
  let bits = REQUEST_WITH_ENTRY;
  if (manual === true) bits |= REQUEST_MANUAL;
  if (mentionCount !== undefined) bits |= REQUEST_HAS_COUNT;
  if (flags !== undefined) bits |= REQUEST_HAS_FLAGS;
  if (lastViewed !== undefined) bits |= REQUEST_HAS_VIEWED;
  const length = (bits & REQUEST_HAS_EXTRA) === 0 ? REQUEST.WORDS : OPERATION_WORDS;
  const words = address(begin(OP_ACK, length, requestId, bits, type), userId, channelId);
  putId(words, REQUEST.ARGUMENT_LO, 'message_id', messageId);
  if (mentionCount !== undefined) {
    needWhole('mention_count', mentionCount, 0, INT32_MAX);
    words[REQUEST.WORDS + ACK_EXTRA.MENTION_COUNT] = mentionCount;
  }
  if (flags !== undefined) {
    needWhole('flags', flags, 0, META_FLAGS_MASK);
    words[REQUEST.WORDS + ACK_EXTRA.ENTRY_META]! |= flags << META_FLAGS_SHIFT;
  }
  if (lastViewed !== undefined) {
    needWhole('last_viewed', lastViewed, 0, VIEWED_MAX);
    words[REQUEST.WORDS + ACK_EXTRA.ENTRY_META]! |= (lastViewed + 1) << META_VIEWED_SHIFT;
  }
  return words;
}

export function encodeAckBulk(requestId: number, userId: string, items: readonly BulkAck[]): Int32Array {
  if (items.length < 1 || items.length > BULK_ITEMS_MAX)
    throw invalid('read_states', `has ${items.length} items, and not 1 to ${BULK_ITEMS_MAX}`);
  const length = REQUEST.WORDS + items.length * BULK_ITEM.WORDS;
  const words = address(begin(OP_ACK_BULK, length, requestId, REQUEST_WITH_ENTRY), userId);
  words[REQUEST.CHANNEL_LO] = items.length;
  items.forEach(({ channelId, messageId, type = 0 }, index) => {
    const at = REQUEST.WORDS + index * BULK_ITEM.WORDS;
    putId(words, at + BULK_ITEM.CHANNEL_LO, `read_states[${index}].channel_id`, channelId);
    putId(words, at + BULK_ITEM.MESSAGE_LO, `read_states[${index}].message_id`, messageId);
    needWhole(`read_states[${index}].read_state_type`, type, 0, TYPE_MAX);
    words[at + BULK_ITEM.TYPE] = type;
  });
  return words;
}

/** A mention of one user. @param messageId  makes the retry harmless; without it each call counts */
export function encodeMention(
  requestId: number,
  channelId: string,
  userId: string,
  messageId?: string,
  type = 0,
): Int32Array {
  const words = address(begin(OP_MENTION, REQUEST.WORDS, requestId, 0, type), userId, channelId);
  if (messageId !== undefined) putId(words, REQUEST.ARGUMENT_LO, 'message_id', messageId);
  return words;
}

export function encodePinAck(
  requestId: number,
  userId: string,
  channelId: string,
  timestamp: Date | number,
  type = 0,
): Int32Array {
  const words = address(
    begin(OP_PIN_ACK, REQUEST.WORDS, requestId, REQUEST_WITH_ENTRY, type),
    userId,
    channelId,
  );
  const ms = Number(timestamp);
  needWhole('last_pin_timestamp', ms, 1, DATE_MS_MAX);
  words[REQUEST.ARGUMENT_LO] = splitLow(ms);
  words[REQUEST.ARGUMENT_HI] = splitHigh(ms);
  return words;
}

export function encodeDelete(requestId: number, userId: string, channelId: string, type = 0): Int32Array {
  return address(begin(OP_DELETE, REQUEST.WORDS, requestId, 0, type), userId, channelId);
}

export function encodeDeleteUser(requestId: number, userId: string): Int32Array {
  return address(begin(OP_DELETE_USER, REQUEST.WORDS, requestId), userId);
}

export function encodeSubscribe(requestId: number, userId: string): Int32Array {
  return address(begin(OP_SUBSCRIBE, REQUEST.WORDS, requestId), userId);
}

export function encodeUnsubscribe(requestId: number, userId: string): Int32Array {
  return address(begin(OP_UNSUBSCRIBE, REQUEST.WORDS, requestId), userId);
}

// ---- answers and events -------------------------------------------------------------------------------------

/** An event and not an answer: a message that nobody asked for. */
export function isEvent(head: number): boolean {
  return (head & 0x80) !== 0;
}

export function replyStatus(head: number): number {
  return (head >>> 8) & 0xff;
}

/** Entries that follow a REPLY. */
export function replyEntries(words: Int32Array, at: number): number {
  const head = words[at + REPLY.HEAD]!;
  if ((head & REPLY_ENTRY) === 0) return 0;
  const op = head & 0xff;
  return op === OP_LIST || op === OP_ACK_BULK ? words[at + REPLY.MENTION_COUNT]! : 1;
}

/**
 * Length in words of the answer or event at `at`.
 * @throws TidemarkError `protocol` if it goes beyond `end`
 */
export function messageWords(words: Int32Array, at: number, end: number): number {
  const head = words[at]!;
  let length: number = REPLY.WORDS;
  if (isEvent(head)) {
    length = (head & 0xff) === OP_USER_DELETED ? EVENT.WORDS : EVENT.WORDS + ENTRY.WORDS;
  } else if (at + REPLY.WORDS <= end) length += replyEntries(words, at) * ENTRY.WORDS;
  if (length < REPLY.WORDS || at + length > end) {
    throw new TidemarkError(
      'protocol',
      `a message of ${length} words where ${end - at} are left in the frame`,
    );
  }
  return length;
}

export function decodeEntry(words: Int32Array, at: number): ReadState {
  const messageLo = words[at + ENTRY.MESSAGE_LO]!;
  const messageHi = words[at + ENTRY.MESSAGE_HI]!;
  const meta = words[at + ENTRY.META]!;
  const viewed = (meta >>> META_VIEWED_SHIFT) & META_VIEWED_MASK;
  const pinMs = joinWords(words[at + ENTRY.PIN_LO]!, words[at + ENTRY.PIN_HI]!);
  return {
    channelId: formatId(words[at + ENTRY.CHANNEL_LO]!, words[at + ENTRY.CHANNEL_HI]!),
    type: meta & META_TYPE_MASK,
    lastMessageId: (messageLo | messageHi) === 0 ? null : formatId(messageLo, messageHi),
    mentionCount: words[at + ENTRY.MENTION_COUNT]!,
    lastPinTimestamp: pinMs === 0 ? null : new Date(pinMs),
    flags: (meta >>> META_FLAGS_SHIFT) & META_FLAGS_MASK,
    lastViewed: viewed === 0 ? null : viewed - 1,
    version: words[at + ENTRY.VERSION]! >>> 0,
  };
}

const CAUSES: Record<number, Cause> = {
  [CAUSE_ACK]: 'ack',
  [CAUSE_MENTION]: 'mention',
  [CAUSE_PINS]: 'pins',
  [CAUSE_DELETE]: 'delete',
};

/** @throws TidemarkError `protocol` for a cause that this client does not know */
export function decodeEvent(words: Int32Array, at: number): ChangeEvent {
  const head = words[at + EVENT.HEAD]!;
  const userId = formatId(words[at + EVENT.USER_LO]!, words[at + EVENT.USER_HI]!);
  if ((head & 0xff) === OP_USER_DELETED)
    return { event: 'user_deleted', userId, version: words[at + EVENT.VERSION]! >>> 0 };
  const cause = CAUSES[(head >>> 8) & 0xff];
  if (cause === undefined)
    throw new TidemarkError('protocol', `an event with head 0x${(head >>> 0).toString(16)}`);
  const manual = (head & REQUEST_MANUAL) !== 0;
  return { event: 'read_state', userId, cause, manual, entry: decodeEntry(words, at + EVENT.WORDS) };
}

const FIELD_NAMES: Record<number, string> = {
  [FIELD_OP]: 'op',
  [FIELD_TYPE]: 'read_state_type',
  [FIELD_USER]: 'user_id',
  [FIELD_CHANNEL]: 'channel_id',
  [FIELD_MESSAGE]: 'message_id',
  [FIELD_COUNT]: 'mention_count',
  [FIELD_FLAGS]: 'flags',
  [FIELD_VIEWED]: 'last_viewed',
  [FIELD_PIN]: 'last_pin_timestamp',
  [FIELD_ITEMS]: 'read_states',
  [FIELD_LENGTH]: 'length',
  [FIELD_SINCE]: 'since',
};

/** The field of an answer with STATUS_INVALID, by its name in JSON. */
export function fieldName(field: number): string {
  return FIELD_NAMES[field] ?? `field ${field}`;
}
