/** Who may connect, slow readers, and a stop. */

import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { Client, type Gateway, startGateway, until } from './gateway-support.js';

const TOKEN = 'a-token-of-this-very-test';
const directory = mkdtempSync(join(tmpdir(), 'tidemark-access-'));
const tokenFile = join(directory, 'tokens');
writeFileSync(tokenFile, `${TOKEN}\nthe-token-that-comes-next\n`);
afterAll(() => rmSync(directory, { recursive: true }));

async function withGateway(
  given: Parameters<typeof startGateway>[0],
  run: (gateway: Gateway) => Promise<void>,
): Promise<void> {
  const gateway = await startGateway(given);
  try {
    await run(gateway);
  } finally {
    await gateway.close();
  }
}

/** The status of the answer to an upgrade, 101 if it succeeds. */
function upgradeStatus(
  url: string,
  protocols: string[],
  headers: Record<string, string> = {},
): Promise<number> {
  return new Promise((resolve) => {
    const socket = new WebSocket(url, protocols, { headers });
    socket.on('open', () => {
      socket.terminate();
      resolve(101);
    });
    socket.on('unexpected-response', (_request, response) => {
      response.resume();
      resolve(response.statusCode!);
    });
    socket.on('error', () => {});
  });
}

describe('access', () => {
  it('needs a token where there is a file of them, but for the health', async () => {
    await withGateway({ authTokenFile: tokenFile }, async ({ url, streamUrl }) => {
      const status = async (path: string, authorization = ''): Promise<number> =>
        (await fetch(url + path, { headers: authorization === '' ? {} : { authorization } })).status;
      for (const path of ['/v1/users/1/badge', '/v1/users/x/badge', '/metrics']) {
        expect(await status(path), path).toBe(401);
        expect(await status(path, `Bearer ${TOKEN}!`), path).toBe(401);
      }
      const refused = await fetch(`${url}/v1/users/1/read-states/1/ack`, { method: 'POST', body: '{}' });
      expect(await refused.json()).toMatchObject({ code: 'unauthorized', errors: [] });
      expect(refused.headers.get('www-authenticate')).toBe('Bearer');
      expect(await status('/v1/users/1/badge', `Bearer ${TOKEN}`)).toBe(200);
      expect(await status('/metrics', 'Bearer the-token-that-comes-next')).toBe(200);
      expect(await status('/healthz')).toBe(200);
      expect(await status('/readyz')).toBe(200);

      expect(await upgradeStatus(streamUrl, ['tidemark.v1.bin'])).toBe(401);
      const authorization = `Bearer ${TOKEN}`;
      expect(
        await upgradeStatus(streamUrl, ['tidemark.v1.bin'], { authorization, origin: 'https://elsewhere' }),
      ).toBe(101);
    });
  });

  it('without a token file is for this machine, and for no web page of elsewhere', async () => {
    const calls = [
      ['GET', '/v1/users/1/read-states'],
      ['DELETE', '/v1/users/1/read-states'],
      ['POST', '/v1/users/1/read-states/1/ack'],
      ['GET', '/metrics'],
    ] as const;
    await withGateway({}, async ({ url, streamUrl, server }) => {
      const { host, port } = new URL(url);
      const rebound = { host: `evil.example:${port}`, origin: `http://evil.example:${port}` };
      const status = (method: string, path: string, headers: Record<string, string>): Promise<number> =>
        new Promise((resolve, reject) => {
          const body = method === 'POST' ? '{"message_id":"1"}' : '';
          const sent = request(
            url + path,
            { method, headers: { 'content-type': 'application/json', ...headers } },
            (response) => {
              response.resume();
              resolve(response.statusCode!);
            },
          );
          sent.on('error', reject);
          sent.end(body);
        });
      for (const [method, path] of calls) {
        for (const own of [
          {},
          { host: `LocalHost:${port}` },
          { host: '[::1]' },
          { origin: `http://${host}` },
        ])
          expect(await status(method, path, own), `${method} ${path}`).toBeLessThan(300);
        expect(await status(method, path, { host: `evil.example:${port}` }), path).toBe(403);
        expect(await status(method, path, rebound), path).toBe(403);
        expect(await status(method, path, { origin: 'https://evil.example' }), path).toBe(401);
      }
      expect(await upgradeStatus(streamUrl, ['tidemark.v1.json'], rebound)).toBe(403);
      expect(server.front.connections.count).toBe(0);
      expect(await status('GET', '/healthz', rebound)).toBe(200);
    });
    // With a token, a name is no matter: proxies send theirs.
    await withGateway({ authTokenFile: tokenFile }, async ({ url }) => {
      const authorization = `Bearer ${TOKEN}`;
      const answer = await new Promise<number>((resolve) => {
        request(`${url}/v1/users/1/badge`, { headers: { authorization, host: 'x.example' } }, (response) => {
          response.resume();
          resolve(response.statusCode!);
        }).end();
      });
      expect(answer).toBe(200);
    });
  });

  it('needs one of the protocols, a page of the same origin, and a free place', async () => {
    await withGateway({ maxConnections: '2' }, async ({ url, streamUrl, server }) => {
      expect(await upgradeStatus(streamUrl, [])).toBe(400);
      expect(await upgradeStatus(streamUrl, ['tidemark.v2.json'])).toBe(400);
      expect((await fetch(`${url}/v1/stream`)).status).toBe(400);
      expect(await upgradeStatus(streamUrl, ['tidemark.v1.json'], { origin: 'https://evil.example' })).toBe(
        401,
      );
      expect(await upgradeStatus(streamUrl, ['tidemark.v1.json'], { origin: url })).toBe(101);
      await until(() => server.front.connections.count === 0, 'all are closed');

      const first = await Client.open(streamUrl, 'tidemark.v1.json');
      const socket = new WebSocket(streamUrl, ['what', 'tidemark.v1.bin', 'tidemark.v1.json']);
      await new Promise((resolve) => socket.on('open', resolve));
      expect(socket.protocol).toBe('tidemark.v1.bin');
      expect(await upgradeStatus(streamUrl, ['tidemark.v1.bin'])).toBe(503);
      first.socket.close();
      await until(() => server.front.connections.count === 1, 'one is closed');
      expect(await upgradeStatus(streamUrl, ['tidemark.v1.bin'])).toBe(101);
      socket.terminate();
    });
  });
});

