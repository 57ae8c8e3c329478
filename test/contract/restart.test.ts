/** What "survives restarts": everything that a clean stop has flushed, on the same directory. */
import { afterEach, describe, expect, it } from 'vitest';
import type { Driver } from './driver.js';
import { Service, TINY } from './service.js';
import { message, newId, newIds, openDriver, PROTOCOLS } from './stage.js';

let service: Service;
let drivers: Driver[] = [];
afterEach(async () => {
  for (const driver of drivers) driver.close();
  await service.stop();
});

async function open(): Promise<Driver[]> {
  for (const driver of drivers) driver.close();
  drivers = await Promise.all(PROTOCOLS.map((protocol) => openDriver(service, protocol)));
  return drivers;
}

describe.each([
  ['--flush-delay 1h: nothing is written before the stop', { flushDelay: '1h' }],
  ['--flush-delay 0, everybody is evicted', { ...TINY, flushDelay: '0ms' }],
  ['--engine heap', { engine: 'heap', flushDelay: '1h' }],
])('a restart, %s', (_title, options) => {
  it('5: entries, versions and lists are what they were; the version goes on', async () => {
    service = await Service.start({ store: 'lmdb:', ...options });
    const users = newIds(90);
    const before = await open();
    for (const [i, user] of users.entries()) {
      const driver = before[i % 3]!;
      await driver.ack(user, '9', message(i), { flags: i, last_viewed: i * 700, mention_count: i });
      await driver.pinAck(user, '10', 1000 + i, i % 6);
      await driver.mention('2', [user], { message_id: message(i) });
    }
    const lists = await Promise.all(users.map((user) => before[0]!.list(user)));
    await service.restart();
    const after = await open();
    for (const [i, user] of users.entries()) {
      const driver = after[i % 3]!;
      expect(await driver.list(user)).toEqual(lists[i]);
      expect(await driver.list(user, lists[i]!.version)).toEqual({ ...lists[i], entries: [], partial: true });
      expect((await driver.ack(user, newId(), '1')).version).toBe(lists[i]!.version + 1);
    }
  });

  it("3: the entry's latest mention is a duplicate after it", async () => {
    service = await Service.start({ store: 'lmdb:', ...options });
    const [user, channel] = [newId(), newId()];
    await (await open())[0]!.mention(channel, [user], { message_id: message(4) });
    await drivers[1]!.mention(channel, [user], { message_id: message(5) });
    await service.restart();
    for (const driver of await open()) {
      expect(await driver.mention(channel, [user], { message_id: message(5) })).toMatchObject({
        duplicates: 1,
      });
    }
    expect(await drivers[0]!.get(user, channel)).toMatchObject({ mention_count: 2 });
  });

  it('6: what was deleted stays so, and lists know of it; versions go on', async () => {
    service = await Service.start({ store: 'lmdb:', ...options });
    const [user, gone, channel, kept] = newIds(4) as [string, string, string, string];
    await open();
    for (const who of [user, gone]) {
      await drivers[0]!.ackBulk(
        who,
        [channel, kept].map((channel_id) => ({ channel_id, message_id: message(5) })),
      );
      await drivers[1]!.pinAck(who, channel, 1000);
    }
    const since = await drivers[2]!.list(user);
    await service.restart(); // so that there is something in the store
    await open();
    await drivers[1]!.delete(user, channel);
    await drivers[2]!.deleteUser(gone);
    const versions = [(await drivers[0]!.list(user)).version, (await drivers[0]!.list(gone)).version];
    await service.restart();
    await open();
    expect(await drivers[0]!.get(user, channel)).toBeNull();
    const list = await drivers[1]!.list(user);
    expect(list).toMatchObject({ entries: [{ id: kept }], version: versions[0] });
    expect(await drivers[1]!.list(user, since.version)).toEqual(list);
    expect(await drivers[2]!.list(gone)).toEqual({ entries: [], partial: false, version: versions[1] });
    const fresh = await drivers[0]!.ack(gone, channel, '1');
    expect(fresh).toMatchObject({ last_pin_timestamp: null, version: versions[1]! + 1 });
    expect(await drivers[0]!.ack(user, channel, '1')).toMatchObject({
      last_message_id: '1',
      last_pin_timestamp: null,
    });
  });
});
