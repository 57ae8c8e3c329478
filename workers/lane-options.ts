/** What a shard's thread is started with: all lanes of the service, and which seat is its own. */
import type { MessagePort } from 'node:worker_threads';
import type { LaneControlMemory } from '../engine/lane-control.js';
import { LAYOUT_VERSION } from '../engine/layout.js';
import type { PartitionOptions } from '../engine/partition.js';
import { createRing } from '../engine/ring.js';
import type { IntrospectionMemory } from './introspection/lane-introspection.js';
import type { RateLimits } from './introspection/limiter.js';
import type { ReplaySegment } from './journal/reader.js';
import type { JournalWriterOptions } from './journal/writer.js';
import { LANE_LAYOUT_VERSION, type LaneSizes } from './lane-memory.js';

/** Time of partitions: flush delays and deadlines are counted in it. */
export const TICK_MS = 100;
/** A user moves in the LRU at most once a second. */
const TOUCH_TICKS = 10;
/** A failed write of a user is tried again after 0.2 s, then twice as long each time, to at most 30 s. */
export const RETRY_FIRST_MS = 200;
export const RETRY_MAX_MS = 30_000;

/** Users that wait at once. Beyond, operations that would have to wait are answered busy. */
const HOLDS_MAX = 16_384;

/** Words of the rings of one lane. */
export interface RingSizes {
  readonly requests: number;
  readonly replies: number;
  readonly loads: number;
  readonly flushes: number;
  readonly storeAnswers: number;
}

/**
 * Of a lane that has a thread for itself. A request ring takes 90,000 acks, 30 ms of work; a reply ring 400 parts of
 * a list.
 */
const RINGS_MAX: RingSizes = {
  requests: 1 << 20,
  replies: 1 << 20,
  loads: 1 << 16,
  flushes: 1 << 18,
  storeAnswers: 1 << 18,
};
/** With less, what a lane may send or get at once would not fit twice. */
const RINGS_MIN: RingSizes = {
  requests: 1 << 15,
  replies: 1 << 15,
  loads: 1 << 13,
  flushes: 1 << 14,
  storeAnswers: 1 << 14,
};

/** So that the rings of all lanes take what those of as many lanes as threads would. */
export function ringSizes(shards: number, lanes: number): RingSizes {
  const shift = Math.floor(Math.log2(lanes / shards));
  const size = (ring: keyof RingSizes): number => Math.max(RINGS_MIN[ring], RINGS_MAX[ring] >> shift);
  return {
    requests: size('requests'),
    replies: size('replies'),
    loads: size('loads'),
    flushes: size('flushes'),
    storeAnswers: size('storeAnswers'),
  };
}

export interface LaneRings {
  readonly requests: SharedArrayBuffer;
  readonly replies: SharedArrayBuffer;
  readonly loads: SharedArrayBuffer;
  readonly flushes: SharedArrayBuffer;
  readonly storeAnswers: SharedArrayBuffer;
}

/** The rings of one lane. */
export function createRings(sizes: RingSizes): LaneRings {
  return {
    requests: createRing(sizes.requests),
    replies: createRing(sizes.replies),
    loads: createRing(sizes.loads),
    flushes: createRing(sizes.flushes),
    storeAnswers: createRing(sizes.storeAnswers),
  };
}

/**
 * From a shard on its port: it can take lanes, with the system's number of its thread (0: not known); something for the log; or a
 * lane that needs the journal's segments (ShardOrder).
 */
export type ShardMessage =
  | { readonly readyThread: number }
  | { readonly warning: string }
  | { readonly journalFor: number };

/** What the journal has. */
export interface JournalSegments {
  readonly segments: readonly ReplaySegment[];
  /** Sentences about what of it is damaged. */
  readonly damages: readonly string[];
}

/** To a shard on its port, to be looked at after a call: what a lane has asked for. */
export interface ShardOrder {
  readonly journalFor: number;
  readonly journal: JournalSegments;
}

