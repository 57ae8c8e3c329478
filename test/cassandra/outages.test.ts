/**
 * Cassandra away, slow, cut off and silent, under load: who is in memory notices nothing, who is not is told so in
 * time, what was not written is written afterwards, at a bounded pace, and nothing is lost.
 *
 * OUTAGE_MS=60000 makes the outages a minute long.
 */
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { sleep } from '../../bench/clock.js';
import { WRITE_LIMIT } from '../../workers/stores/cassandra-limits.js';
import { cassandraClient, describeCassandra } from '../support/cassandra.js';
import { type Asked, LOAD_TIMEOUT_MS, OutageStage, PATIENCE_MS } from './outage-stage.js';

const OUTAGE_MS = Number(process.env.OUTAGE_MS ?? 10_000);
const TEST_MS = 3 * OUTAGE_MS + 4 * PATIENCE_MS;
/** What a busy machine may add to a time. */
const SLACK_MS = 5000;
const DENYLIST = 'system_distributed.partition_denylist';

let stage: OutageStage;

/** Refused in the way that a store that is away asks for. */
function expectRefused(asked: readonly Asked[]): void {
  for (const { status, code, tookMs } of asked) {
    expect({ status, code }).toEqual({ status: 503, code: 'store_unavailable' });
    expect(tookMs).toBeLessThan(LOAD_TIMEOUT_MS + SLACK_MS);
  }
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >>> 1]!;
}

/** Those who were asked for between two moments of `performance.now`. */
function between(asked: readonly Asked[], fromMs: number, toMs: number): Asked[] {
  return asked.filter(({ atMs, tookMs }) => atMs > fromMs && atMs + tookMs < toMs);
}

