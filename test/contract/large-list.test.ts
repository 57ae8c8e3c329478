/** HTTP: a list is "complete however many there are", also of a user who does not fit into memory. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Driver, Entry } from './driver.js';
import { Service, TINY } from './service.js';
import { message, newId, newIds, openDriver, PROTOCOLS } from './stage.js';

const ENTRIES = 7713;
const BULK = 100;

describe.each([
  ['in memory', {}],
  ['streamed from LMDB: the memory holds 128 entries', TINY],
  ['streamed from LMDB, --engine heap', { ...TINY, engine: 'heap' }],
])('a user of 7,713 entries, %s', (_title, options) => {
  let service: Service;
  let drivers: Driver[];
  const user = newId();
  const channels = newIds(ENTRIES);
  let expected: Entry[];
  beforeAll(async () => {
    // Written while there is room: how the user came to be is not what this is about.
    service = await Service.start({ store: 'lmdb:' });
    const writer = await openDriver(service, 'binary WebSocket');
    const items = channels.map((channel_id, i) => ({
      channel_id,
      message_id: message(i),
      read_state_type: i % 6,
    }));
    items.reverse();
    const parts = [];
    for (let at = 0; at < ENTRIES; at += BULK) parts.push(writer.ackBulk(user, items.slice(at, at + BULK)));
    expected = (await Promise.all(parts)).flat().reverse();
    for (const i of [0, 5000, ENTRIES - 1]) {
      await writer.mention(channels[i]!, [user], { type: i % 6 });
      expected[i] = (await writer.get(user, channels[i]!, i % 6))!;
    }
    writer.close();
    await service.restart(options);
    drivers = await Promise.all(PROTOCOLS.map((protocol) => openDriver(service, protocol)));
  });
  afterAll(() => {
    for (const driver of drivers) driver.close();
    return service.stop();
  });

  it.each(PROTOCOLS.map((protocol, i) => [protocol, i] as const))(
    '%s: is listed whole, and sorted',
    async (_, i) => {
      expect(await drivers[i]!.list(user)).toEqual({
        entries: expected,
        partial: false,
        version: expected.length + 3,
      });
    },
  );

  it.each(PROTOCOLS.map((protocol, i) => [protocol, i] as const))(
    '%s: since a version, and the badge',
    async (_, i) => {
      const driver = drivers[i]!;
      const since = await driver.list(user, ENTRIES - 50);
      expect(since).toEqual({
        entries: expected.filter(({ version }) => version > ENTRIES - 50),
        partial: true,
        version: ENTRIES + 3,
      });
      expect(await driver.list(user, ENTRIES + 4)).toMatchObject({ partial: false });
      expect(await driver.badge(user)).toEqual({ mention_count: 3, unread_mention_channels: 3 });
    },
  );

  it('lists of many callers at once, while single entries change and are read', async () => {
    const lists = drivers.map((driver) => driver.list(user));
    const other = newId();
    for (let i = 1; i <= 20; i++) {
      const acked = await drivers[i % 3]!.ack(other, '1', message(i));
      expect(await drivers[(i + 1) % 3]!.get(other, '1')).toEqual(acked);
    }
    for (const { entries } of await Promise.all(lists)) expect(entries).toEqual(expected);
    // What changes is in the next list, whether it was in memory or not.
    const changed = await drivers[1]!.ack(user, channels[4]!, message(ENTRIES), {
      type: 4,
      mention_count: 9,
    });
    const { entries, version } = await drivers[0]!.list(user);
    expect(entries[4]).toEqual(changed);
    expect(entries).toHaveLength(ENTRIES);
    expect(version).toBe(changed.version);
    expect(await drivers[2]!.list(user, changed.version - 1)).toMatchObject({
      entries: [changed],
      partial: true,
    });
    expected[4] = changed;
  });
});

describe.each(['slab', 'heap'])('a user who is larger than the memory, --engine %s', (engine) => {
  it('is written, mentioned, deleted from and read like any other', async () => {
    const service = await Service.start({ ...TINY, engine, store: 'lmdb:', flushDelay: '1h' });
    const [writer, reader] = [await openDriver(service, 'JSON WebSocket'), await openDriver(service, 'HTTP')];
    const user = newId();
    const channels = newIds(1200);
    for (let at = 0; at < 1200; at += BULK) {
      const items = channels
        .slice(at, at + BULK)
        .map((channel_id) => ({ channel_id, message_id: message(1) }));
      expect(await writer.ackBulk(user, items)).toHaveLength(BULK);
    }
    await Promise.all(channels.map((channel) => writer.mention(channel, [user], { message_id: message(2) })));
    expect(await reader.badge(user)).toEqual({ mention_count: 1200, unread_mention_channels: 1200 });
    await Promise.all(channels.map((channel, i) => (i % 3 === 0 ? writer.delete(user, channel) : undefined)));
    for (const channel of channels.slice(0, 6)) {
      expect(await writer.mention(channel, [user], { message_id: message(2) })).toMatchObject({
        duplicates: 1,
      });
    }
    const { entries } = await reader.list(user);
    expect(entries.map(({ id }) => id)).toEqual(channels.filter((_, i) => i % 3 !== 0));
    await writer.deleteUser(user);
    expect(await reader.list(user)).toMatchObject({ entries: [], partial: false });
    expect(await reader.get(user, channels[1]!)).toBeNull();
    writer.close();
    reader.close();
    await service.stop();
  });
});
