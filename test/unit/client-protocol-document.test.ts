/** docs/protocol.md against the code: every example, offset, code, flag and limit in it. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import * as wire from '../../engine/messages.js';
import {
  decodeEntry,
  decodeEvent,
  encodeAck,
  encodeAckBulk,
  encodeBadge,
  encodeGet,
  encodeList,
  encodeMention,
  encodePinAck,
  fieldName,
  isEvent,
  messageWords,
  replyEntries,
  replyStatus,
} from '../../gateway/client/codec.js';
import { flagOf, OPTIONS, type OptionName } from '../../gateway/config.js';
import { ROOT } from '../../scripts/repository.js';

const text = readFileSync(join(ROOT, 'docs/protocol.md'), 'utf8');

const [USER, CHANNEL, MESSAGE] = ['1215086513356800001', '1312931237068800001', '1323802873036800000'];
const [CHANNEL_2, MESSAGE_2] = ['1312931237068800002', '1323802873036800001'];

/** The bytes of the example of that name. */
const examples = new Map<string, Uint8Array>();
for (const [, name, body] of text.matchAll(/^```hex (\S+)\n(.*?)^```$/gms)) {
  const bytes: number[] = [];
  for (const line of body!.trimEnd().split('\n')) {
    const [, offset, hex] = /^ *(\d+): ((?:[0-9a-f]{2} )*[0-9a-f]{2}) *;/.exec(line) ?? [];
    if (Number(offset) !== bytes.length) throw new Error(`${name}: "${line}" should be at ${bytes.length}`);
    bytes.push(...hex!.split(' ').map((byte) => Number.parseInt(byte, 16)));
  }
  examples.set(name!, Uint8Array.from(bytes));
}

const REQUESTS: Record<string, Int32Array[]> = {
  'ack-request': [encodeAck(1, USER, CHANNEL, MESSAGE)],
  'manual-ack-request': [
    encodeAck(2, USER, CHANNEL, MESSAGE, { manual: true, mentionCount: 2, flags: 3, lastViewed: 3650 }),
  ],
  'mention-request': [encodeMention(3, CHANNEL, USER, MESSAGE)],
  'list-request': [encodeList(4, USER, 17)],
  'bulk-request': [
    encodeAckBulk(5, USER, [
      { channelId: CHANNEL, messageId: MESSAGE },
      { channelId: CHANNEL_2, messageId: MESSAGE_2, type: 5 },
    ]),
  ],
  'pin-request': [encodePinAck(6, USER, CHANNEL, new Date('2025-01-01T00:00:00.000Z'))],
  'two-requests': [encodeGet(7, USER, CHANNEL), encodeBadge(8, USER)],
};

const empty = { lastPinTimestamp: null, flags: 0, lastViewed: null };
const acked = { channelId: CHANNEL, type: 0, lastMessageId: MESSAGE, mentionCount: 0, ...empty };
/** Of each message in turn: op, status, flags, request id, count, version, entries; or the event. */
const ANSWERS: Record<string, unknown[]> = {
  'ack-reply': [
    [
      wire.OP_ACK,
      wire.STATUS_OK,
      wire.REPLY_ENTRY | wire.REPLY_CHANGED,
      1,
      0,
      17,
      [{ ...acked, version: 17 }],
    ],
  ],
  'mention-reply': [[wire.OP_MENTION, wire.STATUS_SUPPRESSED, 0, 3, 0, 17, []]],
  'list-reply': [
    [
      wire.OP_LIST,
      wire.STATUS_OK,
      wire.REPLY_ENTRY | wire.REPLY_MORE | wire.REPLY_PARTIAL,
      4,
      1,
      19,
      [{ ...acked, version: 18 }],
    ],
    [
      wire.OP_LIST,
      wire.STATUS_OK,
      wire.REPLY_ENTRY | wire.REPLY_PARTIAL,
      4,
      1,
      19,
      [
        {
          channelId: CHANNEL_2,
          type: 5,
          lastMessageId: MESSAGE_2,
          mentionCount: 2,
          lastPinTimestamp: new Date('2025-01-01T00:00:00.000Z'),
          flags: 3,
          lastViewed: 3650,
          version: 19,
        },
      ],
    ],
  ],
  'two-replies': [
    [wire.OP_BADGE, wire.STATUS_OK, 0, 8, 7, 2, []],
    [wire.OP_GET, wire.STATUS_UNKNOWN, 0, 7, 0, 0, []],
  ],
  'invalid-reply': [[wire.OP_ACK, wire.STATUS_INVALID, 0, 9, wire.FIELD_USER, 0, []]],
  'ack-event': [
    {
      event: 'read_state',
      userId: USER,
      cause: 'ack',
      manual: true,
      entry: { ...acked, mentionCount: 1, version: 20 },
    },
  ],
  'deleted-event': [{ event: 'user_deleted', userId: USER, version: 21 }],
};

