/** `tidemark serve` as a process: what it says, counts and answers, and how it ends. */
import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { until } from './gateway-support.js';

const MAIN = fileURLToPath(new URL('../../gateway/main.js', import.meta.url));

export interface Entry {
  readonly id: string;
  readonly last_message_id: string | null;
  readonly mention_count: number;
  readonly version: number;
}

export interface List {
  readonly entries: Entry[];
  readonly version: number;
}

export class ServeProcess {
  readonly child: ChildProcess;
  readonly exit: Promise<number | null>;
  /** All that it has said, JSON lines. */
  log = '';
  url = '';

  private constructor(args: readonly string[]) {
    this.child = spawn(process.execPath, [MAIN, 'serve', '--port', '0', ...args]);
    this.exit = new Promise((resolve) => this.child.on('close', resolve));
    for (const stream of [this.child.stdout!, this.child.stderr!]) {
      stream.on('data', (data: Buffer) => {
        this.log += data.toString();
      });
    }
  }

  /** Resolves when it is ready. @throws Error with its log if it ends before */
  static async start(...args: string[]): Promise<ServeProcess> {
    const process = new ServeProcess(args);
    const ready = (): string | undefined =>
      process.log.split('\n').find((line) => line.includes('"msg":"ready"'));
    await until(() => ready() !== undefined || process.child.exitCode !== null, 'it is ready');
    const line = ready();
    if (line === undefined) throw new Error(`it did not start:\n${process.log}`);
    process.url = (JSON.parse(line) as { url: string }).url;
    return process;
  }

  /** A clean stop; its exit code. */
  stop(): Promise<number | null> {
    this.child.kill('SIGTERM');
    return this.exit;
  }

  async kill(): Promise<void> {
    this.child.kill('SIGKILL');
    await this.exit;
  }

  /** The answer, of status 200. `body` makes it a POST. */
  async call<T>(path: string, body?: unknown): Promise<T> {
    const response = await fetch(`${this.url}/v1${path}`, {
      ...(body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) }),
      headers: { 'content-type': 'application/json' },
    });
    const text = await response.text();
    if (response.status !== 200) throw new Error(`${path}: ${response.status} ${text}`);
    return JSON.parse(text) as T;
  }

  ack(user: number, channel: number, message: number): Promise<Entry> {
    return this.call(`/users/${user}/read-states/${channel}/ack`, { message_id: String(message) });
  }

  mention(user: number, channel: number, message: number): Promise<{ applied: number; duplicates: number }> {
    const body = { user_ids: [String(user)], message_id: String(message) };
    return this.call(`/channels/${channel}/mentions`, body);
  }

  list(user: number): Promise<List> {
    return this.call(`/users/${user}/read-states`);
  }

  /** The sum of a metric over its labels. */
  async metric(name: string): Promise<number> {
    const text = await (await fetch(`${this.url}/metrics`)).text();
    const lines = text
      .split('\n')
      .filter((line) => line.startsWith(name) && /^[ {]/.test(line[name.length]!));
    if (lines.length === 0) throw new Error(`/metrics has no ${name}`);
    return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
  }
}
