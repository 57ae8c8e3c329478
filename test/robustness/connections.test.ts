/** More connections than there may be: no more are taken, those that are there go on, and later it is as before. */
import { type AddressInfo, createServer } from 'node:net';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { RawSocket } from './raw-http.js';
import { pause, until, Victim } from './victim.js';

const CONNECTIONS_MAX = 50;
const GET = 'GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n';

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => resolve(port));
    });
  });
}

let victim: Victim;
beforeAll(async () => {
  // Of a port that the system chose, the connections would have to be gone before it can be listened at again.
  victim = await Victim.start({
    port: String(await freePort()),
    maxHttpConnections: String(CONNECTIONS_MAX),
  });
});
afterAll(async () => {
  expect(await victim.stop(), victim.log).toEqual({ code: 0, signal: null });
});

it('HTTP connections beyond the bound are refused until some have gone', async () => {
  const sockets: RawSocket[] = [];
  const refused = async (): Promise<boolean> => {
    try {
      sockets.push(await RawSocket.open(victim.port));
      return false;
    } catch {
      return true;
    }
  };
  let wasRefused = false;
  await until(async () => {
    if (sockets.length <= CONNECTIONS_MAX * 3) wasRefused ||= await refused();
    return wasRefused;
  }, 'a connection is refused');
  expect(sockets.length).toBeGreaterThan(CONNECTIONS_MAX);
  // Those that were taken are served.
  const first = sockets[0]!;
  first.send(GET);
  expect((await first.wait(1)).map(({ status }) => status)).toEqual([200]);
  expect(victim.log).toContain('--max-http-connections=50');

  for (const socket of sockets.splice(1)) socket.destroy();
  await until(async () => !(await refused()), 'connections are taken again');
  const last = sockets.at(-1)!;
  last.send(GET);
  expect((await last.wait(1)).map(({ status }) => status)).toEqual([200]);
  await until(
    async () => (await victim.metric('tidemark_http_connections')) < CONNECTIONS_MAX,
    'the connections are counted',
  );
  expect(await victim.metric('tidemark_listen_pauses_total')).toBe(1);
  for (const socket of sockets) socket.destroy();
}, 60_000);

it('the files of threads that came later are not taken for connections', async () => {
  const count = CONNECTIONS_MAX - 5;
  const pauses = await victim.metric('tidemark_listen_pauses_total');
  expect(await victim.call('POST', '/admin/shards', { shards: 4 })).toMatchObject({ status: 200 });
  const sockets = await Promise.all(Array.from({ length: count }, () => RawSocket.open(victim.port)));
  await until(
    async () => (await victim.metric('tidemark_http_connections')) >= count,
    'the connections are counted',
  );
  // Some more looks.
  await pause(1000);
  expect(await victim.metric('tidemark_listen_pauses_total')).toBe(pauses);
  for (const socket of sockets) socket.destroy();
}, 60_000);
