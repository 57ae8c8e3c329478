/**
 * Puts the numbers of the engine's constants and layout tables in their places in dist/, after the compiler.
 *
 * What one module exports and another imports is a cell to V8, also when it is a constant: optimized code loads the
 * cell, checks the shape of the table and loads its field, for each `USER.STATE` anew where something came in between.
 * With numbers instead, the engine ran 1.20 times as fast (docs/performance.md).
 *
 * Likewise a module's own constants: V8 knows their values, but each use is 6 bytes of bytecode, and it is by bytecode that V8
 * decides what it inlines.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { runInNewContext } from 'node:vm';
import { isMain, ROOT } from './repository.js';
import { readSource } from './source-text.js';

const FOLDERS = ['engine', 'workers', 'gateway', 'bench'];
/** Imported to learn their values: this folder, and modules anywhere that export a layout table. All are pure. */
const CONSTANTS = 'engine';
const TABLE = /^export const [A-Z_]+ = layout\(/m;

const IMPORT = /^import \{([^}]*)\} from '(\.[^']*)';$/gm;
const OWN = /^const ([A-Z][A-Z0-9_]*) = (.+);$/gm;
/** Numbers, operators, brackets. */
const ARITHMETIC = /^(?:0x[\da-f]+|\d[\d_.]*(?:e\d+)?|[-\s()+*/%<>&|^~])+$/i;
const NAME = /(?<![\w$.#])([A-Z][A-Z0-9_]*)(?:\.([A-Z][A-Z0-9_]*))?(?![\w$])/g;

type Values = ReadonlyMap<string, unknown>;

/** The number that a name, or a field of it, stands for; undefined if it is none. */
function numberOf(values: Values, name: string, field: string | undefined): number | undefined {
  const value = values.get(name);
  const found = field === undefined ? value : (value as Record<string, unknown> | undefined)?.[field];
  return typeof found === 'number' && Number.isInteger(found) ? found : undefined;
}

/** Whether what stands between the two is a key or a shorthand property, in braces, or a declaration. */
function isName(before: string, after: string, bracket: string): boolean {
  if (/\b(const|let|var|function|class|import|as)\s*$/.test(before)) return true;
  return bracket === '{' && /(?:(?<!\$)\{|,)\s*$/.test(before) && /^\s*[,:}]/.test(after);
}

/** @param values  of the names that the text imports, or exports itself */
export function inlineConstants(text: string, values: Values): string {
  const { code } = readSource(text);
  const parts: string[] = [];
  const brackets: string[] = [];
  let done = 0;
  let looked = 0;
  for (const match of code.matchAll(NAME)) {
    const end = match.index + match[0].length;
    for (; looked < match.index; looked++) {
      const sign = code[looked]!;
      if ('([{'.includes(sign)) brackets.push(sign);
      else if (')]}'.includes(sign)) brackets.pop();
    }
    const found = numberOf(values, match[1]!, match[2]);
    if (found === undefined) continue;
    const before = code.slice(Math.max(0, match.index - 40), match.index);
    if (isName(before, code.slice(end, end + 40), brackets.at(-1) ?? '')) continue;
    parts.push(text.slice(done, match.index), found < 0 ? `(${found})` : `${found}`);
    done = end;
  }
  return parts.join('') + text.slice(done);
}

/** The constants at the top of a module that are numbers, or made of numbers. @param known  of the other names */
export function ownConstants(text: string, known: Values): Values {
  const values = new Map(known);
  const own = new Map<string, unknown>();
  for (const [, name, expression] of text.matchAll(OWN)) {
    const arithmetic = inlineConstants(expression!, values);
    if (!ARITHMETIC.test(arithmetic)) continue;
    const value: unknown = runInNewContext(arithmetic);
    values.set(name!, value);
    own.set(name!, value);
  }
  return own;
}

async function valuesOf(file: string, text: string, constants: string): Promise<Values> {
  const values = new Map<string, unknown>();
  const isConstants = (module: string): boolean => {
    return module.startsWith(constants) || TABLE.test(readFileSync(module, 'utf8'));
  };
  const load = async (module: string): Promise<Record<string, unknown>> => {
    return (await import(pathToFileURL(module).href)) as Record<string, unknown>;
  };
  for (const [, names, specifier] of text.matchAll(IMPORT)) {
    const module = resolve(dirname(file), specifier!);
    if (!isConstants(module)) continue;
    const exported = await load(module);
    for (const name of names!.split(',')) {
      const [from, to = from] = name.trim().split(' as ');
      values.set(to!, exported[from!]);
    }
  }
  if (isConstants(file))
    for (const [name, value] of Object.entries(await load(file))) values.set(name, value);
  for (const [name, value] of ownConstants(text, values)) values.set(name, value);
  return values;
}

async function inlineFolders(dist: string): Promise<void> {
  for (const folder of FOLDERS) {
    for (const entry of readdirSync(join(dist, folder), { recursive: true, encoding: 'utf8' })) {
      if (!entry.endsWith('.js')) continue;
      const file = join(dist, folder, entry);
      const text = readFileSync(file, 'utf8');
      const inlined = inlineConstants(text, await valuesOf(file, text, join(dist, CONSTANTS, '/')));
      if (inlined !== text) writeFileSync(file, inlined);
    }
  }
}

if (isMain(import.meta.url)) await inlineFolders(join(ROOT, 'dist'));
