/** "What the calls mean", 4, 5 and 7: what holds when many call at once. */
import { expect } from 'vitest';
import { type Entry, insist, mentionSurely } from './driver.js';
import { message, newId, newIds, openDriver, PROTOCOLS, type Scenarios } from './stage.js';

export const raceScenarios: Scenarios = {
  '4: "1,000 concurrent increments of one entry make exactly 1,000"': async ({ service, driver, evict }) => {
    const [user, channel] = [newId(), newId()];
    const callers = await Promise.all(
      [...PROTOCOLS, ...PROTOCOLS].map((protocol) => openDriver(service, protocol)),
    );
    const increments = Array.from({ length: 1000 }, (_, i) =>
      mentionSurely(callers[i % callers.length]!, channel, [user]),
    );
    await Promise.all(increments);
    expect(await driver.get(user, channel)).toMatchObject({ mention_count: 1000, version: 1000 });
    await evict();
    expect(await driver.get(user, channel)).toMatchObject({ mention_count: 1000, version: 1000 });
    for (const caller of callers) caller.close();
  },

  '4: "An ack that races an increment leaves 0 or 1 mentions, and the mark never goes back"': async ({
    driver,
    other,
    evict,
  }) => {
    const [user, channel] = [newId(), newId()];
    let mark = 0n;
    for (let round = 0; round < 25; round++) {
      if (round % 5 === 4) await evict();
      const answers = await Promise.all([
        driver.ack(user, channel, message(round)),
        other.mention(channel, [user], { message_id: message(1000 + round) }),
        other.ack(user, channel, message(round - 1)),
        driver.get(user, channel),
      ]);
      const entry = (await other.get(user, channel))!;
      for (const seen of [answers[0], answers[2], answers[3], entry]) {
        // What was asked at the same time may be from before this round, and is never below the last one.
        if (seen !== null) expect(BigInt(seen.last_message_id ?? 0) >= mark).toBe(true);
      }
      expect(entry.last_message_id).toBe(message(round));
      expect([0, 1]).toContain(entry.mention_count);
      mark = BigInt(entry.last_message_id!);
    }
  },

  '5: "when a call has been answered, every later call on any connection sees it"': async ({
    driver,
    other,
    evict,
  }) => {
    const users = newIds(60);
    const channel = newId();
    // More users than a tiny service holds: each step finds most of them evicted by the others.
    await Promise.all(
      users.map(async (user) => {
        for (let step = 1; step <= 3; step++) {
          const acked = await insist(() => driver.ack(user, channel, message(step)));
          expect(await insist(() => other.get(user, channel))).toEqual(acked);
          await mentionSurely(other, channel, [user]);
          expect(await insist(() => driver.get(user, channel))).toEqual({
            ...acked,
            mention_count: 1,
            version: acked.version + 1,
          });
          expect(await insist(() => driver.badge(user))).toMatchObject({ mention_count: 1 });
        }
      }),
    );
    await evict();
    for (const user of users.slice(0, 10)) {
      expect((await other.list(user)).entries).toMatchObject([
        { last_message_id: message(3), mention_count: 1, version: 6 },
      ]);
    }
  },

  '7: "Requests about one user that arrive on one connection take effect in order", also of many cold users at once':
    async ({ protocol, driver, other, evict }) => {
      if (protocol === 'HTTP') return; // one request at a time on a connection: docs/protocol.md
      const channel = newId();
      const users = newIds(60);
      for (const user of users) await insist(() => other.ack(user, newId(), message(1)));
      await evict();
      const STEPS = 12;
      const answers: Promise<Entry>[][] = users.map(() => []);
      for (let step = 1; step <= STEPS; step++) {
        users.forEach((user, i) => {
          // Down and up, so that any other order leaves another state.
          const order = step % 2 === 0 ? step : 100 - step;
          answers[i]!.push(driver.ack(user, channel, message(order), { manual: true, mention_count: step }));
        });
        if (step % 4 === 0) await new Promise(setImmediate); // so that some travel in later frames
      }
      const ends = users.map((user) => driver.get(user, channel));
      for (let i = 0; i < users.length; i++) {
        const entries = await Promise.all(answers[i]!);
        const versions = entries.map((entry) => entry.version);
        expect(versions).toEqual(versions.map((_, step) => versions[0]! + step));
        expect(await ends[i]).toEqual(entries.at(-1));
      }
    },

  '7: pipelined calls of every kind about one cold user take effect in order': async ({
    protocol,
    driver,
    other,
    evict,
  }) => {
    if (protocol === 'HTTP') return;
    const [user, a, b] = newIds(3) as [string, string, string];
    await other.ack(user, b, message(1), { mention_count: 2 });
    await evict();
    const [first, , counted, badge, list, , gone, bulk, , empty, fresh, last] = await Promise.all([
      driver.ack(user, a, message(1)),
      driver.mention(a, [user]),
      driver.get(user, a),
      driver.badge(user),
      driver.list(user),
      driver.delete(user, a),
      driver.get(user, a),
      driver.ackBulk(user, [{ channel_id: b, message_id: message(2) }]),
      driver.deleteUser(user),
      driver.list(user),
      driver.mention(b, [user]),
      driver.get(user, b),
    ]);
    expect(counted).toEqual({ ...first, mention_count: 1, version: first.version + 1 });
    expect(badge).toEqual({ mention_count: 3, unread_mention_channels: 2 });
    expect(list.entries.map(({ id }) => id)).toEqual([a, b]);
    expect(gone).toBeNull();
    expect(bulk).toMatchObject([{ mention_count: 0 }]);
    expect(empty.entries).toEqual([]);
    expect(fresh.applied).toBe(1);
    expect(last).toMatchObject({ last_message_id: null, mention_count: 1, version: empty.version + 1 });
  },
};
