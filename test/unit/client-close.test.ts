/** What the client asks of a service that takes connections and does not answer, and what is left of it after close(). */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { TidemarkClient, type WebSocketConstructor } from '../../gateway/client/index.js';
import { ROOT } from '../../scripts/repository.js';

/** Below what the client waits for an answer to its question why a handshake failed, 5 s. */
const SOON_MS = 4000;

/** Answers nothing. */
class SilentService {
  /** Cut handshakes: the WebSocket fails then, and does not know why. */
  isCutting = false;
  /** `handshake` or `question`, in turn. */
  readonly requests: string[] = [];
  /** The connection of the first question. */
  question: Socket | undefined;
  readonly #open = new Set<Socket>();
  readonly #server = createServer((socket) => {
    this.#open.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => this.#open.delete(socket));
    socket.once('data', (data: Buffer) => {
      const isHandshake = /^upgrade: websocket/im.test(data.toString());
      this.requests.push(isHandshake ? 'handshake' : 'question');
      if (!isHandshake) this.question ??= socket;
      else if (this.isCutting) socket.destroy();
    });
  });

  async start(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    for (const socket of this.#open) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

let service: SilentService;
beforeEach(async () => {
  service = new SilentService();
  await service.start();
});
afterEach(() => service.stop());

describe('the process can end after close()', () => {
  // Without a flag the platform of Node 20 has no WebSocket.
  const sockets = [
    { name: 'ws', flags: [], code: "import { WebSocket } from 'ws';" },
    {
      name: 'of the platform',
      flags: ['--experimental-websocket'],
      code: 'const WebSocket = undefined;',
    },
  ];

  /** Calls in a process of its own, and closes the client when these requests have come. */
  async function closedAfter(requests: string[], { flags, code }: (typeof sockets)[number]): Promise<void> {
    const client = pathToFileURL(join(ROOT, 'dist/gateway/client/index.js')).href;
    const script = `
      import { TidemarkClient } from ${JSON.stringify(client)};
      ${code}
      const options = { url: ${JSON.stringify(service.url)}, token: 'secret', connectTimeoutMs: 60_000 };
      const client = new TidemarkClient({ ...options, webSocket: WebSocket });
      client.ping().catch(() => {});
      process.stdin.resume().once('end', () => client.close());`;
    const child = spawn(process.execPath, [...flags, '--input-type=module', '-e', script], {
      cwd: ROOT,
      stdio: ['pipe', 'inherit', 'inherit'],
    });
    const exit = once(child, 'exit');
    try {
      await expect.poll(() => service.requests, { timeout: 20_000 }).toEqual(requests);
      child.stdin!.end();
      const watchdog = setTimeout(() => child.kill(), SOON_MS);
      const ended = await exit;
      clearTimeout(watchdog);
      expect(ended).toEqual([0, null]);
    } finally {
      child.kill();
    }
    expect(service.requests).toEqual(requests);
  }

  test.each(sockets)('while it connects, and nothing more is asked: $name', (socket) =>
    closedAfter(['handshake'], socket),
  );

  test.each(sockets)('while it asks why a handshake failed: $name', (socket) => {
    service.isCutting = true;
    return closedAfter(['handshake', 'question'], socket);
  });
});

describe('a handshake that is given up', () => {
  let client: TidemarkClient;
  afterEach(() => client.close());
  const call = (connectTimeoutMs: number): void => {
    const webSocket = WebSocket as unknown as WebSocketConstructor;
    client = new TidemarkClient({ url: service.url, webSocket, connectTimeoutMs });
    client.ping().catch(() => {}); // ends with the client
  };

  test('ends the question why it failed', async () => {
    service.isCutting = true;
    call(300);
    await expect.poll(() => service.question?.closed, { timeout: SOON_MS }).toBe(true);
  });

  test('is not asked about: nobody waits for the answer', async () => {
    call(100);
    await expect.poll(() => service.requests.length, { timeout: 20_000 }).toBeGreaterThan(2);
    expect(service.requests).not.toContain('question');
  });
});
