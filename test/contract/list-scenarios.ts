/** Lists, `since`, badges and bulk acks. */
import { expect } from 'vitest';
import { message, newId, newIds, type Scenarios } from './stage.js';

export const listScenarios: Scenarios = {
  'HTTP: a list has all "entries by (id, type)", and the version of the user': async ({
    driver,
    other,
    evict,
  }) => {
    const user = newId();
    // As text they would be in another order; as numbers of 32 bits, too.
    const ids = [
      ...['2', '10', '9', '1', '2147483648', '4294967295', '4294967296', '1099511627776'],
      ...['281474976710656', '72057594037927936', '9223372036854775807'],
    ];
    const items = ids.flatMap((id, i) =>
      (i % 2 === 0 ? [5, 0] : [3]).map((read_state_type) => ({
        channel_id: id,
        message_id: message(i),
        read_state_type,
      })),
    );
    await driver.ackBulk(user, items);
    await evict();
    const { entries, partial, version } = await driver.list(user);
    const sorted = [...items].sort((a, b) => {
      const order = BigInt(a.channel_id) - BigInt(b.channel_id);
      return order === 0n ? a.read_state_type - b.read_state_type : order < 0n ? -1 : 1;
    });
    expect(entries.map(({ id, read_state_type }) => [id, read_state_type])).toEqual(
      sorted.map(({ channel_id, read_state_type }) => [channel_id, read_state_type]),
    );
    expect(partial).toBe(false);
    expect(version).toBe(Math.max(...entries.map((entry) => entry.version)));
    for (const entry of entries)
      expect(await other.get(user, entry.id, entry.read_state_type)).toEqual(entry);
  },

  'HTTP: the list of a user without entries is empty': async ({ driver }) => {
    expect(await driver.list(newId())).toEqual({ entries: [], partial: false, version: 0 });
  },

  'HTTP: "With since: only what changed after V and partial: true"': async ({ driver, evict }) => {
    const user = newId();
    const channels = newIds(10);
    for (const channel of channels) await driver.ack(user, channel, message(1));
    const all = await driver.list(user);
    expect(await driver.list(user, all.version)).toEqual({ ...all, entries: [], partial: true });
    expect(await driver.list(user, 0)).toEqual({ ...all, partial: true });
    const changed = [
      await driver.ack(user, channels[7]!, message(2)),
      await driver.pinAck(user, channels[3]!, 1000),
    ];
    await evict();
    const since = await driver.list(user, all.version);
    expect(since).toEqual({ entries: [changed[1], changed[0]], partial: true, version: changed[1]!.version });
    const half = all.entries[4]!.version;
    expect((await driver.list(user, half)).entries.map(({ id }) => id)).toEqual(
      [3, 5, 6, 7, 8, 9].map((i) => channels[i]),
    );
  },

  'HTTP: "everything and partial: false if V is unknown"': async ({ driver }) => {
    const user = newId();
    await driver.ack(user, newId(), message(1));
    const all = await driver.list(user);
    expect(await driver.list(user, all.version + 1)).toEqual(all);
    expect(await driver.list(user, 4_294_967_295)).toEqual(all);
    expect(await driver.list(newId(), 1)).toEqual({ entries: [], partial: false, version: 0 });
  },

  'HTTP: "… or something was deleted after it"': async ({ driver, evict }) => {
    const user = newId();
    const [a, b] = [newId(), newId()];
    await driver.ack(user, a, message(1));
    const before = await driver.list(user);
    await driver.ack(user, b, message(1));
    await driver.delete(user, b);
    const all = await driver.list(user);
    expect(await driver.list(user, before.version)).toEqual(all);
    expect(all).toMatchObject({ entries: [{ id: a }], partial: false });
    await evict();
    expect(await driver.list(user, before.version)).toEqual(all);
    // Who knows of the deletion is told only what is new.
    expect(await driver.list(user, all.version)).toEqual({ ...all, entries: [], partial: true });
    await driver.deleteUser(user);
    const fresh = await driver.ack(user, b, message(2));
    await evict();
    expect(await driver.list(user, all.version)).toEqual({
      entries: [fresh],
      partial: false,
      version: fresh.version,
    });
  },

  'HTTP: the badge sums the mentions of all entries': async ({ driver, other, evict }) => {
    const user = newId();
    const [a, b] = [newId(), newId()];
    expect(await driver.badge(user)).toEqual({ mention_count: 0, unread_mention_channels: 0 });
    await driver.ack(user, a, message(1), { mention_count: 3 });
    await driver.ack(user, a, message(1), { mention_count: 4, type: 2 });
    await driver.ack(user, b, message(1));
    await evict();
    expect(await other.badge(user)).toEqual({ mention_count: 7, unread_mention_channels: 2 });
    await driver.mention(b, [user]);
    await driver.ack(user, a, message(2));
    expect(await other.badge(user)).toEqual({ mention_count: 5, unread_mention_channels: 2 });
    await driver.delete(user, a, 2);
    expect(await other.badge(user)).toEqual({ mention_count: 1, unread_mention_channels: 1 });
  },

  'HTTP: ack-bulk takes "1 to 100", and answers "one an item", in their order': async ({
    driver,
    other,
    evict,
  }) => {
    const user = newId();
    const channels = newIds(98);
    await driver.ack(user, channels[5]!, message(9), { mention_count: 2, flags: 4 });
    await driver.mention(channels[6]!, [user]);
    await evict();
    const items = [...channels, channels[0]!, channels[5]!]
      .reverse()
      .map((channel_id, i) => ({ channel_id, message_id: message(i === 0 ? 8 : 5) }));
    const entries = await driver.ackBulk(user, items);
    expect(entries.map(({ id }) => id)).toEqual(items.map((item) => item.channel_id));
    // Below the mark: as it is. The others: acked.
    for (const entry of entries) {
      const isPassed = entry.id === channels[5];
      expect(entry).toMatchObject({
        last_message_id: message(isPassed ? 9 : 5),
        mention_count: isPassed ? 2 : 0,
      });
    }
    expect((await other.list(user)).entries).toHaveLength(98);
    expect(await other.get(user, channels[0]!)).toEqual(entries[1]);
    expect(await driver.ackBulk(user, [{ channel_id: '5', message_id: '6' }])).toMatchObject([
      { id: '5', last_message_id: '6' },
    ]);
  },
};
