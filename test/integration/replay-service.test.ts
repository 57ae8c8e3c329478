/** The real service, started as an operator would, under the replay of real traffic and the client library. */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { rawWebSocket } from '../../bench/raw-web-socket.js';
import { MODEL_DEFAULTS } from '../../bench/reader-model.js';
import { type ReplayOptions, replay } from '../../bench/replay.js';
import { killChild, readMetrics, type Service, startService } from '../../bench/service-child.js';
import { TidemarkClient, type TidemarkEvent } from '../../gateway/client/index.js';
import { ROOT } from '../../scripts/repository.js';

const TRACE = join(ROOT, '../shared/traffic/ubuntu-irc.ndjson.gz');
const TOKEN = 'a-token-of-the-integration-test';

let folder: string;
let tokenFile: string;
let service: Service;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'tidemark-replay-service-'));
  tokenFile = join(folder, 'token');
  writeFileSync(tokenFile, `${TOKEN}\n`);
  const args = [
    '--data',
    join(folder, 'data'),
    '--capacity',
    '100k',
    '--flush-delay',
    '1s',
    '--partitions',
    '4',
  ];
  service = await startService([...args, '--auth-token-file', tokenFile], TOKEN);
});
afterAll(async () => {
  if (service !== undefined) await killChild(service.child);
  rmSync(folder, { recursive: true, force: true });
});

if (!existsSync(TRACE)) console.warn(`replay of real traffic is skipped: ${TRACE} is not there`);

describe.skipIf(!existsSync(TRACE))('real traffic', () => {
  test('in far too little memory it leaves the same, and nothing overtakes what came before', async () => {
    const args = [
      '--data',
      join(folder, 'little'),
      '--capacity',
      '500',
      '--flush-delay',
      '200ms',
      '--partitions',
      '4',
    ];
    const little = await startService([...args, '--room-timeout', '20s', '--load-timeout', '20s']);
    try {
      const { burstMs: burst, viewMs: view, idleMs: idle, ...model } = MODEL_DEFAULTS;
      const speed = Number.POSITIVE_INFINITY;
      const options = {
        ...model,
        burst,
        view,
        idle,
        url: little.url,
        protocol: 'bin',
        speed,
        limit: 2000,
        userOffset: 0,
      };
      const result = await replay(TRACE, options as ReplayOptions, () => {});
      expect(result.run.errors).toEqual({});
      // A mention that its reader's ack overtook would be suppressed, which the replay counts as a difference.
      expect(result.differences).toEqual([]);
      expect((await readMetrics(little.url)).get('tidemark_shard_evicted_users_total')).toBeGreaterThan(500);
    } finally {
      await killChild(little.child);
    }
  });

  test.each([
    ['bin', 10_000, 0],
    ['http', 2_000, 1_000_000],
  ] as const)(
    'over %s, %d messages leave exactly what was simulated',
    async (protocol, limit, userOffset) => {
      const { burstMs: burst, viewMs: view, idleMs: idle, ...model } = MODEL_DEFAULTS;
      const speed = Number.POSITIVE_INFINITY;
      const options = {
        ...model,
        burst,
        view,
        idle,
        url: service.url,
        tokenFile,
        protocol,
        speed,
        limit,
        userOffset,
      };
      const output: string[] = [];
      const result = await replay(TRACE, options, (text) => output.push(text));
      expect(result.run.errors).toEqual({});
      expect(result.differences).toEqual([]);
      expect(output.at(-1)).toMatch(/all as expected$/);
      expect(result.messages).toBe(limit);
    },
  );
});

