/** JSON frames of a broken or hostile client: an error each, and the connection goes on. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Random } from '../model/random.js';
import { Stream } from './frames.js';
import { pause, until, Victim } from './victim.js';

const SEED = Number(process.env.TIDEMARK_TEST_SEED ?? 20250103);
const MIB = 2 ** 20;

let victim: Victim;
beforeAll(async () => {
  victim = await Victim.start({ loadTimeout: '20s' });
  await victim.call('POST', '/v1/users/77/read-states/7/ack', { message_id: '7' });
});
afterAll(async () => {
  const { body } = await victim.call('GET', '/v1/users/77/read-states/7');
  expect(body).toMatchObject({ last_message_id: '7', mention_count: 0, version: 1 });
  await until(async () => (await victim.metric('tidemark_requests_waiting')) === 0, 'nothing waits');
  expect(await victim.stop(), victim.log).toEqual({ code: 0, signal: null });
  expect(victim.log).not.toContain('bug');
});

/** Sends frames, then a ping, which may be answered before them; all answers but the ping's, at least one a frame. */
async function answersTo(stream: Stream, ...frames: (string | Buffer)[]): Promise<Record<string, unknown>[]> {
  stream.frames = [];
  for (const frame of frames) stream.socket.send(frame, { binary: false });
  stream.socket.send('{"id":"end","op":"ping"}');
  const answers = (): Record<string, unknown>[] => stream.texts.filter((text) => 'id' in text);
  await until(() => stream.closeCode !== 0 || answers().length > frames.length, 'all are answered');
  expect(stream.closeCode).toBe(0);
  return answers().filter(({ id }) => id !== 'end');
}

