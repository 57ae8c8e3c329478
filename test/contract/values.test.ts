/** Values: what is taken in, in which forms, and what is refused, naming the field. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Entry, Refused } from './driver.js';
import { HttpDriver } from './http-driver.js';
import { JsonDriver } from './json-driver.js';
import { Service } from './service.js';
import { newId } from './stage.js';

let service: Service;
let http: HttpDriver;
let json: JsonDriver;
beforeAll(async () => {
  service = await Service.start();
  http = new HttpDriver(service.url);
  json = await JsonDriver.open(service.streamUrl);
});
afterAll(() => {
  http.close();
  json.close();
  return service.stop();
});

/** A request with one value, given as JSON text, and the field that the error names. */
interface Place {
  readonly field: string;
  /** Answers with the status over HTTP, or with 200 or 400 over a WebSocket, and the paths of the errors. */
  send(user: string, text: string): Promise<{ status: number; paths: string[]; body: unknown }>;
}

async function overHttp(method: string, path: string, body?: string) {
  const { status, body: answer } = await http.send(method, path, body);
  if (status === 400) expect(answer).toMatchObject({ code: 'invalid_request', message: expect.any(String) });
  const errors = (answer.errors ?? []) as { path: string; message: string }[];
  return { status, paths: errors.map((error) => error.path), body: answer };
}

async function overJson(text: string) {
  const answer = json.answerTo('raw');
  json.socket.send(text);
  try {
    return { status: 200, paths: [], body: await answer };
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    expect(error.code).toBe('invalid_request');
    return { status: 400, paths: [...error.paths], body: null };
  }
}

function place(
  title: string,
  field: string,
  httpBody: (value: string) => string,
  httpPath: string,
  jsonFields: (user: string, value: string) => string,
): [string, Place][] {
  return [
    [
      `HTTP ${title}`,
      { field, send: (user, text) => overHttp('POST', httpPath.replace('USER', user), httpBody(text)) },
    ],
    [
      `JSON WebSocket ${title}`,
      { field, send: (user, text) => overJson(`{"id":"raw",${jsonFields(user, text)}}`) },
    ],
  ];
}

const STATES = '/v1/users/USER/read-states';

const MESSAGE_ID = place(
  'message_id of an ack',
  'message_id',
  (value) => `{"message_id":${value}}`,
  `${STATES}/7/ack`,
  (user, value) => `"op":"ack","user_id":"${user}","channel_id":"7","message_id":${value}`,
);
const BULK_CHANNEL = place(
  'channel_id of an item',
  'read_states.1.channel_id',
  (value) => `{"read_states":[{"channel_id":"1","message_id":"1"},{"channel_id":${value},"message_id":"1"}]}`,
  `${STATES}/ack-bulk`,
  (user, value) =>
    `"op":"ack_bulk","user_id":"${user}","read_states":[{"channel_id":"1","message_id":"1"},{"channel_id":${value},"message_id":"1"}]`,
);
const BULK_MESSAGE = place(
  'message_id of an item',
  'read_states.0.message_id',
  (value) => `{"read_states":[{"channel_id":"1","message_id":${value}}]}`,
  `${STATES}/ack-bulk`,
  (user, value) =>
    `"op":"ack_bulk","user_id":"${user}","read_states":[{"channel_id":"1","message_id":${value}}]`,
);
const MENTIONED = place(
  'user of a mention',
  'user_ids.1',
  (value) => `{"user_ids":["1",${value}]}`,
  '/v1/channels/7/mentions',
  (_user, value) => `"op":"mention","channel_id":"7","user_ids":["1",${value}]`,
);
const MENTION_MESSAGE = place(
  'message_id of a mention',
  'message_id',
  (value) => `{"user_ids":["5"],"message_id":${value}}`,
  '/v1/channels/7/mentions',
  (_user, value) => `"op":"mention","channel_id":"7","user_ids":["5"],"message_id":${value}`,
);
const JSON_ONLY: [string, Place][] = [
  [
    'JSON WebSocket user_id',
    {
      field: 'user_id',
      send: (_user, text) => overJson(`{"id":"raw","op":"badge","user_id":${text}}`),
    },
  ],
  [
    'JSON WebSocket channel_id',
    {
      field: 'channel_id',
      send: (user, text) =>
        overJson(`{"id":"raw","op":"ack","user_id":"${user}","channel_id":${text},"message_id":"1"}`),
    },
  ],
  [
    'JSON WebSocket user_ids of subscribe',
    {
      field: 'user_ids.0',
      send: (_user, text) => overJson(`{"id":"raw","op":"subscribe","user_ids":[${text}]}`),
    },
  ],
];

