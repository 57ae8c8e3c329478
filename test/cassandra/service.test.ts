/** The whole service on real Cassandra, with a proxy between them that counts requests, slows them and swallows them. */
import { randomInt } from 'node:crypto';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { addressBehind, CassandraCluster, CQL_PORT } from '../../scripts/cassandra/cluster.js';
import { type Driver, Refused } from '../contract/driver.js';
import { HttpDriver } from '../contract/http-driver.js';
import { Service } from '../contract/service.js';
import { message, newId, newIds, openDriver, until } from '../contract/stage.js';
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
  beforeEach(() => proxy.heal());
  afterEach(async () => {
    await proxy.heal();
    for (const driver of drivers) driver.close();
    await service.stop();
  }, 60_000);

  async function unsaved(): Promise<number> {
    return service.metric('tidemark_shard_dirty_users');
  }

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
      const before = meter.total.execute;
      const answers = Array.from({ length: CALLERS }, (_, i) => call(drivers[i % drivers.length]!, i));
      await Promise.all(answers);
      proxy.latencyMs = 0;
      expect([name, meter.total.execute - before]).toEqual([name, 1]);
    }
  }, 120_000);

  it('answers hits and takes writes while Cassandra is half-open; misses fail; afterwards nothing is lost', async () => {
    await start({ loadTimeout: '500ms', flushDelay: '100ms' });
    const users = newIds(200);
    for (const user of users) await drivers[0]!.ack(user, '7', message(1));
    proxy.swallow();
    for (const [i, user] of users.entries()) {
      expect(await drivers[i % 2]!.ack(user, '7', message(5))).toMatchObject({ last_message_id: message(5) });
      expect(await drivers[i % 2]!.get(user, '7')).toMatchObject({ last_message_id: message(5) });
    }
    const code = (user: string): Promise<unknown> =>
      drivers[0]!.get(user, '9').then(
        () => 'ok',
        (error: unknown) => (error instanceof Refused ? error.code : error),
      );
    const codes = await Promise.all(newIds(10).map(code));
    expect(new Set(codes)).toEqual(new Set(['store_unavailable']));
    await until(
      async () => (await service.metric('tidemark_persister_load_circuit_open')) === 1,
      'the circuit is open',
    );
    const startedMs = performance.now();
    expect(await code(newId())).toBe('store_unavailable');
    expect(performance.now() - startedMs).toBeLessThan(450); // at once, not after the load timeout
    expect(await unsaved()).toBeGreaterThan(0);
    await proxy.heal();
    await until(async () => (await unsaved()) === 0, 'all is saved');
    await until(async () => (await code(newId())) === 'ok', 'misses are answered');
    for (const driver of drivers) driver.close();
    await service.stop();
    await start();
    for (const user of users) {
      expect(await drivers[0]!.get(user, '7')).toMatchObject({ last_message_id: message(5) });
    }
  }, 120_000);
});
