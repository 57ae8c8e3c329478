/** What the tests of the client share: clients of a test server that end with the test. */
import { afterEach, beforeEach } from 'vitest';
import { WebSocket } from 'ws';
import {
  type ClientOptions,
  TidemarkClient,
  type TidemarkEvent,
  type WebSocketConstructor,
} from '../../gateway/client/index.js';
import { TestServer } from './client-test-server.js';

export interface Stage {
  /** A new one for each test. */
  readonly server: TestServer;
  /** A client over the package ws that connects again at once. */
  connect(options?: Partial<ClientOptions>): TidemarkClient;
  /** Closes it after the test. */
  own(client: TidemarkClient): TidemarkClient;
}

/** To be called at the top of a test file. */
export function stage(): Stage {
  let server: TestServer;
  const clients: TidemarkClient[] = [];
  beforeEach(async () => {
    server = new TestServer();
    await server.start();
  });
  afterEach(async () => {
    for (const client of clients.splice(0)) client.close();
    await server.stop();
  });
  const own = (client: TidemarkClient): TidemarkClient => {
    clients.push(client);
    return client;
  };
  return {
    own,
    get server(): TestServer {
      return server;
    },
    connect(options = {}): TidemarkClient {
      const webSocket = WebSocket as unknown as WebSocketConstructor;
      return own(new TidemarkClient({ url: server.url, webSocket, reconnectMinMs: 5, ...options }));
    },
  };
}

export async function take(iterator: AsyncIterator<TidemarkEvent>, count: number): Promise<TidemarkEvent[]> {
  const events: TidemarkEvent[] = [];
  while (events.length < count) events.push((await iterator.next()).value as TidemarkEvent);
  return events;
}
