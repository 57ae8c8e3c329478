/** Requests that no well-behaved client sends: the service answers what is documented or hangs up, and stays. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Random } from '../model/random.js';
import { RawSocket } from './raw-http.js';
import { until, Victim } from './victim.js';

const SEED = Number(process.env.TIDEMARK_TEST_SEED ?? 20250101);
const ACK = '/v1/users/1/read-states/2/ack';
const JSON_TYPE = 'Content-Type: application/json\r\n';
const HEALTH = 'GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n';

let victim: Victim;
/** What nothing here may change: an entry of another user. */
let untouched: unknown;

beforeAll(async () => {
  victim = await Victim.start();
  await victim.call('POST', '/v1/users/77/read-states/7/ack', { message_id: '7', mention_count: 7 });
  untouched = (await victim.call('GET', '/v1/users/77/read-states')).body;
});
afterAll(async () => {
  expect((await victim.call('GET', '/v1/users/77/read-states')).body).toEqual(untouched);
  expect(await victim.metric('tidemark_requests_waiting')).toBe(0);
  expect(await victim.metric('tidemark_list_bytes')).toBe(0);
  expect(await victim.stop(), victim.log).toEqual({ code: 0, signal: null });
  expect(victim.log).not.toContain('bug');
});

function post(
  path: string,
  body: string,
  headers = JSON_TYPE,
  length: number | string = body.length,
): string {
  return `POST ${path} HTTP/1.1\r\nHost: localhost\r\n${headers}Content-Length: ${length}\r\n\r\n${body}`;
}

/** What comes back for `bytes` on a connection of their own: the answers, or that it was closed. */
async function send(bytes: string | Uint8Array, ms = 5000): Promise<{ statuses: number[]; text: string }> {
  const socket = await RawSocket.open(victim.port);
  socket.send(bytes);
  const answers = await socket.wait(1, ms);
  socket.destroy();
  return { statuses: answers.map(({ status }) => status), text: socket.received };
}

