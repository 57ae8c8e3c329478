/**
 * Reads TypeScript just well enough to tell code, strings and comments apart, and to find what it imports.
 * The native compiler has no JavaScript API, and compiled output no longer shows type imports.
 */

export interface Comment {
  line: number;
  text: string;
}

export interface Import {
  specifier: string;
  line: number;
  /** `lazy`: import(); `url`: new URL('…', import.meta.url), how a worker thread's file is named. */
  kind: 'static' | 'lazy' | 'url';
}

export interface SourceText {
  /** As long as the source; comments and the insides of strings are blanks, line ends stay. */
  code: string;
  comments: Comment[];
  imports: Import[];
}

/** What may stand before a `/` that begins a regular expression rather than a division. */
const BEFORE_REGEX = /(^|[(,=:[!&|?{};+\-*%<>~^]|\b(return|typeof|case|in|of|await|yield|void))\s*$/;
const TOKEN = /\/\/[^\n]*|\/\*.*?\*\/|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`|\/|[{}]/gs;
const REGEX = /\/(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\[\n])+\//y;
const TEMPLATE_PART = /(?:\\.|\$(?!\{)|[^`\\$])*(`|\$\{)/sy;

function blank(text: string): string {
  return text.replace(/[^\n]/g, ' ');
}

export function readSource(source: string): SourceText {
  const code: string[] = [];
  const comments: Comment[] = [];
  /** For each open brace: whether it is the `${` of a template, which goes on at its end. */
  const braces: boolean[] = [];
  let done = 0;
  const copyTo = (end: number): void => {
    code.push(source.slice(done, end));
    done = end;
  };
  const blankTo = (end: number): void => {
    code.push(blank(source.slice(done, end)));
    done = end;
  };
  const template = (): void => {
    TEMPLATE_PART.lastIndex = done;
    const part = TEMPLATE_PART.exec(source);
    if (part === null) {
      blankTo(source.length);
      return;
    }
    blankTo(TEMPLATE_PART.lastIndex - part[1]!.length);
    copyTo(TEMPLATE_PART.lastIndex);
    if (part[1] === '${') braces.push(true);
  };

  for (;;) {
    TOKEN.lastIndex = done;
    const match = TOKEN.exec(source);
    if (match === null) break;
    const token = match[0];
    copyTo(match.index);
    if (token === '{') {
      braces.push(false);
      copyTo(match.index + 1);
    } else if (token === '}') {
      copyTo(match.index + 1);
      if (braces.pop() === true) template();
    } else if (token === '`') {
      copyTo(match.index + 1);
      template();
    } else if (token === '/') {
      REGEX.lastIndex = match.index;
      const before = source.slice(Math.max(0, match.index - 40), match.index);
      if (BEFORE_REGEX.test(before) && REGEX.test(source)) blankTo(REGEX.lastIndex);
      else copyTo(match.index + 1);
    } else if (token.startsWith('/')) {
      comments.push({ line: lineOf(source, match.index), text: token });
      blankTo(match.index + token.length);
    } else {
      copyTo(match.index + 1);
      blankTo(match.index + token.length - 1);
      copyTo(match.index + token.length);
    }
  }
  copyTo(source.length);
  const text = code.join('');
  return { code: text, comments, imports: findImports(source, text) };
}

const STRING = `(?:'[^']*'|"[^"]*"|\`[^\`]*\`)`;
const IMPORTS: ReadonlyArray<[Import['kind'], RegExp]> = [
  ['static', new RegExp(`\\b(?:import|export)\\b[^;'"\`()]*?\\bfrom\\s*(${STRING})`, 'dg')],
  ['static', new RegExp(`\\bimport\\s*(${STRING})`, 'dg')],
  ['static', new RegExp(`\\brequire\\s*\\(\\s*(${STRING})`, 'dg')],
  ['lazy', new RegExp(`\\bimport\\s*\\(\\s*(${STRING})`, 'dg')],
  ['url', new RegExp(`\\bnew\\s+URL\\s*\\(\\s*(${STRING})\\s*,\\s*import\\.meta\\.url`, 'dg')],
];

function findImports(source: string, code: string): Import[] {
  const imports: Import[] = [];
  for (const [kind, pattern] of IMPORTS) {
    for (const match of code.matchAll(pattern)) {
      const [start, end] = match.indices![1]!;
      imports.push({ specifier: source.slice(start + 1, end - 1), line: lineOf(source, start), kind });
    }
  }
  return imports.sort((a, b) => a.line - b.line);
}

function lineOf(source: string, index: number): number {
  let line = 1;
  for (let at = source.indexOf('\n'); at !== -1 && at < index; at = source.indexOf('\n', at + 1)) line++;
  return line;
}
