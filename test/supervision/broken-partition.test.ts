/** Partitions that a thread leaves broken: emptied, and back from journal and store, with all that was answered. */
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { sleep } from '../../bench/clock.js';
import { LANE_STATS } from '../../workers/stats.js';
import { Builds } from './builds.js';
import { Stage, violationsOf } from './stage.js';

let builds: Builds;
let corrupting: string;
beforeAll(async () => {
  builds = new Builds();
  const submit = 'export function submit(lane, words, at, length, likely) {';
  corrupting = await builds.make(
    'corrupting',
    'workers/lane-waiting.js',
    submit,
    `import { HEADER } from '../engine/slab-memory.js';
    import { RECORD, USER } from '../engine/layout.js';
    ${submit}
    const channel = words[at + ROUTED.WORDS + REQUEST.CHANNEL_LO];
    if (channel > 100 && channel < 110) {
      const { memory } = lane.partition(lane.partitionOf(words[at + ROUTED.USER_HASH]));
      const oldest = memory.userAt(memory.header[HEADER.ACTIVE_OLDEST]);
      const first = memory.users[oldest + USER.FIRST_RECORD];
      if (channel === 101) memory.records[memory.recordAt(first) + RECORD.NEXT_OF_USER] = first || 1; // a circle
      if (channel === 102) memory.users[oldest + USER.RECORD_COUNT] += 3;
      if (channel === 103) memory.recordBuckets.fill(-1, memory.recordBucketsBase, memory.recordBucketsBase + 64);
      if (channel === 104) memory.header[HEADER.RECORD_COUNT] = -1;
      if (channel === 105) new Int32Array(lane.own.undo)[0] = 8 * 1e6;
      if (channel === 104) for (;;);
      throw new Error('corrupted');
    }`,
  );
});
afterAll(() => builds.remove());

let stage: Stage | undefined;
afterEach(async () => {
  await stage?.end();
  stage = undefined;
});

const LARGE = {
  shards: '2',
  lanes: '2',
  capacity: '20k',
  partitions: '4',
  flushDelay: '1h',
  hangTimeout: '1s',
};
const SMALL = { ...LARGE, capacity: '1500', flushDelay: '200ms' };

it.each([
  ['a chain', '101', LARGE],
  ['a chain, while users come and go', '101', SMALL],
  ['a count', '102', LARGE],
  ['an index', '103', LARGE],
  ['its header, and whose thread hangs', '104', LARGE],
  ['its header, while users come and go', '104', SMALL],
  ['the undo log', '105', LARGE],
])('comes back when what is broken is %s', { timeout: 120_000 }, async (_what, channel, serve) => {
  stage = await Stage.start({ serve });
  const { load, workers } = stage;
  expect((await stage.post('/admin/reload', { dist: corrupting })).status).toBe(200);
  load.start();
  await sleep(700);
  const { status } = await stage.post(`/v1/users/77/read-states/${channel}/ack`, { message_id: '5' });
  expect([500, 503]).toContain(status);
  const reloaded = (): number =>
    workers.laneStats.reduce((sum, stats) => sum + stats[LANE_STATS.RELOADED]!, 0);
  await expect
    .poll(reloaded, { timeout: 20_000 })
    .toBeGreaterThan(0)
    .catch((error: Error) => {
      throw new Error(`${error.message}: ${violationsOf(stage!)}`);
    });
  await sleep(300);
  await stage.verify();
  expect(load.checker.violations, violationsOf(stage)).toEqual([]);
  expect(stage.failures).toEqual([]);
  const text = stage.warnings.join('\n');
  expect(text).toMatch(/Partition \d(, \d: each)? is broken .* comes back from the journal and the store/);
  expect(text).toMatch(/serves again, with [1-9]\d* changes from the journal\.$/m);
  await stage.restart();
  await stage.verify();
  expect(load.checker.violations, violationsOf(stage)).toEqual([]);
});

it('says what can be lost when there is no journal', { timeout: 120_000 }, async () => {
  stage = await Stage.start({ serve: { ...LARGE, durability: 'none' } });
  const { workers } = stage;
  expect((await stage.post('/admin/reload', { dist: corrupting })).status).toBe(200);
  expect((await stage.post('/v1/users/77/read-states/1/ack', { message_id: '5' })).status).toBe(200);
  await stage.post('/v1/users/77/read-states/102/ack', { message_id: '5' });
  await expect
    .poll(() => workers.laneStats.reduce((sum, stats) => sum + stats[LANE_STATS.RELOADED]!, 0), {
      timeout: 20_000,
    })
    .toBeGreaterThan(0);
  expect(stage.warnings.join('\n')).toMatch(/from the store alone.*changes of up to 1 users .* are lost/);
  const { entries } = (await stage.get('/v1/users/77/read-states')) as { entries: object[] };
  expect(entries).toEqual([]);
  expect((await stage.post('/v1/users/77/read-states/2/ack', { message_id: '5' })).status).toBe(200);
});

it('says what ends with a thread of --engine heap when there is no journal', {
  timeout: 60_000,
}, async () => {
  stage = await Stage.start({ serve: { ...LARGE, engine: 'heap', durability: 'none' } });
  const ack = (channel: number) =>
    stage!.post(`/v1/users/77/read-states/${channel}/ack`, { message_id: '5' });
  expect((await ack(1)).status).toBe(200);
  await Promise.all([stage.workers.killShard(0), stage.workers.killShard(1)]);
  await expect.poll(async () => (await ack(2)).status, { timeout: 20_000 }).toBe(200);
  const { entries } = (await stage.get('/v1/users/77/read-states')) as { entries: { id: string }[] };
  expect(entries.map(({ id }) => id)).toEqual(['2']);
  expect(stage.warnings.join('\n')).toMatch(
    /Partition (0, 2|1, 3): each is broken \(its objects have ended with their thread\).*from the store alone.*changes since their last flush are lost.*Subscriptions/,
  );
  expect(stage.failures).toEqual([]);
});
