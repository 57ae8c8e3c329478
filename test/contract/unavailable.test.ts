/** 503: what callers see of a store that fails or hangs, and of a memory that is full. */
import { afterEach, describe, expect, it } from 'vitest';
import { type Driver, Refused } from './driver.js';
import type { HttpDriver } from './http-driver.js';
import { Service, TINY } from './service.js';
import { message, newId, newIds, openDriver, PROTOCOLS } from './stage.js';

let service: Service;
let drivers: Driver[] = [];
afterEach(async () => {
  for (const driver of drivers) driver.close();
  drivers = [];
  for (const fault of ['LOAD_HANG', 'WRITE_HANG', 'LOAD_ERROR_PERMILLE', 'WRITE_ERROR_PERMILLE'] as const) {
    service.fault(fault, 0);
  }
  await service.stop();
});

async function start(options: Parameters<typeof Service.start>[0]): Promise<[HttpDriver, ...Driver[]]> {
  service = await Service.start(options);
  drivers = await Promise.all(PROTOCOLS.map((protocol) => openDriver(service, protocol)));
  return drivers as [HttpDriver, ...Driver[]];
}

/** Every call that needs the store when the user is not in memory; `mention` names who failed instead. */
const CALLS: Record<string, (driver: Driver, user: string) => Promise<unknown>> = {
  get: (driver, user) => driver.get(user, '1'),
  list: (driver, user) => driver.list(user),
  badge: (driver, user) => driver.badge(user),
  ack: (driver, user) => driver.ack(user, '1', message(9)),
  ackBulk: (driver, user) => driver.ackBulk(user, [{ channel_id: '1', message_id: message(9) }]),
  pinAck: (driver, user) => driver.pinAck(user, '1', 5),
  delete: (driver, user) => driver.delete(user, '1'),
  deleteUser: (driver, user) => driver.deleteUser(user),
};

async function codeOf(answer: Promise<unknown>): Promise<string> {
  return answer.then(
    (ok) => `ok ${JSON.stringify(ok)}`,
    (error: unknown) => {
      if (error instanceof Refused) return error.code;
      throw error;
    },
  );
}

