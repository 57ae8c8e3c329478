/** What the engine benchmark compares: sides that take the same operations and give the same answers. */
import { ROW } from '../engine/messages.js';
import {
  BLOCK_OPERATIONS,
  Block,
  fillFirstAcks,
  type Universe,
  userLow,
  writeUserRows,
} from './engine-stream.js';

/** Counters; they only grow. */
export interface SideCounts {
  /** Operations on a record that was there. */
  hits: number;
  misses: number;
  /** Records confirmed by the sink; 0 where changes are not written anywhere. */
  flushedRows: number;
}

export interface Side {
  readonly name: string;
  /** Whether `run` needs the texts of a block. */
  readonly wantsTexts: boolean;
  readonly counts: SideCounts;
  readonly recordCount: number;
  /** A user as the store has it, not changed since. @param rows  ROW words each */
  loadUser(userLo: number, rows: Int32Array, count: number): void;
  /** The side's clock, which runs on only while it works. */
  setClockMs(ms: number): void;
  /** Runs a block and writes its answers. @param batched  touches what a batch needs before it runs it */
  run(block: Block, batched: boolean): void;
}

/**
 * Loads the first `users` of the universe and lets each acknowledge once, at times that are spread over the flush
 * delay before 0: from then on as many users are due in each moment as in a service that has run for long.
 */
export function prefill(side: Side, universe: Universe, users: number, flushDelayMs: number): void {
  const block = new Block();
  const rows = new Int32Array(universe.channelsPerUser * ROW.WORDS);
  for (let from = 0; from < users; from += BLOCK_OPERATIONS) {
    const to = Math.min(from + BLOCK_OPERATIONS, users);
    side.setClockMs(-flushDelayMs * (1 - from / users));
    for (let user = from; user < to; user++) {
      writeUserRows(universe, user, rows);
      side.loadUser(userLow(user), rows, universe.channelsPerUser);
    }
    fillFirstAcks(block, universe, from, to);
    if (side.wantsTexts) block.makeTexts();
    side.run(block, false);
  }
  side.setClockMs(0);
}
