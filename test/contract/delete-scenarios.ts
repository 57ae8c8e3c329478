/** "What the calls mean", 6: deletes. */
import { expect } from 'vitest';
import { mentionSurely } from './driver.js';
import { message, newId, newIds, type Scenarios } from './stage.js';

export const deleteScenarios: Scenarios = {
  '6: "Delete removes the entry with its pin; an ack after it starts fresh"': async ({
    driver,
    other,
    evict,
  }) => {
    const [user, channel, kept] = newIds(3) as [string, string, string];
    await driver.ack(user, kept, message(1), { mention_count: 1 });
    await driver.ack(user, channel, message(9), { mention_count: 7, flags: 9, last_viewed: 11 });
    await driver.pinAck(user, channel, 1_735_689_600_000);
    await evict();
    await driver.delete(user, channel);
    expect(await other.get(user, channel)).toBeNull();
    await evict();
    expect(await other.get(user, channel)).toBeNull();
    expect((await other.list(user)).entries.map(({ id }) => id)).toEqual([kept]);
    expect(await other.badge(user)).toEqual({ mention_count: 1, unread_mention_channels: 1 });
    const fresh = await driver.ack(user, channel, message(2));
    expect(fresh).toEqual({
      id: channel,
      read_state_type: 0,
      last_message_id: message(2),
      mention_count: 0,
      last_pin_timestamp: null,
      flags: 0,
      last_viewed: null,
      version: fresh.version,
    });
    await evict();
    expect(await other.get(user, channel)).toEqual(fresh);
  },

  'HTTP: DELETE answers "also when absent", and then changes nothing': async ({ driver }) => {
    const [user, channel] = [newId(), newId()];
    await driver.delete(user, channel);
    const { version } = await driver.ack(user, channel, message(1));
    await driver.delete(user, channel, 1);
    await driver.delete(user, newId());
    expect(await driver.list(user)).toMatchObject({ entries: [{ id: channel }], version });
    await driver.deleteUser(newId());
  },

  '6: "nothing that was queued before brings it back"': async ({ driver, other, evict }) => {
    const [user, channel] = [newId(), newId()];
    const before = [
      driver.ack(user, channel, message(5)),
      ...Array.from({ length: 20 }, () => mentionSurely(driver, channel, [user])),
    ];
    await Promise.all(before);
    await driver.delete(user, channel);
    expect(await driver.get(user, channel)).toBeNull();
    await evict();
    expect(await other.list(user)).toMatchObject({ entries: [] });
    await evict();
    expect(await driver.get(user, channel)).toBeNull();
    await driver.mention(channel, [user]);
    expect(await other.get(user, channel)).toMatchObject({ mention_count: 1, last_message_id: null });
  },

  '6: deleting a user removes all entries, and what comes later starts fresh': async ({
    driver,
    other,
    evict,
  }) => {
    const user = newId();
    const channels = newIds(20);
    await driver.ackBulk(
      user,
      channels.map((channel, i) => ({ channel_id: channel, message_id: message(1), read_state_type: i % 6 })),
    );
    await driver.pinAck(user, channels[0]!, 1000);
    await evict();
    const { version } = await other.list(user);
    await driver.deleteUser(user);
    expect(await other.list(user)).toMatchObject({ entries: [] });
    expect(await other.badge(user)).toEqual({ mention_count: 0, unread_mention_channels: 0 });
    await evict();
    expect(await other.get(user, channels[0]!)).toBeNull();
    const fresh = await driver.ack(user, channels[0]!, '7');
    expect(fresh).toMatchObject({ last_message_id: '7', last_pin_timestamp: null });
    expect(fresh.version).toBeGreaterThan(version + 1);
    await evict();
    expect((await other.list(user)).entries).toEqual([fresh]);
  },

  '6: "Deleting a user while increments arrive leaves only what came after"': async ({
    driver,
    other,
    evict,
  }) => {
    const [user, channel] = [newId(), newId()];
    const increments = (count: number) =>
      Promise.all(Array.from({ length: count }, () => mentionSurely(driver, channel, [user])));
    await increments(50);
    await evict();
    let during = 0;
    let deleted = false;
    const stream = (async () => {
      while (!deleted) {
        await Promise.all(Array.from({ length: 10 }, () => mentionSurely(other, channel, [user])));
        during += 10;
      }
    })();
    const answeredBefore = during;
    await driver.deleteUser(user);
    deleted = true;
    await stream;
    await increments(30);
    const count = (await driver.get(user, channel))!.mention_count;
    expect(count).toBeGreaterThanOrEqual(30);
    expect(count).toBeLessThanOrEqual(30 + during - answeredBefore);
    expect((await driver.list(user)).entries).toHaveLength(1);
    await evict();
    expect(await other.get(user, channel)).toMatchObject({ mention_count: count });
  },
};
