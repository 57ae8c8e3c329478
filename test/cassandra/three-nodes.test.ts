/** Three nodes with a replica each: one killed, and written and read by two of three, nobody notices. */
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { sleep } from '../../bench/clock.js';
import { describeCassandra } from '../support/cassandra.js';
import { OutageStage, PATIENCE_MS } from './outage-stage.js';

const OUTAGE_MS = Number(process.env.OUTAGE_MS ?? 10_000);
const TEST_MS = 3 * OUTAGE_MS + 4 * PATIENCE_MS;

describeCassandra('three nodes at LOCAL_QUORUM', () => {
  let stage: OutageStage;
  beforeAll(async () => {
    stage = await OutageStage.start({
      nodes: 3,
      replicas: 3,
      store: '&write-consistency=LOCAL_QUORUM&read-consistency=LOCAL_QUORUM',
    });
  }, 4 * PATIENCE_MS);
  afterEach(() => stage.recover(), 2 * PATIENCE_MS);
  afterAll(() => stage?.end(), PATIENCE_MS);

  it(
    'one of which is killed with -9',
    async () => {
      const node = stage.cluster.nodes[1]!;
      const asked = await stage.playDuring(async () => {
        await sleep(500);
        await node.kill();
        await sleep(OUTAGE_MS);
      });
      // Strangers, too, as soon as the driver knows; until then it has other nodes to ask.
      const refused = asked.filter(({ status }) => status !== 200);
      expect(refused.length).toBeLessThan(asked.length / 10);
      await stage.drained();
      // Two of three have everything, also for a server that comes now.
      await stage.expectAllStored();

      await stage.playDuring(async () => {
        node.start();
        await stage.cluster.ready();
        await sleep(500);
      });
      await stage.expectAllStored();
    },
    TEST_MS,
  );
});
