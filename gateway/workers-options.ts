/** What of the configuration the worker threads get. */
import type { WorkersOptions } from '../workers/workers.js';
import type { Config } from './config.js';

export function workersOptions(config: Config): WorkersOptions & { readonly data: string } {
  return {
    shards: config.shards,
    lanes: config.lanes,
    partitions: config.partitions,
    capacity: config.capacity,
    engine: config.engine,
    store: config.store,
    flushDelayMs: config.flushDelay,
    ackOrder: config.ackOrder,
    loadTimeoutMs: config.loadTimeout,
    roomTimeoutMs: config.roomTimeout,
    parkedMax: config.maxParked,
    watchedUsersMax: config.maxWatched,
    saveTimeoutMs: config.saveTimeout,
    hangTimeoutMs: config.hangTimeout,
    scheduling: config.scheduling,
    introspection: config.introspection === 'on',
    limitUserPerS: config.limitUser,
    limitChannelPerS: config.limitChannel,
    data: config.data,
    durability: config.durability,
    journalLimitBytes: config.journalLimit,
    journalDamage: config.journalDamage,
    journalStore: config.journalStore,
    warm: {
      usersPerSecond: config.warmRate,
      hotUsersMax: config.hotUsers,
      hotUsersIntervalMs: config.hotUsersInterval,
    },
  };
}
