/**
 * The operations of the torture test, how each travels (binary words, HTTP), and what its answer says. Ids are plain
 * numbers up to 2^53-1 here, so that they compare and print without ado.
 */
import { STATUS_DUPLICATE, STATUS_OK, STATUS_SUPPRESSED, STATUS_UNKNOWN } from '../../engine/messages.js';
import type { Answer as WireAnswer } from '../../gateway/client/call.js';
import {
  encodeAck,
  encodeAckBulk,
  encodeBadge,
  encodeDelete,
  encodeDeleteUser,
  encodeGet,
  encodeList,
  encodeMention,
  encodePinAck,
  type ReadState,
} from '../../gateway/client/codec.js';

export interface Key {
  channel: number;
  type: number;
}

export interface BulkItem extends Key {
  message: number;
}

export interface AckFields {
  count?: number;
  flags?: number;
  viewed?: number;
}

export type Operation =
  | ({ op: 'ack'; message: number; manual: boolean } & Key & AckFields)
  | { op: 'ack_bulk'; items: BulkItem[] }
  /** Message 0: without an id. */
  | ({ op: 'mention'; message: number } & Key)
  | ({ op: 'pin_ack'; pin: number } & Key)
  | ({ op: 'get' } & Key)
  | { op: 'list'; since?: number }
  | { op: 'badge' }
  | ({ op: 'delete' } & Key)
  | { op: 'delete_user' };

/** One read state as an answer shows it. Mark and pin 0, viewed -1: null. */
export interface Entry extends Key {
  message: number;
  count: number;
  flags: number;
  viewed: number;
  pin: number;
  version: number;
}

/** What an answer says. What the protocol does not tell is left out. */
export interface Answer {
  status: 'ok' | 'unknown' | 'suppressed' | 'duplicate';
  /** Of ack, pin_ack, get: one. Of list and ack_bulk: all. */
  entries?: Entry[];
  changed?: boolean;
  /** Of the entry after a mention; of a badge the sum. */
  count?: number;
  /** Of the entry after a mention; of the user after a list, delete, delete_user. */
  version?: number;
  partial?: boolean;
  /** Of a badge: entries with mentions. */
  mentioned?: number;
}

export function keyName({ channel, type }: Key): string {
  return `${channel}/${type}`;
}

/** @param since  versions as in `Entry` */
export function describe(operation: Operation): string {
  const { op, ...fields } = operation;
  const text = JSON.stringify(fields).replaceAll('"', '');
  return text === '{}' ? op : `${op} ${text}`;
}

/** As binary words; the request id is set by whoever sends them. */
export function encode(userId: number, operation: Operation): Int32Array {
  const user = String(userId);
  switch (operation.op) {
    case 'ack': {
      const { channel, type, message, manual, count, flags, viewed } = operation;
      return encodeAck(0, user, String(channel), String(message), {
        type,
        manual,
        ...(count === undefined ? {} : { mentionCount: count }),
        ...(flags === undefined ? {} : { flags }),
        ...(viewed === undefined ? {} : { lastViewed: viewed }),
      });
    }
    case 'ack_bulk': {
      const items = operation.items.map(({ channel, type, message }) => ({
        channelId: String(channel),
        messageId: String(message),
        type,
      }));
      return encodeAckBulk(0, user, items);
    }
    case 'mention': {
      const message = operation.message === 0 ? undefined : String(operation.message);
      return encodeMention(0, String(operation.channel), user, message, operation.type);
    }
    case 'pin_ack':
      return encodePinAck(0, user, String(operation.channel), operation.pin, operation.type);
    case 'get':
      return encodeGet(0, user, String(operation.channel), operation.type);
    case 'list':
      return encodeList(0, user, operation.since);
    case 'badge':
      return encodeBadge(0, user);
    case 'delete':
      return encodeDelete(0, user, String(operation.channel), operation.type);
    case 'delete_user':
      return encodeDeleteUser(0, user);
  }
}

const STATUSES: Record<number, Answer['status']> = {
  [STATUS_OK]: 'ok',
  [STATUS_UNKNOWN]: 'unknown',
  [STATUS_SUPPRESSED]: 'suppressed',
  [STATUS_DUPLICATE]: 'duplicate',
};

export function fromWire(operation: Operation, wire: WireAnswer): Answer {
  const status = STATUSES[wire.status];
  if (status === undefined) throw new Error(`an answer with status ${wire.status} to ${describe(operation)}`);
  const { op } = operation;
  const answer: Answer = { status };
  if (op !== 'delete_user') answer.changed = wire.changed;
  if (op === 'ack' || op === 'ack_bulk' || op === 'pin_ack' || op === 'get' || op === 'list') {
    answer.entries = wire.entries.map(fromReadState);
  }
  if (op === 'list') answer.partial = wire.partial;
  if (op === 'mention' || op === 'badge') answer.count = wire.mentionCount;
  if (op === 'badge') answer.mentioned = wire.version;
  else if (op === 'mention' || op === 'list' || op === 'delete' || op === 'delete_user')
    answer.version = wire.version;
  return answer;
}

