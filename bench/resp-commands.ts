/**
 * Read states in Redis or Valkey, as services kept them before: a hash for each user, and Lua for what must happen in
 * one step. The key is the user's id. Field `CHANNEL` is the last message read, field `-CHANNEL` the mentions: both
 * are whole numbers of 64 bits, so that a listpack holds each in nine bytes.
 *
 * What speaks for these servers: a repeated mention is counted again, nothing has a version, nothing is written to a
 * store, and nothing is evicted.
 *
 * All ids of the wire workload have 19 digits, so that a command is a template with digits at fixed places: encoding
 * one is a copy and three numbers, and the client is not what is measured.
 */
import { createHash } from 'node:crypto';
import { writeId } from '../engine/ids.js';
import { OP_ACK, OP_GET, OP_MENTION, REQUEST } from '../engine/messages.js';

const ID_DIGITS = 19;
const HOLE = '#'.repeat(ID_DIGITS);

/** 1 = the mark moved or mentions were cleared, 0 = nothing changed. */
export const ACK_SCRIPT = `
local read = redis.call('HGET', KEYS[1], ARGV[1])
if not read or #read < #ARGV[2] or (#read == #ARGV[2] and read < ARGV[2]) then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
  redis.call('HDEL', KEYS[1], '-' .. ARGV[1])
  return 1
end
if read == ARGV[2] then return redis.call('HDEL', KEYS[1], '-' .. ARGV[1]) end
return 0`;
/** The mentions after this one, or -1 when the message was read already. */
export const MENTION_SCRIPT = `
local read = redis.call('HGET', KEYS[1], ARGV[1])
if read and (#read > #ARGV[2] or (#read == #ARGV[2] and read >= ARGV[2])) then return -1 end
return redis.call('HINCRBY', KEYS[1], '-' .. ARGV[1], 1)`;

export function resp(...args: string[]): string {
  return `*${args.length}\r\n${args.map((arg) => `$${Buffer.byteLength(arg)}\r\n${arg}\r\n`).join('')}`;
}

interface Template {
  readonly bytes: Uint8Array;
  /** Of user, channel, and whatever follows: the channel again, or the message. */
  readonly holes: readonly number[];
}

function template(...args: string[]): Template {
  const text = resp(...args);
  const holes: number[] = [];
  for (let at = text.indexOf(HOLE); at >= 0; at = text.indexOf(HOLE, at + ID_DIGITS)) holes.push(at);
  return { bytes: Buffer.from(text, 'latin1'), holes };
}

function script(text: string): Template {
  return template('EVALSHA', createHash('sha1').update(text).digest('hex'), '1', HOLE, HOLE, HOLE);
}

const ACK = script(ACK_SCRIPT);
const MENTION = script(MENTION_SCRIPT);
const GET = template('HMGET', HOLE, HOLE, `-${HOLE}`);
const INCREMENT = template('HINCRBY', HOLE, `-${HOLE}`, '1');

/** Bytes that any of these takes at most. */
export const COMMAND_BYTES_MAX = Math.max(...[ACK, MENTION, GET, INCREMENT].map(({ bytes }) => bytes.length));

function write(
  { bytes, holes }: Template,
  words: Int32Array,
  third: number,
  out: Uint8Array,
  at: number,
): number {
  out.set(bytes, at);
  writeId(out, at + holes[0]!, words[REQUEST.USER_LO]!, words[REQUEST.USER_HI]!);
  writeId(out, at + holes[1]!, words[REQUEST.CHANNEL_LO]!, words[REQUEST.CHANNEL_HI]!);
  if (holes.length > 2) writeId(out, at + holes[2]!, words[third]!, words[third + 1]!);
  return at + bytes.length;
}

/** Writes the command that does what an operation of the wire does; the position after it. */
export function writeSameOperation(words: Int32Array, out: Uint8Array, at: number): number {
  switch (words[REQUEST.HEAD]! & 0xff) {
    case OP_ACK:
      return write(ACK, words, REQUEST.ARGUMENT_LO, out, at);
    case OP_MENTION:
      return write(MENTION, words, REQUEST.ARGUMENT_LO, out, at);
    case OP_GET:
      return write(GET, words, REQUEST.CHANNEL_LO, out, at);
    default:
      throw new Error(`no command for operation ${words[REQUEST.HEAD]}`);
  }
}

/** An increment of the mentions without a look at what was read: less than the job, as fast as it gets. */
export function writeIncrement(words: Int32Array, out: Uint8Array, at: number): number {
  return write(INCREMENT, words, REQUEST.CHANNEL_LO, out, at);
}
