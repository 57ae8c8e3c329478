/**
 * Entries as JSON, from words to bytes without an object, a string or a BigInt between.
 *
 *     {"id":"8138…","read_state_type":0,"last_message_id":"1323…","mention_count":2,
 *      "last_pin_timestamp":"2025-01-01T00:00:00.000Z","flags":0,"last_viewed":3650,"version":17}
 */
import { joinWords, writeId, writeNumber } from '../engine/ids.js';
import {
  assert,
  META_FLAGS_MASK,
  META_FLAGS_SHIFT,
  META_TYPE_MASK,
  META_VIEWED_MASK,
  META_VIEWED_SHIFT,
} from '../engine/layout.js';
import { ENTRY } from '../engine/messages.js';

/** No entry is longer: all literals, two ids of 19 digits, a timestamp of 27 characters and the numbers make 246. */
export const ENTRY_JSON_BYTES_MAX = 256;

/** Text to be copied by `put`, eight bytes a number as far as they go. */
export interface Literal {
  readonly bytes: Uint8Array;
  readonly eights: Float64Array;
}

/** ASCII only: eight such bytes are never a NaN, which need not keep its bits. */
export function ascii(text: string): Literal {
  const bytes = Uint8Array.from(text, (character) => character.charCodeAt(0));
  assert(
    bytes.every((byte) => byte < 0x7f),
    `${text} is not ASCII`,
  );
  return { bytes, eights: new Float64Array(bytes.buffer.slice(0, bytes.length & ~7)) };
}

const ID = ascii('{"id":"');
const TYPE = ascii('","read_state_type":');
const MESSAGE = ascii(',"last_message_id":');
const COUNT = ascii(',"mention_count":');
const PIN = ascii(',"last_pin_timestamp":');
const FLAGS = ascii(',"flags":');
const VIEWED = ascii(',"last_viewed":');
const VERSION = ascii(',"version":');
const NULL = ascii('null');
const QUOTE = 34;
const CLOSE = 125;

/** What `put` has copied to last, and a view of the same bytes. */
let copiedTo: Uint8Array = new Uint8Array(0);
let view = new DataView(copiedTo.buffer);

const IS_LITTLE_ENDIAN = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;

/**
 * Copies a literal to `bytes[at]`; the position after it. Two thirds of an entry are literals, and byte by byte they took
 * three quarters of its time; for so few bytes, `set` takes longer than a loop.
 */
export function put(bytes: Uint8Array, at: number, literal: Literal): number {
  if (bytes !== copiedTo) {
    copiedTo = bytes;
    view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }
  const { bytes: from, eights } = literal;
  const whole = eights.length;
  for (let i = 0; i < whole; i++) view.setFloat64(at + i * 8, eights[i]!, IS_LITTLE_ENDIAN);
  const length = from.length;
  for (let i = whole * 8; i < length; i++) bytes[at + i] = from[i]!;
  return at + length;
}

/** An ENTRY at `words[from]` as a JSON object at `bytes[at]`; the position after it. */
export function writeEntry(bytes: Uint8Array, at: number, words: Int32Array, from: number): number {
  const meta = words[from + ENTRY.META]!;
  at = put(bytes, at, ID);
  at = writeId(bytes, at, words[from + ENTRY.CHANNEL_LO]!, words[from + ENTRY.CHANNEL_HI]!);
  at = put(bytes, at, TYPE);
  at = writeNumber(bytes, at, meta & META_TYPE_MASK);
  at = put(bytes, at, MESSAGE);
  at = writeIdOrNull(bytes, at, words[from + ENTRY.MESSAGE_LO]!, words[from + ENTRY.MESSAGE_HI]!);
  at = put(bytes, at, COUNT);
  at = writeNumber(bytes, at, words[from + ENTRY.MENTION_COUNT]!);
  at = put(bytes, at, PIN);
  at = writeTimestampOrNull(bytes, at, words[from + ENTRY.PIN_LO]!, words[from + ENTRY.PIN_HI]!);
  at = put(bytes, at, FLAGS);
  at = writeNumber(bytes, at, (meta >>> META_FLAGS_SHIFT) & META_FLAGS_MASK);
  at = put(bytes, at, VIEWED);
  const viewed = (meta >>> META_VIEWED_SHIFT) & META_VIEWED_MASK;
  at = viewed === 0 ? put(bytes, at, NULL) : writeNumber(bytes, at, viewed - 1);
  at = put(bytes, at, VERSION);
  at = writeNumber(bytes, at, words[from + ENTRY.VERSION]! >>> 0);
  bytes[at] = CLOSE;
  return at + 1;
}

