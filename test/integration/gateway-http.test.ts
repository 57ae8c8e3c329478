import { connect } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { STATUS_STORE_UNAVAILABLE } from '../../engine/messages.js';
import { type Gateway, startGateway, until } from './gateway-support.js';

let gateway: Gateway;
beforeAll(async () => {
  gateway = await startGateway({ maxBody: '256kib', maxListMemory: '64mib' });
});
afterAll(() => gateway.close());
afterEach(() => {
  gateway.port.ringFull = false;
  gateway.port.roomFor = Number.POSITIVE_INFINITY;
  gateway.port.status = null;
});

interface Answer {
  status: number;
  // biome-ignore lint/suspicious/noExplicitAny: JSON of any shape
  body: any;
  headers: Headers;
}

async function call(
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<Answer> {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  const response = await fetch(gateway.url + path, {
    method,
    headers: { ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
    ...(body === undefined ? {} : { body: text! }),
  });
  const answer = await response.text();
  return {
    status: response.status,
    body: answer === '' ? null : JSON.parse(answer),
    headers: response.headers,
  };
}

let lastUser = 1000;
/** A user of this test alone. */
function newUser(): string {
  return String(++lastUser);
}

const M1 = '1323802873036800001';
const M2 = '1323802873036800002';

describe('the calls', () => {
  it('ack, get, list, badge, pins and delete one entry', async () => {
    const user = newUser();
    const states = `/v1/users/${user}/read-states`;
    const entry = {
      id: '7',
      read_state_type: 0,
      last_message_id: M1,
      mention_count: 3,
      last_pin_timestamp: null,
      flags: 9,
      last_viewed: 3650,
      version: 1,
    };
    const acked = await call('POST', `${states}/7/ack`, {
      message_id: M1,
      mention_count: 3,
      flags: 9,
      last_viewed: 3650,
      unknown: 1,
    });
    expect(acked).toMatchObject({ status: 200, body: entry });
    expect(acked.headers.get('content-type')).toBe('application/json');
    expect((await call('GET', `${states}/7`)).body).toEqual(entry);
    expect((await call('GET', states)).body).toEqual({ entries: [entry], partial: false, version: 1 });
    expect((await call('GET', `/v1/users/${user}/badge`)).body).toEqual({
      mention_count: 3,
      unread_mention_channels: 1,
    });

    const pinned = await call('POST', `${states}/7/pins/ack`, { last_pin_timestamp: '2025-01-01T00:00:00Z' });
    expect(pinned.body).toEqual({ ...entry, last_pin_timestamp: '2025-01-01T00:00:00.000Z', version: 2 });
    expect((await call('GET', `${states}?since=1`)).body).toEqual({
      entries: [pinned.body],
      partial: true,
      version: 2,
    });
    expect((await call('GET', `${states}?since=99999999999`)).body).toMatchObject({ partial: false });

    expect(await call('DELETE', `${states}/7`)).toMatchObject({ status: 204, body: null });
    expect(await call('DELETE', `${states}/7`)).toMatchObject({ status: 204 });
    expect(await call('GET', `${states}/7`)).toMatchObject({
      status: 404,
      body: { code: 'unknown_read_state', errors: [] },
    });
  });

  it('take the type from the query', async () => {
    const states = `/v1/users/${newUser()}/read-states`;
    await call('POST', `${states}/7/ack?type=2`, { message_id: M1 });
    expect((await call('GET', `${states}/7`)).status).toBe(404);
    expect((await call('GET', `${states}/7?type=2`)).body).toMatchObject({
      read_state_type: 2,
      last_message_id: M1,
    });
    await call('POST', `${states}/7/pins/ack?x=1&type=2`, { last_pin_timestamp: 1 });
    await call('DELETE', `${states}/7?type=1`);
    expect((await call('GET', `${states}/7?type=2`)).body).toMatchObject({
      last_pin_timestamp: '1970-01-01T00:00:00.001Z',
    });
  });

  it('ack many at once, all or nothing', async () => {
    const states = `/v1/users/${newUser()}/read-states`;
    const items = Array.from({ length: 100 }, (_, i) => ({
      channel_id: 100 - i,
      message_id: M1,
      read_state_type: i % 6,
    }));
    const answer = await call('POST', `${states}/ack-bulk`, { read_states: items });
    expect(answer.status).toBe(200);
    expect(Object.keys(answer.body)).toEqual(['entries']);
    expect(answer.body.entries.map((entry: { id: string }) => entry.id)).toEqual(
      items.map((item) => String(item.channel_id)),
    );
    expect((await call('GET', states)).body.entries).toHaveLength(100);

    const other = `/v1/users/${newUser()}/read-states`;
    const wrong = await call('POST', `${other}/ack-bulk`, {
      read_states: [items[0], { ...items[1], message_id: '0' }],
    });
    expect(wrong).toMatchObject({ status: 400, body: { errors: [{ path: 'read_states.1.message_id' }] } });
    expect((await call('GET', other)).body.entries).toEqual([]);
  });

  it('mention a set of users, each once', async () => {
    const [a, b] = [newUser(), newUser()];
    await call('POST', `/v1/users/${b}/read-states/7/ack`, { message_id: M2 });
    const body = { message_id: M1, user_ids: [a, Number(a), b, a] };
    expect((await call('POST', '/v1/channels/7/mentions', body)).body).toEqual({
      applied: 1,
      suppressed: 1,
      duplicates: 0,
      failed: [],
    });
    expect((await call('POST', '/v1/channels/7/mentions', body)).body).toEqual({
      applied: 0,
      suppressed: 1,
      duplicates: 1,
      failed: [],
    });
    await call('POST', '/v1/channels/7/mentions', { user_ids: [a], read_state_type: 1 });
    const entries = (await call('GET', `/v1/users/${a}/read-states`)).body.entries;
    expect(entries).toMatchObject([
      { id: '7', read_state_type: 0, mention_count: 1, last_message_id: null },
      { id: '7', read_state_type: 1 },
    ]);
  });

  it('mention 10,000 users, and name those that the ring had no room for', async () => {
    const user_ids = Array.from({ length: 10_000 }, (_, i) => String(1_000_000 + i));
    const all = await call('POST', '/v1/channels/7/mentions', { user_ids });
    expect(all.body).toEqual({ applied: 10_000, suppressed: 0, duplicates: 0, failed: [] });
    gateway.port.roomFor = 9_990;
    const most = await call('POST', '/v1/channels/7/mentions', { user_ids });
    expect(most.body).toEqual({
      applied: 9_990,
      suppressed: 0,
      duplicates: 0,
      failed: user_ids.slice(9_990),
    });
  });

  it('delete a user', async () => {
    const user = newUser();
    await call('POST', `/v1/users/${user}/read-states/7/ack`, { message_id: M1 });
    expect((await call('DELETE', `/v1/users/${user}/read-states`)).status).toBe(204);
    expect((await call('GET', `/v1/users/${user}/read-states`)).body).toMatchObject({
      entries: [],
      partial: false,
    });
  });

  it('list many entries completely and in order', async () => {
    const user = newUser();
    const states = `/v1/users/${user}/read-states`;
    const channels = Array.from({ length: 30_000 }, (_, i) => String(5_000_000_000 + i));
    for (let i = 0; i < channels.length; i += 100) {
      const read_states = channels.slice(i, i + 100).map((channel_id) => ({ channel_id, message_id: M1 }));
      await call('POST', `${states}/ack-bulk`, { read_states });
    }
    const { body } = await call('GET', states);
    expect(body.entries.map((entry: { id: string }) => entry.id)).toEqual(channels);
    expect(body).toMatchObject({ partial: false, version: body.entries.at(-1).version });
    expect(gateway.server.front.budget.usedBytes).toBe(0);

    // Read late and in pieces it is the same, and its connection goes on.
    const late = connect(gateway.server.port, '127.0.0.1');
    let text = '';
    late.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1');
      late.pause();
      setTimeout(() => late.resume(), 1);
    });
    const lateGet = async (path: string, wanted: string): Promise<void> => {
      text = '';
      late.write(`GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
      await until(() => text.length >= wanted.length && text.endsWith(wanted.slice(-20)), 'all is read');
      expect(text.slice(text.indexOf('\r\n\r\n') + 4) === wanted).toBe(true);
    };
    await lateGet(states, JSON.stringify(body));
    await lateGet(`${states}/${channels[7]}`, JSON.stringify(body.entries[7]));
    late.destroy();

    // Clients that do not read theirs use the memory up, and get it back to the others when they leave.
    const slow = Array.from({ length: 40 }, () => {
      const socket = connect(gateway.server.port, '127.0.0.1');
      socket.pause();
      socket.write(`GET ${states} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
      return socket;
    });
    await until(
      () => gateway.server.front.waitingCount === 0 && gateway.server.front.budget.usedBytes > 0,
      'lists are sent',
    );
    expect(await call('GET', states)).toMatchObject({ status: 503, body: { code: 'busy' } });
    for (const socket of slow) socket.destroy();
    await until(() => gateway.server.front.budget.usedBytes === 0, 'the memory is given back');
    expect((await call('GET', states)).body.entries).toHaveLength(channels.length);
  });
});

