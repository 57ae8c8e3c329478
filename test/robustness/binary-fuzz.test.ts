/**
 * Binary frames of a broken or hostile client: valid operations between nonsense are answered as a model says, and
 * nothing but what they did has happened. The seed is in the message of a failure; TIDEMARK_TEST_SEED sets it.
 */
import type { Socket } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Random } from '../model/random.js';
import { OP, operation, REQUEST_BYTES, STATUS, Stream } from './frames.js';
import { until, Victim } from './victim.js';

const SEED = Number(process.env.TIDEMARK_TEST_SEED ?? 20250102);
const USERS = 8;
const CHANNELS = 6;
const CLOSE_INVALID = 1007;
const ACK_EXTRA_FLAGS = 0b11100;

interface ModelEntry {
  mark: number;
  mentions: number;
}

/** The users that only the valid operations are about, as they must be. */
class Model {
  readonly entries = new Map<string, ModelEntry>();

  /** A valid operation, and what it does here. */
  operation(random: Random, requestId: number): Buffer {
    const user = 1 + random.next(USERS);
    const channel = 1 + random.next(CHANNELS);
    const key = `${user}:${channel}`;
    const kind = random.next(10);
    if (kind === 0) {
      this.entries.delete(key);
      return operation(OP.delete, requestId, user, channel);
    }
    const entry = this.entries.get(key) ?? { mark: 0, mentions: 0 };
    this.entries.set(key, entry);
    if (kind < 6) {
      entry.mentions++;
      return operation(OP.mention, requestId, user, channel);
    }
    const message = 1 + random.next(100);
    if (message >= entry.mark) Object.assign(entry, { mark: message, mentions: 0 });
    return operation(OP.ack, requestId, user, channel, message);
  }

  of(user: number): { id: string; last_message_id: string | null; mention_count: number }[] {
    return [...this.entries]
      .filter(([key]) => key.startsWith(`${user}:`))
      .map(([key, { mark, mentions }]) => ({
        id: key.split(':')[1]!,
        last_message_id: mark === 0 ? null : String(mark),
        mention_count: mentions,
      }))
      .sort((a, b) => Number(a.id) - Number(b.id));
  }
}

/** An operation of random words whose end can be told; about users that the model does not have. */
function nonsense(random: Random, requestId: number): Buffer {
  const words = Array.from({ length: REQUEST_BYTES / 4 }, () => random.next(2 ** 32));
  const op = 1 + random.next(OP.unsubscribe);
  let flags = random.chance(60) ? random.next(64) : random.next(2 ** 16);
  if (random.chance(30)) flags = 0;
  words[0] = (op | (random.next(random.chance(70) ? 6 : 256) << 8) | (flags << 16)) >>> 0;
  words[1] = requestId;
  words[3] = random.chance(70) ? 1 + random.next(2 ** 31 - 1) : random.next(2 ** 32) | 1;
  if (random.chance(50)) words[5] = words[5]! >>> 1;
  if (random.chance(50)) words[7] = words[7]! >>> 1;
  let more = 0;
  if (op === OP.ack && (flags & ACK_EXTRA_FLAGS) !== 0) more = 2;
  if (op === OP.ackBulk) {
    words[4] = random.next(130);
    more = words[4]! * 5;
  }
  for (; more > 0; more--) words.push(random.chance(50) ? random.next(2 ** 32) : random.next(6));
  return Buffer.from(Uint32Array.from(words).buffer);
}

/** Whether docs/protocol.md forbids it whatever else is in it: a bit that has no meaning, or a user beyond 2^63-1. */
function isForbidden(bytes: Buffer): boolean {
  const head = bytes.readUInt32LE(0);
  return head >>> 22 !== 0 || ((head & 0xff) !== OP.ping && bytes.readInt32LE(12) < 0);
}

let victim: Victim;
const model = new Model();
beforeAll(async () => {
  victim = await Victim.start({ shards: '2' });
});
afterAll(async () => {
  for (let user = 1; user <= USERS; user++) {
    const { body } = await victim.call('GET', `/v1/users/${user}/read-states`);
    const entries = (body.entries as Record<string, unknown>[]).map(
      ({ id, last_message_id, mention_count }) => ({
        id,
        last_message_id,
        mention_count,
      }),
    );
    expect(entries, `user ${user}, seed ${SEED}`).toEqual(model.of(user));
  }
  expect(await victim.metric('tidemark_requests_waiting')).toBe(0);
  expect(await victim.stop(), victim.log).toEqual({ code: 0, signal: null });
  expect(victim.log).not.toContain('bug');
});

