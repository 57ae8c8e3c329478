/** Many operations of every kind, over all protocols: what the process holds does not grow with their number. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Random } from '../model/random.js';
import { OP, operation, Stream } from './frames.js';
import { until, Victim } from './victim.js';

const MIB = 2 ** 20;
const SEED = Number(process.env.TIDEMARK_TEST_SEED ?? 20250104);
const USERS = 2000;
const OPS = [
  OP.get,
  OP.badge,
  OP.ack,
  OP.mention,
  OP.pinAck,
  OP.list,
  OP.delete,
  OP.deleteUser,
  OP.subscribe,
  OP.unsubscribe,
];

let victim: Victim;
beforeAll(async () => {
  victim = await Victim.start({ capacity: '20k', flushDelay: '200ms', maxInFlight: '100k' });
});
afterAll(async () => {
  expect(await victim.stop(), victim.log).toEqual({ code: 0, signal: null });
  expect(victim.log).not.toContain('bug');
});

it('nothing grows with the number of operations', async () => {
  const random = new Random(SEED);
  const [binary, json] = await Promise.all([
    Stream.open(victim.streamUrl, 'bin'),
    Stream.open(victim.streamUrl, 'json'),
  ]);
  /** A slice of everything: 6,000 binary operations, 300 JSON requests, 60 HTTP requests. */
  const slice = async (): Promise<void> => {
    binary.frames = [];
    json.frames = [];
    for (let frame = 0; frame < 6; frame++) {
      const operations = Array.from({ length: 1000 }, (_, i) => {
        const op = random.chance(60) ? OP.mention : random.pick(OPS);
        return operation(
          op,
          frame * 1000 + i,
          1 + random.next(USERS),
          1 + random.next(20),
          1 + random.next(1000),
        );
      });
      binary.socket.send(Buffer.concat(operations));
    }
    const requests = Array.from({ length: 300 }, (_, id) => ({
      id,
      op: random.pick(['get', 'list', 'ack', 'badge', 'what']),
      user_id: String(1 + random.next(USERS)),
      channel_id: String(1 + random.next(20)),
      message_id: String(1 + random.next(1000)),
    }));
    json.socket.send(JSON.stringify(requests));
    for (let i = 0; i < 20; i++) {
      const user = 1 + random.next(USERS);
      await Promise.all([
        victim.call('GET', `/v1/users/${user}/read-states`),
        victim.call('POST', `/v1/users/${user}/read-states/3/ack`, {
          message_id: String(1 + random.next(1000)),
        }),
        victim.call('POST', '/v1/channels/3/mentions', { user_ids: [user, 1 + random.next(USERS)] }),
      ]);
    }
    const ends = (): number => binary.replies.filter(({ more }) => !more).length;
    await until(() => ends() === 6000, 'the binary operations are answered');
    await until(
      () => json.texts.filter((answer) => 'id' in answer).length === 300,
      'the JSON requests are answered',
    );
  };
  const endMs = performance.now() + 14_000;
  for (let warm = 0; warm < 40; warm++) await slice();
  const before = await victim.memory();
  let slices = 0;
  while (performance.now() < endMs || slices < 20) {
    await slice();
    slices++;
  }
  const after = await victim.memory();
  // The resident set has the heaps of the other threads in it, with their garbage.
  expect(after.heap - before.heap, `after ${slices} slices`).toBeLessThan(3 * MIB);
  expect(after.buffers - before.buffers, `after ${slices} slices`).toBeLessThan(2 * MIB);
  expect(after.rss - before.rss, `after ${slices} slices`).toBeLessThan(96 * MIB);
  for (const stream of [binary, json]) stream.raw.destroy();
}, 90_000);