describe('what is wrong with a request', () => {
  it.each([
    ['GET', '/v1/users/0/read-states', ['user_id']],
    ['GET', '/v1/users/x/read-states/y?type=9', ['user_id', 'channel_id', 'type']],
    ['GET', '/v1/users/9223372036854775808/badge', ['user_id']],
    ['GET', '/v1/users/1/read-states?since=-1', ['since']],
    ['GET', '/v1/users/1/read-states?since=', ['since']],
    ['DELETE', '/v1/users/1/read-states/1.5', ['channel_id']],
    ['DELETE', '/v1/users/%31/read-states', ['user_id']],
  ])('%s %s names %j', async (method, path, paths) => {
    const answer = await call(method, path);
    expect(answer).toMatchObject({ status: 400, body: { code: 'invalid_request' } });
    expect(answer.body.errors.map((problem: { path: string }) => problem.path)).toEqual(paths);
  });

  it.each([
    ['{"message_id":9007199254740993}', ['message_id']],
    ['{"message_id":-1,"manual":"yes","last_viewed":65535}', ['message_id', 'manual', 'last_viewed']],
    ['{}', ['message_id']],
    ['', ['']],
    ['{"message_id":"1"', ['']],
    ['[]', ['']],
    ['null', ['']],
    ['"x"', ['']],
  ])('the body %s names %j', async (body, paths) => {
    const answer = await call('POST', '/v1/users/1/read-states/1/ack', body);
    expect(answer).toMatchObject({ status: 400, body: { code: 'invalid_request' } });
    expect(answer.body.errors.map((problem: { path: string }) => problem.path)).toEqual(paths);
  });

  it('names what is wrong with a mention', async () => {
    const answer = await call('POST', '/v1/channels/0/mentions', {
      message_id: 0,
      user_ids: ['1', 'x'],
      read_state_type: '1',
    });
    expect(answer.body.errors.map((problem: { path: string }) => problem.path)).toEqual([
      'channel_id',
      'read_state_type',
      'message_id',
      'user_ids.1',
    ]);
  });

  it.each([
    ['PUT', '/v1/users/1/read-states/1', 'GET, DELETE'],
    ['POST', '/v1/users/1/read-states', 'GET, DELETE'],
    ['GET', '/v1/users/1/read-states/1/ack', 'POST'],
    ['OPTIONS', '/v1/channels/1/mentions', 'POST'],
    ['DELETE', '/healthz', 'GET'],
  ])('%s %s is no method of the path, which allows %s', async (method, path, allow) => {
    const answer = await call(method, path);
    expect(answer).toMatchObject({ status: 405, body: { code: 'method_not_allowed' } });
    expect(answer.headers.get('allow')).toBe(allow);
  });

  it('HEAD is no method', async () => {
    const response = await fetch(`${gateway.url}/healthz`, { method: 'HEAD' });
    expect(response.status).toBe(405);
  });

  it.each(['/', '/v1', '/v2/users/1/badge', '/v1/users/1', '/v1/users/1/read-states/1/nack'])(
    '%s is not found',
    async (path) => {
      expect(await call('GET', path)).toMatchObject({ status: 404, body: { code: 'not_found' } });
    },
  );

  it('other content types', async () => {
    for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'application/jsonp', '']) {
      const answer = await call(
        'POST',
        '/v1/users/1/read-states/1/ack',
        { message_id: 1 },
        { 'content-type': type },
      );
      expect(answer, type).toMatchObject({ status: 415, body: { code: 'unsupported_media_type' } });
    }
    for (const type of [
      'Application/JSON',
      'application/json; charset=utf-8',
      'application/json;charset=utf-8',
    ]) {
      const answer = await call(
        'POST',
        '/v1/users/1/read-states/1/ack',
        { message_id: 1 },
        { 'content-type': type },
      );
      expect(answer.status, type).toBe(200);
    }
  });

  it('bodies that are too large, announced or not', async () => {
    const large = JSON.stringify({ message_id: '1', padding: 'x'.repeat(300_000) });
    expect(await call('POST', '/v1/users/1/read-states/1/ack', large)).toMatchObject({
      status: 413,
      body: { code: 'too_large' },
    });
    const chunked = await fetch(`${gateway.url}/v1/users/1/read-states/1/ack`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: new Blob([large]).stream(),
      duplex: 'half',
    } as RequestInit);
    expect(chunked.status).toBe(413);
    const padded = JSON.stringify({ message_id: '1', padding: 'x'.repeat(200_000) });
    expect((await call('POST', '/v1/users/1/read-states/1/ack', padded)).status).toBe(200);
  });
});

