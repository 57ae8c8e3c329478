/**
 * When a user whose write failed is tried again: after a time that doubles with each failure in a row, up to a most,
 * and is spread by a quarter each way, so that those who failed together do not come back together.
 *
 * There is a queue for each number of failures and each step of the spread. In one queue all wait equally long, so
 * that it is in the order of its due times without being sorted, also with every user of a partition in it.
 */
import { mix } from './hash.js';
import type { PartitionOptions } from './partition.js';

/** Failures in a row that are told apart: four bits. */
export const ATTEMPTS_MAX = 15;
const SPREAD_STEPS = 4;
export const RETRY_QUEUES = ATTEMPTS_MAX * SPREAD_STEPS;

/** @param attempts  failures in a row, 1 to ATTEMPTS_MAX  @param hash  `hashUser` of the user */
export function retryQueueOf(attempts: number, hash: number): number {
  return (attempts - 1) * SPREAD_STEPS + (mix(hash + attempts) >>> 30);
}

/** How long the users of a queue wait, in ticks. */
export function retryTicks(options: PartitionOptions, queue: number): number {
  const attempts = Math.floor(queue / SPREAD_STEPS);
  const ticks = Math.min(options.retryFirstTicks * 2 ** attempts, options.retryMaxTicks);
  const share = 0.75 + (0.5 * (queue % SPREAD_STEPS)) / (SPREAD_STEPS - 1);
  return Math.max(1, Math.round(ticks * share));
}