function fromReadState(state: ReadState): Entry {
  return {
    channel: Number(state.channelId),
    type: state.type,
    message: Number(state.lastMessageId ?? 0),
    count: state.mentionCount,
    flags: state.flags,
    viewed: state.lastViewed ?? -1,
    pin: state.lastPinTimestamp?.getTime() ?? 0,
    version: state.version,
  };
}

export interface HttpRequest {
  method: string;
  path: string;
  body: string;
}

export function asHttp(userId: number, operation: Operation): HttpRequest {
  const states = `/v1/users/${userId}/read-states`;
  const of = (key: Key, suffix = '') =>
    `${states}/${key.channel}${suffix}${key.type === 0 ? '' : `?type=${key.type}`}`;
  switch (operation.op) {
    case 'ack': {
      const { message, manual, count, flags, viewed } = operation;
      const body = {
        message_id: String(message),
        manual,
        mention_count: count,
        flags,
        last_viewed: viewed,
      };
      return { method: 'POST', path: of(operation, '/ack'), body: JSON.stringify(body) };
    }
    case 'ack_bulk': {
      const items = operation.items.map(({ channel, type, message }) => ({
        channel_id: String(channel),
        read_state_type: type,
        message_id: String(message),
      }));
      return { method: 'POST', path: `${states}/ack-bulk`, body: JSON.stringify({ read_states: items }) };
    }
    case 'mention': {
      const { channel, type, message } = operation;
      const body = {
        user_ids: [String(userId)],
        read_state_type: type,
        message_id: message === 0 ? undefined : String(message),
      };
      return { method: 'POST', path: `/v1/channels/${channel}/mentions`, body: JSON.stringify(body) };
    }
    case 'pin_ack':
      return {
        method: 'POST',
        path: of(operation, '/pins/ack'),
        body: `{"last_pin_timestamp":${operation.pin}}`,
      };
    case 'get':
      return { method: 'GET', path: of(operation), body: '' };
    case 'list': {
      const since = operation.since === undefined ? '' : `?since=${operation.since}`;
      return { method: 'GET', path: `${states}${since}`, body: '' };
    }
    case 'badge':
      return { method: 'GET', path: `/v1/users/${userId}/badge`, body: '' };
    case 'delete':
      return { method: 'DELETE', path: of(operation), body: '' };
    case 'delete_user':
      return { method: 'DELETE', path: states, body: '' };
  }
}

interface JsonEntry {
  id: string;
  read_state_type: number;
  last_message_id: string | null;
  mention_count: number;
  last_pin_timestamp: string | null;
  flags: number;
  last_viewed: number | null;
  version: number;
}

function fromJsonEntry(entry: JsonEntry): Entry {
  return {
    channel: Number(entry.id),
    type: entry.read_state_type,
    message: Number(entry.last_message_id ?? 0),
    count: entry.mention_count,
    flags: entry.flags,
    viewed: entry.last_viewed ?? -1,
    pin: entry.last_pin_timestamp === null ? 0 : Date.parse(entry.last_pin_timestamp),
    version: entry.version,
  };
}

/** The answer to a request of `asHttp`, or the code of the error that refused it. */
export function fromHttp(operation: Operation, status: number, text: string): Answer | { refused: string } {
  // biome-ignore lint/suspicious/noExplicitAny: JSON of several shapes
  const body = (text === '' ? {} : JSON.parse(text)) as any;
  if (status === 404 && body.code === 'unknown_read_state') return { status: 'unknown', entries: [] };
  if (status >= 300) return { refused: body.code ?? `HTTP ${status}` };
  switch (operation.op) {
    case 'ack':
    case 'pin_ack':
    case 'get':
      return { status: 'ok', entries: [fromJsonEntry(body)] };
    case 'ack_bulk':
      return { status: 'ok', entries: body.entries.map(fromJsonEntry) };
    case 'list':
      return {
        status: 'ok',
        entries: body.entries.map(fromJsonEntry),
        partial: body.partial,
        version: body.version,
      };
    case 'badge':
      return { status: 'ok', count: body.mention_count, mentioned: body.unread_mention_channels };
    case 'mention': {
      if (body.failed.length > 0) return { refused: 'failed' };
      if (body.applied === 1) return { status: 'ok' };
      return { status: body.suppressed === 1 ? 'suppressed' : 'duplicate' };
    }
    default:
      return { status: 'ok' };
  }
}
