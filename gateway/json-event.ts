/** Events as JSON, from words to bytes. */
import { writeId, writeNumber } from '../engine/ids.js';
import {
  CAUSE_ACK,
  CAUSE_DELETE,
  CAUSE_MENTION,
  CAUSE_PINS,
  EVENT,
  OP_USER_DELETED,
  REQUEST_MANUAL,
} from '../engine/messages.js';
import { ascii, ENTRY_JSON_BYTES_MAX, put, writeEntry } from './json-entry.js';

export const EVENT_JSON_BYTES_MAX = ENTRY_JSON_BYTES_MAX + 128;

const READ_STATE = ascii('{"event":"read_state","user_id":"');
const USER_DELETED = ascii('{"event":"user_deleted","user_id":"');
const VERSION = ascii('","version":');
const CAUSES = [
  ascii('","entry":'),
  ...['ack', 'mention', 'pins', 'delete'].map((name) => ascii(`","cause":"${name}","entry":`)),
];
const MANUAL = ascii('","cause":"ack","manual":true,"entry":');
const CLOSE = 125;

/** EVENT words (and an ENTRY) at `words[at]` as JSON at `bytes[to]`; the position after it. */
export function writeEvent(bytes: Uint8Array, to: number, words: Int32Array, at: number): number {
  const head = words[at + EVENT.HEAD]!;
  const deleted = (head & 0xff) === OP_USER_DELETED;
  to = put(bytes, to, deleted ? USER_DELETED : READ_STATE);
  to = writeId(bytes, to, words[at + EVENT.USER_LO]!, words[at + EVENT.USER_HI]!);
  if (deleted) {
    to = put(bytes, to, VERSION);
    to = writeNumber(bytes, to, words[at + EVENT.VERSION]! >>> 0);
  } else {
    to = put(bytes, to, (head & REQUEST_MANUAL) !== 0 ? MANUAL : CAUSES[causeOf(head)]!);
    to = writeEntry(bytes, to, words, at + EVENT.WORDS);
  }
  bytes[to] = CLOSE;
  return to + 1;
}

function causeOf(head: number): number {
  const cause = (head >>> 8) & 0xff;
  return cause === CAUSE_ACK || cause === CAUSE_MENTION || cause === CAUSE_PINS || cause === CAUSE_DELETE
    ? cause
    : 0;
}
