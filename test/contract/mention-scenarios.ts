/** "What the calls mean", 3: mentions. */
import { expect } from 'vitest';
import { message, newId, newIds, type Scenarios } from './stage.js';

const ONE = { applied: 1, suppressed: 0, duplicates: 0, failed: [] };
const SUPPRESSED = { applied: 0, suppressed: 1, duplicates: 0, failed: [] };
const DUPLICATE = { applied: 0, suppressed: 0, duplicates: 1, failed: [] };

export const mentionScenarios: Scenarios = {
  '3: "Mention adds one for each user in the set; an absent entry is created with a null mark"': async ({
    driver,
    other,
  }) => {
    const channel = newId();
    const [here, away] = [newId(), newId()];
    await driver.ack(here, channel, message(1), { mention_count: 5 });
    expect(await driver.mention(channel, [here, away, here, away])).toEqual({ ...ONE, applied: 2 });
    expect(await other.get(here, channel)).toMatchObject({
      last_message_id: message(1),
      mention_count: 6,
    });
    const created = await other.get(away, channel);
    expect(created).toEqual({
      id: channel,
      read_state_type: 0,
      last_message_id: null,
      mention_count: 1,
      last_pin_timestamp: null,
      flags: 0,
      last_viewed: null,
      version: created!.version,
    });
  },

  '3: "users whose mark is already at or past it are suppressed"': async ({ driver, other, evict }) => {
    const channel = newId();
    const [at, past, before, unread] = newIds(4) as [string, string, string, string];
    const users = [at, past, before, unread];
    await driver.ack(at, channel, message(5));
    await driver.ack(past, channel, message(6));
    await driver.ack(before, channel, message(4));
    await evict();
    expect(await driver.mention(channel, users, { message_id: message(5) })).toEqual({
      applied: 2,
      suppressed: 2,
      duplicates: 0,
      failed: [],
    });
    const counts = await Promise.all(
      users.map(async (user) => (await other.get(user, channel))!.mention_count),
    );
    expect(counts).toEqual([0, 0, 1, 1]);
    // The mark tells, not the count: who has marked it unread is mentioned again.
    await driver.ack(past, channel, message(3), { manual: true });
    expect(await driver.mention(channel, [past], { message_id: message(5) })).toEqual(ONE);
  },

  '3: "the same (channel, message, user) again is a duplicate", over any connection': async ({
    driver,
    other,
  }) => {
    const [user, channel, elsewhere] = newIds(3) as [string, string, string];
    const fields = { message_id: message(5) };
    expect(await driver.mention(channel, [user], fields)).toEqual(ONE);
    expect(await driver.mention(channel, [user], fields)).toEqual(DUPLICATE);
    expect(await other.mention(channel, [user], fields)).toEqual(DUPLICATE);
    expect(await other.mention(elsewhere, [user], fields)).toEqual(ONE);
    expect(await other.mention(channel, [newId()], fields)).toEqual(ONE);
    expect(await other.mention(channel, [user], { ...fields, type: 1 })).toEqual(ONE);
    expect(await other.mention(channel, [user], { message_id: message(6) })).toEqual(ONE);
    expect(await driver.get(user, channel)).toMatchObject({ mention_count: 2 });
  },

  '3: a retry is a duplicate "always when it repeats the entry\'s latest mention (also after an eviction)"':
    async ({ driver, other, evict }) => {
      const [user, channel] = [newId(), newId()];
      await driver.mention(channel, [user], { message_id: message(4) });
      await driver.mention(channel, [user], { message_id: message(5) });
      await evict();
      expect(await driver.mention(channel, [user], { message_id: message(5) })).toEqual(DUPLICATE);
      expect(await other.get(user, channel)).toMatchObject({ mention_count: 2 });
    },

  '3: "and otherwise when it is among the partition\'s recent ones"': async ({ driver, other, evict }) => {
    const [user, channel] = [newId(), newId()];
    for (const order of [9, 7, 8]) {
      expect(await driver.mention(channel, [user], { message_id: message(order) })).toEqual(ONE);
    }
    await evict();
    for (const order of [7, 9, 8]) {
      expect(await other.mention(channel, [user], { message_id: message(order) })).toEqual(DUPLICATE);
    }
    await driver.ack(user, channel, message(8));
    expect(await driver.mention(channel, [user], { message_id: message(8) })).toEqual(SUPPRESSED);
    expect(await driver.mention(channel, [user], { message_id: message(9) })).toEqual(DUPLICATE);
    expect(await driver.get(user, channel)).toMatchObject({ mention_count: 0 });
  },

  '3: without "message_id" each call counts': async ({ driver, other, evict }) => {
    const [user, channel] = [newId(), newId()];
    await driver.ack(user, channel, message(5));
    expect(await driver.mention(channel, [user])).toEqual(ONE);
    await evict();
    expect(await driver.mention(channel, [user])).toEqual(ONE);
    expect(await other.mention(channel, [user])).toEqual(ONE);
    expect(await driver.get(user, channel)).toMatchObject({ mention_count: 3, last_message_id: message(5) });
  },

  'Values: "mention_count: … increments saturate, never wrap"': async ({ driver, other, evict }) => {
    const [user, channel] = [newId(), newId()];
    await driver.ack(user, channel, message(1), { mention_count: 2_147_483_646 });
    await driver.mention(channel, [user]);
    expect(await other.get(user, channel)).toMatchObject({ mention_count: 2_147_483_647 });
    expect(await driver.mention(channel, [user])).toEqual(ONE);
    await evict();
    expect(await driver.mention(channel, [user], { message_id: message(2) })).toEqual(ONE);
    expect(await other.get(user, channel)).toMatchObject({ mention_count: 2_147_483_647 });
    await driver.mention(newId(), [user]);
    expect(await driver.badge(user)).toEqual({ mention_count: 2_147_483_647, unread_mention_channels: 2 });
  },
};