/** A store that has failed all loads is asked once a second whether it is back, as Retry-After says. */
async function storeIsBack(driver: Driver): Promise<void> {
  while ((await codeOf(driver.get(newId(), '1'))) === 'store_unavailable') {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

describe('503 store_unavailable', () => {
  it.each([
    ['a store that fails', 'LOAD_ERROR_PERMILLE', 1000],
    ['a store that hangs', 'LOAD_HANG', 1],
  ] as const)(
    '%s: every call over every protocol, "Nothing is half done on an error"',
    async (_, fault, value) => {
      const all = await start({ loadTimeout: '200ms' });
      service.fault(fault, value);
      const users = newIds(all.length * Object.keys(CALLS).length);
      const codes = all.flatMap((driver, i) =>
        Object.entries(CALLS).map(async ([name, call], k) => [
          name,
          await codeOf(call(driver, users[i * Object.keys(CALLS).length + k]!)),
        ]),
      );
      for (const [name, code] of await Promise.all(codes))
        expect([name, code]).toEqual([name, 'store_unavailable']);
      service.fault(fault, 0);
      await storeIsBack(all[0]);
      for (const user of users) expect(await all[0].list(user)).toMatchObject({ entries: [] });
    },
  );

  it('"with Retry-After"', async () => {
    const [http] = await start({});
    service.fault('LOAD_ERROR_PERMILLE', 1000);
    const answer = await http.send('GET', `/v1/users/${newId()}/badge`);
    expect(answer).toMatchObject({ status: 503, body: { code: 'store_unavailable', errors: [] } });
    expect(Number(answer.headers['retry-after'])).toBeGreaterThanOrEqual(1);
  });

  it('"failed in mentions … names what was not": the others are mentioned', async () => {
    const all = await start({});
    for (const driver of all) {
      const [here, away] = [newIds(3), newIds(3)];
      const channel = newId();
      service.fault('LOAD_ERROR_PERMILLE', 0);
      for (const user of here) await driver.ack(user, channel, message(1));
      service.fault('LOAD_ERROR_PERMILLE', 1000);
      const mixed = [away[0]!, here[0]!, away[1]!, here[1]!, here[2]!, away[2]!];
      expect(await driver.mention(channel, mixed)).toEqual({
        applied: 3,
        suppressed: 0,
        duplicates: 0,
        failed: away,
      });
      expect(await driver.mention(channel, away)).toMatchObject({ applied: 0, failed: away });
      service.fault('LOAD_ERROR_PERMILLE', 0);
      await storeIsBack(driver);
      expect(await driver.mention(channel, away)).toMatchObject({ applied: 3, failed: [] });
      for (const user of mixed) expect(await driver.get(user, channel)).toMatchObject({ mention_count: 1 });
    }
  });

  it('who is in memory is served all the same', async () => {
    const all = await start({});
    const user = newId();
    await all[0].ack(user, '1', message(1));
    await all[0].list(user);
    service.fault('LOAD_ERROR_PERMILLE', 1000);
    service.fault('WRITE_ERROR_PERMILLE', 1000);
    for (const driver of all) {
      expect(await driver.ack(user, '1', message(2))).toMatchObject({ last_message_id: message(2) });
      expect(await driver.badge(user)).toMatchObject({ mention_count: 0 });
      expect((await driver.list(user)).entries).toHaveLength(1);
    }
  });

  it('a list whose store fails in the middle is an error as a whole', async () => {
    const all = await start(TINY);
    const user = newId();
    for (let i = 0; i < 10; i++) {
      await all[0].ackBulk(
        user,
        newIds(100).map((channel_id) => ({ channel_id, message_id: '1' })),
      );
    }
    service.fault('LOAD_ROWS_THEN_ERROR', 1);
    for (const driver of all) expect(await codeOf(driver.list(user))).toBe('store_unavailable');
    service.fault('LOAD_ROWS_THEN_ERROR', 0);
    for (const driver of all) expect((await driver.list(user)).entries).toHaveLength(1000);
  });
});

describe('503 busy', () => {
  it('memory is full of what the store does not take: busy, and nothing of it is done', async () => {
    const all = await start({ ...TINY, roomTimeout: '200ms' });
    service.fault('WRITE_HANG', 1);
    const residents: string[] = [];
    for (;;) {
      const [user] = newIds(1) as [string];
      const code = await codeOf(all[0].ack(user, '1', message(1)));
      if (code === 'busy') break;
      residents.push(user);
      expect(residents.length).toBeLessThan(1000);
    }
    const late = newIds(all.length);
    for (const [i, driver] of all.entries()) {
      expect(await codeOf(driver.ack(late[i]!, '1', message(1)))).toBe('busy');
      expect(await codeOf(driver.deleteUser(late[i]!))).toBe('busy');
      expect(await driver.mention('1', [late[i]!])).toMatchObject({ applied: 0, failed: [late[i]] });
      // Who is in memory goes on.
      expect(await driver.get(residents[0]!, '1')).toMatchObject({ last_message_id: message(1) });
    }
    const refused = await all[0].send('GET', `/v1/users/${newId()}/badge`);
    expect(refused).toMatchObject({ status: 503, body: { code: 'busy', errors: [] } });
    expect(Number(refused.headers['retry-after'])).toBeGreaterThanOrEqual(1);
    service.fault('WRITE_HANG', 0);
    for (const user of residents) {
      let code = 'busy';
      while (code === 'busy') code = await codeOf(all[0].get(user, '1'));
      expect(code).toMatch(/^ok/);
    }
    for (const user of late) expect(await all[0].list(user)).toMatchObject({ entries: [], version: 0 });
  });

  it('more requests than may wait: busy, and the others are served', async () => {
    const all = await start({ maxParked: '50', lanes: '1' });
    service.fault('LOAD_HANG', 1);
    const answers = newIds(200).flatMap((user) => codeOf(all[2]!.get(user, '1')));
    await new Promise((resolve) => setTimeout(resolve, 100));
    service.fault('LOAD_HANG', 0);
    const codes = await Promise.all(answers);
    expect(codes.filter((code) => code === 'ok null')).toHaveLength(50);
    expect(codes.filter((code) => code === 'busy')).toHaveLength(150);
  });
});
