/**
 * The whole service against a plain Map: random calls of many users over all protocols at once, in far too little
 * memory. Each user's calls are made one after another, so that the model knows their order; users run in parallel.
 * The seed is printed when it fails, and taken from TIDEMARK_SEED.
 */
import { describe, expect, it } from 'vitest';
import { Random } from '../model/random.js';
import { type AckFields, type Driver, type Entry, insist } from './driver.js';
import { type Options, Service, TINY } from './service.js';
import { ServiceModel } from './service-model.js';
import { message, openDriver, PROTOCOLS } from './stage.js';

const SEED = Number(process.env.TIDEMARK_SEED ?? Date.now() & 0xffff_ffff) | 0;
const USERS = 48;
const CALLS_OF_USER = 80;
const CHANNELS = ['1', '2', '4294967296', '9223372036854775807', '77'];
const MESSAGES = 12;

/** One user's calls: each answer is compared with the model's. */
class Player {
  /** The user's version: that of its last change. */
  #version = 0;
  /** Versions up to which lists know everything, and of the last deletion. */
  #deletedVersion = 0;

  constructor(
    readonly user: string,
    readonly random: Random,
    readonly drivers: readonly Driver[],
    readonly model: ServiceModel,
  ) {}

  /** Takes the version of an entry that changed, or checks that of one that did not. */
  #settle(changed: boolean, expected: Entry, answered: Entry): void {
    if (changed) {
      expect(answered.version).toBeGreaterThan(this.#version);
      expected.version = answered.version;
      this.#version = answered.version;
    }
    expect(answered).toEqual(expected);
  }

  async #learnVersion(driver: Driver): Promise<void> {
    const { version } = await insist(() => driver.list(this.user));
    expect(version).toBeGreaterThan(this.#version);
    this.#version = version;
    this.#deletedVersion = version;
  }

  async step(): Promise<void> {
    const { random, user, model } = this;
    const driver = random.pick(this.drivers);
    const channel = random.pick(CHANNELS);
    const type = random.chance(20) ? random.next(6) : 0;
    const messageId = message(random.next(MESSAGES));
    const what = random.next(100);
    if (what < 25) {
      const fields: AckFields = { type };
      if (random.chance(20)) fields.manual = true;
      if (random.chance(20)) fields.mention_count = random.pick([1, 2, 2_147_483_647]);
      if (random.chance(20)) fields.flags = random.next(256);
      if (random.chance(20)) fields.last_viewed = random.next(65_535);
      const answered = await insist(() => driver.ack(user, channel, messageId, fields));
      this.#settle(...model.ack(user, channel, messageId, fields), answered);
    } else if (what < 45) {
      const fields = { type, ...(random.chance(70) ? { message_id: messageId } : {}) };
      const [outcome, entry] = model.mention(user, channel, type, fields.message_id);
      let answer = await driver.mention(channel, [user], fields);
      while (answer.failed.length > 0) answer = await driver.mention(channel, [user], fields);
      expect(answer).toEqual({ applied: 0, suppressed: 0, duplicates: 0, failed: [], [outcome]: 1 });
      if (outcome === 'applied') {
        const other = random.pick(this.drivers);
        const answered = await insist(() => other.get(user, channel, type));
        this.#settle(true, entry!, answered!);
      }
    } else if (what < 55) {
      const ms = 1 + random.next(20);
      const answered = await insist(() => driver.pinAck(user, channel, ms, type));
      this.#settle(...model.pin(user, channel, type, ms), answered);
    } else if (what < 70) {
      const answered = await insist(() => driver.get(user, channel, type));
      expect(answered).toEqual(model.get(user, channel, type));
    } else if (what < 80) {
      const since = random.pick([undefined, this.#version, random.next(this.#version + 3)]);
      const all = model.list(user);
      const isKnown = since !== undefined && since <= this.#version && since >= this.#deletedVersion;
      expect(await insist(() => driver.list(user, since))).toEqual({
        entries: isKnown ? all.filter((entry) => entry.version > since) : all,
        partial: isKnown,
        version: this.#version,
      });
    } else if (what < 85) {
      expect(await insist(() => driver.badge(user))).toEqual(model.badge(user));
    } else if (what < 91) {
      const items = CHANNELS.filter(() => random.chance(60)).map((channel_id) => ({
        channel_id,
        message_id: message(random.next(MESSAGES)),
        read_state_type: type,
      }));
      if (items.length === 0) return;
      const answered = await insist(() => driver.ackBulk(user, items));
      model.ackBulk(user, items).forEach(([changed, entry], i) => {
        this.#settle(changed, entry, answered[i]!);
      });
    } else if (what < 97) {
      const had = model.delete(user, channel, type);
      await insist(() => driver.delete(user, channel, type));
      if (had) await this.#learnVersion(driver);
    } else {
      model.deleteUser(user);
      await insist(() => driver.deleteUser(user));
      // A user of whom nothing was known to be left may count as changed, too.
      const { entries, version } = await insist(() => driver.list(user));
      expect(entries).toEqual([]);
      expect(version).toBeGreaterThanOrEqual(this.#version);
      if (version > this.#version) this.#deletedVersion = version;
      this.#version = version;
    }
  }

  async finish(driver: Driver): Promise<void> {
    expect(await insist(() => driver.list(this.user))).toEqual({
      entries: this.model.list(this.user),
      partial: false,
      version: this.#version,
    });
  }
}

const SERVICES: [string, Options][] = [
  ['LMDB, --flush-delay 0', { ...TINY, store: 'lmdb:', flushDelay: '0ms' }],
  [
    'LMDB, written only for room, two partitions',
    { partitions: '2', capacity: '194', store: 'lmdb:', flushDelay: '1h' },
  ],
  ['LMDB, --engine heap', { ...TINY, store: 'lmdb:', flushDelay: '20ms', engine: 'heap' }],
];

describe('the whole service against a Map', () => {
  it.each(SERVICES)(
    '%s',
    async (title, options) => {
      const service = await Service.start(options);
      const open = () =>
        Promise.all([...PROTOCOLS, ...PROTOCOLS].map((protocol) => openDriver(service, protocol)));
      let drivers = await open();
      const model = new ServiceModel();
      const players = Array.from(
        { length: USERS },
        (_, i) => new Player(String(1000 + i), new Random(SEED + i), drivers, model),
      );
      try {
        await Promise.all(
          players.map(async (player) => {
            for (let call = 0; call < CALLS_OF_USER; call++) await player.step();
          }),
        );
        expect(await service.metric('tidemark_shard_evicted_users_total')).toBeGreaterThan(USERS);
        for (const driver of drivers) driver.close();
        await service.restart();
        drivers = await open();
        await Promise.all(players.map((player, i) => player.finish(drivers[i % drivers.length]!)));
      } catch (error) {
        throw new Error(`${title}: again with TIDEMARK_SEED=${SEED}`, { cause: error });
      } finally {
        for (const driver of drivers) driver.close();
        await service.stop();
      }
    },
    120_000,
  );
});