describe('a client that does not read', () => {
  it.each(['tidemark.v1.json', 'tidemark.v1.bin'])(
    'is closed with 1013 (%s), and the others have their events',
    async (protocol) => {
      await withGateway({ maxBackpressure: '64kib' }, async ({ server, streamUrl }) => {
        const [slow, quick, writer] = await Promise.all([
          Client.open(streamUrl, protocol),
          Client.open(streamUrl, 'tidemark.v1.json'),
          Client.open(streamUrl, 'tidemark.v1.json'),
        ]);
        await quick.ask({ id: 1, op: 'subscribe', user_ids: ['1'] });
        if (protocol === 'tidemark.v1.json') await slow.ask({ id: 1, op: 'subscribe', user_ids: ['1'] });
        else slow.socket.send(Buffer.from(Int32Array.of(11, 0, 1, 0, 0, 0, 0, 0).buffer));
        await until(() => server.front.subscriptions.count === 2, 'both are subscribed');
        slow.socket.pause();
        let sent = 0;
        while (server.front.outbox.slowCloses === 0) {
          const requests = Array.from({ length: 1000 }, (_, id) => ({
            id,
            op: 'mention',
            channel_id: '7',
            user_ids: ['1'],
          }));
          await writer.ask(...requests);
          writer.received.length = 0;
          sent += requests.length;
          if (sent > 200_000) throw new Error('is never closed');
        }
        await until(() => quick.events.length === sent, 'the quick one has all');
        expect(server.front.subscriptions.count).toBe(1);
        slow.socket.resume();
        expect((await slow.closed).code).toBe(1013);
        expect(slow.received.length).toBeGreaterThan(0);
        expect(quick.isClosed).toBe(false);
      });
    },
  );
});

describe('a client that leaves', () => {
  it('in the middle of a subscription to many leaves nothing behind', async () => {
    await withGateway({}, async ({ server, port, streamUrl }) => {
      const client = await Client.open(streamUrl, 'tidemark.v1.json');
      const user_ids = Array.from({ length: 1000 }, (_, i) => i + 1);
      port.hold();
      client.socket.send(JSON.stringify({ id: 1, op: 'subscribe', user_ids }));
      await until(() => port.heldCount > 0, 'some are subscribed');
      const sent = port.taken;
      expect(sent).toBeLessThan(user_ids.length);
      client.socket.terminate();
      await until(() => port.taken === sent + user_ids.length, 'all are unsubscribed');
      port.release();
      await until(() => server.front.waitingCount === 0, 'the request ends');
      expect(port.taken).toBe(sent + user_ids.length);
    });
  });
});

