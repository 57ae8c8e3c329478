/** The real service as a child process, as an operator would start it, and a look into its metrics. */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { startChild } from './child.js';
import { HttpSocket } from './http-socket.js';

export interface Service {
  child: ChildProcess;
  url: URL;
  /** From the start of the process to the answer to the first request. */
  startMs: number;
}

/**
 * Starts it on a free port of 127.0.0.1, on a data directory of its own unless one is given.
 * @param args       of `tidemark serve`
 * @param firstPath  what is asked for first
 */
export async function startService(
  args: string[],
  token?: string,
  firstPath = '/v1/users/1/badge',
): Promise<Service> {
  // The launcher asks for huge pages; the node that it starts is the one that runs this.
  const launcher = fileURLToPath(new URL('../../scripts/tidemark', import.meta.url));
  const env = { ...process.env, PATH: `${dirname(process.execPath)}:${process.env.PATH}` };
  const start = performance.now();
  const own = args.includes('--data') ? null : mkdtempSync(join(tmpdir(), 'tidemark-bench-data-'));
  const command = [launcher, 'serve', '--port', '0', ...(own === null ? [] : ['--data', own]), ...args];
  const { child, line } = await startChild(command, /"msg":"ready"/, env, 120_000);
  if (own !== null) child.once('exit', () => rmSync(own, { recursive: true, force: true }));
  const url = new URL((JSON.parse(line) as { url: string }).url);
  const { status } = await httpGet(url, firstPath, token);
  const startMs = performance.now() - start;
  if (status !== 200) throw new Error(`the first request to ${url.origin} was answered with ${status}`);
  return { child, url, startMs };
}

/** Ends it at once: what it holds is not needed any more. */
export async function killChild(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill('SIGKILL');
  await ended;
}

export interface HttpReply {
  readonly status: number;
  readonly body: string;
}

export function httpGet(url: URL, path: string, token?: string): Promise<HttpReply> {
  return call(url, 'GET', path, '', token);
}

export function httpPost(url: URL, path: string, body: object): Promise<HttpReply> {
  return call(url, 'POST', path, JSON.stringify(body), undefined);
}

/** On a connection of its own: one that is kept can be closed by the service just when it is used again. */
async function call(
  url: URL,
  method: string,
  path: string,
  body: string,
  token: string | undefined,
): Promise<HttpReply> {
  const socket = await HttpSocket.open(url, token);
  try {
    return await new Promise((resolve, reject) => {
      socket.onClose = () => reject(new Error(`${url.origin} closed the connection`));
      socket.request(method, path, body, (status, answer) => resolve({ status, body: answer.toString() }));
    });
  } finally {
    socket.close();
  }
}

/** Sums over all labels of the metrics whose names begin with `tidemark_shard_` or `process_`. */
export async function readMetrics(url: URL): Promise<Map<string, number>> {
  const { body } = await httpGet(url, '/metrics');
  const sums = new Map<string, number>();
  for (const line of body.split('\n')) {
    const [, name, value] =
      /^((?:tidemark_shard|tidemark_persister|process|nodejs_gc)_\w+)(?:\{[^}]*\})? (\S+)$/.exec(line) ?? [];
    if (name !== undefined) sums.set(name, (sums.get(name) ?? 0) + Number(value));
  }
  return sums;
}
