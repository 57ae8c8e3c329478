/** Closed-loop HTTP: one request in flight on each connection, as fast as answers come. */
import type { Histogram } from 'hdr-histogram-js';
import { nowUs, sleep } from './clock.js';
import { HttpSocket } from './http-socket.js';
import { createHistogram } from './run-stats.js';

export interface HttpRequestText {
  method: string;
  path: string;
  body: string;
}

export interface HttpBlastOptions {
  url: URL;
  connections: number;
  durationMs: number;
  /** What the next request is. */
  next: () => HttpRequestText;
}

export interface HttpBlastResult {
  requests: number;
  seconds: number;
  rate: number;
  latencyUs: Histogram;
}

/** @throws Error for an answer that is not 2xx, or a lost connection */
export async function httpBlast(options: HttpBlastOptions): Promise<HttpBlastResult> {
  const sockets: HttpSocket[] = [];
  for (let i = 0; i < options.connections; i++) sockets.push(await HttpSocket.open(options.url));
  const latencyUs = createHistogram();
  let failed: string | undefined;
  let isRunning = true;
  let requests = 0;
  const start = nowUs();
  const send = (socket: HttpSocket): void => {
    const { method, path, body } = options.next();
    const sentUs = nowUs();
    socket.request(method, path, body, (status, answer) => {
      if (status < 200 || status >= 300) failed ??= `${method} ${path}: ${status} ${answer.toString()}`;
      latencyUs.recordValue(Math.max(1, Math.round(nowUs() - sentUs)));
      requests++;
      if (isRunning) send(socket);
    });
  };
  for (const socket of sockets) {
    socket.onClose = () => {
      failed ??= `${options.url.origin} closed a connection`;
    };
    send(socket);
  }
  await sleep(options.durationMs);
  isRunning = false;
  const seconds = (nowUs() - start) / 1e6;
  const counted = requests;
  for (let waited = 0; sockets.some(({ unanswered }) => unanswered > 0) && failed === undefined; waited++) {
    if (waited > 10_000) failed = 'requests were not answered within 10 s';
    await sleep(1);
  }
  for (const socket of sockets) socket.close();
  if (failed !== undefined) throw new Error(failed);
  return { requests: counted, seconds, rate: counted / seconds, latencyUs };
}
