/** What a scenario plays on: a service, two callers of different protocols, users that nobody else has. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BinaryDriver } from './binary-driver.js';
import { type Driver, insist, type StreamDriver } from './driver.js';
import { HttpDriver } from './http-driver.js';
import { JsonDriver } from './json-driver.js';
import { type Options, Service, TINY } from './service.js';

export const PROTOCOLS = ['HTTP', 'JSON WebSocket', 'binary WebSocket'] as const;
export const STREAM_PROTOCOLS = ['JSON WebSocket', 'binary WebSocket'] as const;
export type Protocol = (typeof PROTOCOLS)[number];

/** A caller with connections of its own. */
export async function openDriver(
  service: Service,
  protocol: (typeof STREAM_PROTOCOLS)[number],
): Promise<StreamDriver>;
export async function openDriver(service: Service, protocol: Protocol): Promise<Driver>;
export async function openDriver(service: Service, protocol: Protocol): Promise<Driver> {
  if (protocol === 'HTTP') return new HttpDriver(service.url);
  if (protocol === 'JSON WebSocket') return JsonDriver.open(service.streamUrl);
  return new BinaryDriver(service.url);
}

export interface Stage {
  readonly service: Service;
  readonly protocol: Protocol;
  readonly driver: Driver;
  /** Another connection, over another protocol. */
  readonly other: Driver;
  /** With a service that is `TINY`: everything resident so far is pushed out. */
  evict(): Promise<void>;
}

export type Scenarios = Record<string, (stage: Stage) => Promise<void>>;

/** A service of its own, and each scenario over each protocol. */
export function playScenarios(
  title: string,
  options: Options,
  scenarios: readonly Scenarios[],
  protocols: readonly Protocol[] = PROTOCOLS,
): void {
  describe(title, () => {
    let service: Service;
    beforeAll(async () => {
      service = await Service.start(options);
    });
    afterAll(async () => {
      const evictions = await service.metric('tidemark_shard_evicted_users_total');
      await service.stop();
      // Or the scenarios did not play on what they say.
      if (isTiny(service)) expect(evictions).toBeGreaterThan(100);
    });
    describe.each(protocols)('%s', (protocol) => {
      let stage: Stage;
      beforeAll(async () => {
        const otherProtocol = PROTOCOLS[(PROTOCOLS.indexOf(protocol) + 1) % PROTOCOLS.length]!;
        const driver = await openDriver(service, protocol);
        const other = await openDriver(service, otherProtocol);
        stage = { service, protocol, driver, other, evict: () => evictAll(service, other) };
      });
      afterAll(() => {
        stage.driver.close();
        stage.other.close();
      });
      for (const [name, play] of Object.entries(Object.assign({}, ...scenarios) as Scenarios)) {
        it(name, () => play(stage));
      }
    });
  });
}

let lastId = 1_215_086_513_356_800_000n;

/** An id that no other test of this file has. */
export function newId(): string {
  return String(++lastId);
}

export function newIds(count: number): string[] {
  return Array.from({ length: count }, newId);
}

/** More than a `TINY` service has places for users. */
const CROWD = 80; // comes twice

/** Pushes everybody out of a `TINY` service: a crowd comes by, and once more for those who had to be saved first. */
async function evictAll(service: Service, driver: Driver): Promise<void> {
  if (!isTiny(service)) return;
  for (let round = 0; round < 2; round++) {
    await Promise.all(newIds(CROWD).map((user) => insist(() => driver.get(user, '1'))));
  }
}

function isTiny(service: Service): boolean {
  return service.options.capacity === TINY.capacity;
}

const POLL_MS = 5;
const PATIENCE_MS = 25_000;

/** Waits until `condition` holds, however long a busy machine needs. */
export async function until(
  condition: () => boolean | Promise<boolean>,
  what: string,
  patienceMs = PATIENCE_MS,
): Promise<void> {
  const deadline = performance.now() + patienceMs;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`in vain waited until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

/** A message id by its place in time. */
export function message(order: number): string {
  return String(1_323_802_873_036_800_000n + BigInt(order));
}