function decode(words: Int32Array): unknown[] {
  const messages: unknown[] = [];
  for (let at = 0; at < words.length; ) {
    const head = words[at]!;
    if (isEvent(head)) messages.push(decodeEvent(words, at));
    else {
      const entries = Array.from({ length: replyEntries(words, at) }, (_, i) =>
        decodeEntry(words, at + wire.REPLY.WORDS + i * wire.ENTRY.WORDS),
      );
      const [id, count, version] = [words[at + 1], words[at + 2], words[at + 3]];
      messages.push([head & 0xff, replyStatus(head), head & ~0xffff, id, count, version, entries]);
    }
    at += messageWords(words, at, words.length);
  }
  return messages;
}

describe('examples', () => {
  test.each(Object.keys(REQUESTS))('%s is what the codec writes', (name) => {
    const bytes = REQUESTS[name]!.flatMap((words) => [...new Uint8Array(words.buffer)]);
    expect([...examples.get(name)!]).toEqual(bytes);
  });

  test.each(Object.keys(ANSWERS))('%s is read as what it says', (name) => {
    expect(decode(new Int32Array(examples.get(name)!.buffer))).toEqual(ANSWERS[name]);
  });

  test('none is left out', () => {
    expect([...examples.keys()].sort()).toEqual([...Object.keys(REQUESTS), ...Object.keys(ANSWERS)].sort());
  });
});

const { REQUEST, ACK_EXTRA, BULK_ITEM, REPLY, ENTRY, EVENT } = wire;
const LAYOUTS: Record<string, Record<string, number>> = {
  REQUEST,
  ACK_EXTRA,
  BULK_ITEM,
  REPLY,
  ENTRY,
  EVENT,
};

test.each(Object.keys(LAYOUTS))('the offsets of %s', (name) => {
  const layout = LAYOUTS[name]!;
  const section = text.split(/^#+ /m).find((part) => part.split('\n')[0]!.includes(`\`${name}\``))!;
  expect(section.split('\n')[0]).toContain(`, ${layout.WORDS! * 4} bytes`);
  const said: [number, number, string][] = [];
  for (const [, offset, bytes, field] of section.matchAll(/^\| (\d+) \| ([48]) \| ([A-Z_]+) \|/gm))
    said.push([Number(offset), Number(bytes), field!]);
  const meant: [number, number, string][] = [];
  for (const [field, word] of Object.entries(layout)) {
    if (field === 'WORDS' || field.endsWith('_HI')) continue;
    meant.push([word * 4, field.endsWith('_LO') ? 8 : 4, field.replace(/_LO$/, '')]);
  }
  expect(said).toEqual(meant);
});

test.each(['OP_', 'STATUS_', 'FIELD_', 'CAUSE_'])('the codes %s', (prefix) => {
  const said = [...text.matchAll(new RegExp(`^\\| (\\d+) \\| (${prefix}\\w+) \\|`, 'gm'))];
  const meant = Object.entries(wire).filter(([name]) => name.startsWith(prefix) && name !== 'OP_MAX');
  expect(Object.fromEntries(said.map(([, code, name]) => [name, Number(code)]))).toEqual(
    Object.fromEntries(meant),
  );
});

test('the flags', () => {
  const said = [...text.matchAll(/^\| (\d+) \| (RE(?:QUEST|PLY)_\w+) \|/gm)].map(([, bit, name]) => [
    name,
    2 ** Number(bit),
  ]);
  const meant = Object.entries(wire).filter(
    ([name]) => /^RE(QUEST|PLY)_/.test(name) && !/WORDS_MAX|HAS_EXTRA/.test(name),
  );
  expect(Object.fromEntries(said)).toEqual(Object.fromEntries(meant));
});

test('the limits are the defaults of the service', () => {
  const said = [...text.matchAll(/`(--max-[a-z-]+|--idle-timeout)` \| (\w+) \|/g)];
  expect(said.length).toBeGreaterThan(7);
  const flags = new Map(Object.keys(OPTIONS).map((name) => [flagOf(name), name as OptionName]));
  for (const [, flag, value] of said) {
    const option: { default?: string } = OPTIONS[flags.get(flag!)!];
    expect(`${flag} ${value}`).toBe(`${flag} ${option.default}`);
  }
  expect(text).toContain(`entries in one part of a list | ${wire.LIST_PART_ENTRIES} |`);
  expect(text).toContain(`items of an ack_bulk | ${wire.BULK_ITEMS_MAX} |`);
});

test('every field has its name in JSON', () => {
  for (const [name, code] of Object.entries(wire)) {
    if (name.startsWith('FIELD_')) expect(fieldName(code as number)).not.toMatch(/^field /);
  }
});
