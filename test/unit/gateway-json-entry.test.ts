import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { splitHigh, splitLow } from '../../engine/ids.js';
import { META_FLAGS_SHIFT, META_VIEWED_SHIFT } from '../../engine/layout.js';
import {
  CAUSE_ACK,
  CAUSE_DELETE,
  CAUSE_MENTION,
  CAUSE_PINS,
  ENTRY,
  EVENT,
  EVENT_WORDS_MAX,
  OP_EVENT,
  OP_USER_DELETED,
  REQUEST_MANUAL,
} from '../../engine/messages.js';
import { ENTRY_JSON_BYTES_MAX, writeEntry } from '../../gateway/json-entry.js';
import { EVENT_JSON_BYTES_MAX, writeEvent } from '../../gateway/json-event.js';

const ID_MAX = 2n ** 63n - 1n;
const id = fc.oneof(fc.bigInt(1n, ID_MAX), fc.bigInt(1n, 2n ** 33n), fc.constant(ID_MAX));
const entry = fc.record({
  channel: id,
  type: fc.integer({ min: 0, max: 5 }),
  message: fc.option(id),
  mentions: fc.oneof(fc.nat(), fc.constant(0x7fffffff)),
  pinMs: fc.option(fc.oneof(fc.integer({ min: 1, max: 8.64e15 }), fc.integer({ min: 1, max: 4e12 }))),
  flags: fc.nat(255),
  viewed: fc.option(fc.nat(65_534)),
  version: fc.integer({ min: 0, max: 0xffffffff }),
});
type Sample = typeof entry extends fc.Arbitrary<infer T> ? T : never;

function putId(words: Int32Array, at: number, value: bigint): void {
  words[at] = Number(BigInt.asIntN(32, value));
  words[at + 1] = Number(BigInt.asIntN(32, value >> 32n));
}

function toWords(sample: Sample, words: Int32Array, at: number): void {
  putId(words, at + ENTRY.CHANNEL_LO, sample.channel);
  putId(words, at + ENTRY.MESSAGE_LO, sample.message ?? 0n);
  words[at + ENTRY.MENTION_COUNT] = sample.mentions;
  const viewed = sample.viewed === null ? 0 : sample.viewed + 1;
  words[at + ENTRY.META] = sample.type | (sample.flags << META_FLAGS_SHIFT) | (viewed << META_VIEWED_SHIFT);
  words[at + ENTRY.VERSION] = sample.version;
  words[at + ENTRY.PIN_LO] = splitLow(sample.pinMs ?? 0);
  words[at + ENTRY.PIN_HI] = splitHigh(sample.pinMs ?? 0);
}

/** The same with objects, as one would write it without a thought of speed. */
function toObject(sample: Sample): object {
  return {
    id: String(sample.channel),
    read_state_type: sample.type,
    last_message_id: sample.message === null ? null : String(sample.message),
    mention_count: sample.mentions,
    last_pin_timestamp: sample.pinMs === null ? null : new Date(sample.pinMs).toISOString(),
    flags: sample.flags,
    last_viewed: sample.viewed,
    version: sample.version,
  };
}

describe('entries as JSON', () => {
  it('are what JSON.stringify makes of the same entry, and never longer than said', () => {
    const bytes = new Uint8Array(ENTRY_JSON_BYTES_MAX + 8);
    fc.assert(
      fc.property(entry, (sample) => {
        const words = new Int32Array(ENTRY.WORDS + 3);
        toWords(sample, words, 3);
        const end = writeEntry(bytes, 5, words, 3);
        expect(Buffer.from(bytes.subarray(5, end)).toString()).toBe(JSON.stringify(toObject(sample)));
        expect(end - 5).toBeLessThanOrEqual(ENTRY_JSON_BYTES_MAX);
      }),
      { numRuns: 5000 },
    );
  });

  it('have the days right around every turn of month, leap year and century', () => {
    const words = new Int32Array(ENTRY.WORDS);
    const bytes = new Uint8Array(ENTRY_JSON_BYTES_MAX);
    words[ENTRY.CHANNEL_LO] = 1;
    for (const year of [1970, 1972, 1999, 2000, 2024, 2025, 2100, 2400, 9999, 10_000, 275_759]) {
      for (let month = 0; month < 12; month++) {
        for (const offsetMs of [-1, 0, 1, 86_399_999]) {
          const ms = Date.UTC(year, month, 1) + offsetMs;
          if (ms < 1) continue;
          words[ENTRY.PIN_LO] = splitLow(ms);
          words[ENTRY.PIN_HI] = splitHigh(ms);
          const text = Buffer.from(bytes.subarray(0, writeEntry(bytes, 0, words, 0))).toString();
          expect((JSON.parse(text) as { last_pin_timestamp: string }).last_pin_timestamp).toBe(
            new Date(ms).toISOString(),
          );
        }
      }
    }
  });
});

describe('events as JSON', () => {
  const causes = [
    [CAUSE_ACK, 'ack'],
    [CAUSE_MENTION, 'mention'],
    [CAUSE_PINS, 'pins'],
    [CAUSE_DELETE, 'delete'],
  ] as const;

  it('name the user, the cause and the entry', () => {
    const bytes = new Uint8Array(EVENT_JSON_BYTES_MAX);
    fc.assert(
      fc.property(
        entry,
        id,
        fc.constantFrom(...causes),
        fc.boolean(),
        (sample, user, [cause, name], manual) => {
          const words = new Int32Array(EVENT_WORDS_MAX);
          const isManual = manual && cause === CAUSE_ACK;
          words[EVENT.HEAD] = OP_EVENT | (cause << 8) | (isManual ? REQUEST_MANUAL : 0);
          words[EVENT.VERSION] = sample.version;
          putId(words, EVENT.USER_LO, user);
          toWords(sample, words, EVENT.WORDS);
          const text = Buffer.from(bytes.subarray(0, writeEvent(bytes, 0, words, 0))).toString();
          const expected = {
            event: 'read_state',
            user_id: String(user),
            cause: name,
            ...(isManual ? { manual: true } : {}),
            entry: toObject(sample),
          };
          expect(text).toBe(JSON.stringify(expected));
        },
      ),
    );
  });

  it('say that a user is deleted', () => {
    const words = new Int32Array(EVENT.WORDS);
    words[EVENT.HEAD] = OP_USER_DELETED;
    words[EVENT.VERSION] = -1;
    putId(words, EVENT.USER_LO, ID_MAX);
    const bytes = new Uint8Array(EVENT_JSON_BYTES_MAX);
    const text = Buffer.from(bytes.subarray(0, writeEvent(bytes, 0, words, 0))).toString();
    expect(JSON.parse(text)).toEqual({ event: 'user_deleted', user_id: String(ID_MAX), version: 0xffffffff });
  });
});
