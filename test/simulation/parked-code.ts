/**
 * Loads a module of engine/ so that its threads can be parked before and after each of its Atomics calls.
 *
 * The compiled file itself is taken, not a copy: its methods become generators and its Atomics calls yields, by rules
 * that know nothing about what the code does. Constructors and getters stay as they are. The park before a call
 * is left out when the thread has touched no shared word since the last one: nobody could tell the difference.
 */
import { readFileSync } from 'node:fs';
import { assert, layout } from '../../engine/layout.js';
import type { Park, Thread } from './interleavings.js';

const ENGINE = new URL('../../engine/', import.meta.url);

/** A plain access of shared memory since the running thread was last parked. */
let touched = false;

/** The array behind a traced one: Atomics take no proxies. */
const TARGET = Symbol('target');
type Traced = Int32Array & { [TARGET]: Int32Array };

/** `Int32Array` for the code under test: notices plain reads and writes. */
function tracedArray(memory: SharedArrayBuffer, offset?: number, length?: number): Int32Array {
  return new Proxy(new Int32Array(memory, offset, length), {
    get(target, property) {
      if (property === TARGET) return target;
      if (typeof property === 'string' && property >= '0' && property <= '9~') touched = true;
      const value = Reflect.get(target, property, target) as unknown;
      return typeof value === 'function' ? value.bind(target) : value;
    },
    set(target, property, value) {
      touched = true;
      return Reflect.set(target, property, value, target);
    },
  });
}

/** A thread that is parked here, if anything was touched. For scenarios, between words that they read or write. */
export function* park(): Generator<Park, void, undefined> {
  yield null;
  touched = false;
}

const real = (array: Int32Array) => (array as Traced)[TARGET];

/** `Atomics` for constructors and getters: no parks. */
const plainAtomics = { load: (array: Int32Array, at: number) => Atomics.load(real(array), at) };

/** What `waitAsync` has for a value here, in place of a promise. */
export interface Waiter {
  readonly at: number;
  readonly memory: ArrayBufferLike;
  woken: boolean;
}

/** `Atomics` for methods: parks on both sides of the real call. `wait`, `waitAsync` and `notify` are simulated. */
function parkedAtomics(waiters: Waiter[]) {
  function* around<T>(call: () => T): Thread<T> {
    if (touched) yield* park();
    const result = call();
    yield* park();
    return result;
  }
  const lieDown = (target: Int32Array, at: number): Waiter => {
    const waiter: Waiter = { at: target.byteOffset + at * 4, memory: target.buffer, woken: false };
    waiters.push(waiter);
    return waiter;
  };
  return {
    load: (array: Int32Array, at: number) => around(() => Atomics.load(real(array), at)),
    store: (array: Int32Array, at: number, value: number) =>
      around(() => Atomics.store(real(array), at, value)),
    add: (array: Int32Array, at: number, value: number) => around(() => Atomics.add(real(array), at, value)),
    exchange: (array: Int32Array, at: number, value: number) =>
      around(() => Atomics.exchange(real(array), at, value)),
    /** Comparing and lying down are one step; time never runs out, so that a lost wake-up is never made good. */
    *wait(array: Int32Array, at: number, expected: number): Thread<'ok' | 'not-equal'> {
      if (touched) yield* park();
      const target = real(array);
      if (target[at] !== expected) {
        yield* park();
        return 'not-equal';
      }
      const waiter = lieDown(target, at);
      yield () => waiter.woken;
      touched = false;
      return 'ok';
    },
    waitAsync: (array: Int32Array, at: number, expected: number) =>
      around(() => {
        const target = real(array);
        if (target[at] !== expected) return { async: false, value: 'not-equal' };
        return { async: true, value: lieDown(target, at) };
      }),
    notify: (array: Int32Array, at: number) =>
      around(() => {
        const target = real(array);
        const there = waiters.filter(
          (waiter) =>
            !waiter.woken && waiter.memory === target.buffer && waiter.at === target.byteOffset + at * 4,
        );
        for (const waiter of there) waiter.woken = true;
        return there.length;
      }),
  };
}

/** Position after the parenthesis that closes the one at `open`. */
function closing(text: string, open: number): number {
  let depth = 0;
  for (let i = open; ; i++) {
    if (text[i] === '(') depth++;
    if (text[i] === ')' && --depth === 0) return i + 1;
  }
}

/** `call(...)` becomes `(yield* call(...))`, for each call that the pattern finds. */
function yieldCalls(text: string, pattern: RegExp): string {
  let result = '';
  let from = 0;
  for (const match of text.matchAll(pattern)) {
    if (match.index < from) throw new Error(`${match[0]} is within another call`);
    const end = closing(text, match.index + match[0].length - 1);
    result += `${text.slice(from, match.index)}(yield* ${text.slice(match.index, end)})`;
    from = end;
  }
  return result + text.slice(from);
}

const METHOD = /^ {4}(?!constructor|get |set )(\w+)\(([^)]*)\) \{$/;

/** The body of a method, indented below its head, with its calls replaced. */
function parkMethods(source: string): string {
  const lines = source.split('\n');
  const names = lines.flatMap((line) => METHOD.exec(line)?.[1] ?? []);
  const ownCalls = new RegExp(`\\bthis\\.(${names.join('|')})\\(`, 'g');
  let inMethod = false;
  return lines
    .map((line) => {
      if (METHOD.test(line)) {
        inMethod = true;
        return line.replace(METHOD, '    *$1($2) {');
      }
      if (line === '    }') inMethod = false;
      if (!inMethod) return line;
      return yieldCalls(yieldCalls(line.replaceAll('Atomics.', 'parked.'), /\bparked\.\w+\(/g), ownCalls);
    })
    .join('\n');
}

/** A change to the source that breaks it: what is replaced must be there, once. */
export type Mutation = readonly (readonly [string, string])[];

/** Methods as generators; what is no method stays. */
export type Parked<T> = {
  [K in keyof T]: T[K] extends (...parameters: infer P) => infer R ? (...parameters: P) => Thread<R> : T[K];
};

/**
 * The exports of `engine/<name>.js` with parked methods. The result is called at the start of each run.
 * @param mutation  breaks the code first, to see the tests notice
 * @param imports   what else it imports
 */
export function loadParked(
  name: string,
  mutation: Mutation = [],
  imports: Readonly<Record<string, unknown>> = {},
): () => Record<string, unknown> {
  let source = readFileSync(new URL(`${name}.js`, ENGINE), 'utf8');
  for (const [good, bad] of mutation) {
    if (source.split(good).length !== 2) throw new Error(`${name}.js does not have once: ${good}`);
    source = source.replace(good, () => bad);
  }
  const names = [...source.matchAll(/^export (?:class|function|const) (\w+)/gm)].map((match) => match[1]);
  const body = parkMethods(source.replace(/^import .*$/gm, '').replace(/^export /gm, ''));
  const create = new Function(
    'Atomics',
    'parked',
    'Int32Array',
    'assert',
    'layout',
    ...Object.keys(imports),
    `${body}\nreturn { ${names.join()} };`,
  );
  const waiters: Waiter[] = [];
  const exports = create(
    plainAtomics,
    parkedAtomics(waiters),
    tracedArray,
    assert,
    layout,
    ...Object.values(imports),
  );
  return () => {
    touched = false; // or what the last run left would decide about the first park of this one
    waiters.length = 0;
    return exports as Record<string, unknown>;
  };
}
