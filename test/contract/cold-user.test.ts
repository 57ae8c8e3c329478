/** A user who is not in memory: however many ask at once, the store is asked once. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Driver } from './driver.js';
import { HttpDriver } from './http-driver.js';
import { Service } from './service.js';
import { message, newId, openDriver, until } from './stage.js';

const CALLERS = 1000;

/** The gauge is renewed each tick, so before a test it may still show the last one. */
async function parked(service: Service, count: number): Promise<void> {
  await until(async () => (await service.metric('tidemark_shard_parked')) === count, `${count} wait`);
}

async function loads(service: Service): Promise<number> {
  return service.metric('tidemark_shard_loads_total');
}

describe.each(['slab', 'heap'])('a cold user, --engine %s', (engine) => {
  let service: Service;
  let drivers: Driver[];
  beforeAll(async () => {
    service = await Service.start({ engine });
    drivers = [
      new HttpDriver(service.url, CALLERS), // a connection for each call, so that all wait at once
      await openDriver(service, 'JSON WebSocket'),
      await openDriver(service, 'binary WebSocket'),
      await openDriver(service, 'binary WebSocket'),
    ];
  });
  afterAll(() => {
    for (const driver of drivers) driver.close();
    return service.stop();
  });

  const CALLS: [string, (driver: Driver, user: string, i: number) => Promise<unknown>][] = [
    ['acks', (driver, user, i) => driver.ack(user, '7', message(i))],
    ['gets', (driver, user) => driver.get(user, '7')],
    ['mentions', (driver, user) => driver.mention('7', [user])],
    ['pins', (driver, user, i) => driver.pinAck(user, '7', i + 1)],
    ['deletes', (driver, user) => driver.delete(user, '7')],
    ['lists', (driver, user) => driver.list(user)],
    ['badges', (driver, user) => driver.badge(user)],
    ['bulk acks', (driver, user, i) => driver.ackBulk(user, [{ channel_id: '7', message_id: message(i) }])],
    ['deletes of the user', (driver, user) => driver.deleteUser(user)],
  ];

  it.each(CALLS)('1,000 %s at once make one query', async (_title, call) => {
    const user = newId();
    await parked(service, 0);
    const before = await loads(service);
    service.fault('LOAD_HANG', 1);
    const answers = Array.from({ length: CALLERS }, (_, i) => call(drivers[i % drivers.length]!, user, i));
    await parked(service, CALLERS);
    service.fault('LOAD_HANG', 0);
    await Promise.all(answers);
    expect((await loads(service)) - before).toBe(1);
  });

  it('a mix of calls on one entry makes one query, and a list of it one more', async () => {
    const user = newId();
    await parked(service, 0);
    const before = await loads(service);
    service.fault('LOAD_HANG', 1);
    const answers = Array.from({ length: 300 }, (_, i) => {
      const driver = drivers[i % drivers.length]!;
      if (i % 3 === 0) return driver.ack(user, '7', message(1));
      return i % 3 === 1 ? driver.get(user, '7') : driver.mention('7', [user]);
    });
    await parked(service, 300);
    service.fault('LOAD_HANG', 0);
    await Promise.all(answers);
    expect((await loads(service)) - before).toBe(1);
    await Promise.all(drivers.map((driver) => driver.list(user)));
    await Promise.all(drivers.map((driver) => driver.ack(user, newId(), message(1))));
    expect((await loads(service)) - before).toBe(2);
  });
});
