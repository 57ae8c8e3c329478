/** How much a lane carries over in one turn, and that the keeper asks for it late. */
import { rmSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createRing, RingWriter } from '../../engine/ring.js';
import { JOURNAL } from '../../workers/journal/shared.js';
import { journalSizes } from '../../workers/journal/sizes.js';
import { FRAME_BYTES } from '../../workers/journal/writer.js';
import { LaneJournal } from '../../workers/lane-journal.js';
import { ringSizes } from '../../workers/lane-options.js';
import { createStats, LANE_STATS } from '../../workers/stats.js';
import { ManualClock } from '../support/manual-clock.js';
import { append, newDirectory, openRig, type Rig, SEGMENT_BYTES, segmentsIn } from './files.js';

let directory: string;
let rig: Rig | null;
beforeEach(() => {
  directory = newDirectory();
  rig = null;
});
afterEach(async () => {
  for (const writer of rig?.writers ?? []) writer.close();
  await rig?.keeper.close();
  rmSync(directory, { recursive: true });
});

/** Unsaved users of the epoch before, one image each; every `sparse`th slot is one. */
class FakePartition {
  readonly calls: number[] = [];

  constructor(
    public left: number,
    readonly sparse: number,
  ) {}

  unsavedUsers(): number {
    return this.left;
  }

  carryUnsaved(_out: Int32Array, _at: number, max: number, steps: number): number {
    this.calls.push(steps);
    const images = Math.min(this.left, max, Math.ceil(steps / this.sparse));
    this.left -= images;
    return images;
  }

  setEpoch(): void {}
  writeImage(): void {}
  changed = [1];
  changedCount = 1;
}

async function startJournal(partitions: readonly FakePartition[], carryRate: number) {
  rig = await openRig(directory, { shards: 2 });
  await rig.keeper.step();
  const { keeper } = rig;
  const stats = new Float64Array(createStats(LANE_STATS));
  const replies = new RingWriter(createRing(ringSizes(1, 1).replies));
  const journal = new LaneJournal(
    {
      directory,
      shard: 1,
      run: keeper.run,
      segmentBytes: SEGMENT_BYTES,
      sync: false,
      words: keeper.words,
      frame: new SharedArrayBuffer(FRAME_BYTES),
    },
    { partitions: partitions as never, replies, stats, clock: new ManualClock() },
    () => {},
  );
  new Int32Array(keeper.words)[JOURNAL.CARRY] = carryRate;
  return { journal, stats };
}

describe('A turn carries over', () => {
  it.each([
    ['all unsaved, 1,000 changes, twice as many', 1, 2, 1000, 2000],
    ['all unsaved, 1,000 changes, three times as many', 1, 3, 1000, 3000],
    ['all unsaved, no changes: 512 slots', 1, 2, 0, 300],
    ['every 50th unsaved, 1,000 changes: as far as 64,000 slots', 50, 2, 1000, 64_000 / 50],
  ])('%s', async (_what, sparse, rate, changes, expected) => {
    const partitions = [new FakePartition(300, sparse), new FakePartition(100_000, sparse)];
    const { journal, stats } = await startJournal(partitions, rate);
    journal.begin(0);
    for (let i = 0; i < changes; i++) journal.note(partitions[1] as never, 0);
    expect(journal.commit(0, true)).toBe(true);
    const carried = stats[LANE_STATS.CARRIED_IMAGES]!;
    expect(Math.abs(carried - expected) / expected).toBeLessThan(0.02);
    expect(partitions[0]!.left).toBe(0); // what is left of the turn goes to the next one
    expect(partitions[1]!.left).toBe(100_300 - carried);
    journal.close();
  });

  it('without keeping the shard awake for what it cannot carry', async () => {
    const partition = new FakePartition(1, 1);
    partition.carryUnsaved = () => 0;
    const { journal } = await startJournal([partition], 2);
    journal.begin(0);
    let turns = 0;
    while (journal.commit(0, true)) turns++;
    expect(turns * 512).toBeGreaterThan(2 ** 22); // it may have been behind all other slots
    expect(turns * 512).toBeLessThan(2 ** 24);
    partition.carryUnsaved = FakePartition.prototype.carryUnsaved;
    expect(journal.commit(0, true)).toBe(true);
    expect(partition.left).toBe(0);
    journal.close();
  });

  it('no more than 8,192 images for each step of the rate between two ticks, in however many turns', async () => {
    const partition = new FakePartition(100_000, 1);
    const { journal, stats } = await startJournal([partition], 3);
    journal.begin(0);
    for (let ticks = 1; ticks <= 3; ticks++) {
      let goesOn = journal.commit(0, true);
      for (let turns = 0; turns < 1000; turns++) goesOn = journal.commit(0, false);
      expect(goesOn).toBe(false); // the lane may sleep until the next
      expect(stats[LANE_STATS.CARRIED_IMAGES]!).toBe(ticks * 3 * 8192);
    }
    journal.close();
  });

  it('only what changes bring where they bring more', async () => {
    const partition = new FakePartition(100_000, 1);
    const { journal, stats } = await startJournal([partition], 1);
    journal.begin(0);
    for (let turns = 0; turns < 20; turns++) {
      for (let i = 0; i < 600; i++) journal.note(partition as never, 0);
      journal.commit(0, turns === 0);
    }
    expect(stats[LANE_STATS.CARRIED_IMAGES]!).toBe(20 * 600);
    journal.close();
  });

  it('to the end, though nothing asks for it any more', async () => {
    const partition = new FakePartition(2000, 1);
    const { journal } = await startJournal([partition], 2);
    journal.begin(0);
    journal.commit(0, true);
    new Int32Array(rig!.keeper.words)[JOURNAL.CARRY] = 0;
    for (let turn = 0; turn < 4; turn++) journal.commit(0, false);
    expect(partition.left).toBe(0);
    expect(journal.commit(0, false)).toBe(false);
    journal.close();
  });
});

describe('The epoch', () => {
  it('lasts a flush delay while there is room, though a segment is full and nobody unsaved of the one before', async () => {
    rig = await openRig(directory, { flushDelayMs: 60_000 });
    const epoch = (): number => new Int32Array(rig!.keeper.words)[JOURNAL.EPOCH]!;
    const [writer] = rig.writers;
    for (let i = 0; segmentsIn(directory).length < 3; i++) {
      append(writer!, 1, i * 2000, 2000);
      await rig.keeper.step();
    }
    await new Promise((resolve) => setTimeout(resolve, 1100));
    writer!.show(0, 1);
    await rig.keeper.step();
    expect(epoch()).toBe(1);
  });
});

describe('The sizes', () => {
  it.each([1e5, 1e6, 8e6])(
    'leave room for the last copy, and what changes meanwhile (%d records)',
    (capacity) => {
      for (const shards of [1, 2, 8]) {
        const { limitBytes, carryBytes, carryRate, segmentBytes } = journalSizes(0, capacity, shards);
        const copy = capacity * 52;
        expect(carryBytes + copy * (1 + 1 / carryRate) + shards * 2 * segmentBytes).toBeLessThanOrEqual(
          limitBytes,
        );
        expect(carryRate).toBe(1);
      }
    },
  );

  it('let a shard carry fast where the limit is small', () => {
    expect(journalSizes(3 * 1e6 * 52, 1e6, 1).carryRate).toBe(8);
  });
});
