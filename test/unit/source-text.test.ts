import { describe, expect, test } from 'vitest';
import { readSource } from '../../scripts/source-text.js';

const specifiers = (source: string) =>
  readSource(source).imports.map(({ specifier, kind }) => [kind, specifier]);

describe('readSource', () => {
  test('finds every way to import', () => {
    const source = [
      `import a, { b } from './a.js';`,
      `import type { T } from "./t.js";`,
      `import './effect.js';`,
      `import {\n  c,\n  d,\n} from './lines.js';`,
      `export { e } from './e.js';`,
      `export * from './all.js';`,
      `const f = await import('./f.js');`,
      `const g = require('g');`,
      `new Worker(new URL('./h-thread.js', import.meta.url));`,
    ].join('\n');
    expect(specifiers(source)).toEqual([
      ['static', './a.js'],
      ['static', './t.js'],
      ['static', './effect.js'],
      ['static', './lines.js'],
      ['static', './e.js'],
      ['static', './all.js'],
      ['lazy', './f.js'],
      ['static', 'g'],
      ['url', './h-thread.js'],
    ]);
    expect(readSource(source).imports.at(-1)!.line).toBe(12);
  });

  test.each([
    `// import './a.js'`,
    `/* import './a.js' */`,
    `const s = "import './a.js'";`,
    `const s = \`import './a.js'\`;`,
    `const s = \`\${{ a: \`import './a.js'\` }} import './a.js'\`;`,
    `const r = /import '.\\/a.js'/;`,
  ])('finds none in %s', (source) => {
    expect(specifiers(source)).toEqual([]);
  });

  test.each([
    `const quote = /['"\`]/;\nimport './a.js';`,
    `const ratio = a / b; // it's\nimport './a.js';`,
    `const s = '//';\nimport './a.js';`,
    `const s = \`\${a}\${'}'}\`;\nimport './a.js';`,
    `const s = \`it's \\\`\`;\nimport './a.js';`,
    `const half = (a + b) / 2 / "x".length;\nimport './a.js';`,
  ])('goes on after %s', (source) => {
    expect(specifiers(source)).toEqual([['static', './a.js']]);
  });

  test('gives comments with their lines, and code of the same shape', () => {
    const source = `a;\n/* b\n c */ d; // e 'f'\n'// g'`;
    const { code, comments } = readSource(source);
    expect(comments).toEqual([
      { line: 2, text: '/* b\n c */' },
      { line: 3, text: `// e 'f'` },
    ]);
    expect(code).toBe(`a;\n    \n      d;         \n'    '`);
  });
});
