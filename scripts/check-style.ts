/** Style that a formatter does not see: names, sizes, leftovers, dead references, the top of the repository. */
import { posix } from 'node:path';
import { isMain, type RepositoryFile, ROOT, readRepository, report } from './repository.js';
import { readSource } from './source-text.js';

const LINES_MAX = 500;

/** Everything at the top of the repository that is not a dot file; all of it must be there. */
const TOP_LEVEL = [
  'LICENSE',
  'Makefile',
  'README.md',
  'bench',
  'docs',
  'engine',
  'gateway',
  'package-lock.json',
  'package.json',
  'scripts',
  'test',
  'tsconfig.json',
  'workers',
];

const CODE = /\.(ts|js|mjs|css|html|sh)$/;
const KEBAB_CASE = /^\.?[a-z0-9]+(-[a-z0-9]+)*(\.[a-z0-9]+(-[a-z0-9]+)*)*$/;
const NAMES_OF_CUSTOM = new Set(['LICENSE', 'Makefile', 'README.md', 'Cargo.lock', 'Cargo.toml']);
/** Texts of others. */
const FOREIGN = new Set(['LICENSE', 'package-lock.json']);
/** In two halves, or this file would be its own finding. */
const LEFTOVER = new RegExp(`\\b(${'TO'}${'DO'}|${'FIX'}${'ME'}|${'XX'}${'X'})\\b`);
/** A comment line that begins like a statement and ends like one. */
const DEAD_CODE =
  /^\s*(\/\/|\*)\s*((const|let|var|return|import|export|await|throw|if|for|while)\b.*[;{]|\}( else \{)?|[\w.]+\(.*\);)\s*$/;

/** A number in a template is turned into a string whether or not anything is broken: see `broken` in engine/layout.ts. */
const BROKEN_TEMPLATE = /\bbroken\(\s*`/;

/** @returns one message for each finding, with file and line. */
export function checkStyle(files: RepositoryFile[]): string[] {
  const paths = new Set(files.map(({ path }) => path));
  return [...checkTopLevel(paths), ...files.flatMap((file) => checkFile(file, paths))];
}

function checkTopLevel(paths: ReadonlySet<string>): string[] {
  const found = new Set([...paths].map((path) => path.split('/')[0]!));
  const problems: string[] = [];
  for (const name of found) {
    if (!name.startsWith('.') && !TOP_LEVEL.includes(name)) {
      problems.push(`${name}: does not belong at the top of the repository (${TOP_LEVEL.join(', ')})`);
    }
  }
  for (const name of TOP_LEVEL) {
    if (!found.has(name)) problems.push(`${name}: is missing at the top of the repository`);
  }
  return problems;
}

function checkFile({ path, text }: RepositoryFile, paths: ReadonlySet<string>): string[] {
  if (FOREIGN.has(path)) return [];
  const problems: string[] = [];
  for (const name of path.split('/')) {
    if (!KEBAB_CASE.test(name) && !NAMES_OF_CUSTOM.has(name))
      problems.push(`${path}: ${name} is not kebab-case`);
  }
  const lines = text.split('\n');
  lines.forEach((line, index) => {
    const leftover = LEFTOVER.exec(line);
    if (leftover !== null) {
      problems.push(
        `${path}:${index + 1} says ${leftover[0]}: do it, or open an issue and leave the word out`,
      );
    }
  });
  if (path.endsWith('.ts') && !path.startsWith('test/') && BROKEN_TEMPLATE.test(text)) {
    problems.push(`${path}: broken() with a template: give it the number as its second argument`);
  }
  const lineCount = text.endsWith('\n') ? lines.length - 1 : lines.length;
  if (CODE.test(path) && lineCount > LINES_MAX) {
    problems.push(`${path}: ${lineCount} lines, and ${LINES_MAX} are the most: one idea a file`);
  }
  if (path.endsWith('.ts')) problems.push(...checkSource(path, text, paths));
  return problems;
}

function checkSource(path: string, text: string, paths: ReadonlySet<string>): string[] {
  const problems: string[] = [];
  const { comments, imports } = readSource(text);
  for (const { specifier, line, kind } of imports) {
    if (!specifier.startsWith('.') || specifier.includes('${')) continue;
    if (kind === 'url' && !specifier.endsWith('.js')) continue;
    const target = posix.join(posix.dirname(path), specifier);
    // An import names the compiled file; what has to exist is its source.
    if (!paths.has(target) && !paths.has(target.replace(/\.js$/, '.ts'))) {
      problems.push(`${path}:${line} refers to '${specifier}', and there is no such file`);
    }
  }
  for (const comment of comments) {
    // An example in a docstring is no dead code.
    if (comment.text.startsWith('/**')) continue;
    comment.text.split('\n').forEach((commentLine, index) => {
      if (DEAD_CODE.test(commentLine)) {
        problems.push(`${path}:${comment.line + index} is commented-out code: delete it, git keeps it`);
      }
    });
  }
  return problems;
}

if (isMain(import.meta.url)) {
  const files = readRepository(ROOT);
  report('check-style', checkStyle(files), files.length);
}