describe('HEAD', () => {
  it.each(['/healthz', '/v1/users/1/badge', '/nothing', '/v1/stream'])(
    'of %s has no body, which would be taken for the next answer',
    async (path) => {
      const socket = await RawSocket.open(victim.port);
      socket.send(`HEAD ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
      await until(() => socket.received.includes('\r\n\r\n'), 'it is answered');
      const head = socket.received;
      socket.send(HEALTH);
      await until(() => socket.received.includes('{"status":"ok"}'), 'the next request is answered');
      expect(socket.received.slice(head.length)).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
      expect(head).toMatch(/^HTTP\/1\.1 40[45] /);
      socket.destroy();
    },
  );
});

describe('paths', () => {
  it.each([
    '/v1/users/%31/badge',
    '/v1/users/1%00/badge',
    '/v1/users/..%2f..%2fhealthz/badge',
    '/v1/users/%2e%2e/badge',
    '/v1/users/1%2Fread-states/badge',
    '/v1/users/+1/badge',
    '/v1/users/01/badge',
    '/v1/users/1e3/badge',
    '/v1/users/0x10/badge',
    '/v1/users/-1/badge',
    '/v1/users/9223372036854775808/badge',
    '/v1/users/\u00b2/badge',
    '/v1/users/\xff\xfe/badge',
    '/v1/users/__proto__/badge',
    '/v1/users/1;2/badge',
    `/v1/users/${'1'.repeat(3000)}/badge`,
    '/v1/users/1/read-states/constructor',
    '/v1/users/1/read-states/2?type=6',
    '/v1/users/1/read-states/2?type=%30',
    '/v1/users/1/read-states/2?type=',
    '/v1/users/1/read-states?since=-1',
    '/v1/users/1/read-states?since=1e3',
    '/v1/users/1/read-states?since=99999999999999999999',
  ])('%s is 400 and names the field', async (path) => {
    const { text } = await send(`GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
    expect(text).toMatch(/^HTTP\/1\.1 400 /);
    expect(JSON.parse(text.slice(text.indexOf('\r\n\r\n')))).toMatchObject({
      code: 'invalid_request',
      errors: [{ path: expect.stringMatching(/^(user_id|channel_id|type|since)$/) }],
    });
  });

  it.each([
    '/v1/users//badge',
    '//v1/users/1/badge',
    '/v1/users/1/badge/',
    '/',
    '/V1/users/1/badge',
    '/../healthz',
  ])('%s is 404', async (path) => {
    expect((await send(`GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`)).statuses).toEqual([404]);
  });
});

describe('heads', () => {
  it('that are no HTTP, or too long, get a 4xx or no answer at all', async () => {
    const random = new Random(SEED);
    const noise = Buffer.from(Array.from({ length: 3000 }, () => random.next(256)));
    const headers = (count: number, text: string): string =>
      Array.from({ length: count }, (_, i) => `X${i}: ${text}\r\n`).join('');
    const heads: (string | Uint8Array)[] = [
      noise,
      Buffer.concat([noise, Buffer.from('\r\n\r\n')]),
      '\r\n\r\n\r\n\r\n',
      'GET\r\n\r\n',
      'GET /healthz\r\n\r\n',
      'GET /healthz HTTP/9.9\r\nHost: localhost\r\n\r\n',
      'GET /healthz HTTP/1.1\r\n\r\n',
      'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
      `\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03${'a'.repeat(500)}`,
      'GET /healthz HTTP/1.1\r\nHost x\r\n\r\n',
      `GET /healthz HTTP/1.1\r\nHost: localhost\r\n${headers(500, '1')}\r\n`,
      `GET /healthz HTTP/1.1\r\nHost: localhost\r\n${headers(10, 'a'.repeat(100_000))}`,
      `GET /${'a'.repeat(2_000_000)} HTTP/1.1\r\nHost: localhost\r\n\r\n`,
      `GET /?${'a'.repeat(2_000_000)}`,
      post(ACK, '{}', JSON_TYPE, -1),
      post(ACK, '{}', JSON_TYPE, 'abc'),
      post(ACK, '{}', JSON_TYPE, '1e1'),
      post(ACK, '{}', JSON_TYPE, '99999999999999999999999'),
      post(ACK, '{}', `${JSON_TYPE}Transfer-Encoding: chunked\r\n`),
      `POST ${ACK} HTTP/1.1\r\nHost: localhost\r\n${JSON_TYPE}Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n`,
      `POST ${ACK} HTTP/1.1\r\nHost: localhost\r\n${JSON_TYPE}Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF\r\n{}\r\n`,
      'GET /v1/stream HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: a\r\nSec-WebSocket-Protocol: tidemark.v1.bin\r\n\r\n',
    ];
    const results = await Promise.all(heads.map((head) => send(head, 500)));
    for (const [index, { statuses, text }] of results.entries()) {
      const wrong = statuses.filter((status) => status < 400 || status > 499);
      expect(wrong, `${String(heads[index]).slice(0, 80)} was answered ${text.slice(0, 80)}`).toEqual([]);
    }
    expect((await send(HEALTH)).statuses).toEqual([200]);
  });

  it('that are pipelined end the connection, or are all answered in order', async () => {
    const socket = await RawSocket.open(victim.port);
    socket.send('GET /v1/users/1/badge HTTP/1.1\r\nHost: localhost\r\n\r\n'.repeat(100));
    await socket.wait(100, 500);
    expect(socket.closed || socket.answers.length === 100).toBe(true);
    expect(socket.answers.filter(({ status }) => status !== 200)).toEqual([]);
    socket.destroy();
  });
});

describe('bodies', () => {
  const ENTRY = { last_message_id: '5', mention_count: 0 };
  beforeAll(() => victim.call('POST', ACK, { message_id: '5' }));

  it.each([
    ['', ''],
    ['{', ''],
    ['null', ''],
    ['[]', ''],
    ['"text"', ''],
    ['{"message_id":"6"}{"message_id":"6"}', ''],
    ['\xef\xbb\xbf{"message_id":"6"}', ''],
    ['{"message_id":"6",}', ''],
    ['{"message_id":"6"\x00}', ''],
    ['['.repeat(500_000), ''],
    [`${'['.repeat(400_000)}${']'.repeat(400_000)}`, ''],
    [`${'{"message_id":'.repeat(60_000)}1${'}'.repeat(60_000)}`, 'message_id'],
    ['{}', 'message_id'],
    ['{"message_id":1e400}', 'message_id'],
    ['{"message_id":9007199254740993}', 'message_id'],
    ['{"message_id":1.5}', 'message_id'],
    ['{"message_id":-0}', 'message_id'],
    ['{"message_id":"\xff\xfe"}', 'message_id'],
    ['{"message_id":"6 "}', 'message_id'],
    ['{"message_id":["6"]}', 'message_id'],
    ['{"message_id":{"toString":"6"}}', 'message_id'],
    ['{"message_id":true}', 'message_id'],
    ['{"message_id":null}', 'message_id'],
    [`{"message_id":"${'9'.repeat(1_000_000)}"}`, 'message_id'],
    ['{"__proto__":{"message_id":"6"}}', 'message_id'],
    ['{"constructor":{"prototype":{"message_id":"6"}}}', 'message_id'],
    ['{"message_id":"6","message_id":"x"}', 'message_id'],
    ['{"message_id":"6","mention_count":-1}', 'mention_count'],
    ['{"message_id":"6","mention_count":2147483648}', 'mention_count'],
    ['{"message_id":"6","mention_count":"1"}', 'mention_count'],
    ['{"message_id":"6","mention_count":null}', 'mention_count'],
    ['{"message_id":"6","manual":"true"}', 'manual'],
    ['{"message_id":"6","manual":1}', 'manual'],
    ['{"message_id":"6","flags":256}', 'flags'],
    ['{"message_id":"6","last_viewed":65535}', 'last_viewed'],
  ])('%.60s is 400 and changes nothing', async (body, field) => {
    const { text } = await send(post(ACK, body));
    expect(text).toMatch(/^HTTP\/1\.1 400 /);
    const answer = JSON.parse(text.slice(text.indexOf('\r\n\r\n')));
    expect(answer).toMatchObject({ code: 'invalid_request', errors: [{ path: field }] });
    expect((await victim.call('GET', '/v1/users/1/read-states/2')).body).toMatchObject(ENTRY);
  });

  it('cannot set a field by way of a prototype', async () => {
    const body = '{"__proto__":{"manual":true,"mention_count":9},"message_id":"3"}';
    expect((await send(post(ACK, body))).text).toContain('"last_message_id":"5","mention_count":0');
  });

  it.each([
    '',
    'Content-Type: text/plain\r\n',
    'Content-Type: application/jsonx\r\n',
    'Content-Type: multipart/form-data\r\n',
  ])('of another type (%s) are 415', async (headers) =>
    expect((await send(post(ACK, '{"message_id":"6"}', headers))).statuses).toEqual([415]),
  );

  it('that are mutated at random are 200 or 400, never more', async () => {
    const random = new Random(SEED);
    const parts = [
      '{',
      '}',
      '[',
      ']',
      '"',
      ':',
      ',',
      '1e999',
      '-',
      '\\u0000',
      '\xff',
      'null',
      '9'.repeat(30),
      '\x00',
    ];
    const valid = [
      [
        '/v1/users/5/read-states/2/ack',
        '{"message_id":"6","manual":true,"mention_count":3,"flags":1,"last_viewed":2}',
      ],
      [
        '/v1/users/5/read-states/ack-bulk',
        '{"read_states":[{"channel_id":"1","message_id":"2","read_state_type":1}]}',
      ],
      ['/v1/users/5/read-states/3/pins/ack', '{"last_pin_timestamp":"2025-01-01T00:00:00.000Z"}'],
      ['/v1/channels/3/mentions', '{"user_ids":["5","6"],"message_id":"9","read_state_type":0}'],
    ] as const;
    const counts: Record<number, number> = {};
    const socket = await RawSocket.open(victim.port);
    for (let round = 0; round < 1500; round++) {
      const [path, text] = random.pick(valid);
      let body: string = text;
      for (let times = random.next(4); times >= 0; times--) {
        const at = random.next(body.length + 1);
        const cut = random.chance(50) ? random.next(8) : 0;
        body = body.slice(0, at) + (random.chance(70) ? random.pick(parts) : '') + body.slice(at + cut);
      }
      // Digits may be cut from a user id, but none of these is the other user.
      if (body.includes('"user_ids"') && body.includes('77')) continue;
      socket.received = '';
      socket.send(post(path, body));
      const [answer] = await socket.wait(1);
      expect([200, 400], `seed ${SEED}, round ${round}: ${path} ${body}`).toContain(answer?.status);
      counts[answer!.status] = (counts[answer!.status] ?? 0) + 1;
    }
    socket.destroy();
    expect(counts[200]! > 20 && counts[400]! > 20, JSON.stringify(counts)).toBe(true);
  });

  it('that are cut short are not run', async () => {
    const sockets = await Promise.all(Array.from({ length: 200 }, () => RawSocket.open(victim.port)));
    const body = '{"message_id":"99","mention_count":9}';
    for (const [index, socket] of sockets.entries()) {
      const whole = post(ACK, body, JSON_TYPE, index % 2 === 0 ? body.length + 1 : body.length);
      socket.send(index % 2 === 0 ? whole : whole.slice(0, whole.length - 1 - (index % 60)));
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
    for (const socket of sockets) {
      expect(socket.received).toBe('');
      socket.destroy();
    }
    expect((await victim.call('GET', '/v1/users/1/read-states/2')).body).toMatchObject(ENTRY);
  });

  it('beyond the limit are 413, whether their length is told or not', async () => {
    const chunks = `100000\r\n${'a'.repeat(0x100000)}\r\n`.repeat(2);
    const chunked = `POST ${ACK} HTTP/1.1\r\nHost: localhost\r\n${JSON_TYPE}Transfer-Encoding: chunked\r\n\r\n${chunks}0\r\n\r\n`;
    for (const bytes of [
      post(ACK, 'a'.repeat(2 ** 20 + 1)),
      post(ACK, 'a'.repeat(20_000_000)),
      post(ACK, '', JSON_TYPE, 999_999_999),
      chunked,
    ]) {
      expect((await send(bytes)).text).toMatch(/^HTTP\/1\.1 413 [\s\S]*"code":"too_large"/);
    }
    const socket = await RawSocket.open(victim.port);
    socket.send(chunked);
    await socket.wait(1);
    socket.send(HEALTH);
    expect((await socket.wait(2)).map(({ status }) => status)).toEqual([413, 200]);
    socket.destroy();
    const most = `{"x":"${'a'.repeat(2 ** 20 - 25)}","message_id":"5"}`;
    expect(most.length).toBe(2 ** 20);
    expect((await send(post(ACK, most))).statuses).toEqual([200]);
  });
});