describe('the client', () => {
  const clients: TidemarkClient[] = [];
  function connect(token = TOKEN): TidemarkClient {
    const client = new TidemarkClient({ url: service.url.href, token, webSocket: rawWebSocket });
    clients.push(client);
    return client;
  }
  afterAll(() => {
    for (const client of clients) client.close();
  });

  test('sees its own writes, on every connection', async () => {
    const [client, other] = [connect(), connect()];
    const user = '9000000000000000001';
    const entry = await client.ack(user, '5', '77', { mentionCount: 3, flags: 9, lastViewed: 65_534 });
    expect(entry).toMatchObject({ mentionCount: 3, flags: 9, lastViewed: 65_534, lastMessageId: '77' });
    expect(await other.get(user, '5')).toEqual(entry);
    expect(await other.mention('5', [user, user], { messageId: '80' })).toMatchObject({ applied: 1 });
    expect(await other.mention('5', [user], { messageId: '80' })).toMatchObject({ duplicates: 1 });
    expect(await other.mention('5', [user], { messageId: '76' })).toMatchObject({ suppressed: 1 });
    const pinned = await client.pinAck(user, '5', 1_735_689_600_000);
    expect(pinned.lastPinTimestamp).toEqual(new Date('2025-01-01T00:00:00.000Z'));
    const items = Array.from({ length: 100 }, (_, i) => ({
      channelId: String(100 + i),
      messageId: '9',
      type: i % 6,
    }));
    expect((await client.ackBulk(user, items)).map(({ channelId }) => channelId)).toEqual(
      items.map(({ channelId }) => channelId),
    );
    const list = await other.list(user);
    expect(list.entries).toHaveLength(101);
    expect(list.partial).toBe(false);
    expect(await other.badge(user)).toEqual({ mentionCount: 4, unreadMentionChannels: 1 });
    await client.ack(user, '5', '81');
    const changed = await other.list(user, { since: list.version });
    expect(changed.partial).toBe(true);
    expect(changed.entries.map(({ channelId }) => channelId)).toEqual(['5']);
    await client.delete(user, '5');
    expect(await other.get(user, '5')).toBeNull();
    await client.deleteUser(user);
    expect((await other.list(user)).entries).toEqual([]);
  });

  test('a list of many parts is whole and in order', async () => {
    const client = connect();
    const user = '9000000000000000002';
    await Promise.all(Array.from({ length: 3000 }, (_, i) => client.ack(user, String(3000 - i), '7')));
    const { entries } = await client.list(user);
    expect(entries.map(({ channelId }) => Number(channelId))).toEqual(
      Array.from({ length: 3000 }, (_, i) => i + 1),
    );
  });

  test('a thousand mentions at once are a thousand', async () => {
    const writers = [connect(), connect(), connect()];
    const user = '9000000000000000003';
    await Promise.all(Array.from({ length: 1000 }, (_, i) => writers[i % 3]!.mention('5', [user])));
    expect((await writers[0]!.get(user, '5'))?.mentionCount).toBe(1000);
  });

  test('events come in the order of their versions', async () => {
    const [watcher, writer] = [connect(), connect()];
    const user = '9000000000000000004';
    const events: TidemarkEvent[] = [];
    await watcher.subscribe([user], (event) => events.push(event));
    await writer.ack(user, '1', '10');
    await writer.ack(user, '1', '9', { manual: true });
    await writer.mention('1', [user], { messageId: '11' });
    await writer.pinAck(user, '1', 5);
    await writer.delete(user, '1');
    await writer.deleteUser(user);
    await writer.ack(user, '2', '10');
    await expect.poll(() => events.at(-1)).toMatchObject({ entry: { channelId: '2' } });
    const causes = events.flatMap((event) => (event.event === 'read_state' ? [event.cause] : [event.event]));
    expect(causes.filter((cause) => cause !== 'user_deleted')).toEqual([
      'ack',
      'ack',
      'mention',
      'pins',
      'delete',
      'ack',
    ]);
    const versions = events.map((event) =>
      event.event === 'read_state' ? event.entry.version : 'version' in event ? event.version : 0,
    );
    expect(versions).toEqual([...versions].sort((a, b) => a - b));
    expect(events[1]).toMatchObject({ manual: true, entry: { lastMessageId: '9' } });
  });

  test('what the service refuses is named', async () => {
    await expect(connect('another-token-than-the-one').ping()).rejects.toMatchObject({
      code: 'unauthorized',
    });
  });
});
