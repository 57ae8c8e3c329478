/** WebSocket: "subscribe {user_ids}: from then on each change of these users, whoever made it, arrives". */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ChangeEvent, Driver, StreamDriver } from './driver.js';
import { Service, TINY } from './service.js';
import { message, newId, newIds, openDriver, PROTOCOLS, STREAM_PROTOCOLS, until } from './stage.js';

/** Events of the user, when there are that many and a round trip brought no more. */
async function eventsOf(watcher: StreamDriver, user: string, count: number): Promise<ChangeEvent[]> {
  const ofUser = () => watcher.events.filter((event) => event.user_id === user);
  await until(() => ofUser().length >= count, `${count} events came`);
  await watcher.badge(user); // what its shard announced before comes before this
  expect(ofUser()).toHaveLength(count);
  return ofUser();
}

function versionOf(event: ChangeEvent): number {
  return event.entry?.version ?? event.version!;
}

describe.each([
  ['in memory', {}],
  ['evicted all the time', { ...TINY, store: 'lmdb:', flushDelay: '0ms' }],
  ['--engine heap', { engine: 'heap' }],
])('events, %s', (_title, options) => {
  let service: Service;
  let writers: Driver[];
  beforeAll(async () => {
    service = await Service.start(options);
    writers = await Promise.all(PROTOCOLS.map((protocol) => openDriver(service, protocol)));
  });
  afterAll(() => {
    for (const writer of writers) writer.close();
    return service.stop();
  });

  describe.each(STREAM_PROTOCOLS)('%s', (protocol) => {
    let watcher: StreamDriver;
    beforeAll(async () => {
      watcher = await openDriver(service, protocol);
    });
    afterAll(() => watcher.close());

    it('"cause": ack, mention, pins, delete, user_deleted; "manual" only for manual acks; the entry as it then is', async () => {
      for (const writer of [...writers, watcher]) {
        const [user, channel] = [newId(), newId()];
        await watcher.subscribe([user]);
        const acked = await writer.ack(user, channel, message(5), { flags: 3, mention_count: 1 });
        await writer.mention(channel, [user], { message_id: message(6) });
        const mentioned = await writer.get(user, channel);
        const pinned = await writer.pinAck(user, channel, 1000);
        const unread = await writer.ack(user, channel, message(2), { manual: true });
        await writer.delete(user, channel);
        const { version: deletedVersion } = await writer.list(user);
        await writer.ack(user, channel, message(1), { type: 4 });
        await writer.deleteUser(user);
        const { version } = await writer.list(user);
        const events = await eventsOf(watcher, user, 7);
        const event = { event: 'read_state', user_id: user };
        expect(events).toEqual([
          { ...event, cause: 'ack', entry: acked },
          { ...event, cause: 'mention', entry: mentioned },
          { ...event, cause: 'pins', entry: pinned },
          { ...event, cause: 'ack', manual: true, entry: unread },
          {
            ...event,
            cause: 'delete',
            entry: {
              id: channel,
              read_state_type: 0,
              last_message_id: null,
              mention_count: 0,
              last_pin_timestamp: null,
              flags: 0,
              last_viewed: null,
              version: deletedVersion,
            },
          },
          { ...event, cause: 'ack', entry: expect.objectContaining({ read_state_type: 4 }) },
          { event: 'user_deleted', user_id: user, version },
        ]);
      }
    });

    it('2: "An ack that changes nothing … sends no event", nor does anything else that changes nothing', async () => {
      const [user, channel] = [newId(), newId()];
      await watcher.subscribe([user]);
      await writers[0]!.ack(user, channel, message(5));
      await writers[0]!.mention(channel, [user], { message_id: message(6) });
      await writers[0]!.pinAck(user, channel, 5);
      for (const writer of writers) {
        await writer.ack(user, channel, message(5), { mention_count: 1 });
        await writer.ack(user, channel, message(4), { mention_count: 3 });
        await writer.ackBulk(user, [{ channel_id: channel, message_id: message(4) }]);
        await writer.mention(channel, [user], { message_id: message(5) });
        await writer.mention(channel, [user], { message_id: message(6) });
        await writer.pinAck(user, channel, 5);
        await writer.pinAck(user, channel, 4);
        await writer.delete(user, newId());
        await writer.get(user, channel);
        await writer.list(user);
      }
      const events = await eventsOf(watcher, user, 3);
      expect(events.map(({ cause }) => cause)).toEqual(['ack', 'mention', 'pins']);
      // An ack of all, twice: only the first cleared something.
      for (const writer of writers) await writer.ack(user, channel, message(6));
      expect(await eventsOf(watcher, user, 4)).toMatchObject([{}, {}, {}, { cause: 'ack' }]);
    });

    it('a bulk ack sends an event for each entry that changed', async () => {
      const user = newId();
      const channels = newIds(10);
      await writers[0]!.ack(user, channels[3]!, message(9));
      await watcher.subscribe([user]);
      const items = channels.map((channel_id) => ({ channel_id, message_id: message(5) }));
      const entries = await writers[1]!.ackBulk(user, items);
      const events = await eventsOf(watcher, user, 9);
      expect(events.map(({ entry }) => entry)).toEqual(entries.filter((_, i) => i !== 3));
    });

    it('"in version order for each user", whoever makes the changes', async () => {
      const users = newIds(4);
      const channels = newIds(3);
      await watcher.subscribe(users);
      const changes = Array.from({ length: 300 }, (_, i) =>
        writers[i % 3]!.mention(channels[i % channels.length]!, users),
      );
      const failed = (await Promise.all(changes)).reduce((sum, answer) => sum + answer.failed.length, 0);
      expect(failed).toBe(0);
      for (const user of users) {
        const versions = (await eventsOf(watcher, user, 300)).map(versionOf);
        expect(versions).toEqual(versions.map((_, i) => i + 1));
      }
    });

    it('"unsubscribe", and whoever else is subscribed still has the events', async () => {
      const [user, kept] = [newId(), newId()];
      const other = await openDriver(service, protocol);
      await watcher.subscribe([user, kept]);
      await other.subscribe([user]);
      await watcher.unsubscribe([user]);
      await writers[0]!.ack(user, '1', message(1));
      await writers[0]!.ack(kept, '1', message(1));
      expect(await eventsOf(other, user, 1)).toMatchObject([{ entry: { last_message_id: message(1) } }]);
      await eventsOf(watcher, kept, 1);
      await eventsOf(watcher, user, 0);
      other.close();
      await writers[0]!.ack(user, '1', message(2));
      await watcher.subscribe([user]);
      await writers[0]!.ack(user, '1', message(3));
      expect(await eventsOf(watcher, user, 1)).toMatchObject([{ entry: { last_message_id: message(3) } }]);
    });

    it('subscribe, then list: no change falls between', async () => {
      const user = newId();
      const channel = newId();
      let stop = false;
      const changing = (async () => {
        let changes = 0;
        for (; !stop; changes++) await writers[changes % 3]!.mention(channel, [user]);
        return changes;
      })();
      await watcher.subscribe([user]);
      const { version } = await watcher.list(user);
      await until(() => watcher.events.filter((event) => event.user_id === user).length > 20, 'events come');
      stop = true;
      const last = await changing;
      await watcher.badge(user);
      const versions = watcher.events.filter((event) => event.user_id === user).map(versionOf);
      const after = versions.filter((seen) => seen > version);
      expect(after).toEqual(after.map((_, i) => version + 1 + i));
      expect(versions.at(-1)).toBe(last);
    });
  });
});