describe('a stop', () => {
  it('answers what is in flight, takes nothing new, and closes WebSockets with 1001', async () => {
    const gateway = await startGateway();
    const { server, port, streamUrl } = gateway;
    const [json, binary] = [
      await Client.open(streamUrl, 'tidemark.v1.json'),
      await Client.open(streamUrl, 'tidemark.v1.bin'),
    ];
    // Two connections that are kept alive: one waits for an answer, one asks when the stop has begun.
    const agents = [new Agent({ keepAlive: true }), new Agent({ keepAlive: true })];
    const get = (agent: Agent, path: string): Promise<number> =>
      new Promise((resolve, reject) => {
        const sent = request({ port: server.port, path, agent }, (response) => {
          response.resume();
          response.on('end', () => resolve(response.statusCode!));
        });
        sent.on('error', reject);
        sent.end();
      });
    expect(await get(agents[1]!, '/readyz')).toBe(200);
    port.hold();
    const waiting = get(agents[0]!, '/v1/users/1/badge');
    json.socket.send(JSON.stringify({ id: 1, op: 'badge', user_id: '1' }));
    binary.socket.send(Buffer.from(Int32Array.of(4, 9, 1, 0, 0, 0, 0, 0).buffer));
    await until(() => port.heldCount === 3, 'three wait');
    const stopped = server.stop(5000);
    expect(await get(agents[1]!, '/readyz')).toBe(503);
    await expect(fetch(`${gateway.url}/healthz`)).rejects.toThrow();
    json.socket.send(JSON.stringify({ id: 2, op: 'badge', user_id: '1' }));
    await until(() => json.received.length === 1, 'the new one is refused');
    expect(JSON.parse(json.received[0]!.toString())).toMatchObject({ id: 2, error: { code: 'busy' } });
    port.release();
    expect(await waiting).toBe(200);
    expect(await stopped).toBe(true);
    expect((await json.closed).code).toBe(1001);
    expect((await binary.closed).code).toBe(1001);
    expect(JSON.parse(json.received[1]!.toString())).toMatchObject({ id: 1, ok: { mention_count: 0 } });
    expect(binary.words).toHaveLength(4);
    for (const agent of agents) agent.destroy();
    await gateway.close();
  });

  it('is said by /readyz for the time of a drain, in which all is served', async () => {
    const gateway = await startGateway();
    const { server, url, streamUrl } = gateway;
    const client = await Client.open(streamUrl, 'tidemark.v1.json');
    const stopped = server.stop(5000, 1000);
    const status = async (path: string): Promise<number> => (await fetch(url + path)).status;
    expect(await status('/readyz')).toBe(503);
    expect(await status('/healthz')).toBe(200);
    expect(await status('/v1/users/1/badge')).toBe(200);
    expect((await (await fetch(`${url}/admin/status`)).json()) as object).toMatchObject({
      state: 'draining',
    });
    expect((await client.ask({ id: 1, op: 'badge', user_id: '1' }))[0]).toHaveProperty('ok');
    const late = await Client.open(streamUrl, 'tidemark.v1.json');
    expect(await stopped).toBe(true);
    expect((await late.closed).code).toBe(1001);
    await gateway.close();
  });

  it('waits until long answers have gone out, over HTTP and WebSocket', async () => {
    const gateway = await startGateway({ capacity: '1m' });
    const { server, port, streamUrl } = gateway;
    const entries = 80_000; // some 14 MB as JSON: more than the buffers of sockets take
    const writer = await Client.open(streamUrl, 'tidemark.v1.bin');
    for (let from = 1; from <= entries; from += 4000) {
      writer.received.length = 0;
      const acks = Array.from({ length: 4000 }, (_, i) => [5, i, 1, 0, from + i, 0, 9, 0]).flat();
      writer.socket.send(Buffer.from(Int32Array.from(acks).buffer));
      await until(() => writer.words.length === 4000 * 4, 'the entries are there');
    }
    const json = await Client.open(streamUrl, 'tidemark.v1.json');
    const http = connect(server.port, '127.0.0.1');
    const body: Buffer[] = [];
    http.on('data', (data: Buffer) => body.push(data));
    http.pause();
    json.socket.pause();
    http.write('GET /v1/users/1/read-states HTTP/1.1\r\nHost: localhost\r\n\r\n');
    json.socket.send(JSON.stringify({ id: 1, op: 'list', user_id: '1' }));
    await until(() => server.front.outbox.backpressureBytes > 0, 'the list waits for the WebSocket');
    await until(() => port.taken === entries + 2 && server.front.waitingCount === 0, 'both are answered');

    let isStopped = false;
    const stopped = server.stop(30_000).finally(() => {
      isStopped = true;
    });
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(isStopped).toBe(false);
    json.socket.resume();
    await once(json.socket, 'message');
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(isStopped).toBe(false);
    http.resume();
    expect(await stopped).toBe(true);
    expect((JSON.parse(json.received[0]!.toString()) as { ok: { entries: [] } }).ok.entries).toHaveLength(
      entries,
    );
    await until(() => Buffer.concat(body.slice(-2)).toString().endsWith('"version":80000}'), 'all has come');
    http.destroy();
    await gateway.close();
  });

  it('does not wait for ever', async () => {
    const gateway = await startGateway();
    const client = await Client.open(gateway.streamUrl, 'tidemark.v1.json');
    gateway.port.hold();
    client.socket.send(JSON.stringify({ id: 1, op: 'badge', user_id: '1' }));
    await until(() => gateway.port.heldCount === 1, 'it waits');
    expect(await gateway.server.stop(50)).toBe(false);
    expect((await client.closed).code).toBe(1001);
    gateway.port.release();
    await gateway.close();
  });
});
