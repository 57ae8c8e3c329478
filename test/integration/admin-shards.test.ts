/** What is counted of a shard while threads and lanes come and go. */
import { afterEach, expect, it } from 'vitest';
import { sleep } from '../../bench/clock.js';
import { OP_ACK } from '../../engine/messages.js';
import { Sampler, shardGrowth } from '../../gateway/admin/sampler.js';
import { Counters } from '../../gateway/counters.js';
import { TICK_MS } from '../../workers/lane-options.js';
import { LANE_STATS, THREAD_GAUGES, THREAD_STATS } from '../../workers/stats.js';
import type { ShardView } from '../../workers/workers.js';
import { type Gateway, startGateway } from './gateway-support.js';

const OPERATIONS_MS = 120_000;
/** A thread counts its sleep of a tick when it wakes, on busy processors late. */
const SLACK_MS = 3 * TICK_MS;
/** Without lanes. */
const SPARE_WAIT_MS = 1500;
const ACKS = LANE_STATS.OPERATIONS + OP_ACK;

let gateway: Gateway;
afterEach(() => gateway.close());

async function ackOfEach(users: number): Promise<void> {
  for (let user = 1; user <= users; user++) {
    const response = await fetch(`${gateway.url}/v1/users/${user}/read-states/7/ack`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{"message_id":"9"}',
    });
    expect(response.status).toBe(200);
    await response.arrayBuffer();
  }
}

it('a shard that comes back has not just done what it did before it went', {
  timeout: OPERATIONS_MS,
}, async () => {
  gateway = await startGateway({ shards: '2', lanes: '4' });
  const { workers } = gateway;
  await ackOfEach(40);
  const [, second] = workers.shards();
  expect(second!.counts[ACKS]).toBeGreaterThan(0);
  await workers.resize(1);
  const sampler = new Sampler(workers, new Counters()); // its window begins while there is one shard
  await workers.resize(2);
  const { windowStart } = sampler;
  const now = sampler.snapshot();
  sampler.end();
  expect(now.shards.map(({ counts }) => counts[ACKS]! > 0)).toEqual([true, true]);
  expect(now.shards.map((view) => shardGrowth(windowStart, view, ACKS))).toEqual([0, 0]);
});

it('a thread counts for a shard from its first lane on, and goes on from what its predecessor counted', {
  timeout: OPERATIONS_MS,
}, async () => {
  gateway = await startGateway({ shards: '1', lanes: '4' });
  const { workers } = gateway;
  const seen = new Map<number, ShardView>();
  const look = (when: string): void => {
    for (const view of workers.shards()) {
      const before = seen.get(view.shard);
      before?.thread.forEach((count, field) => {
        if (THREAD_GAUGES.has(field)) return;
        expect(view.thread[field], `field ${field} of shard ${view.shard} ${when}`).toBeGreaterThanOrEqual(
          count,
        );
      });
      const sleptMs = view.thread[THREAD_STATS.SLEPT_MS]! - (before?.thread[THREAD_STATS.SLEPT_MS] ?? 0);
      const servedMs = view.servedMs - (before?.servedMs ?? 0);
      expect(sleptMs, `sleep of shard ${view.shard} ${when}`).toBeLessThanOrEqual(servedMs + SLACK_MS);
      expect(sleptMs, `sleep of shard ${view.shard} ${when}`).toBeGreaterThan(0);
      seen.set(view.shard, view);
    }
  };
  await expect.poll(() => workers.spareThreads, { timeout: 60_000 }).toBe(2);
  await sleep(SPARE_WAIT_MS);
  look('at the beginning');
  await workers.killShard(0);
  await expect.poll(() => workers.replacedThreads, { timeout: 60_000 }).toBe(1);
  await sleep(SLACK_MS);
  look('after a kill');
  await workers.resize(3);
  await sleep(SLACK_MS);
  look('after a resize');
  await workers.reload();
  await sleep(SLACK_MS);
  look('after a reload');
  await workers.resize(1);
  await workers.resize(2);
  await sleep(SLACK_MS);
  look('after it came back');
});
