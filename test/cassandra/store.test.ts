/** What is Cassandra's own in the store: timestamps, tombstones, pages, and what it says when it cannot open. */
import type { Client } from 'cassandra-driver';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { META_DELETED, META_STORED } from '../../engine/layout.js';
import { ENTRY, LOAD_PART_ROWS, ROW } from '../../engine/messages.js';
import { createStore } from '../../workers/stores/open.js';
import type { Store, WriteGroup } from '../../workers/stores/store.js';
import {
  cassandraClient,
  describeCassandra,
  newKeyspace,
  newStoreUrl,
  sharedCassandra,
} from '../support/cassandra.js';

const START_MS = 240_000;

describeCassandra('the Cassandra store', () => {
  let url: string;
  let table: string;
  let store: Store;
  let client: Client;
  let user = 100;
  beforeAll(async () => {
    url = await newStoreUrl();
    table = `${new URL(url).pathname.slice(1)}.read_states`;
    store = await createStore(url);
    await store.open();
    client = cassandraClient(await sharedCassandra());
  }, START_MS);
  afterAll(async () => {
    await store.close();
    await client.shutdown();
  });
  beforeEach(() => {
    user++;
  });

  /** Of channels, each with the clock as its message. */
  function group(
    clock: number,
    channels: readonly number[],
    change: Partial<WriteGroup> & { meta?: number } = {},
  ) {
    const { meta = 0, ...rest } = change;
    const rows = new Int32Array(channels.length * ROW.WORDS);
    channels.forEach((channel, i) => {
      rows[i * ROW.WORDS + ENTRY.CHANNEL_LO] = channel;
      rows[i * ROW.WORDS + ENTRY.MESSAGE_LO] = clock;
      rows[i * ROW.WORDS + ENTRY.META] = meta;
    });
    const ids = { userLo: user, userHi: 0, clockLo: clock, clockHi: 0 };
    return { ...ids, version: clock, deletedVersion: 0, wipe: false, rows, count: channels.length, ...rest };
  }

  async function write(...groups: WriteGroup[]): Promise<void> {
    expect(await store.write(groups)).toEqual(groups.map(() => null));
  }

  /** Channel and message of each row, and the versions. */
  async function load() {
    const rows: [number, number][] = [];
    const userRow = await store.loadUser(user, 0, (words, count) => {
      for (let at = 0; at < count * ROW.WORDS; at += ROW.WORDS) {
        rows.push([words[at + ENTRY.CHANNEL_LO]!, words[at + ENTRY.MESSAGE_LO]!]);
      }
    });
    return { rows, ...userRow };
  }

  const deletion = { meta: META_DELETED | META_STORED };

  it('does not let a late group overwrite what is newer, whatever is in it', async () => {
    await write(group(50, [1, 2]), group(60, [3], { deletedVersion: 60 }));
    await write(
      group(40, [1, 3]),
      group(45, [2], deletion),
      group(41, [1], { wipe: true, deletedVersion: 41 }),
    );
    expect(await load()).toEqual({
      rows: [
        [1, 50],
        [2, 50],
        [3, 60],
      ],
      version: 60,
      deletedVersion: 60,
    });
    await write(group(70, [1], deletion), group(55, [1]));
    expect((await load()).rows).toEqual([
      [2, 50],
      [3, 60],
    ]);
  });

  it('wipes rows that are older and no others, also when the wipe comes last', async () => {
    await write(group(10, [1, 2, 3]), group(30, [2], { version: 30, deletedVersion: 20 }));
    await write(group(20, [3, 4], { wipe: true, deletedVersion: 20 }));
    expect(await load()).toEqual({
      rows: [
        [2, 30],
        [3, 20],
        [4, 20],
      ],
      version: 30,
      deletedVersion: 20,
    });
  });

  it('gives the same after all orders of two groups and a wipe', async () => {
    const make = () => [
      group(10, [1, 2]),
      group(20, [2, 3], { wipe: true, deletedVersion: 20 }),
      group(30, [3, 4], { deletedVersion: 20 }),
    ];
    for (const order of [
      [0, 1, 2],
      [0, 2, 1],
      [1, 0, 2],
      [1, 2, 0],
      [2, 0, 1],
      [2, 1, 0],
    ]) {
      user++;
      const groups = make();
      for (const index of order) await write(groups[index]!);
      await write(groups[order[0]!]!); // a retry of the first
      expect(await load()).toEqual({
        rows: [
          [2, 20],
          [3, 30],
          [4, 30],
        ],
        version: 30,
        deletedVersion: 20,
      });
    }
  });

  it('pages through 100,000 rows, and waits while the receiver is full', async () => {
    const count = 100_000;
    for (let from = 0; from < count; from += 2000) {
      const groups = Array.from({ length: 20 }, (_, i) =>
        group(
          1000 + from / 100 + i,
          Array.from({ length: 100 }, (_unused, k) => from + i * 100 + k + 1),
        ),
      );
      await write(...groups);
    }
    let rows = 0;
    let last = 0;
    let most = 0;
    let inOrder = true;
    let heapMost = 0;
    let inSink = 0;
    const before = process.memoryUsage().heapUsed;
    const userRow = await store.loadUser(user, 0, async (words, partRows) => {
      expect(++inSink).toBe(1);
      for (let at = 0; at < partRows * ROW.WORDS; at += ROW.WORDS) {
        if (words[at + ENTRY.CHANNEL_LO]! !== ++last) inOrder = false;
      }
      rows += partRows;
      most = Math.max(most, partRows);
      if (rows % (LOAD_PART_ROWS * 50) === 0) {
        await new Promise((resolve) => setTimeout(resolve, 5));
        globalThis.gc?.();
        heapMost = Math.max(heapMost, process.memoryUsage().heapUsed - before);
      }
      inSink--;
    });
    expect([rows, most, inOrder, userRow.version]).toEqual([count, LOAD_PART_ROWS, true, 1999]);
    // All of it as objects of the driver would be 60 MB and more.
    expect(heapMost).toBeLessThan(40 * 2 ** 20);
  }, 120_000);

  it('leaves no tombstone for rows that were never stored, and none for values of 0', async () => {
    await write(group(10, [1, 2]), group(20, [3, 4], { meta: META_DELETED }), group(30, []));
    expect(await tombstonesRead()).toBe(0);
    await write(group(40, [1], deletion));
    expect(await tombstonesRead()).toBeGreaterThan(0);
  });

  /** Tombstones that a query of the user meets, as the server's own trace tells. */
  async function tombstonesRead(): Promise<number> {
    const query = `SELECT * FROM ${table} WHERE user_id = ${user}`;
    const { info } = await client.execute(query, [], { traceQuery: true });
    for (;;) {
      const { events, duration } = await client.metadata.getTrace(info.traceId);
      const cells = (events as { activity: string }[])
        .map(({ activity }) => /and (\d+) tombstone cells/.exec(activity)?.[1])
        .filter((found) => found !== undefined);
      if (duration !== null && cells.length > 0) return cells.reduce((sum, found) => sum + Number(found), 0);
    }
  }

  it('says what is missing, and how to make it', async () => {
    const keyspace = await newKeyspace(await sharedCassandra());
    const other = await createStore(url.replace(/\/[^/?]*\?/, `/${keyspace}?`));
    await expect(other.open()).rejects.toThrow(
      `the table ${keyspace}.read_states is missing. Make it with: tidemark schema --apply --store URL`,
    );
    await client.execute(`CREATE TABLE ${keyspace}.read_states (user_id bigint PRIMARY KEY, version text)`);
    await expect(other.open()).rejects.toThrow(
      /has no key column channel_id; .*version .* is regular text, not/,
    );
    const nowhere = await createStore('cassandra://me:hunter2@127.0.0.1:1/k?dc=datacenter1');
    await expect(nowhere.open()).rejects.toThrow(
      /^cannot open the store cassandra:\/\/127\.0\.0\.1\/k: no host answers \(127\.0\.0\.1:1: connect ECONNREFUSED/,
    );
  });

  it('answers what it is asked after it was closed', async () => {
    const other = await createStore(url);
    await other.open();
    await other.close();
    await expect(other.loadUser(user, 0, () => {})).rejects.toThrow('is not open');
    expect(await other.write([group(10, [1])])).toEqual([expect.any(Error)]);
  });
});
