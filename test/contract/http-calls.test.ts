/** HTTP: every call with its answer, letter by letter, and the errors that are no fault of a value. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { HttpDriver } from './http-driver.js';
import { Service } from './service.js';
import { newId, newIds } from './stage.js';

let service: Service;
let http: HttpDriver;
beforeAll(async () => {
  service = await Service.start({ maxBody: '64kib' });
  http = new HttpDriver(service.url);
});
afterAll(() => {
  http.close();
  return service.stop();
});

const MESSAGE = '1323802873036800000';
const ENTRY =
  '{"id":"81384788765712384","read_state_type":0,"last_message_id":"1323802873036800000","mention_count":2,' +
  '"last_pin_timestamp":"2025-01-01T00:00:00.000Z","flags":0,"last_viewed":3650,"version":2}';

async function text(method: string, path: string, body?: object): Promise<string> {
  const response = await fetch(service.url + path, {
    method,
    ...(body === undefined
      ? {}
      : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
  });
  expect(response.status).toBe(200);
  expect(response.headers.get('content-type')).toBe('application/json');
  return response.text();
}

describe('HTTP: "call, body, answer"', () => {
  it('"An entry", in exactly the form of the contract, from each call that has one', async () => {
    const states = `/v1/users/${newId()}/read-states`;
    const one = `${states}/81384788765712384`;
    const ack = { message_id: MESSAGE, mention_count: 2, last_viewed: 3650 };
    await text('POST', `${one}/ack`, ack);
    expect(await text('POST', `${one}/pins/ack`, { last_pin_timestamp: '2025-01-01T00:00:00.000Z' })).toBe(
      ENTRY,
    );
    expect(await text('GET', one)).toBe(ENTRY);
    expect(await text('POST', `${one}/ack`, ack)).toBe(ENTRY);
    expect(await text('GET', states)).toBe(`{"entries":[${ENTRY}],"partial":false,"version":2}`);
    expect(await text('GET', `${states}?since=1`)).toBe(`{"entries":[${ENTRY}],"partial":true,"version":2}`);
    expect(await text('GET', `${states}?since=2`)).toBe('{"entries":[],"partial":true,"version":2}');
    const passed = { channel_id: '81384788765712384', message_id: '1' };
    expect(await text('POST', `${states}/ack-bulk`, { read_states: [passed, passed] })).toBe(
      `{"entries":[${ENTRY},${ENTRY}]}`,
    );
  });

  it('"last_message_id, last_pin_timestamp, last_viewed may be null"', async () => {
    const [user, channel] = [newId(), newId()];
    await http.mention(channel, [user]);
    expect(await text('GET', `/v1/users/${user}/read-states/${channel}`)).toBe(
      `{"id":"${channel}","read_state_type":0,"last_message_id":null,"mention_count":1,` +
        '"last_pin_timestamp":null,"flags":0,"last_viewed":null,"version":1}',
    );
  });

  it('GET of an entry that is not there: 404 unknown_read_state', async () => {
    const answer = await http.send('GET', `/v1/users/${newId()}/read-states/1`);
    expect(answer).toMatchObject({ status: 404, body: { code: 'unknown_read_state', errors: [] } });
    expect(Object.keys(answer.body)).toEqual(['code', 'message', 'errors']);
  });

  it('DELETE: 204 without a body, also when absent', async () => {
    const states = `/v1/users/${newId()}/read-states`;
    await http.send('POST', `${states}/1/ack`, { message_id: '1' });
    for (const path of [`${states}/1`, `${states}/1`, states, states]) {
      const answer = await http.send('DELETE', path);
      expect(answer).toMatchObject({ status: 204, body: '' });
    }
  });

  it('GET badge', async () => {
    const user = newId();
    await http.ack(user, '1', '1', { mention_count: 5 });
    await http.ack(user, '2', '1', { mention_count: 0 });
    expect(await text('GET', `/v1/users/${user}/badge`)).toBe(
      '{"mention_count":5,"unread_mention_channels":1}',
    );
  });

  it('POST mentions, "1 to 10,000"', async () => {
    const users = newIds(2);
    const path = `/v1/channels/${newId()}/mentions`;
    expect(await text('POST', path, { user_ids: users, message_id: 5 })).toBe(
      '{"applied":2,"suppressed":0,"duplicates":0,"failed":[]}',
    );
    expect(await text('POST', path, { user_ids: users, message_id: 5 })).toBe(
      '{"applied":0,"suppressed":0,"duplicates":2,"failed":[]}',
    );
    const many = Array.from({ length: 10_000 }, (_, i) => i + 1);
    expect(await text('POST', path, { user_ids: many })).toBe(
      '{"applied":10000,"suppressed":0,"duplicates":0,"failed":[]}',
    );
    for (const user_ids of [[], [...many, 10_001], '1', undefined]) {
      expect(await http.send('POST', path, { user_ids })).toMatchObject({
        status: 400,
        body: { code: 'invalid_request', errors: [{ path: 'user_ids' }] },
      });
    }
  });

  it('ack-bulk: "1 to 100", "all valid or nothing is done"', async () => {
    const user = newId();
    const path = `/v1/users/${user}/read-states/ack-bulk`;
    const items = Array.from({ length: 101 }, (_, i) => ({ channel_id: String(i + 1), message_id: '1' }));
    for (const read_states of [[], items, undefined, {}, 'x']) {
      expect(await http.send('POST', path, { read_states })).toMatchObject({
        status: 400,
        body: { errors: [{ path: 'read_states' }] },
      });
    }
    const wrong = [...items.slice(0, 98), { channel_id: '0', message_id: '1' }, { channel_id: '5' }];
    expect(await http.send('POST', path, { read_states: wrong })).toMatchObject({
      status: 400,
      body: { errors: [{ path: 'read_states.98.channel_id' }, { path: 'read_states.99.message_id' }] },
    });
    expect(await http.list(user)).toEqual({ entries: [], partial: false, version: 0 });
    expect((await http.ackBulk(user, items.slice(0, 100))).map(({ id }) => id)).toEqual(
      items.slice(0, 100).map((item) => item.channel_id),
    );
  });

  it('"GET /healthz, GET /readyz, GET /metrics (not under /v1)"', async () => {
    expect(await http.send('GET', '/healthz')).toMatchObject({ status: 200 });
    expect(await http.send('GET', '/readyz')).toMatchObject({ status: 200 });
    const metrics = await http.send('GET', '/metrics');
    expect(metrics).toMatchObject({
      status: 200,
      headers: { 'content-type': expect.stringMatching(/^text\/plain; version=0\.0\.4/) },
    });
    for (const line of (metrics.body as string).split('\n')) {
      expect(line).toMatch(/^(# (HELP|TYPE) \w+ .+|\w+({.*})? \S+|)$/);
    }
    expect(await http.send('GET', '/v1/healthz')).toMatchObject({ status: 404 });
  });
});

describe('HTTP: "Errors: {code, message, errors}"', () => {
  it('404 not_found: there is nothing at the path', async () => {
    for (const path of ['/', '/v1', '/v2/users/1/badge', '/v1/users/1', '/v1/users/1/read-states/1/x']) {
      const answer = await http.send('GET', path);
      expect(answer, path).toMatchObject({
        status: 404,
        body: { code: 'not_found', message: expect.any(String), errors: [] },
      });
    }
  });

  it('405: not with this method, and which ones there are', async () => {
    for (const [method, path, allow] of [
      ['PUT', '/v1/users/1/read-states', 'GET, DELETE'],
      ['POST', '/v1/users/1/read-states/1', 'GET, DELETE'],
      ['GET', '/v1/users/1/read-states/1/ack', 'POST'],
      ['DELETE', '/v1/users/1/read-states/1/pins/ack', 'POST'],
      ['POST', '/v1/users/1/badge', 'GET'],
      ['GET', '/v1/channels/1/mentions', 'POST'],
      ['POST', '/healthz', 'GET'],
      ['DELETE', '/metrics', 'GET'],
    ] as const) {
      const answer = await http.send(method, path);
      expect(answer, path).toMatchObject({
        status: 405,
        headers: { allow: expect.stringContaining(allow) },
        body: { code: 'method_not_allowed', errors: [] },
      });
    }
  });

  it('413 too_large, and the connection serves on', async () => {
    const path = `/v1/users/${newId()}/read-states/1/ack`;
    const padded = (bytes: number): string => '{"message_id":"1"}'.padEnd(bytes, ' ');
    expect(await http.send('POST', path, padded(64 * 1024 + 1))).toMatchObject({
      status: 413,
      body: { code: 'too_large', errors: [] },
    });
    expect(await http.send('POST', path, padded(64 * 1024))).toMatchObject({ status: 200 });
  });

  it('415: a body that is not called JSON', async () => {
    const path = `/v1/users/${newId()}/read-states/1/ack`;
    for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'application/jsonp', '']) {
      expect(
        await http.send('POST', path, '{"message_id":"1"}', { 'content-type': type }),
        type,
      ).toMatchObject({
        status: 415,
        body: { code: 'unsupported_media_type' },
      });
    }
    const type = 'application/json; charset=utf-8';
    expect(await http.send('POST', path, '{"message_id":"1"}', { 'content-type': type })).toMatchObject({
      status: 200,
    });
  });

  it('400: a body that is no JSON object', async () => {
    for (const body of ['', '{', '[]', '"x"', '1', 'null', '{"message_id":"1"}}']) {
      expect(await http.send('POST', '/v1/users/1/read-states/1/ack', body), body).toMatchObject({
        status: 400,
        body: { code: 'invalid_request' },
      });
    }
  });

  it('401 unauthorized without a token of the file, and nothing is done', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'tidemark-contract-token-'));
    const file = join(directory, 'tokens');
    writeFileSync(file, 'a-token-of-this-test-alone\n');
    const guarded = await Service.start({ authTokenFile: file });
    const caller = new HttpDriver(guarded.url);
    const path = `/v1/users/${newId()}/read-states/1/ack`;
    const body = { message_id: '1' };
    for (const authorization of ['', 'Bearer another-token-than-this', 'a-token-of-this-test-alone']) {
      expect(await caller.send('POST', path, body, { authorization })).toMatchObject({
        status: 401,
        body: { code: 'unauthorized', errors: [] },
      });
    }
    const authorization = 'Bearer a-token-of-this-test-alone';
    expect(await caller.send('POST', path, body, { authorization })).toMatchObject({
      status: 200,
      body: { version: 1 },
    });
    caller.close();
    await guarded.stop();
    rmSync(directory, { recursive: true });
  });
});
