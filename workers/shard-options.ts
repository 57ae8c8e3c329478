/** What a shard thread is started with: its partitions, its rings and the limits. */
import type { MessagePort } from 'node:worker_threads';
import type { PartitionOptions } from '../engine/partition.js';
import type { RateLimits } from './introspection/limiter.js';
import type { IntrospectionMemory } from './introspection/shard-introspection.js';
import type { ReplaySegment } from './journal/reader.js';
import type { JournalWriterOptions } from './journal/writer.js';

/** Time of partitions: flush delays and deadlines are counted in it. */
export const TICK_MS = 100;
/** A user moves in the LRU at most once a second. */
const TOUCH_TICKS = 10;
/** A failed write of a user is tried again after 0.2 s, then twice as long each time, to at most 30 s. */
export const RETRY_FIRST_MS = 200;
export const RETRY_MAX_MS = 30_000;

/** Words of the rings. A request ring takes 90,000 acks, 30 ms of work; a reply ring 400 parts of a list. */
export const REQUEST_RING_WORDS = 1 << 20;
export const REPLY_RING_WORDS = 1 << 20;
export const LOAD_RING_WORDS = 1 << 16;
export const FLUSH_RING_WORDS = 1 << 18;
export const STORE_ANSWER_RING_WORDS = 1 << 18;

export interface ShardRings {
  readonly requests: SharedArrayBuffer;
  readonly replies: SharedArrayBuffer;
  readonly loads: SharedArrayBuffer;
  readonly flushes: SharedArrayBuffer;
  readonly storeAnswers: SharedArrayBuffer;
}

/** From a shard on its port to the front: it runs, something for the log, or (null) a wake-up. */
export type ShardMessage = 'ready' | { readonly warning: string } | null;

/** A journal that was found at the start. */
export interface ReplayOptions {
  readonly segments: readonly ReplaySegment[];
  /** Everything must be in the store before the shard is ready: nothing else will keep it. */
  readonly flushes: boolean;
}

export interface OwnedPartition {
  readonly index: number;
  /** Where the partition lies; null with the heap engine. */
  readonly memory: SharedArrayBuffer | null;
  readonly byteOffset: number;
}

/** What a shard is given of the processes before. */
export interface ShardStart {
  /** The first tick; after those of the saved partitions. */
  readonly tick: number;
  /** The partitions' memory is that of an earlier process. */
  readonly restored: boolean;
  /** See warm/flush-clock.ts. */
  readonly clockFloorUs: number;
  readonly clockLimit: SharedArrayBuffer;
  /** See warm/hot-block.ts; null: nobody asks for the hottest users. */
  readonly hotBlock: SharedArrayBuffer | null;
  /** Users to be loaded, at most so many a second; null: none. See warm/hot-loader.ts. */
  readonly hotUsers: SharedArrayBuffer | null;
  readonly hotUsersPerSecond: number;
}

/** Of a service that keeps nothing but its store. */
export const COLD_START: ShardStart = {
  tick: 1,
  restored: false,
  clockFloorUs: 0,
  clockLimit: new SharedArrayBuffer(8),
  hotBlock: null,
  hotUsers: null,
  hotUsersPerSecond: 0,
};
new Float64Array(COLD_START.clockLimit)[0] = Number.POSITIVE_INFINITY;

export interface ShardOptions {
  readonly engine: 'slab' | 'heap';
  readonly rings: ShardRings;
  /** The shard's own doorbell; it waits with Atomics.wait. */
  readonly doorbell: SharedArrayBuffer;
  /** Of the front and the persister; they are woken by a post to the ports. */
  readonly frontDoorbell: SharedArrayBuffer;
  readonly frontPort: MessagePort;
  readonly persisterDoorbell: SharedArrayBuffer;
  readonly persisterPort: MessagePort;
  /** One block of SHARD_STATS. */
  readonly stats: SharedArrayBuffer;
  /** What the shard notes about its operations; null = nothing. */
  readonly introspection: IntrospectionMemory | null;
  /** Limits of hot users and channels, and among how many shards those of channels are shared; needs introspection. */
  readonly limits: RateLimits;
  readonly shards: number;
  /** A block of PARTITION_STATS for each partition of the service; a shard writes those of its own. */
  readonly partitionStats: SharedArrayBuffer;
  /** Its number, from 0. */
  readonly shard: number;
  /** Of the whole service; this shard has those whose memory (slab: not null) is given. */
  readonly partitions: number;
  readonly owned: readonly OwnedPartition[];
  readonly recordsMax: number;
  readonly usersMax: number;
  readonly watchedMax: number;
  readonly lastWrite: boolean;
  readonly flushDelayMs: number;
  readonly loadTimeoutMs: number;
  readonly roomTimeoutMs: number;
  readonly parkedMax: number;
  readonly start: ShardStart;
  /** Null: nothing is journaled. */
  readonly journal: JournalWriterOptions | null;
  /** Null: there is nothing to replay. */
  readonly replay: ReplayOptions | null;
}

export function partitionOptions(options: ShardOptions): PartitionOptions {
  return {
    recordsMax: options.recordsMax,
    usersMax: options.usersMax,
    watchedMax: options.watchedMax,
    lastWrite: options.lastWrite,
    flushDelayTicks: Math.ceil(options.flushDelayMs / TICK_MS),
    retryFirstTicks: Math.ceil(RETRY_FIRST_MS / TICK_MS),
    retryMaxTicks: Math.ceil(RETRY_MAX_MS / TICK_MS),
    touchTicks: TOUCH_TICKS,
  };
}