describe('JSON frames', () => {
  it.each([
    ['', null],
    ['{', null],
    ['null', null],
    ['[]', null],
    ['[[]]', null],
    ['7', null],
    ['['.repeat(1_000_000), null],
    [`${'[{"id":1,"op":'.repeat(50_000)}1`, null],
    ['{"op":"ping"}', null],
    ['{"id":null,"op":"ping"}', null],
    ['{"id":{},"op":"ping"}', null],
    ['{"id":1e400,"op":"ping"}', null],
    [`{"id":"${'x'.repeat(129)}","op":"ping"}`, null],
    ['{"id":1}', 1],
    ['{"id":1,"op":"__proto__"}', 1],
    ['{"id":1,"op":"toString"}', 1],
    ['{"id":1,"op":["ping"]}', 1],
    ['{"__proto__":{"id":2,"op":"ping"},"id":1}', 1],
    ['{"id":1,"op":"badge","user_id":1e400}', 1],
    ['{"id":1,"op":"badge","user_id":{"toString":1}}', 1],
    ['{"id":1,"op":"mention","channel_id":"1","user_ids":[]}', 1],
    ['{"id":1,"op":"mention","channel_id":"1","user_ids":{"length":1,"0":"77"}}', 1],
    [`{"id":1,"op":"mention","channel_id":"1","user_ids":[${'"77",'.repeat(10_000)}"77"]}`, 1],
    ['{"id":1,"op":"ack_bulk","user_id":"77","read_states":[{"channel_id":"7","message_id":"9"},null]}', 1],
    ['{"id":1,"op":"list","user_id":"77","since":"x"}', 1],
    [
      '{"id":1,"op":"pin_ack","user_id":"77","channel_id":"7","last_pin_timestamp":"2025-02-30T00:00:00Z"}',
      1,
    ],
  ])('%.60s is an error with its id', async (frame, id) => {
    const stream = await Stream.open(victim.streamUrl, 'json');
    expect(await answersTo(stream, frame)).toMatchObject([{ id, error: { code: 'invalid_request' } }]);
    stream.raw.destroy();
  });

  it('echo any id that they take, and answer the neighbours of what they do not', async () => {
    const stream = await Stream.open(victim.streamUrl, 'json');
    const ids = ['"\\u0000\\ud800\\""', '"</script>"', '-0', '1e21', '0.1', `"${'\u20ac'.repeat(128)}"`];
    const frame = `[${ids.map((id) => `{"id":${id},"op":"ping"},7`).join(',')}]`;
    const answers = await answersTo(stream, frame);
    expect(answers.filter((answer) => 'ok' in answer).map(({ id }) => id)).toEqual(
      // No number of JSON is negative and 0.
      ids.map((id) => (id === '-0' ? 0 : JSON.parse(id))),
    );
    expect(answers.filter((answer) => 'error' in answer)).toHaveLength(ids.length);
    stream.raw.destroy();
  });

  it('that are mutated at random are answered, and the connection goes on', async () => {
    const random = new Random(SEED);
    const valid = [
      '{"id":1,"op":"ack","user_id":"5","channel_id":"6","message_id":"7","manual":true,"flags":3}',
      '[{"id":1,"op":"get","user_id":"5","channel_id":"6"},{"id":2,"op":"badge","user_id":5}]',
      '{"id":1,"op":"subscribe","user_ids":["5","6"]}',
      '{"id":1,"op":"mention","channel_id":"6","user_ids":["5","6"],"message_id":"9"}',
    ];
    const parts = ['{', '}', '[', ']', '"', ':', ',', '1e999', '-', '\\u0000', '\u20ac', 'null', '\u0000'];
    const stream = await Stream.open(victim.streamUrl, 'json');
    for (let round = 0; round < 60; round++) {
      const frames = Array.from({ length: 20 }, () => {
        let text = random.pick(valid);
        for (let times = random.next(4); times >= 0; times--) {
          const at = random.next(text.length + 1);
          text = text.slice(0, at) + random.pick(parts) + text.slice(at + random.next(6));
        }
        return text;
      });
      const answers = await answersTo(stream, ...frames);
      // Never that it is the service's fault.
      const codes = answers.flatMap(({ error }) => (error as { code: string } | undefined)?.code ?? []);
      expect([...new Set([...codes, 'invalid_request', 'unknown_read_state'])], `seed ${SEED}`).toHaveLength(
        2,
      );
    }
    stream.raw.destroy();
  });

  it('that are binary, no UTF-8 or too long close the connection', async () => {
    const open = (): Promise<Stream> => Stream.open(victim.streamUrl, 'json');
    const [binary, noText, long, veryLong] = await Promise.all([open(), open(), open(), open()]);
    binary.socket.send(Buffer.from('{"id":1,"op":"ping"}'), { binary: true });
    expect(await binary.whenClosed).toBe(1003);
    noText.socket.send(Buffer.from([0x22, 0xff, 0xfe, 0x22]), { binary: false });
    expect([1006, 1007]).toContain(await noText.whenClosed);
    long.socket.send(' '.repeat(MIB + 1));
    expect(await long.whenClosed).toBe(1009);
    veryLong.socket.send(' '.repeat(9 * MIB));
    expect([1006, 1009]).toContain(await veryLong.whenClosed);
  });

  it('that wait behind a mention of many users are few: beyond, they are busy, and the heap stays small', async () => {
    const before = await victim.memory();
    await victim.fault('LOAD_HANG', 1);
    const stream = await Stream.open(victim.streamUrl, 'json');
    const user_ids = Array.from({ length: 10_000 }, (_, i) => String(1_000_000_000_000_000 + i));
    const FRAMES = 300;
    for (let id = 0; id < FRAMES; id++) {
      stream.socket.send(JSON.stringify({ id, op: 'mention', channel_id: '5', user_ids }));
    }
    const busy = (): number =>
      stream.texts.filter(({ error }) => (error as { code?: string })?.code === 'busy').length;
    await until(() => busy() > FRAMES / 2, 'most are busy');
    const during = await victim.memory();
    expect(during.heap - before.heap).toBeLessThan(50 * MIB);
    stream.raw.destroy();
    await victim.fault('LOAD_HANG', 0);
    await pause(50);
    const after = await victim.memory();
    expect(after.heap - before.heap).toBeLessThan(20 * MIB);
  });
});
