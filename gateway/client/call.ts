/** A call of the client, which statuses answer it, and which calls must not change places. */
import {
  BULK_ITEM,
  OP_ACK,
  OP_ACK_BULK,
  OP_BADGE,
  OP_DELETE,
  OP_DELETE_USER,
  OP_GET,
  OP_LIST,
  OP_MENTION,
  OP_PIN_ACK,
  OP_SUBSCRIBE,
  OP_UNSUBSCRIBE,
  REQUEST,
  REQUEST_HAS_EXTRA,
  REQUEST_MANUAL,
  STATUS_DUPLICATE,
  STATUS_OK,
  STATUS_SUPPRESSED,
  STATUS_UNKNOWN,
} from '../../engine/messages.js';
import type { ReadState } from './codec.js';
import type { TidemarkError } from './errors.js';

/** What an answer says, list parts put together. */
export interface Answer {
  status: number;
  partial: boolean;
  changed: boolean;
  /** The REPLY words of the same names. */
  mentionCount: number;
  version: number;
  entries: ReadState[];
}

export interface Call {
  words: Int32Array;
  /** The place in the order in which calls are made; 0 goes before all. */
  order: number;
  repeatable: boolean;
  deadlineMs: number;
  tries: number;
  entries: ReadState[];
  /** While it rests. */
  timer: NodeJS.Timeout | undefined;
  /** Calls that wait until this one, which was refused, has ended. */
  followers: Call[];
  resolve(answer: Answer): void;
  reject(error: TidemarkError): void;
}

/** What a call does, one bit each. */
const READ = 1;
/** Forward, and nothing but the mark: the last mark stays, in any order. */
const ACK = 2;
/** Sets a count, flags or `lastViewed`, or anything exactly. */
const SET = 4;
const MENTION = 8;
const PIN = 16;
const DELETE = 32;
const SUBSCRIBE = 64;
const UNSUBSCRIBE = 128;

/**
 * What must not take effect before an earlier call of that effect: it would leave another state, or it is a read, and would not see
 * the call. An earlier read may see what is called later.
 */
const CONFLICTS: Record<number, number> = {
  [ACK]: READ | SET | MENTION | DELETE,
  [SET]: READ | ACK | SET | MENTION | DELETE,
  [MENTION]: READ | ACK | SET | DELETE,
  [PIN]: READ | DELETE,
  [DELETE]: READ | ACK | SET | MENTION | PIN,
  [SUBSCRIBE]: UNSUBSCRIBE,
  [UNSUBSCRIBE]: SUBSCRIBE,
};

const EFFECTS: Record<number, number> = {
  [OP_GET]: READ,
  [OP_LIST]: READ,
  [OP_BADGE]: READ,
  [OP_MENTION]: MENTION,
  [OP_PIN_ACK]: PIN,
  [OP_DELETE]: DELETE,
  [OP_DELETE_USER]: DELETE,
  [OP_SUBSCRIBE]: SUBSCRIBE,
  [OP_UNSUBSCRIBE]: UNSUBSCRIBE,
};

export function opOf({ words }: Call): number {
  return words[REQUEST.HEAD]! & 0xff;
}

/** Besides STATUS_OK, what a call may be answered with that is no error. */
const ANSWERS: Record<number, readonly number[]> = {
  [OP_GET]: [STATUS_UNKNOWN],
  [OP_MENTION]: [STATUS_SUPPRESSED, STATUS_DUPLICATE],
};

/** Whether the status says that the call was done. */
export function isAnswer(call: Call, status: number): boolean {
  return status === STATUS_OK || ANSWERS[opOf(call)]?.includes(status) === true;
}

function effectOf(call: Call): number {
  const op = opOf(call);
  if (op !== OP_ACK && op !== OP_ACK_BULK) return EFFECTS[op] ?? 0;
  const isPlain = (call.words[REQUEST.HEAD]! & (REQUEST_MANUAL | REQUEST_HAS_EXTRA)) === 0;
  // Where acks move the mark back they are not repeatable either.
  return isPlain && call.repeatable ? ACK : SET;
}

export function isRead(call: Call): boolean {
  return effectOf(call) === READ;
}

/** Whether the later call must not take effect before the earlier one. */
export function conflict(earlier: Call, later: Call): boolean {
  const [a, b] = [earlier.words, later.words];
  if (a[REQUEST.USER_LO] !== b[REQUEST.USER_LO] || a[REQUEST.USER_HI] !== b[REQUEST.USER_HI]) return false;
  if (((CONFLICTS[effectOf(earlier)] ?? 0) & effectOf(later)) === 0) return false;
  if (opOf(earlier) === OP_ACK_BULK) return bulkMeets(earlier, later);
  return opOf(later) === OP_ACK_BULK ? bulkMeets(later, earlier) : meet(earlier, later);
}

/** Whether the call is about one entry, and not all of a user. */
function hasEntry(call: Call): boolean {
  const op = opOf(call);
  return op === OP_GET || op === OP_ACK || op === OP_MENTION || op === OP_PIN_ACK || op === OP_DELETE;
}

function typeOf(call: Call): number {
  return (call.words[REQUEST.HEAD]! >>> 8) & 0xff;
}

function meet(a: Call, b: Call): boolean {
  if (!hasEntry(a) || !hasEntry(b)) return true;
  return (
    a.words[REQUEST.CHANNEL_LO] === b.words[REQUEST.CHANNEL_LO] &&
    a.words[REQUEST.CHANNEL_HI] === b.words[REQUEST.CHANNEL_HI] &&
    typeOf(a) === typeOf(b)
  );
}

/** Two bulk acks count as if they had an entry in common. */
function bulkMeets({ words }: Call, other: Call): boolean {
  if (!hasEntry(other)) return true;
  for (let at = REQUEST.WORDS; at < words.length; at += BULK_ITEM.WORDS) {
    if (
      words[at + BULK_ITEM.CHANNEL_LO] === other.words[REQUEST.CHANNEL_LO] &&
      words[at + BULK_ITEM.CHANNEL_HI] === other.words[REQUEST.CHANNEL_HI] &&
      words[at + BULK_ITEM.TYPE] === typeOf(other)
    ) {
      return true;
    }
  }
  return false;
}
