/**
 * The torture of a store in trouble: the service runs on, its Cassandra is killed, slowed, cut off, swallowed. Some
 * users (residents) are all in memory and have connections of their own: none of their requests may be refused. The
 * others come and go, and may be answered `store_unavailable`. After each trouble the store comes back, and everything
 * that is not saved must drain to it; all users are then verified, and at the end once more after a kill -9, and from
 * the store alone.
 */
import { sleep } from '../../bench/clock.js';
import type { FaultProxy } from '../support/fault-proxy.js';
import type { CassandraPlace } from './cassandra-place.js';
import { type Started, Torture, type TortureOptions } from './torture.js';

interface Kind {
  begin(place: CassandraPlace, last: FaultProxy): Promise<void>;
  end(place: CassandraPlace, last: FaultProxy): Promise<void>;
}

const heal = async ({ proxies }: CassandraPlace): Promise<void> => {
  for (const proxy of proxies) await proxy.heal();
};

/** `one-…`: of the last node only. */
const KINDS: Record<string, Kind> = {
  kill: {
    begin: async ({ cluster }) => {
      await Promise.all(cluster.nodes.map((node) => node.kill()));
    },
    end: async ({ cluster }) => {
      for (const node of cluster.nodes) node.start();
      await cluster.ready();
    },
  },
  latency: {
    begin: async ({ proxies }) => {
      for (const proxy of proxies) proxy.latencyMs = 300;
    },
    end: heal,
  },
  drops: {
    begin: async ({ proxies }) => {
      for (const proxy of proxies) proxy.cut();
    },
    end: heal,
  },
  refuse: {
    begin: async ({ proxies }) => {
      for (const proxy of proxies) await proxy.stop();
    },
    end: heal,
  },
  'half-open': {
    begin: async ({ proxies }) => {
      for (const proxy of proxies) proxy.swallow();
    },
    end: heal,
  },
  'one-kill': {
    begin: async ({ cluster }) => {
      await cluster.nodes.at(-1)!.kill();
    },
    end: async ({ cluster }) => {
      cluster.nodes.at(-1)!.start();
      await cluster.ready();
    },
  },
  'one-half-open': {
    begin: async (_place, last) => last.swallow(),
    end: heal,
  },
};

export const TROUBLES = Object.keys(KINDS);
/** A trouble is begun again so often while it lasts: connections that were made meanwhile are cut, too. */
const AGAIN_MS = 1500;
const DRAIN_MS = 120_000;
const RECOVERY_MS = 120_000;
const LOG_CHARACTERS = 4000;
const RESIDENT_MS_MAX = 20_000;

export interface TroubleOptions {
  place: CassandraPlace;
  kinds: readonly string[];
  /** How long each lasts. */
  troubleMs: number;
}

/** @returns the torture that ran, with all that was found */
export async function runTrouble(options: TortureOptions, trouble: TroubleOptions): Promise<Torture> {
  const torture = new Torture(options);
  const server = await torture.started();
  try {
    await runKinds(torture, server, options, trouble);
    if (torture.isFine) await torture.killAndVerify(server);
    return torture;
  } catch (error) {
    const { hasEnded, ended, log } = server.server;
    const state = hasEnded ? `the service ended with ${JSON.stringify(await ended)}` : 'the service runs';
    throw new Error(`${(error as Error).message}; ${state}\n${log.slice(-LOG_CHARACTERS)}`, { cause: error });
  } finally {
    if (!server.server.hasEnded) {
      await server.server.kill();
      await torture.load.lose('killed'); // or the load would go on, and this process with it
    }
  }
}

async function runKinds(
  torture: Torture,
  server: Started,
  options: TortureOptions,
  { place, kinds, troubleMs }: TroubleOptions,
): Promise<void> {
  const { load } = torture;
  await torture.connect(server);
  for (const name of kinds) {
    if (!torture.isFine) return;
    const kind = KINDS[name];
    if (kind === undefined) throw new Error(`${name} is no trouble: use ${TROUBLES.join(', ')}`);
    await load.makeResident();
    load.residentsMustHit = true;
    load.start();
    await sleep(1000);
    const before = new Map(load.checker.refusedCounts);
    const endMs = performance.now() + troubleMs;
    await kind.begin(place, place.proxies.at(-1)!);
    while (performance.now() < endMs && torture.isFine) {
      await sleep(Math.min(AGAIN_MS, endMs - performance.now()));
      if (name === 'drops') await kind.begin(place, place.proxies.at(-1)!);
    }
    const unsavedUsers = await torture.unsavedUsers(server);
    const refused = [...load.checker.refusedCounts].map(
      ([code, count]) => `${code} ${count - (before.get(code) ?? 0)}`,
    );
    await kind.end(place, place.proxies.at(-1)!);
    const healedMs = performance.now();
    await load.untilAnswered(RECOVERY_MS);
    const recoveredMs = performance.now();
    await sleep(1000);
    await load.stop();
    await load.drain();
    load.residentsMustHit = false;
    const drainMs = performance.now();
    for (let left = await torture.unsavedUsers(server); left > 0; left = await torture.unsavedUsers(server)) {
      if (performance.now() - drainMs > DRAIN_MS)
        throw new Error(`${left} users are not saved ${DRAIN_MS} ms after ${name}`);
      await sleep(50);
    }
    const drainedMs = performance.now() - drainMs;
    if (!(await load.verifyAll())) throw new Error(`not all users could be verified after ${name}`);
    const times = load.residentMs.splice(0).sort((a, b) => a - b);
    const at = (share: number): string =>
      `${(times[Math.floor((times.length - 1) * share)] ?? 0).toFixed(1)} ms`;
    options.log(
      `${name} for ${troubleMs} ms: ${times.length} requests of residents, p50 ${at(0.5)}, p99 ${at(0.99)}, longest ${at(1)}; refused, of others: ${refused.join(', ') || 'none'}; ${unsavedUsers} users unsaved at its end; misses answered again after ${Math.round(recoveredMs - healedMs)} ms; saved within ${Math.round(drainedMs)} ms after the load`,
    );
    if ((times.at(-1) ?? 0) > RESIDENT_MS_MAX)
      throw new Error(`a request of a resident took ${at(1)} during ${name}`);
  }
}
