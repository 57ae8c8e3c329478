/** "What the calls mean", 7, where it is hardest: far more users than places, a slow store, frame after frame. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Entry, StreamDriver } from './driver.js';
import { Service, TINY } from './service.js';
import { message, newId, newIds, openDriver, STREAM_PROTOCOLS } from './stage.js';

const USERS = 100;
const FRAMES = 80;
const USERS_A_FRAME = 20;

describe.each(['slab', 'heap'])('order, --engine %s', (engine) => {
  let service: Service;
  beforeAll(async () => {
    service = await Service.start({ ...TINY, engine, flushDelay: '100ms' });
    service.fault('LOAD_DELAY_MS', 2);
    service.fault('WRITE_DELAY_MS', 2);
  });
  afterAll(() => service.stop());

  it.each(STREAM_PROTOCOLS)(
    '7: "Requests about one user that arrive on one connection take effect in order" (%s)',
    async (protocol) => {
      const driver: StreamDriver = await openDriver(service, protocol);
      const channel = newId();
      const users = newIds(USERS);
      const answers: Promise<Entry>[][] = users.map(() => []);
      let next = 0;
      for (let frame = 0; frame < FRAMES; frame++) {
        for (let i = 0; i < USERS_A_FRAME; i++) {
          const user = next++ % USERS;
          // Down and up, so that any other order leaves another state.
          const order = answers[user]!.length % 2 === 0 ? frame : 100_000 - frame;
          answers[user]!.push(
            driver.ack(users[user]!, channel, message(order), { manual: true, mention_count: next }),
          );
        }
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
      for (let user = 0; user < USERS; user++) {
        const versions = (await Promise.all(answers[user]!)).map((entry) => entry.version);
        expect(versions).toEqual(versions.map((_, step) => step + 1));
      }
      driver.close();
    },
  );

  it.each(STREAM_PROTOCOLS)('7: in order also behind a mention of 10,000 users (%s)', async (protocol) => {
    // Room for both mentions at once, however slowly they are loaded.
    const roomy = await Service.start({ engine, maxParked: '64k', maxInFlight: '32k' });
    const driver = await openDriver(roomy, protocol);
    const channel = newId();
    const users = newIds(10_000);
    const last = users.at(-1)!;
    const [, acked, , counted, , empty] = await Promise.all([
      driver.mention(channel, users),
      driver.ack(last, channel, message(1)),
      driver.mention(channel, users),
      driver.badge(last),
      driver.deleteUser(last),
      driver.get(last, channel),
    ]);
    expect(acked).toMatchObject({ mention_count: 0, version: 2 });
    expect(counted.mention_count).toBe(1);
    expect(empty).toBeNull();
    driver.close();
    await roomy.stop();
  });
});
