/** 64-bit ids as two 32-bit words, without BigInt: decimal text in and out, comparison, validity. */

const TWO_32 = 4294967296;
const BILLION = 1e9;

/** A parsed id: `parseId` writes it here, so that no object is made for each id. */
export const parsed = { lo: 0, hi: 0 };

/**
 * Parses a decimal snowflake into `parsed`.
 * @returns false unless `text` is all digits without a leading zero and the value is 1 to 2^63-1
 */
export function parseId(text: string): boolean {
  const length = text.length;
  if (length === 0 || length > 19) return false;
  const split = length > 9 ? length - 9 : 0;
  let high = 0;
  for (let i = 0; i < split; i++) {
    const digit = text.charCodeAt(i) - 48;
    if (digit < 0 || digit > 9) return false;
    high = high * 10 + digit;
  }
  let low = 0;
  for (let i = split; i < length; i++) {
    const digit = text.charCodeAt(i) - 48;
    if (digit < 0 || digit > 9) return false;
    low = low * 10 + digit;
  }
  if (text.charCodeAt(0) === 48) return false;
  // value = high * 10^9 + low; every product below stays under 2^53.
  const x = Math.floor(high / 65536) * BILLION;
  const y = (high % 65536) * BILLION + low;
  const t = (x % 65536) * 65536 + y;
  const hi = Math.floor(x / 65536) + Math.floor(t / TWO_32);
  if (hi > 0x7fffffff) return false;
  parsed.lo = (t % TWO_32) | 0;
  parsed.hi = hi | 0;
  return true;
}

/** Quotient and remainder by 10^9 of an id, left here by `divide`. */
let quotient = 0;
let remainder = 0;
function divide(lo: number, hi: number): void {
  const t1 = (hi % BILLION) * 65536 + (lo >>> 16);
  const q1 = Math.floor(t1 / BILLION);
  const t2 = (t1 - q1 * BILLION) * 65536 + (lo & 0xffff);
  const q2 = Math.floor(t2 / BILLION);
  remainder = t2 - q2 * BILLION;
  quotient = Math.floor(hi / BILLION) * TWO_32 + q1 * 65536 + q2;
}

/** Decimal text of an id or of any other 63-bit number. */
export function formatId(lo: number, hi: number): string {
  if (hi === 0) return String(lo >>> 0);
  divide(lo, hi);
  return quotient + String(remainder).padStart(9, '0');
}

/** Decimal digits of a whole number below 10^9. */
function digitsOf(value: number): number {
  let count = 1;
  for (let bound = 10; value >= bound; bound *= 10) count++;
  return count;
}

/** "00" to "99". */
const PAIRS = Uint8Array.from({ length: 200 }, (_, i) => 48 + (i & 1 ? (i >> 1) % 10 : Math.floor(i / 20)));

/**
 * Decimal digits of a whole number below 10^9 as ASCII, with zeros before it, up to `bytes[end - 1]`. Two a step, and
 * 32-bit numbers only: division by a constant is a multiplication for them, and a division for all others.
 */
function writeDigits(bytes: Uint8Array, at: number, end: number, value: number): void {
  let i = end - 2;
  for (; i >= at; i -= 2) {
    const next = (value / 100) | 0;
    const pair = (value - next * 100) * 2;
    bytes[i] = PAIRS[pair]!;
    bytes[i + 1] = PAIRS[pair + 1]!;
    value = next;
  }
  if (i === at - 1) bytes[at] = 48 + value;
}

/** Decimal digits of a whole number up to 2^53 as ASCII from `bytes[at]`; the position after it. */
export function writeNumber(bytes: Uint8Array, at: number, value: number): number {
  let start = at;
  let rest = value;
  if (value >= BILLION) {
    const high = Math.floor(value / BILLION);
    start = writeNumber(bytes, at, high);
    rest = value - high * BILLION;
  }
  const end = start + (start === at ? digitsOf(rest) : 9);
  writeDigits(bytes, start, end, rest | 0);
  return end;
}

/** `formatId` as ASCII from `bytes[at]`; the position after it. */
export function writeId(bytes: Uint8Array, at: number, lo: number, hi: number): number {
  if (hi === 0) return writeNumber(bytes, at, lo >>> 0);
  divide(lo, hi);
  const low = remainder;
  const start = writeNumber(bytes, at, quotient); // hi > 0, so it is at least 4
  writeDigits(bytes, start, start + 9, low);
  return start + 9;
}

/** 1 to 2^63-1. */
export function isId(lo: number, hi: number): boolean {
  return hi >= 0 && (lo | hi) !== 0;
}

/** Negative, 0 or positive as the first is below, equal to or above the second (both 0 to 2^63-1). */
export function compareIds(lo: number, hi: number, otherLo: number, otherHi: number): number {
  return hi !== otherHi ? hi - otherHi : (lo >>> 0) - (otherLo >>> 0);
}

/** A whole number up to 2^53 as words: `splitLow`, `splitHigh`; `joinWords` is the inverse. */
export function splitLow(value: number): number {
  return (value % TWO_32) | 0;
}
export function splitHigh(value: number): number {
  return Math.floor(value / TWO_32) | 0;
}
export function joinWords(lo: number, hi: number): number {
  return hi * TWO_32 + (lo >>> 0);
}
