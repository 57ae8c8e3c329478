/** The whole service on real Cassandra, with a proxy between them that counts and slows requests. */
import { randomInt } from 'node:crypto';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { addressBehind, CassandraCluster, CQL_PORT } from '../../scripts/cassandra/cluster.js';
import type { Driver } from '../contract/driver.js';
import { HttpDriver } from '../contract/http-driver.js';
import { Service } from '../contract/service.js';
import { message, newId, openDriver } from '../contract/stage.js';
import { describeCassandra, newStoreUrl } from '../support/cassandra.js';
import { CqlMeter } from '../support/cql-meter.js';
import { FaultProxy } from '../support/fault-proxy.js';

const START_MS = 240_000;
const CALLERS = 1000;

describeCassandra('the service on Cassandra', () => {
  const meter = new CqlMeter();
  let proxy: FaultProxy;
  let cluster: CassandraCluster;
  let store: string;
  let service: Service;
  let drivers: Driver[];
  beforeAll(async () => {
    const first = `127.0.${randomInt(1, 255)}.${randomInt(1, 200)}`;
    const host = addressBehind(first, 20); // the node tells clients this address
    proxy = await FaultProxy.start({ host, port: CQL_PORT }, { host: first, port: CQL_PORT }, meter.tap);
    cluster = await CassandraCluster.start({ firstAddress: first, cqlAddress: () => host });
    store = await newStoreUrl(cluster.contactPoints);
  }, START_MS);
  afterAll(async () => {
    await proxy.stop();
    await cluster.end();
  });

  async function start(options = {}): Promise<void> {
    service = await Service.start({ store, ...options });
    drivers = [new HttpDriver(service.url, CALLERS), await openDriver(service, 'binary WebSocket')];
  }
  afterEach(async () => {
    for (const driver of drivers) driver.close();
    await service.stop();
  }, 60_000);

  it('1,000 requests at once for one cold user make one query', async () => {
    const restart = async (): Promise<void> => {
      for (const driver of drivers) driver.close();
      await service.stop(); // which saves
      await start({ flushDelay: '1h' }); // a write is an execute, too
    };
    await start();
    const user = newId();
    await drivers[0]!.ack(user, '7', message(1));
    await drivers[0]!.ack(user, '8', message(1));
    const calls: Record<string, (driver: Driver, i: number) => Promise<unknown>> = {
      list: (driver) => driver.list(user),
      get: (driver) => driver.get(user, '7'),
      ack: (driver, i) => driver.ack(user, '7', message(2 + i)),
      mention: (driver) => driver.mention('7', [user]),
    };
    for (const [name, call] of Object.entries(calls)) {
      await restart();
      proxy.latencyMs = 200;
      const before = meter.total.read;
      const answers = Array.from({ length: CALLERS }, (_, i) => call(drivers[i % drivers.length]!, i));
      await Promise.all(answers);
      proxy.latencyMs = 0;
      expect([name, meter.total.read - before]).toEqual([name, 1]);
    }
  }, 120_000);
});
