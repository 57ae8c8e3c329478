/** "What the calls mean", 1 and 2: acks and pins. */
import { expect } from 'vitest';
import { message, newId, newIds, type Scenarios } from './stage.js';

const PIN_MS = 1_735_689_600_123;

export const ackScenarios: Scenarios = {
  '1: "Ack moves the mark forward, sets mention_count to 0, keeps the pin"': async ({ driver }) => {
    const [user, channel] = [newId(), newId()];
    await driver.ack(user, channel, message(1));
    const pinned = await driver.pinAck(user, channel, PIN_MS);
    await driver.mention(channel, [user]);
    const acked = await driver.ack(user, channel, message(2));
    expect(acked).toEqual({
      id: channel,
      read_state_type: 0,
      last_message_id: message(2),
      mention_count: 0,
      last_pin_timestamp: '2025-01-01T00:00:00.123Z',
      flags: 0,
      last_viewed: null,
      version: acked.version,
    });
    expect(acked.version).toBeGreaterThan(pinned.version + 1);
  },

  '1: "sets mention_count to the one given"': async ({ driver, other }) => {
    const [user, channel] = [newId(), newId()];
    expect(await driver.ack(user, channel, message(1), { mention_count: 7 })).toMatchObject({
      mention_count: 7,
    });
    expect(await driver.ack(user, channel, message(2), { mention_count: 2_147_483_647 })).toMatchObject({
      mention_count: 2_147_483_647,
    });
    expect(await other.get(user, channel)).toMatchObject({ mention_count: 2_147_483_647 });
  },

  '1: "omitted flags and last_viewed stay", also after an eviction': async ({ driver, evict }) => {
    const [user, channel] = [newId(), newId()];
    await driver.ack(user, channel, message(1), { flags: 255, last_viewed: 65_534 });
    await evict();
    const kept = { flags: 255, last_viewed: 65_534 };
    expect(await driver.ack(user, channel, message(2))).toMatchObject(kept);
    expect(await driver.ack(user, channel, message(1), { manual: true })).toMatchObject(kept);
    expect(await driver.ackBulk(user, [{ channel_id: channel, message_id: message(3) }])).toMatchObject([
      kept,
    ]);
    expect(await driver.ack(user, channel, message(4), { flags: 1 })).toMatchObject({
      flags: 1,
      last_viewed: 65_534,
    });
    expect(await driver.ack(user, channel, message(5), { last_viewed: 0 })).toMatchObject({
      flags: 1,
      last_viewed: 0,
    });
  },

  '1: "An ack below the mark without manual changes nothing and answers with the entry as it is"': async ({
    driver,
    evict,
  }) => {
    const [user, channel] = [newId(), newId()];
    const before = await driver.ack(user, channel, message(9), { mention_count: 3, flags: 5 });
    const lower = { mention_count: 0, flags: 1, last_viewed: 8 };
    expect(await driver.ack(user, channel, message(8), lower)).toEqual(before);
    await evict();
    expect(await driver.ack(user, channel, '1', lower)).toEqual(before);
    expect(await driver.ackBulk(user, [{ channel_id: channel, message_id: message(8) }])).toEqual([before]);
    expect(await driver.get(user, channel)).toEqual(before);
  },

  '1: "The same id again still sets the count"': async ({ driver, evict }) => {
    const [user, channel] = [newId(), newId()];
    await driver.ack(user, channel, message(1));
    await driver.mention(channel, [user]);
    await driver.mention(channel, [user]);
    await evict();
    expect(await driver.ack(user, channel, message(1))).toMatchObject({ mention_count: 0 });
    expect(await driver.ack(user, channel, message(1), { mention_count: 4 })).toMatchObject({
      mention_count: 4,
    });
  },

  '1: "manual: true sets mark and count exactly, also backwards (mark unread)"': async ({
    driver,
    other,
    evict,
  }) => {
    const [user, channel] = [newId(), newId()];
    await driver.ack(user, channel, message(9), { mention_count: 1 });
    const unread = await driver.ack(user, channel, message(3), { manual: true, mention_count: 5 });
    expect(unread).toMatchObject({ last_message_id: message(3), mention_count: 5 });
    await evict();
    expect(await other.get(user, channel)).toEqual(unread);
    expect(await driver.ack(user, channel, message(2), { manual: true })).toMatchObject({
      last_message_id: message(2),
      mention_count: 0,
    });
    expect(await driver.ack(user, channel, message(4), { manual: false })).toMatchObject({
      last_message_id: message(4),
    });
  },

  '1: "The message need not exist", nor the entry: it is created': async ({ driver }) => {
    const user = newId();
    const created = await driver.ack(user, '9223372036854775807', '9223372036854775807', { manual: true });
    expect(created).toMatchObject({ id: '9223372036854775807', last_message_id: '9223372036854775807' });
    expect(await driver.ack(user, '1', '1')).toMatchObject({ id: '1', last_message_id: '1' });
  },

  '2: "An ack that changes nothing … raises no version"': async ({ driver, evict }) => {
    const [user, channel, elsewhere] = newIds(3) as [string, string, string];
    const same = { mention_count: 2, flags: 3, last_viewed: 4 };
    const first = await driver.ack(user, channel, message(5), same);
    expect(await driver.ack(user, channel, message(5), same)).toEqual(first);
    expect(await driver.ack(user, channel, message(5), { ...same, manual: true })).toEqual(first);
    expect(await driver.ack(user, channel, message(4))).toEqual(first);
    const pinned = await driver.pinAck(user, channel, PIN_MS);
    await evict();
    expect(await driver.ack(user, channel, message(5), same)).toEqual(pinned);
    expect(await driver.pinAck(user, channel, PIN_MS)).toEqual(pinned);
    expect(await driver.pinAck(user, channel, PIN_MS - 1)).toEqual(pinned);
    expect((await driver.list(user)).version).toBe(pinned.version);
    // The next change is the next version: none was used up in between.
    expect((await driver.ack(user, elsewhere, message(1))).version).toBe(pinned.version + 1);
  },

  'Values: "read_state_type … Part of the key"': async ({ driver, other, evict }) => {
    const [user, channel] = [newId(), newId()];
    for (const type of [0, 1, 2, 3, 4, 5]) {
      await driver.ack(user, channel, message(type), { type, mention_count: type });
    }
    await driver.pinAck(user, channel, PIN_MS, 3);
    await evict();
    for (const type of [0, 1, 2, 3, 4, 5]) {
      expect(await other.get(user, channel, type)).toMatchObject({
        read_state_type: type,
        last_message_id: message(type),
        mention_count: type,
        last_pin_timestamp: type === 3 ? '2025-01-01T00:00:00.123Z' : null,
      });
    }
    await driver.delete(user, channel, 2);
    expect((await other.list(user)).entries.map((entry) => entry.read_state_type)).toEqual([0, 1, 3, 4, 5]);
  },

  'Values: "version: per user, grows … with each change …; survives evictions. An entry carries the version of its last change"':
    async ({ driver, other, evict }) => {
      const [user, bystander, a, b] = newIds(4) as [string, string, string, string];
      const versions = [(await driver.ack(user, a, message(1))).version];
      versions.push((await driver.ack(user, b, message(1))).version);
      await driver.ack(bystander, a, message(1));
      await evict();
      versions.push((await driver.pinAck(user, a, PIN_MS)).version);
      await driver.mention(b, [user]);
      versions.push((await other.get(user, b))!.version);
      versions.push((await driver.ackBulk(user, [{ channel_id: a, message_id: message(2) }]))[0]!.version);
      await evict();
      await driver.delete(user, b);
      versions.push((await other.list(user)).version);
      await driver.deleteUser(user);
      versions.push((await other.list(user)).version);
      await evict();
      versions.push((await driver.ack(user, b, message(1))).version);
      for (let i = 1; i < versions.length; i++)
        expect(versions[i], `${versions}`).toBeGreaterThan(versions[i - 1]!);
      expect((await other.get(user, b))!.version).toBe(versions.at(-1));
      // A version is the user's own.
      expect((await other.get(bystander, a))!.version).toBe(1);
    },

  'pins: the timestamp moves forward; an entry that did not exist is created with a null mark': async ({
    driver,
    other,
    evict,
  }) => {
    const [user, channel] = [newId(), newId()];
    const created = await driver.pinAck(user, channel, 1);
    expect(created).toMatchObject({
      last_message_id: null,
      mention_count: 0,
      last_pin_timestamp: '1970-01-01T00:00:00.001Z',
    });
    expect(await driver.pinAck(user, channel, 8.64e15)).toMatchObject({
      last_pin_timestamp: '+275760-09-13T00:00:00.000Z',
    });
    await evict();
    expect(await other.pinAck(user, channel, PIN_MS)).toMatchObject({
      last_pin_timestamp: '+275760-09-13T00:00:00.000Z',
    });
  },
};
