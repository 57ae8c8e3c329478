/**
 * What the gateway sees of the worker threads: a place to put operations, a place where answers come from, and
 * the counters. `startWorkers` (supervisor.ts) makes the real one.
 */
import type { IntrospectionMemory } from './introspection/lane-introspection.js';

/** Where the workers say what they do, also while they start. */
export interface WorkersLog {
  info(message: string): void;
  warn(message: string): void;
}

/** What is done of warm restarts and of hot users. */
export interface WarmOptions {
  /** Users loaded a second, at most, after a cold start; 0: none. */
  readonly usersPerSecond: number;
  /** Of the users who did something last, so many are remembered; 0: none. */
  readonly hotUsersMax: number;
  /** How often they are saved. */
  readonly hotUsersIntervalMs: number;
}

export interface WorkersOptions {
  /** Shard threads, 1 to `lanes`. */
  readonly shards: number;
  /** What shards share, 1 to `partitions`; by the shards if left out. The number stays, also when that of shards changes. */
  readonly lanes?: number;
  /** A power of two, 1 to 256. */
  readonly partitions: number;
  /** Records of all partitions together. */
  readonly capacity: number;
  readonly engine: 'slab' | 'heap';
  /** `lmdb:DIR`, `cassandra://…` (stores/cassandra-url.ts) or `memory:` */
  readonly store: string;
  readonly flushDelayMs: number;
  readonly ackOrder: 'forward' | 'last-write';
  /** A load that takes longer is answered with store_unavailable. */
  readonly loadTimeoutMs: number;
  /** An operation that waits longer for room is answered busy. */
  readonly roomTimeoutMs: number;
  /** Operations that may wait in one shard of the start, in equal parts for its lanes; more are answered busy. */
  readonly parkedMax: number;
  /** Users that may be subscribed to, all together. */
  readonly watchedUsersMax: number;
  /** Latencies, hot keys and the slow log are kept; true if left out. */
  readonly introspection?: boolean;
  /** Operations a second of one user, and of one channel; more are answered busy. 0 or left out = no limit. */
  readonly limitUserPerS?: number;
  readonly limitChannelPerS?: number;
  /** A shard's thread that does nothing for so long is replaced; 0: none is; 5,000 if left out. */
  readonly hangTimeoutMs?: number;
  /** Of the threads of front and shards, in Linux' terms; `other` if left out. */
  readonly scheduling?: 'other' | 'rr';
  /** A stop at which the store takes longer than this for the changes that it does not have fails; 60,000 if left out. */
  readonly saveTimeoutMs?: number;
  /**
   * Directory for what outlives the process beside the store, locked while the service runs; if left out, nothing does.
   * Of no use to a `memory:` store, but for the journal.
   */
  readonly data?: string;
  /** What an answer promises; `none` if left out. */
  readonly durability?: 'none' | 'process' | 'disk';
  /** Of all files of the journal, in bytes; 0 or left out = by the capacity. */
  readonly journalLimitBytes?: number;
  /** A damaged journal refuses the start (if left out), or is skipped where it is damaged. */
  readonly journalDamage?: 'refuse' | 'skip';
  /** A journal with changes of another store refuses the start (`same`, if left out), or is put into this one. */
  readonly journalStore?: 'same' | 'any';
  readonly warm?: WarmOptions;
  readonly log?: WorkersLog;
  /** Switchable faults of a `memory:` store (stores/memory.ts), for tests. */
  readonly storeFaults?: SharedArrayBuffer;
}

/**
 * A place for one operation in the ring of the lane to which the user belongs. Use: `const at = port.reserve(...)`;
 * if it is not -1, write `words[at .. at + length)` = ROUTED words, then the operation; `port.commit(length)`.
 */