describe('trouble', () => {
  it('a full ring is busy, and nothing is done', async () => {
    const states = `/v1/users/${newUser()}/read-states`;
    gateway.port.ringFull = true;
    const answer = await call('POST', `${states}/7/ack`, { message_id: M1 });
    expect(answer).toMatchObject({ status: 503, body: { code: 'busy' } });
    expect(answer.headers.get('retry-after')).toBe('1');
    gateway.port.ringFull = false;
    expect((await call('GET', states)).body.entries).toEqual([]);
    expect(gateway.server.front.waitingCount).toBe(0);
  });

  it('a store that does not answer is said to be unavailable', async () => {
    gateway.port.status = STATUS_STORE_UNAVAILABLE;
    const answer = await call('GET', `/v1/users/${newUser()}/read-states`);
    expect(answer).toMatchObject({ status: 503, body: { code: 'store_unavailable' } });
    expect(answer.headers.get('retry-after')).toBe('1');
    const user = newUser();
    const mention = await call('POST', '/v1/channels/1/mentions', { user_ids: [user] });
    expect(mention).toMatchObject({ status: 200, body: { applied: 0, failed: [user] } });
  });

  it('a client that leaves before the answer harms nobody', async () => {
    gateway.port.hold();
    const controller = new AbortController();
    const user = newUser();
    const left = fetch(`${gateway.url}/v1/users/${user}/read-states`, { signal: controller.signal }).catch(
      () => 'left',
    );
    const stayed = call('GET', `/v1/users/${user}/badge`);
    await until(() => gateway.port.heldCount === 2, 'both are answered by the shards');
    const aborted = gateway.server.front.counters.httpAborted;
    controller.abort();
    expect(await left).toBe('left');
    await until(() => gateway.server.front.counters.httpAborted > aborted, 'the server sees it');
    gateway.port.release();
    expect((await stayed).body).toEqual({ mention_count: 0, unread_mention_channels: 0 });
    expect(gateway.server.front.waitingCount).toBe(0);
  });

  it('metrics show it in the text format', async () => {
    const response = await fetch(`${gateway.url}/metrics`);
    const text = await response.text();
    expect(response.headers.get('content-type')).toContain('text/plain');
    expect(text).toMatch(/^tidemark_http_requests_total\{operation="ack",status="503"\} [1-9]/m);
    expect(text).toMatch(
      /^tidemark_http_request_duration_seconds_bucket\{le="\+Inf",operation="list"\} [1-9]/m,
    );
    expect(text).toMatch(/^tidemark_shard_operations_total\{shard="1",operation="mention"\} [1-9]/m);
    expect(text).toMatch(/^tidemark_persister_loads_total [0-9]/m);
    expect(text).not.toContain('NaN');
  });
});