describe('binary frames', () => {
  it('with nonsense between valid operations answer each once, and the valid ones are done', async () => {
    const random = new Random(SEED);
    const stream = await Stream.open(victim.streamUrl, 'bin');
    const valid = new Set<number>();
    const forbidden = new Set<number>();
    let requestId = 0;
    for (let frame = 0; frame < 300; frame++) {
      const operations = Array.from({ length: 1 + random.next(60) }, () => {
        requestId++;
        if (random.chance(50)) {
          const bytes = nonsense(random, requestId);
          if (isForbidden(bytes)) forbidden.add(requestId);
          return bytes;
        }
        valid.add(requestId);
        return model.operation(random, requestId);
      });
      stream.socket.send(Buffer.concat(operations));
    }
    const ended = (): number => stream.replies.filter(({ more }) => !more).length;
    await until(() => stream.closeCode !== 0 || ended() >= requestId, 'all are answered');
    expect(stream.closeCode, `seed ${SEED}`).toBe(0);
    const answered = new Map<number, number>();
    for (const { requestId: id, more, status } of stream.replies) {
      if (!more) answered.set(id, (answered.get(id) ?? 0) + 1);
      if (forbidden.has(id)) expect(status, `operation ${id}, seed ${SEED}`).toBe(STATUS.invalid);
      if (valid.has(id)) expect(status, `operation ${id}, seed ${SEED}`).toBe(STATUS.ok);
    }
    expect(answered.size).toBe(requestId);
    expect(ended(), `answered twice, seed ${SEED}`).toBe(requestId);
    const refused = stream.replies.filter(({ status }) => status === STATUS.invalid).length;
    expect(refused).toBeGreaterThan(requestId / 10);
    stream.raw.destroy();
    // The nonsense subscribed to users and left: nothing of it stays.
    await until(async () => (await victim.metric('tidemark_subscriptions')) === 0, 'no subscription is left');
  });

  it('that end within an operation do what came before, say so, and close with 1007', async () => {
    const random = new Random(SEED + 1);
    for (let round = 0; round < 80; round++) {
      const stream = await Stream.open(victim.streamUrl, 'bin');
      const count = random.next(20);
      const before = Array.from({ length: count }, (_, i) => model.operation(random, i + 1));
      const last = nonsense(random, 1000);
      const tail =
        random.next(3) === 0
          ? operation(random.pick([0, 13, 99, 255]), 1000, 1, 1)
          : random.next(2) === 0
            ? operation(OP.ackBulk, 1000, 1, random.pick([1, 100, 2 ** 31, 2 ** 32 - 1]), 1)
            : last.subarray(0, 1 + random.next(last.length - 1));
      stream.socket.send(Buffer.concat([...before, tail]));
      // What is in work when the connection closes is done and not answered.
      expect(await stream.whenClosed, `round ${round}, seed ${SEED}`).toBe(CLOSE_INVALID);
      expect(stream.replies.at(-1), `round ${round}, seed ${SEED}`).toMatchObject({ status: STATUS.invalid });
    }
  });

  it('of random bytes close with 1007', async () => {
    const random = new Random(SEED + 2);
    for (let round = 0; round < 60; round++) {
      const stream = await Stream.open(victim.streamUrl, 'bin');
      const bytes = Buffer.from(Array.from({ length: 1 + random.next(400) }, () => random.next(256)));
      bytes[0] = 13 + random.next(240); // by chance it could be an operation otherwise
      stream.socket.send(bytes);
      expect(await stream.whenClosed, `round ${round}, seed ${SEED}`).toBe(CLOSE_INVALID);
    }
  });

  it('that are text, empty, fragmented or too long do what is documented', async () => {
    const open = (): Promise<Stream> => Stream.open(victim.streamUrl, 'bin');
    const [text, empty, parts, long] = await Promise.all([open(), open(), open(), open()]);
    text.socket.send('{"op":"ping"}');
    expect(await text.whenClosed).toBe(1003);

    empty.socket.send(Buffer.alloc(0));
    empty.socket.send(operation(OP.ping, 5, 0));
    await until(() => empty.frames.length > 0, 'the ping is answered');
    expect(empty.replies).toMatchObject([{ requestId: 5, status: STATUS.ok }]);

    const ping = operation(OP.ping, 6, 0);
    for (let at = 0; at < ping.length; at++) {
      parts.socket.send(ping.subarray(at, at + 1), { binary: true, fin: at === ping.length - 1 });
    }
    await until(() => parts.frames.length > 0, 'the ping in parts is answered');
    expect(parts.replies).toMatchObject([{ requestId: 6, status: STATUS.ok }]);

    long.socket.send(Buffer.alloc(2 ** 20 + 4, 1));
    expect(await long.whenClosed).toBe(1009);
    // One that only says how long it will be is not waited for.
    const announced = await Stream.open(victim.streamUrl, 'bin');
    const head = Buffer.from([0x82, 0xff, 0, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, 0, 0]); // 2 MiB, masked
    (announced.raw as unknown as Socket).write(head);
    expect(await announced.whenClosed).toBe(1006);
    for (const stream of [empty, parts]) stream.raw.destroy();
  });
});