export interface FrontPort {
  /** Ring words of the last `reserve`. */
  readonly words: Int32Array;
  /** @param length  in words, ROUTED included. @returns position in `words`, or -1: the ring is full (busy) */
  reserve(userHash: number, length: number): number;
  commit(length: number): void;
  /** Makes what was committed visible and wakes shards: once for a frame or a turn, not for each operation. */
  publish(): void;
  /**
   * Called (on the front's event loop) for each answer or event: ANSWERED words, then REPLY or EVENT words.
   * The words are valid only during the call. After the last of a run comes `onDrained`, to send what was gathered.
   */
  onAnswer: (words: Int32Array, at: number, length: number) => void;
  onDrained: () => void;
}

/** A ring's filled and all words. */
export interface RingDepth {
  readonly filled: number;
  readonly capacity: number;
}

export const RING_NAMES = ['requests', 'replies', 'loads', 'flushes', 'store_answers'] as const;
export type RingName = (typeof RING_NAMES)[number];
/** Of one lane. */
export type RingDepths = Readonly<Record<RingName, RingDepth>>;

/** What was counted under a shard's number, from 0, by whichever thread had it. */
export interface ShardTotals {
  readonly shard: number;
  /** LANE_STATS of what it has run. */
  readonly counts: Float64Array;
  /** THREAD_STATS: gauges are the last thread's. */
  readonly thread: Float64Array;
  /** Time in which it had lanes. */
  readonly servedMs: number;
}

/** One shard's thread, as it is now. */
export interface ShardView extends ShardTotals {
  readonly lanes: readonly number[];
}

/** A call that cannot be done, with what would help; nothing has changed. */
export class OperateError extends Error {}

export interface Workers {
  readonly port: FrontPort;
  /** One block each, laid out by LANE_STATS. */
  readonly laneStats: readonly Float64Array[];
  /** The threads that run lanes, by number. */
  shards(): readonly ShardView[];
  /** Numbers that no thread has since a resize: who gets one again counts on from there. */
  pastShards(): readonly ShardTotals[];
  /**
   * Changes how many threads share the lanes, while they serve; lanes go over one after another.
   * @throws OperateError if it cannot be done
   */
  resize(shards: number): Promise<void>;
  /**
   * Has new threads go on with all lanes, with the code of another build or of the same again, while they serve.
   * @param directory  of the build (its workers/shard-thread.cjs is what runs); left out: the one that runs
   * @throws OperateError if the new threads do not start, or do not fit; nothing has changed then
   */
  reload(directory?: string): Promise<void>;
  /** Ends a shard's thread as a crash would: for tests. */
  killShard(shard: number): Promise<void>;
  /** Ends the persister's thread as a crash would: for tests. */
  killPersister(): Promise<void>;
  /** Shards' threads that ended by themselves, or hung, and were replaced. */
  readonly replacedThreads: number;
  /** The same of the persister's. */
  readonly replacedPersisters: number;
  /** Threads that are ready, and wait for the lanes of one that ends. */
  readonly spareThreads: number;
  /** False while threads end again and again, or the persister's does not start, and there is none in its place. */
  readonly isWell: boolean;
  /** JOURNAL_STATS; null without a journal. */
  readonly journalStats: Float64Array | null;
  /** PERSISTER_STATS. */
  readonly persisterStats: Float64Array;
  /** The partitions are those of the process before. */
  readonly startedWarm: boolean;
  /** A block of PARTITION_STATS for each partition. */
  readonly partitionStats: Float64Array;
  /** What each lane notes about its operations; empty when introspection is off. */
  readonly introspection: readonly IntrospectionMemory[];
  /** How full the rings of each lane are. */
  ringDepths(): readonly RingDepths[];
  /** Has all lanes flush what has changed until now, due or not. @returns false if one of them could not be told */
  flushNow(): boolean;
  /** A worker that ended by itself; the front logs it and exits with an error. */
  onFailure: (error: Error) => void;
  /** What the store complained about, for the log; at most one a second. */
  onWarning: (message: string) => void;
  /** Answers what is in flight, flushes everything to the store, ends the threads. Rejects if not all could be flushed. */
  stop(): Promise<void>;
}