function writeIdOrNull(bytes: Uint8Array, at: number, lo: number, hi: number): number {
  if ((lo | hi) === 0) return put(bytes, at, NULL);
  bytes[at] = QUOTE;
  at = writeId(bytes, at + 1, lo, hi);
  bytes[at] = QUOTE;
  return at + 1;
}

function writeTimestampOrNull(bytes: Uint8Array, at: number, lo: number, hi: number): number {
  if ((lo | hi) === 0) return put(bytes, at, NULL);
  bytes[at] = QUOTE;
  at = writeTimestamp(bytes, at + 1, joinWords(lo, hi));
  bytes[at] = QUOTE;
  return at + 1;
}

const DAY_MS = 86_400_000;

/**
 * ISO 8601 with milliseconds, as `Date.prototype.toISOString` (years above 9999 with a sign and six digits).
 * @param ms  since 1970, 0 to 8.64e15
 */
function writeTimestamp(bytes: Uint8Array, at: number, ms: number): number {
  const days = Math.floor(ms / DAY_MS);
  const rest = ms - days * DAY_MS;
  // The Gregorian calendar in eras of 400 years (146,097 days) that begin on 1 March: leap days come last.
  const shifted = days + 719_468;
  const era = Math.floor(shifted / 146_097);
  const dayOfEra = shifted - era * 146_097;
  const yearOfEra = Math.floor(
    (dayOfEra -
      Math.floor(dayOfEra / 1460) +
      Math.floor(dayOfEra / 36_524) -
      Math.floor(dayOfEra / 146_096)) /
      365,
  );
  const dayOfYear = dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100));
  const marchMonth = Math.floor((5 * dayOfYear + 2) / 153);
  const day = dayOfYear - Math.floor((153 * marchMonth + 2) / 5) + 1;
  const month = marchMonth < 10 ? marchMonth + 3 : marchMonth - 9;
  const year = era * 400 + yearOfEra + (month <= 2 ? 1 : 0);

  if (year > 9999) {
    bytes[at++] = 43; // +
    at = writeDigits(bytes, at, year, 6);
  } else {
    at = writeDigits(bytes, at, year, 4);
  }
  bytes[at++] = 45; // -
  at = writeDigits(bytes, at, month, 2);
  bytes[at++] = 45;
  at = writeDigits(bytes, at, day, 2);
  bytes[at++] = 84; // T
  at = writeDigits(bytes, at, Math.floor(rest / 3_600_000), 2);
  bytes[at++] = 58; // :
  at = writeDigits(bytes, at, Math.floor(rest / 60_000) % 60, 2);
  bytes[at++] = 58;
  at = writeDigits(bytes, at, Math.floor(rest / 1000) % 60, 2);
  bytes[at++] = 46; // .
  at = writeDigits(bytes, at, rest % 1000, 3);
  bytes[at++] = 90; // Z
  return at;
}

function writeDigits(bytes: Uint8Array, at: number, value: number, width: number): number {
  for (let i = at + width - 1; i >= at; i--) {
    const next = Math.floor(value / 10);
    bytes[i] = 48 + (value - next * 10);
    value = next;
  }
  return at + width;
}
