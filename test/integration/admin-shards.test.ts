/** What is counted of a shard while threads and lanes come and go. */
import { afterEach, expect, it } from 'vitest';
import { OP_ACK } from '../../engine/messages.js';
import { Sampler, shardGrowth } from '../../gateway/admin/sampler.js';
import { Counters } from '../../gateway/counters.js';
import { LANE_STATS } from '../../workers/stats.js';
import { type Gateway, startGateway } from './gateway-support.js';

const OPERATIONS_MS = 120_000;
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
