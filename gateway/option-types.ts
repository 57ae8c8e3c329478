/** What the values of options are: numbers with units, and choices, as zod types of their text. */
import { z } from 'zod';

const COUNT_UNITS: Record<string, number> = { '': 1, k: 1e3, m: 1e6, g: 1e9 };
const BYTE_UNITS: Record<string, number> = { '': 1, kib: 2 ** 10, mib: 2 ** 20, gib: 2 ** 30 };
const DURATION_UNITS_MS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** `12`, `250k`, `1.5m`: digits and a unit, as a whole number; NaN for anything else. */
function parseQuantity(text: string, units: Record<string, number>): number {
  const match = /^(\d+(?:\.\d+)?)([a-z]*)$/.exec(text.toLowerCase());
  const unit = match === null ? undefined : units[match[2]!];
  if (unit === undefined) return Number.NaN;
  const value = Number(match![1]) * unit;
  return Number.isInteger(value) ? value : Number.NaN;
}

/** A zod type of text that is a quantity from `min` to `max`. */
function quantity(what: string, units: Record<string, number>, min: number, max: number) {
  return z.string().transform((text, context) => {
    const value = parseQuantity(text, units);
    if (value >= min && value <= max) return value;
    context.addIssue({ code: 'custom', message: `is not ${what}` });
    return z.NEVER;
  });
}

export const whole = (min: number, max: number) =>
  quantity(`a whole number from ${min} to ${max}`, { '': 1 }, min, max);
export const count = (min: number, max: number) =>
  quantity(`a count from ${min} to ${max}, like 5000, 250k or 1m`, COUNT_UNITS, min, max);
export const bytes = (min: number, max: number) =>
  quantity(`a size from ${min} to ${max} bytes, like 65536, 64kib or 1mib`, BYTE_UNITS, min, max);
export const duration = (minMs: number, maxMs: number) =>
  quantity(`a time from ${minMs}ms to ${maxMs}ms, like 500ms, 30s or 2m`, DURATION_UNITS_MS, minMs, maxMs);
export const choice = <const T extends readonly [string, ...string[]]>(values: T) =>
  z.enum(values, { error: `is not one of ${values.join(', ')}` });

/** A word, or a number. */
export const numberOr = <const T extends string>(word: T, min: number, max: number) =>
  z.string().transform((text, context): T | number => {
    if (text === word) return word;
    const value = parseQuantity(text, { '': 1 });
    if (value >= min && value <= max) return value;
    context.addIssue({ code: 'custom', message: `is not ${word} or a whole number from ${min} to ${max}` });
    return z.NEVER;
  });