describeCassandra('one node', () => {
  beforeAll(async () => {
    stage = await OutageStage.start({
      settings: {
        partition_denylist_enabled: true,
        denylist_reads_enabled: false,
        denylist_consistency_level: 'ONE',
        denylist_refresh: '1s',
      },
    });
  }, 3 * PATIENCE_MS);
  afterEach(() => stage.recover(), 2 * PATIENCE_MS);
  afterAll(() => stage?.end(), PATIENCE_MS);

  it(
    'killed with -9 for a while and started again',
    async () => {
      const node = stage.cluster.nodes[0]!;
      let [goneMs, backMs, written, dirty] = [0, 0, 0, 0];
      const asked = await stage.playDuring(async () => {
        await sleep(500);
        await node.kill();
        goneMs = performance.now();
        await sleep(OUTAGE_MS);
        dirty = await stage.metric('tidemark_shard_dirty_users');
        stage.meter.resetMost();
        written = stage.meter.total.write;
        backMs = performance.now();
        node.start();
        await stage.cluster.ready();
        await stage.answersStrangers();
      });
      const away = between(asked, goneMs, backMs);
      expect(away.length).toBeGreaterThan(OUTAGE_MS / 200);
      expectRefused(away);
      expect(dirty).toBeGreaterThan(300);
      await stage.drained();
      // Back, and no storm: what waits is written once, so many at a time as the store takes.
      expect(stage.meter.most.write).toBeGreaterThan(0);
      expect(stage.meter.most.write).toBeLessThanOrEqual(WRITE_LIMIT.max);
      expect(stage.meter.total.write - written).toBeGreaterThanOrEqual(dirty);
      await stage.expectAllStored();
    },
    TEST_MS,
  );

  it(
    'slow: every message takes 300 ms each way',
    async () => {
      const proxy = stage.proxies[0]!;
      let fromMs = 0;
      const asked = await stage.playDuring(async () => {
        proxy.latencyMs = 300;
        await sleep(200);
        fromMs = performance.now();
        await sleep(OUTAGE_MS / 2);
      });
      const slow = between(asked, fromMs, Number.POSITIVE_INFINITY);
      for (const { status, tookMs } of slow) {
        expect(status).toBe(200);
        expect(tookMs).toBeGreaterThan(590);
      }
      expect(slow.length).toBeGreaterThan(10);
      await stage.drained(); // also while it is slow
      expect(proxy.latencyMs).toBe(300);
      await proxy.heal();
      await stage.expectAllStored();
    },
    TEST_MS,
  );

  it(
    'cut off again and again',
    async () => {
      const proxy = stage.proxies[0]!;
      const asked = await stage.playDuring(async () => {
        const endMs = performance.now() + OUTAGE_MS / 2;
        while (performance.now() < endMs) {
          proxy.cut();
          await sleep(300);
        }
      });
      expectRefused(asked.filter(({ status }) => status !== 200));
      await stage.answersStrangers();
      await stage.expectAllStored();
    },
    TEST_MS,
  );

  it(
    'half-open: connections stay, and nobody answers',
    async () => {
      const proxy = stage.proxies[0]!;
      let [fromMs, toMs] = [0, 0];
      const asked = await stage.playDuring(async () => {
        await sleep(200);
        proxy.swallow();
        fromMs = performance.now();
        await sleep(OUTAGE_MS);
        toMs = performance.now();
        stage.meter.resetMost();
        await proxy.heal();
        await stage.answersStrangers();
      });
      const silent = between(asked, fromMs, toMs);
      expectRefused(silent);
      // At first they wait for the timeout; then the circuit is open, and nobody but a probe waits.
      expect(silent[0]!.tookMs).toBeGreaterThan(LOAD_TIMEOUT_MS * 0.9);
      const late = between(asked, fromMs + 3 * LOAD_TIMEOUT_MS, toMs).map(({ tookMs }) => tookMs);
      expect(late.length).toBeGreaterThan(OUTAGE_MS / 1000);
      expect(median(late)).toBeLessThan(LOAD_TIMEOUT_MS / 5);
      await stage.drained();
      expect(stage.meter.most.write).toBeLessThanOrEqual(WRITE_LIMIT.max);
      await stage.expectAllStored();
    },
    TEST_MS,
  );

  it(
    'frozen for some seconds, like a long collection of garbage',
    async () => {
      const node = stage.cluster.nodes[0]!;
      await stage.playDuring(async () => {
        node.freeze();
        await sleep(OUTAGE_MS / 2);
        node.thaw();
        await stage.answersStrangers();
      });
      await stage.expectAllStored();
    },
    TEST_MS,
  );

  it(
    'refuses the rows of one user: the others are written, and it is said who',
    async () => {
      const client = cassandraClient(stage.cluster.contactPoints);
      const [poisoned] = stage.load.userIds;
      const [, keyspace] = /\/(\w+)\?/.exec(stage.store)!;
      const key = Buffer.alloc(8);
      key.writeBigInt64BE(BigInt(poisoned!));
      const where = `ks_name = '${keyspace}' AND table_name = 'read_states' AND key = 0x${key.toString('hex')}`;
      const failures = () => stage.metric('tidemark_persister_write_failures_total');
      try {
        await stage.drained();
        const before = await failures();
        await client.execute(
          `INSERT INTO ${DENYLIST} (ks_name, table_name, key) VALUES ('${keyspace}', 'read_states', 0x${key.toString('hex')})`,
        );
        // Cassandra looks at its list each second.
        await stage.until(async () => {
          await stage.play(300);
          return (await failures()) > before;
        }, 'the user is refused');
        await stage.play(500);
        await stage.until(
          async () => (await stage.metric('tidemark_shard_dirty_users')) === 1,
          'all but the one user are written',
        );
        await stage.until(() => stage.server.log.includes(String(poisoned)), 'the log names the user');
        await client.execute(`DELETE FROM ${DENYLIST} WHERE ${where}`);
        await stage.expectAllStored();
      } finally {
        await client.shutdown();
      }
    },
    TEST_MS,
  );
});
