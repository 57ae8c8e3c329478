/** The service in a process of its own, to be attacked: what it says, what it counts, what it holds, how it ends. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { OptionName } from '../../gateway/config.js';
import type { Fault, Memory, Order } from './victim-child.js';

const CHILD = fileURLToPath(new URL('./victim-child.js', import.meta.url));
const SMALL = {
  host: '127.0.0.1',
  port: '0',
  store: 'memory:',
  shards: '1',
  partitions: '4',
  capacity: '100k',
};

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export class Victim {
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
  hasEnded = false;
  /** All that it has said, JSON lines. */
  log = '';
  port = 0;

  private constructor(child: ChildProcess) {
    this.child = child;
    this.ended = new Promise((resolve) => {
      // Not `exit`: what it said last is to be here.
      child.on('close', (code, signal) => {
        this.hasEnded = true;
        resolve({ code, signal });
      });
    });
    for (const stream of [child.stdout!, child.stderr!]) {
      stream.on('data', (data: Buffer) => {
        this.log += data.toString();
      });
    }
  }

  /** Starts one; resolves when it is ready. */
  static async start(given: Partial<Record<OptionName, string>> = {}): Promise<Victim> {
    const data = mkdtempSync(join(tmpdir(), 'tidemark-victim-'));
    const options = JSON.stringify({ ...SMALL, data, ...given });
    const child = spawn(process.execPath, ['--expose-gc', CHILD, options], {
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    });
    child.setMaxListeners(100);
    const victim = new Victim(child);
    void victim.ended.then(() => rmSync(data, { recursive: true, force: true }));
    await until(() => victim.log.includes('"msg":"ready"') || victim.hasEnded, 'it is ready');
    const line = victim.log.split('\n').find((text) => text.includes('"msg":"ready"'));
    if (line === undefined) throw new Error(`it did not start:\n${victim.log}`);
    victim.port = Number(new URL((JSON.parse(line) as { url: string }).url).port);
    return victim;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  get streamUrl(): string {
    return `ws://127.0.0.1:${this.port}/v1/stream`;
  }

  #order<T>(order: Order): Promise<T> {
    return new Promise((resolve) => {
      this.child.once('message', resolve as (message: unknown) => void);
      this.child.send(order);
    });
  }

  /** Switches a fault of the memory store. */
  async fault(fault: Fault['fault'], value: number): Promise<void> {
    await this.#order({ fault, value });
  }

  /** What it holds when the garbage is gone. */
  memory(): Promise<Memory> {
    return this.#order('memory');
  }

  /** One sample of `/metrics`, or the sum of all whose name and labels begin like that. */
  async metric(name: string): Promise<number> {
    const text = await (await fetch(`${this.url}/metrics`)).text();
    const lines = text
      .split('\n')
      .filter((line) => line.startsWith(`${name} `) || line.startsWith(`${name}{`));
    if (lines.length === 0) throw new Error(`there is no metric ${name}`);
    return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
  }

  /** Asks over HTTP. */
  async call(
    method: string,
    path: string,
    body?: object,
  ): Promise<{ status: number; body: Record<string, unknown> }> {
    const response = await fetch(this.url + path, {
      method,
      ...(body === undefined
        ? {}
        : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
    });
    const text = await response.text();
    return {
      status: response.status,
      body: text === '' ? {} : (JSON.parse(text) as Record<string, unknown>),
    };
  }

  /** An orderly stop; the log must not tell of a bug. */
  async stop(): Promise<Ended> {
    if (!this.hasEnded) this.child.kill('SIGTERM');
    return this.ended;
  }

  kill(): void {
    this.child.kill('SIGKILL');
  }
}

/** Waits until `condition` holds, for 20 s: longer than anything here takes, so no speed is asked for. */
export async function until(
  condition: () => boolean | Promise<boolean>,
  what: string,
  ms = 20_000,
): Promise<void> {
  const end = performance.now() + ms;
  while (performance.now() < end) {
    if (await condition()) return;
    await pause(10);
  }
  throw new Error(`in vain waited until ${what}`);
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