const GOOD_IDS = [
  '"1"',
  '"9223372036854775807"',
  '"9007199254740993"',
  '1',
  '9007199254740991',
  '4294967296',
];
const BAD_IDS = [
  ...['0', '-1', '1.5', '9007199254740992', '9223372036854775808', '9223372036854775807', '1e30', 'null'],
  ...[
    '"0"',
    '"-1"',
    '"0x1f"',
    '"1.0"',
    '"9223372036854775808"',
    '"18446744073709551616"',
    '""',
    '" 1"',
    '"1 "',
  ],
  ...['"+1"', '"01"', '"1e3"', '"x"', '"١"', '"99999999999999999999"', 'true', '[]', '["1"]', '{}'],
];

describe('Values: "Ids: 1 to 2^63-1 … In: decimal strings, or JSON integers up to 2^53-1"', () => {
  it.each([...MESSAGE_ID, ...BULK_CHANNEL, ...BULK_MESSAGE, ...MENTIONED, ...MENTION_MESSAGE, ...JSON_ONLY])(
    '%s takes them; "Anything else … is 400 and names the field"',
    async (_title, { field, send }) => {
      const user = newId();
      for (const text of BAD_IDS) {
        expect(await send(user, text), text).toMatchObject({ status: 400, paths: [field] });
      }
      // "Nothing is half done on an error."
      expect(await http.list(user)).toEqual({ entries: [], partial: false, version: 0 });
      for (const text of GOOD_IDS) expect(await send(newId(), text), text).toMatchObject({ status: 200 });
    },
  );

  it('"Out: always decimal strings", to the last digit, whatever form they came in', async () => {
    for (const text of GOOD_IDS) {
      const digits = text.replaceAll('"', '');
      for (const [, { send }] of MESSAGE_ID) {
        const { body } = await send(newId(), text);
        expect(body).toMatchObject({ last_message_id: digits });
      }
      for (const [, { send }] of BULK_CHANNEL) {
        const { body } = await send(newId(), text);
        expect((body as { entries: Entry[] }).entries[1]!.id).toBe(digits);
      }
    }
  });

  it.each([
    '0',
    '-1',
    '0x1f',
    '1.0',
    '9223372036854775808',
    'x',
    '01',
    '%31',
    '1%20',
    '99999999999999999999',
  ])('as %s in a path they are refused', async (text) => {
    for (const [method, path, field] of [
      ['GET', `/v1/users/${text}/read-states`, 'user_id'],
      ['GET', `/v1/users/${text}/badge`, 'user_id'],
      ['DELETE', `/v1/users/${text}/read-states/1`, 'user_id'],
      ['GET', `/v1/users/1/read-states/${text}`, 'channel_id'],
      ['DELETE', `/v1/users/1/read-states/${text}`, 'channel_id'],
    ] as const) {
      expect(await overHttp(method, path), path).toMatchObject({ status: 400, paths: [field] });
    }
    expect(await overHttp('POST', `/v1/users/1/read-states/${text}/ack`, '{"message_id":"1"}')).toMatchObject(
      {
        status: 400,
        paths: ['channel_id'],
      },
    );
    expect(await overHttp('POST', `/v1/channels/${text}/mentions`, '{"user_ids":["1"]}')).toMatchObject({
      status: 400,
      paths: ['channel_id'],
    });
  });
});

/** A field of an ack. */
function ackField(name: string): [string, Place][] {
  return place(
    name,
    name,
    (value) => `{"message_id":"1","${name}":${value}}`,
    `${STATES}/7/ack`,
    (user, value) => `"op":"ack","user_id":"${user}","channel_id":"7","message_id":"1","${name}":${value}`,
  );
}

const NOT_WHOLE = ['-1', '1.5', '"1"', 'null', 'true', '[]', '1e30'];
const PIN = place(
  'last_pin_timestamp',
  'last_pin_timestamp',
  (value) => `{"last_pin_timestamp":${value}}`,
  `${STATES}/7/pins/ack`,
  (user, value) => `"op":"pin_ack","user_id":"${user}","channel_id":"7","last_pin_timestamp":${value}`,
);
const TYPE: [string, Place][] = [
  place(
    'read_state_type of an item',
    'read_states.0.read_state_type',
    (value) => `{"read_states":[{"channel_id":"1","message_id":"1","read_state_type":${value}}]}`,
    `${STATES}/ack-bulk`,
    (user, value) =>
      `"op":"ack_bulk","user_id":"${user}","read_states":[{"channel_id":"1","message_id":"1","read_state_type":${value}}]`,
  ),
  place(
    'read_state_type of a mention',
    'read_state_type',
    (value) => `{"user_ids":["6"],"read_state_type":${value}}`,
    '/v1/channels/7/mentions',
    (_user, value) => `"op":"mention","channel_id":"7","user_ids":["6"],"read_state_type":${value}`,
  ),
].flat();

