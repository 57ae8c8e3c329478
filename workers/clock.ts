/**
 * The time, as a thread asks for it tens of thousands of times a second: without garbage.
 *
 * `performance.now` makes an object of 16 bytes for each number it returns, in V8 before 13 (Node 20 and 22): a loaded shard
 * had a collection a second of little else. There, WASI's `clock_time_get` is asked, from a module of WebAssembly that
 * does nothing more, and writes what it has read into the module's memory; it takes as long. In V8 13 it is the other way
 * around: WASI's makes an object, `performance.now` none.
 */
import { offsetUs, sharedUs } from './introspection/shared-clock.js';

/** What it said when it was read last. */
export interface Clock {
  /** Whole milliseconds of the thread's `performance.now`: a small integer for V8 in the first 24 days. */
  readonly ms: number;
  /** Microseconds of the clock that all threads share: 32 bits, as `sharedUs`. */
  readonly us: number;
  read(): void;
}

/** What is used of it here: its types come with those of browsers. */
declare const WebAssembly: {
  Module: new (bytes: Uint8Array) => object;
  Instance: new (module: object, imports: object) => { exports: object };
};

interface ClockModule {
  read: () => void;
  memory: { buffer: ArrayBuffer };
}

const V8_WITHOUT_BOXES = 13;

/**
 * WebAssembly that imports `clock_time_get` and exports memory and a function that has the monotonic clock written to its first
 * eight bytes. As text:
 *
 *     (module
 *       (import "wasi_snapshot_preview1" "clock_time_get" (func (param i32 i64 i32) (result i32)))
 *       (memory (export "memory") 1)
 *       (func (export "read") (drop (call 0 (i32.const 1) (i64.const 0) (i32.const 0)))))
 */
const MODULE = [
  ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00], // "\0asm", version 1
  ...section(1, [0x02, 0x60, 0x03, 0x7f, 0x7e, 0x7f, 0x01, 0x7f, 0x60, 0x00, 0x00]), // types 0 and 1
  ...section(2, [0x01, ...name('wasi_snapshot_preview1'), ...name('clock_time_get'), 0x00, 0x00]),
  ...section(3, [0x01, 0x01]), // a function of type 1
  ...section(5, [0x01, 0x00, 0x01]), // a memory of one page at least
  ...section(7, [0x02, ...name('memory'), 0x02, 0x00, ...name('read'), 0x00, 0x01]),
  ...section(10, [0x01, 0x0b, 0x00, 0x41, 0x01, 0x42, 0x00, 0x41, 0x00, 0x10, 0x00, 0x1a, 0x0b]),
];

function section(id: number, content: number[]): number[] {
  return [id, content.length, ...content];
}

function name(text: string): number[] {
  return [text.length, ...Buffer.from(text, 'latin1')];
}

class WasiClock implements Clock {
  ms = 0;
  us = 0;
  readonly #read: () => void;
  /** Nanoseconds, the low half first. */
  readonly #ns: Uint32Array;

  constructor(read: () => void, memory: ArrayBuffer) {
    this.#read = read;
    this.#ns = new Uint32Array(memory, 0, 2);
    this.read();
  }

  read(): void {
    this.#read();
    const us = this.#ns[1]! * (2 ** 32 / 1000) + this.#ns[0]! / 1000;
    this.ms = Math.floor((us - offsetUs) / 1000);
    this.us = us | 0;
  }
}

class PerformanceClock implements Clock {
  ms = 0;
  us = 0;

  constructor() {
    this.read();
  }

  read(): void {
    const nowMs = performance.now();
    this.ms = Math.floor(nowMs);
    this.us = sharedUs(nowMs);
  }
}

/** For one thread. */
export async function createClock(): Promise<Clock> {
  const v8 = Number.parseInt(process.versions.v8, 10);
  return (v8 < V8_WITHOUT_BOXES ? await createWasiClock() : null) ?? new PerformanceClock();
}

/** @returns null where there is none: without WebAssembly (`--jitless`), say */
async function createWasiClock(): Promise<Clock | null> {
  const { emitWarning } = process;
  // That WASI is experimental is no news for who reads the log: there is another clock, should it go.
  process.emitWarning = () => {};
  try {
    const { WASI } = await import('node:wasi');
    const wasi = new WASI({ version: 'preview1' });
    const module = new WebAssembly.Module(Uint8Array.from(MODULE));
    const instance = new WebAssembly.Instance(module, {
      wasi_snapshot_preview1: { clock_time_get: wasi.wasiImport.clock_time_get },
    });
    wasi.initialize(instance);
    const { read, memory } = instance.exports as ClockModule;
    return new WasiClock(read, memory.buffer);
  } catch {
    return null;
  } finally {
    process.emitWarning = emitWarning;
  }
}
