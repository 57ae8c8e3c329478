/** The real service, killed with -9: everything that was answered is there at the next start. */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { TidemarkClient } from '../../gateway/client/index.js';
import type { OptionName } from '../../gateway/config.js';
import { Victim } from '../robustness/victim.js';

type Options = Partial<Record<OptionName, string>>;

/** Starts and kills, on a machine that has other things to do. */
vi.setConfig({ testTimeout: 180_000 });

let directory: string;
let victim: Victim;
const clients: TidemarkClient[] = [];
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'tidemark-kill-'));
});
afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  victim.kill();
  await victim.ended;
  rmSync(directory, { recursive: true });
});

/** A start on the directory's data and LMDB store. */
async function start(options: Options = {}): Promise<void> {
  victim = await Victim.start({
    data: join(directory, 'data'),
    store: `lmdb:${join(directory, 'store')}`,
    flushDelay: '1h',
    ...options,
  });
}

async function kill(): Promise<void> {
  for (const client of clients.splice(0)) client.close();
  victim.kill();
  await victim.ended;
}

function client(): TidemarkClient {
  const made = new TidemarkClient({ url: victim.streamUrl, timeoutMs: 20_000 });
  clients.push(made);
  return made;
}

function journalFiles(): string[] {
  try {
    return readdirSync(join(directory, 'data', 'journal')).sort();
  } catch {
    return [];
  }
}

const USERS = Array.from({ length: 300 }, (_, i) => String(1_000_000 + i));

/** Acks, mentions, pins, deletes of entries and of users, bulk acks; all answered. */
async function changeMuch(tidemark: TidemarkClient, round: number): Promise<void> {
  await Promise.all(
    USERS.map(async (user, i) => {
      await tidemark.ack(user, '1', String(round * 1000 + i + 1), { flags: i % 256 });
      await tidemark.mention('2', [user], { messageId: String(round * 1000 + i + 1) });
      await tidemark.pinAck(user, '3', new Date(1_700_000_000_000 + round * 1000 + i));
      await tidemark.ackBulk(
        user,
        Array.from({ length: 5 }, (_, j) => ({
          channelId: String(10 + j),
          messageId: String(round * 100 + j + 1),
        })),
      );
      if (i % 3 === 0) await tidemark.delete(user, '10');
      if (i % 7 === 0) await tidemark.deleteUser(user);
      if (i % 14 === 0) await tidemark.ack(user, '4', '44');
    }),
  );
}

function listAll(tidemark: TidemarkClient): Promise<unknown[]> {
  return Promise.all(USERS.map((user) => tidemark.list(user)));
}

describe.each(['slab', 'heap'])('kill -9, --engine %s', (engine) => {
  it.each([
    ['process', {}],
    ['disk', {}],
    ['process', { shards: '2', flushDelay: '20ms' }],
    [
      'process',
      { capacity: '600', partitions: '2', flushDelay: '200ms', roomTimeout: '20s', loadTimeout: '20s' },
    ],
  ])(
    '--durability %s %j: lists, versions and counts are what was answered',
    async (durability, options: Options) => {
      await start({ durability, engine, ...options });
      for (let round = 0; round < 3; round++) {
        const before = client();
        await changeMuch(before, round);
        const lists = await listAll(before);
        await kill();
        await start({ durability, engine, ...options });
        expect(await listAll(client())).toEqual(lists);
      }
      expect(victim.log).toContain('Put back from the journal: ');
      // A clean stop empties it, and everything is in the store.
      const lists = await listAll(client());
      await victim.stop();
      expect(journalFiles()).toEqual([]);
      await start({ durability: 'none', engine });
      expect(await listAll(client())).toEqual(lists);
    },
  );

  it('to none after a crash: the journal is put into the store and removed before the service is ready', async () => {
    await start({ engine });
    const before = client();
    await changeMuch(before, 0);
    const lists = await listAll(before);
    await kill();
    expect(journalFiles()).not.toEqual([]);
    await start({ engine, durability: 'none' });
    expect(journalFiles()).toEqual([]);
    await kill();
    await start({ engine, durability: 'none' });
    expect(await listAll(client())).toEqual(lists);
  });

  it('and a start with less capacity than the journal has: it is flushed as room is needed', async () => {
    await start({ engine });
    const before = client();
    await changeMuch(before, 0);
    const lists = await listAll(before);
    await kill();
    await start({ engine, capacity: '150', partitions: '1', roomTimeout: '20s', loadTimeout: '20s' });
    expect(await listAll(client())).toEqual(lists);
  });
});