describe.each([
  ['"read_state_type": 0 to 5', TYPE, ['0', '1', '2', '3', '4', '5'], ['6', ...NOT_WHOLE]],
  [
    '"mention_count": 0 to 2^31-1',
    ackField('mention_count'),
    ['0', '2147483647'],
    ['2147483648', ...NOT_WHOLE],
  ],
  ['flags: 0 to 255', ackField('flags'), ['0', '255'], ['256', ...NOT_WHOLE]],
  ['last_viewed: 0 to 65,534', ackField('last_viewed'), ['0', '65534'], ['65535', ...NOT_WHOLE]],
  ['manual: true or false', ackField('manual'), ['true', 'false'], ['1', '"true"', 'null']],
  [
    '"Timestamps: ISO 8601 with milliseconds …; the same or integer milliseconds in"',
    PIN,
    [
      '1',
      '8640000000000000',
      '"2025-01-01T00:00:00.000Z"',
      '"2025-01-01T00:00:00Z"',
      '"2024-02-29T23:59:59.999Z"',
    ],
    [
      '8640000000000001',
      '"2025-02-29T00:00:00Z"',
      '"2025-01-01"',
      '"now"',
      '"2025-01-01T00:00:00.000"',
      '0',
      ...NOT_WHOLE,
    ],
  ],
] as const)('Values: %s', (_title, places, good, bad) => {
  it.each(places as [string, Place][])('%s', async (_where, { field, send }) => {
    const user = newId();
    for (const text of bad) {
      expect(await send(user, text), text).toMatchObject({ status: 400, paths: [field] });
    }
    expect(await http.list(user)).toEqual({ entries: [], partial: false, version: 0 });
    for (const text of good) expect(await send(newId(), text), text).toMatchObject({ status: 200 });
  });
});

describe('Values', () => {
  it('timestamps in any form are the same instant, and go out with milliseconds', async () => {
    for (const text of [
      '"2025-01-01T00:00:00.120Z"',
      '"2025-01-01T01:00:00.12+01:00"',
      '"2024-12-31T16:30:00.120-07:30"',
      '1735689600120',
    ]) {
      for (const [, { send }] of PIN) {
        expect((await send(newId(), text)).body, text).toMatchObject({
          last_pin_timestamp: '2025-01-01T00:00:00.120Z',
        });
      }
    }
  });

  it('HTTP: "?type=N selects another read-state type", 0 to 5, and nothing else', async () => {
    const user = newId();
    for (const text of ['6', '-1', '1.5', 'x', '', '00', '0x1', '%31']) {
      for (const [method, rest, body] of [
        ['GET', '', undefined],
        ['DELETE', '', undefined],
        ['POST', '/ack', '{"message_id":"1"}'],
        ['POST', '/pins/ack', '{"last_pin_timestamp":1}'],
      ] as const) {
        const path = `/v1/users/${user}/read-states/7${rest}?type=${text}`;
        expect(await overHttp(method, path, body), path).toMatchObject({ status: 400, paths: ['type'] });
      }
    }
    expect(await http.list(user)).toMatchObject({ entries: [] });
    for (const type of [0, 1, 2, 3, 4, 5]) {
      expect(await http.ack(user, '7', '1', { type })).toMatchObject({ read_state_type: type });
    }
  });

  it('HTTP: "since" is a version', async () => {
    for (const text of ['-1', 'x', '1.5', '0x1', '']) {
      expect(await overHttp('GET', `/v1/users/${newId()}/read-states?since=${text}`), text).toMatchObject({
        status: 400,
        paths: ['since'],
      });
    }
  });

  it('all that is wrong with a request is named at once', async () => {
    const body = '{"message_id":"0","mention_count":-1,"flags":256}';
    expect(await overHttp('POST', '/v1/users/0/read-states/x/ack', body)).toMatchObject({
      status: 400,
      paths: ['user_id', 'channel_id', 'message_id', 'mention_count', 'flags'],
    });
  });
});
