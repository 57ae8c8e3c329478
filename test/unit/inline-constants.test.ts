/** Numbers in the places of constants, and nowhere else. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { inlineConstants, ownConstants } from '../../scripts/inline-constants.js';
import { ROOT } from '../../scripts/repository.js';

const VALUES = new Map<string, unknown>([
  ['USER', { STATE: 2, WORDS: 16 }],
  ['META_WIPE', -2147483648],
  ['OP_ACK', 5],
  ['A', 1],
  ['B', 2],
  ['LIMITS', { first: 1 }],
  ['HALF', 0.5],
]);

describe('inlineConstants', () => {
  it.each([
    ['words[at + USER.STATE] = x;', 'words[at + 2] = x;'],
    ['meta & META_WIPE', 'meta & (-2147483648)'],
    ['case OP_ACK:', 'case 5:'],
    ['x ? A : B', 'x ? 1 : 2'],
    ['f(A, B, `$' + '{A} A`)', 'f(1, 2, `$' + '{1} A`)'],
    ['{ f(A, B); }', '{ f(1, 2); }'],
    ['[A, B, ...C]', '[1, 2, ...C]'],
    ['({ key: A, B: B })', '({ key: 1, B: 2 })'],
  ])('%s', (text, inlined) => {
    expect(inlineConstants(text, VALUES)).toBe(inlined);
  });

  it.each([
    "import { A, B } from './a.js';",
    'export { A, B };',
    'export const A = C;',
    '({ A, B })',
    '({ A: x })',
    'x.A + x?.B + this.#A + A1 + $A + x.USER.STATE',
    '\'A\' + "B" + /A/.source // A',
    'USER.NONE + USER + LIMITS.first + HALF + UNKNOWN.STATE',
  ])('%s stays', (text) => {
    expect(inlineConstants(text, VALUES)).toBe(text);
  });

  it("knows a module's own constants, also those that are made of others", () => {
    const text = [
      'const BITS = 10;',
      'const MASK = (1 << BITS) - 1;',
      'const HIGH = 0xf << 28;',
      'const WORDS = USER.WORDS << BITS;',
      'const MANY = 1_000;',
      "const NAME = 'A';",
      'const LIST = [A, B];',
      'const LATER = process.pid;',
      '  const INSIDE = 1;',
    ].join('\n');
    expect([...ownConstants(text, VALUES)]).toEqual([
      ['BITS', 10],
      ['MASK', 1023],
      ['HIGH', 0xf << 28],
      ['WORDS', 16384],
      ['MANY', 1000],
    ]);
  });

  it('was done to the build that is tested', () => {
    const text = readFileSync(join(ROOT, 'dist/engine/slab-operations.js'), 'utf8');
    expect(text).toContain('memory.put(');
    expect(text).not.toMatch(/\b(RECORD|USER)\.[A-Z]/);
    const memory = readFileSync(join(ROOT, 'dist/engine/slab-memory.js'), 'utf8');
    expect(memory).toMatch(/^const STRIPE_USERS_BITS = 10;$/m);
    expect(memory).not.toMatch(/>>> STRIPE_USERS_BITS/);
  });
});
