/** A user with 100,000 entries: written, evicted, loaded, listed, deleted, while others are answered in between. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BinaryDriver } from '../contract/binary-driver.js';
import type { Entry, StreamDriver } from '../contract/driver.js';
import { insist } from '../contract/driver.js';
import { Service } from '../contract/service.js';
import { message, newId, newIds, openDriver, until } from '../contract/stage.js';
import { describeCassandra, newStoreUrl } from '../support/cassandra.js';

const ENTRIES = 100_000;
const BULK = 100;
/** Calls of `ackBulk` on their way at once. */
const BULKS_AT_ONCE = 20;
const OTHERS = 50;
/** Answers to others that have to come while the large user is worked on: far fewer than do, on a busy machine, too. */
const OTHERS_ANSWERED_MIN = 3;
const PATIENCE_MS = 120_000;
const LONG_MS = 3 * PATIENCE_MS;

/** Room for the large user and not for many more; one partition, so that all of them meet. */
const ROOM = { partitions: '1', capacity: '110k', flushDelay: '200ms', loadTimeout: '60s' };

function playLargeUser(makeStore: () => Promise<string>): void {
  let service: Service;
  let driver: StreamDriver;
  let neighbours: StreamDriver;
  const user = newId();
  const channels = newIds(ENTRIES);
  const others = newIds(OTHERS);
  let expected: Entry[] = [];
  let order = 0;

  const connect = async (): Promise<void> => {
    driver = new BinaryDriver(service.url, PATIENCE_MS);
    neighbours = await openDriver(service, 'JSON WebSocket');
  };
  const restart = async (): Promise<void> => {
    driver.close();
    neighbours.close();
    await service.restart();
    await connect();
  };
  beforeAll(async () => {
    service = await Service.start({ ...ROOM, store: await makeStore() });
    await connect();
  }, LONG_MS);
  afterAll(async () => {
    driver?.close();
    neighbours?.close();
    await service?.stop();
  }, LONG_MS);

  /** Others ack and get, one after the other, until `work` ends. Each sees what was done before. */
  const withOthers = async <T>(work: Promise<T>, atLeast = 0): Promise<T> => {
    let isDone = false;
    let answered = 0;
    const acks = (async () => {
      while (!isDone) {
        const id = others[answered % OTHERS]!;
        const acked = await insist(() => neighbours.ack(id, '1', message(++order)));
        expect(await insist(() => neighbours.get(id, '1'))).toEqual(acked);
        answered++;
      }
    })();
    try {
      return await work;
    } finally {
      isDone = true;
      await acks;
      expect(answered).toBeGreaterThanOrEqual(atLeast);
    }
  };
  const isFlushed = (): Promise<void> =>
    until(
      async () => (await service.metric('tidemark_shard_dirty_users')) === 0,
      'all is written',
      PATIENCE_MS,
    );
  const expectListed = async (): Promise<void> => {
    const { entries, partial } = await withOthers(driver.list(user), OTHERS_ANSWERED_MIN);
    expect(partial).toBe(false);
    // Not all in one `toEqual`: a hundred thousand of them take a minute.
    const differs = entries.findIndex((entry, i) => JSON.stringify(entry) !== JSON.stringify(expected[i]));
    if (differs >= 0) expect(entries[differs], `entry ${differs}`).toEqual(expected[differs]);
    expect(entries).toHaveLength(expected.length);
  };

  it(
    'is written',
    async () => {
      const items = channels.map((channel_id, i) => ({
        channel_id,
        message_id: message(i),
        read_state_type: i % 6,
      }));
      let next = 0;
      const write = async (): Promise<void> => {
        while (next < ENTRIES) {
          const from = next;
          next += BULK;
          const acked = await insist(() => driver.ackBulk(user, items.slice(from, from + BULK)));
          acked.forEach((entry, i) => {
            expected[from + i] = entry;
          });
        }
      };
      await withOthers(Promise.all(Array.from({ length: BULKS_AT_ONCE }, write)));
      await isFlushed();
    },
    LONG_MS,
  );

  it(
    'is listed from memory, and since a version',
    async () => {
      await expectListed();
      const versions = expected.map(({ version }) => version).sort((a, b) => a - b);
      const since = versions[ENTRIES - 11]!;
      expect(await driver.list(user, since)).toMatchObject({
        entries: expected.filter(({ version }) => version > since),
        partial: true,
      });
    },
    LONG_MS,
  );

  it(
    'is pushed out by others, and loaded again',
    async () => {
      const bulk = newIds(BULK).map((channel_id) => ({ channel_id, message_id: message(1) }));
      await until(
        async () => {
          await Promise.all(newIds(20).map((id) => insist(() => neighbours.ackBulk(id, bulk))));
          // All who were there before the crowd: it is newer than each of them.
          return (await service.metric('tidemark_shard_evicted_users_total')) > OTHERS + 1;
        },
        'the large user is evicted',
        PATIENCE_MS,
      );
      const loads = await service.metric('tidemark_shard_loaded_rows_total');
      await expectListed();
      expect((await service.metric('tidemark_shard_loaded_rows_total')) - loads).toBeGreaterThanOrEqual(
        ENTRIES,
      );
    },
    LONG_MS,
  );

  it(
    'is streamed to who lists, when there is no room for all of it',
    async () => {
      await isFlushed();
      driver.close();
      neighbours.close();
      await service.restart({ capacity: '20k' });
      await connect();
      await expectListed();
      const changed = await insist(() =>
        driver.ack(user, channels[7]!, message(ENTRIES), { type: 1, mention_count: 3 }),
      );
      expected[7] = changed;
      expect(await insist(() => withOthers(driver.badge(user)))).toEqual({
        mention_count: 3,
        unread_mention_channels: 1,
      });
      Object.assign(service.options, { capacity: ROOM.capacity });
    },
    LONG_MS,
  );

  it(
    'loses some entries, and then all',
    async () => {
      await isFlushed();
      await restart();
      const gone = new Set(channels.filter((_, i) => i % 1000 === 0));
      await withOthers(
        Promise.all(
          [...gone].map((channel, i) => insist(() => driver.delete(user, channel, (i * 1000) % 6))),
        ),
      );
      expected = expected.filter(({ id }) => !gone.has(id));
      await expectListed();
      await isFlushed();
      await restart();
      await expectListed();
      await withOthers(insist(() => driver.deleteUser(user)));
      expect(await driver.list(user)).toMatchObject({ entries: [], partial: false });
      await isFlushed();
      await restart();
      expect(await withOthers(driver.list(user))).toMatchObject({ entries: [], partial: false });
      expect(await driver.get(user, channels[1]!, 1)).toBeNull();
    },
    LONG_MS,
  );
}

describe('a user with 100,000 entries, on LMDB', () => {
  const directory = mkdtempSync(join(tmpdir(), 'tidemark-large-'));
  afterAll(() => rmSync(directory, { recursive: true, force: true }));
  playLargeUser(async () => `lmdb:${directory}`);
});

describeCassandra('a user with 100,000 entries, on Cassandra', () => {
  // One page of so many rows can take Cassandra longer than the default of 5 s when other tests want the cores.
  playLargeUser(async () => `${await newStoreUrl()}&request-timeout-ms=60000`);
});