/** A journal that was found at the start. */
export interface ReplayOptions {
  readonly segments: readonly ReplaySegment[];
  /** Everything must be in the store before a lane is ready: nothing else will keep it. */
  readonly flushes: boolean;
}

export interface OwnedPartition {
  readonly index: number;
  /** Where the partition lies; null with the heap engine. */
  readonly memory: SharedArrayBuffer | null;
  readonly byteOffset: number;
}

/** What a lane is given of the processes before. */
export interface LaneStart {
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
export const COLD_START: LaneStart = {
  tick: 1,
  restored: false,
  clockFloorUs: 0,
  clockLimit: new SharedArrayBuffer(8),
  hotBlock: null,
  hotUsers: null,
  hotUsersPerSecond: 0,
};
new Float64Array(COLD_START.clockLimit)[0] = Number.POSITIVE_INFINITY;

/** What all lanes of a service have in common. */
export interface ServiceOptions {
  readonly engine: 'slab' | 'heap';
  readonly lanes: number;
  readonly partitions: number;
  /** Of one partition. */
  readonly recordsMax: number;
  readonly usersMax: number;
  readonly watchedMax: number;
  readonly lastWrite: boolean;
  readonly flushDelayMs: number;
  readonly loadTimeoutMs: number;
  readonly roomTimeoutMs: number;
  /** Of one lane. */
  readonly parkedMax: number;
  /** Limits of hot users and channels; needs introspection. */
  readonly limits: RateLimits;
  /** Of the front and the persister. */
  readonly frontDoorbell: SharedArrayBuffer;
  readonly persisterDoorbell: SharedArrayBuffer;
  /** A block of PARTITION_STATS for each partition of the service; a lane writes those of its own. */
  readonly partitionStats: SharedArrayBuffer;
}

/** What is one lane's. */
export interface LaneOptions {
  /** Its number, from 0. */
  readonly lane: number;
  readonly rings: LaneRings;
  /** See lane-memory.ts. */
  readonly memory: SharedArrayBuffer;
  /** See engine/undo-log.ts. */
  readonly undo: SharedArrayBuffer;
  /** One block of LANE_STATS. */
  readonly stats: SharedArrayBuffer;
  /** What the lane notes about its operations; null = nothing. */
  readonly introspection: IntrospectionMemory | null;
  readonly owned: readonly OwnedPartition[];
  readonly start: LaneStart;
  /** Null: nothing is journaled. */
  readonly journal: JournalWriterOptions | null;
}

/** How a lane comes to a thread. */
export interface Takeover {
  /** The last thread has thrown. */
  readonly isSuspect: boolean;
  /** Called while the lane is looked at, which may take longer than a thread may be silent. */
  readonly beat: () => void;
}

/** What threads that hand lanes over to each other must agree about. */
export const VERSIONS = { partitions: LAYOUT_VERSION, lanes: LANE_LAYOUT_VERSION };

export interface ShardOptions {
  /** To whoever started the thread: ShardMessage, and ShardOrder back. Must be in the transfer list. */
  readonly port: MessagePort;
  /** Of the build that started the service. */
  readonly versions: typeof VERSIONS;
  readonly service: ServiceOptions;
  /** All lanes of the service, by number: any may come to this thread. */
  readonly lanes: readonly LaneOptions[];
  readonly control: LaneControlMemory;
  /** The thread's own, in `control`. */
  readonly seat: number;
  /** One block of THREAD_STATS. */
  readonly stats: SharedArrayBuffer;
  /** Of a service that starts: null when there is nothing to replay, or when the service runs already. */
  readonly replay: ReplayOptions | null;
}

export function laneSizes({ partitions, parkedMax }: ServiceOptions): LaneSizes {
  return { partitions, holdsMax: Math.min(parkedMax, HOLDS_MAX), blocksMax: parkedMax };
}

export function partitionOptions(options: ServiceOptions): PartitionOptions {
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
