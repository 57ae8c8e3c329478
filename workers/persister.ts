/** The persister: takes loads and flushes of all shards from their rings to the store, and the answers back. */
import type { MessagePort } from 'node:worker_threads';

/** The rings between one shard and the persister. */
export interface PersisterShard {
  /** LOAD messages; the shard is the producer. */
  readonly loads: SharedArrayBuffer;
  /** FLUSH messages; the shard is the producer. */
  readonly flushes: SharedArrayBuffer;
  /** LOADED and FLUSHED messages; the shard is the consumer. At least ANSWERS_WORDS_MIN words. */
  readonly answers: SharedArrayBuffer;
  /** The shard's; rung after each publish to `answers`. The shard waits by `Atomics.wait`. */
  readonly doorbell: SharedArrayBuffer;
}

/** What a persister thread is started with. */
export interface PersisterOptions {
  /** As in `--store`; see stores/open.ts. */
  readonly store: string;
  readonly shards: readonly PersisterShard[];
  /** The persister's own; shards ring it after publishing, with a post to one of `ports` as the wake-up. */
  readonly doorbell: SharedArrayBuffer;
  /** One block of PERSISTER_STATS. */
  readonly stats: SharedArrayBuffer;
  /** The starter's end: see PersisterOrder and PersisterReport. Must be in the transfer list. */
  readonly port: MessagePort;
  /** The shards' ends: any message is a wake-up, and `{stop: true}` stops, too. Must be in the transfer list. */
  readonly ports: readonly MessagePort[];
  /** Switchable faults of a `memory:` store (stores/memory.ts), for tests. */
  readonly faults?: SharedArrayBuffer;
}

/** To the persister. Anything else is a wake-up. */
export interface PersisterOrder {
  /** Finish all that is in the rings and in flight, close the store, end the task. Shards must have stopped producing. */
  readonly stop: true;
}

/** From the persister, once, on `port`: the store is open, or why it is not (the task then returns). */
export type PersisterReport = { readonly ready: true } | { readonly error: string };
