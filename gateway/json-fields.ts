/**
 * JSON values into words: the rules of every field, in one place for HTTP and WebSocket.
 *
 * A reader either writes its value and says true, or notes a problem that names the field and says false.
 */
import { parsed, parseId, splitHigh, splitLow } from '../engine/ids.js';
import { TYPE_MAX } from '../engine/messages.js';
import type { Problem } from './errors.js';

export const COUNT_MAX = 0x7fffffff;
export const FLAGS_MAX = 255;
/** Days since 2015-01-01. The word on the wire is one more, and 0 means null: 65,535 would not fit. */
export const LAST_VIEWED_MAX = 65_534;
/** The last millisecond that a Date can hold. */
export const PIN_MS_MAX = 8.64e15;

const ID_RULE =
  'must be a whole number from 1 to 9223372036854775807: a decimal string, or a JSON number up to 9007199254740991';
const PIN_RULE =
  'must be an ISO 8601 timestamp with a time zone, or whole milliseconds since 1970, from 1 to 8640000000000000';

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Parses an id into `parsed` (engine/ids.ts). */
export function readId(value: unknown, path: string, problems: Problem[]): boolean {
  if (typeof value === 'string' && parseId(value)) return true;
  // A larger JSON number has been rounded by JSON.parse and is no longer a safe integer.
  if (typeof value === 'number' && Number.isSafeInteger(value) && value > 0) {
    parsed.lo = splitLow(value);
    parsed.hi = splitHigh(value);
    return true;
  }
  problems.push({ path, message: value === undefined ? `is missing; it ${ID_RULE}` : ID_RULE });
  return false;
}

/** A whole number from `min` to `max`, or -1 and a problem. */
export function readWhole(
  value: unknown,
  min: number,
  max: number,
  path: string,
  problems: Problem[],
): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max) return value;
  const rule = `must be a whole number from ${min} to ${max}`;
  problems.push({ path, message: value === undefined ? `is missing; it ${rule}` : rule });
  return -1;
}

/** A read-state type of a JSON body; absent means 0, channel. */
export function readType(value: unknown, path: string, problems: Problem[]): number {
  return value === undefined ? 0 : readWhole(value, 0, TYPE_MAX, path, problems);
}

/** Decimal digits as a whole number up to `max`, or -1. Query parameters are text. */
export function parseWhole(text: string, max: number): number {
  if (!/^(0|[1-9][0-9]{0,15})$/.test(text)) return -1;
  const value = Number(text);
  return value <= max ? value : -1;
}

const ISO = /^([+]\d{6}|\d{4})-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}:\d{2})$/;

/** A timestamp in milliseconds since 1970, or -1 and a problem. */
export function readTimestamp(value: unknown, path: string, problems: Problem[]): number {
  const ms = typeof value === 'string' && ISO.test(value) ? parseIso(value) : value;
  if (typeof ms === 'number' && Number.isInteger(ms) && ms >= 1 && ms <= PIN_MS_MAX) return ms;
  problems.push({ path, message: value === undefined ? `is missing; it ${PIN_RULE}` : PIN_RULE });
  return -1;
}

/** NaN for a day that does not exist: Date.parse makes 1 March of 30 February. */
function parseIso(text: string): number {
  const ms = Date.parse(text);
  const dateEnd = text.indexOf('T');
  const day = Date.parse(`${text.slice(0, dateEnd)}T00:00:00Z`);
  if (Number.isNaN(day) || !new Date(day).toISOString().startsWith(text.slice(0, dateEnd))) return Number.NaN;
  return ms;
}
