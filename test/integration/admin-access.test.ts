/** Who may operate the service, and where. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { type Gateway, startGateway } from './gateway-support.js';

const TOKEN = 'the-token-of-the-operators';
const NEXT_TOKEN = 'the-token-that-comes-next';
const SERVICE_TOKEN = 'the-token-of-the-clients';
const directory = mkdtempSync(join(tmpdir(), 'tidemark-admin-'));
const adminTokenFile = join(directory, 'admin');
const authTokenFile = join(directory, 'service');
writeFileSync(adminTokenFile, `${TOKEN}\n${NEXT_TOKEN}\n`);
writeFileSync(authTokenFile, `${SERVICE_TOKEN}\n`);
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

/** With headers that `fetch` would not send. */
function statusOf(url: string, headers: Record<string, string> = {}, method = 'GET'): Promise<number> {
  return new Promise((resolve, reject) => {
    request(url, { method, headers }, (response) => {
      response.resume();
      resolve(response.statusCode!);
    })
      .on('error', reject)
      .end();
  });
}

const CALLS = [
  ['GET', '/admin/status'],
  ['GET', '/admin/history'],
  ['POST', '/admin/flush'],
] as const;

describe('the admin side', () => {
  it('wants an admin token where there is a file of them, and only that', async () => {
    await withGateway({ adminTokenFile, authTokenFile }, async ({ url }) => {
      for (const [method, path] of CALLS) {
        const status = (headers: Record<string, string>) => statusOf(url + path, headers, method);
        expect(await status({}), path).toBe(401);
        expect(await status({ authorization: `Bearer ${SERVICE_TOKEN}` }), path).toBe(401);
        expect(await status({ authorization: `Bearer ${TOKEN}x` }), path).toBe(401);
        expect(await status({ authorization: `Bearer ${TOKEN.slice(0, -1)}` }), path).toBe(401);
        expect(await status({ authorization: `Basic ${TOKEN}` }), path).toBe(401);
        expect(await status({ authorization: TOKEN }), path).toBe(401);
        expect(await status({ authorization: `Bearer ${TOKEN}` }), path).toBeLessThan(300);
        expect(await status({ authorization: `bearer ${NEXT_TOKEN}` }), path).toBeLessThan(300);
      }
      const body = await (await fetch(`${url}/admin/status`)).json();
      expect(body).toMatchObject({ code: 'unauthorized' });
      // An admin token is no token of a client.
      expect(await statusOf(`${url}/v1/users/1/badge`, { authorization: `Bearer ${TOKEN}` })).toBe(401);
    });
  });

  it('without a token answers nobody but this machine, and no web page of elsewhere', async () => {
    await withGateway({}, async ({ url }) => {
      const { host, port } = new URL(url);
      for (const [method, path] of CALLS) {
        const status = (headers: Record<string, string>) => statusOf(url + path, headers, method);
        expect(await status({})).toBeLessThan(300);
        expect(await status({ host: `localhost:${port}` })).toBeLessThan(300);
        expect(await status({ host: `[::1]:${port}` })).toBeLessThan(300);
        expect(await status({ origin: `http://${host}` })).toBeLessThan(300);
        expect(await status({ origin: 'https://evil.example' })).toBe(403);
        expect(await status({ origin: 'null' })).toBe(403);
        expect(await status({ host: `evil.example:${port}` })).toBe(403);
        expect(await status({ host: `evil.example:${port}`, origin: `http://evil.example:${port}` })).toBe(
          403,
        );
        expect(await status({ host: '127.evil.example' })).toBe(403);
      }
    });
  });

  it('is not there for whom a proxy passes on to a service with tokens of its own', async () => {
    await withGateway({ authTokenFile }, async ({ url }) => {
      for (const [method, path] of [...CALLS, ['GET', '/console'] as const]) {
        expect(await statusOf(url + path, {}, method), path).toBe(404);
        const authorization = `Bearer ${SERVICE_TOKEN}`;
        expect(await statusOf(url + path, { authorization }, method), path).toBe(404);
      }
    });
  });

  it('takes only the methods that there are', async () => {
    await withGateway({}, async ({ url }) => {
      for (const [method, path] of CALLS) {
        const other = await fetch(url + path, { method: method === 'GET' ? 'POST' : 'GET' });
        expect(other.status).toBe(405);
        expect(other.headers.get('allow')).toBe(method);
        await other.arrayBuffer();
      }
      expect(await statusOf(`${url}/admin/nothing`)).toBe(404);
    });
  });

  it('can be switched off, and have a listener of its own', async () => {
    await withGateway({ admin: 'off' }, async ({ url }) => {
      for (const [method, path] of CALLS) expect(await statusOf(url + path, {}, method)).toBe(404);
    });
    await withGateway({ adminPort: '0' }, async ({ url, server }) => {
      expect(server.adminPort).not.toBe(server.port);
      const adminUrl = `http://127.0.0.1:${server.adminPort}`;
      for (const [method, path] of CALLS) {
        expect(await statusOf(url + path, {}, method)).toBe(404);
        expect(await statusOf(adminUrl + path, {}, method)).toBeLessThan(300);
      }
      expect(await statusOf(`${adminUrl}/v1/users/1/badge`)).toBe(404);
    });
  });
});
