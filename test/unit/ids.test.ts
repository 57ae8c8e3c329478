import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  compareIds,
  formatId,
  isId,
  joinWords,
  parsed,
  parseId,
  splitHigh,
  splitLow,
  writeId,
  writeNumber,
} from '../../engine/ids.js';

const ID_MAX = (1n << 63n) - 1n;
const low = (id: bigint): number => Number(BigInt.asIntN(32, id));
const high = (id: bigint): number => Number(id >> 32n);
/** All sizes alike, not only 63-bit numbers, and the edges of both words. */
const anyId = fc.oneof(
  fc
    .tuple(fc.bigInt({ min: 1n, max: ID_MAX }), fc.integer({ min: 0, max: 62 }))
    .map(([id, shift]) => id >> BigInt(shift) || 1n),
  fc.constantFrom(
    1n,
    9n,
    10n,
    999_999_999n,
    1_000_000_000n,
    0x7fffffffn,
    0x80000000n,
    0xffffffffn,
    1n << 32n,
    ID_MAX,
  ),
);

describe('ids', () => {
  it('parse as BigInt does', () => {
    fc.assert(
      fc.property(anyId, (id) => {
        expect(parseId(String(id))).toBe(true);
        expect([parsed.lo, parsed.hi]).toEqual([low(id), high(id)]);
      }),
      { numRuns: 5000 },
    );
  });

  it('format as BigInt does', () => {
    const bytes = new Uint8Array(32);
    fc.assert(
      fc.property(anyId, fc.integer({ min: 0, max: 12 }), (id, at) => {
        expect(formatId(low(id), high(id))).toBe(String(id));
        const end = writeId(bytes, at, low(id), high(id));
        expect(Buffer.from(bytes.subarray(at, end)).toString('latin1')).toBe(String(id));
      }),
      { numRuns: 5000 },
    );
    expect(formatId(0, 0)).toBe('0');
  });

  it('compare as BigInt does', () => {
    fc.assert(
      fc.property(anyId, anyId, fc.boolean(), (a, b, same) => {
        const other = same ? a : b;
        const order = a < other ? -1 : a > other ? 1 : 0;
        expect(Math.sign(compareIds(low(a), high(a), low(other), high(other)))).toBe(order);
      }),
      { numRuns: 5000 },
    );
  });

  it.each([
    '',
    '0',
    '00',
    '01',
    '-1',
    '+1',
    ' 1',
    '1 ',
    '1.0',
    '1e3',
    '0x1f',
    '１',
    '9223372036854775808',
    '9999999999999999999',
    '10000000000000000000',
    '12345678901234567890',
  ])('refuse %j', (text) => {
    expect(parseId(text)).toBe(false);
  });

  it('refuse exactly what is no number from 1 to 2^63-1', () => {
    const text = fc.oneof(fc.string(), fc.stringMatching(/^[0-9]{1,20}$/));
    fc.assert(
      fc.property(text, (value) => {
        const isNumber = /^[1-9][0-9]*$/.test(value) && BigInt(value) <= ID_MAX;
        expect(parseId(value)).toBe(isNumber);
      }),
      { numRuns: 5000 },
    );
  });

  it('are positive', () => {
    expect(isId(0, 0)).toBe(false);
    expect(isId(0, -1)).toBe(false);
    expect(isId(1, -0x80000000)).toBe(false);
    expect(isId(1, 0)).toBe(true);
    expect(isId(0, 1)).toBe(true);
    expect(isId(-1, 0x7fffffff)).toBe(true);
  });
});

describe('whole numbers up to 2^53', () => {
  it('split into words and join again', () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), (value) => {
        expect(splitLow(value)).toBe(low(BigInt(value)));
        expect(splitHigh(value)).toBe(high(BigInt(value)));
        expect(joinWords(splitLow(value), splitHigh(value))).toBe(value);
      }),
      { numRuns: 5000 },
    );
  });

  it('are written in decimal', () => {
    const bytes = new Uint8Array(32);
    fc.assert(
      fc.property(fc.maxSafeNat(), (value) => {
        const end = writeNumber(bytes, 3, value);
        expect(Buffer.from(bytes.subarray(3, end)).toString('latin1')).toBe(String(value));
      }),
      { numRuns: 5000 },
    );
  });
});
