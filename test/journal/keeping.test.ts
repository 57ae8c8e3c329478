/** The journal's files while the service runs: what must stay is there at any moment, the rest goes. */
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { IMAGE } from '../../engine/messages.js';
import { FRAME, FRAME_IMAGES_MAX, FRAME_WORDS_MAX } from '../../workers/journal/format.js';
import { LiveFile } from '../../workers/journal/live-file.js';
import { readJournal } from '../../workers/journal/reader.js';
import { JOURNAL, JOURNAL_SHARD, REFUSE_FULL, REFUSE_NONE, shardAt } from '../../workers/journal/shared.js';
import { WRITER_READY, WRITER_REFUSING } from '../../workers/journal/writer.js';
import { JOURNAL_STATS } from '../../workers/stats.js';
import { Random } from '../model/random.js';
import {
  append,
  commit,
  fill,
  imagesOf,
  type Rig,
  refusalOf,
  replayed,
  SEGMENT_BYTES,
  segmentsIn,
} from './files.js';
import { useRigs } from './rigs.js';

vi.setConfig({ testTimeout: 180_000 });

const rigs = useRigs();

function bytesOnDisk(): number {
  return readdirSync(rigs.directory)
    .filter((name) => !name.endsWith('.json'))
    .reduce((sum, name) => sum + statSync(join(rigs.directory, name)).size, 0);
}

function epochOf({ keeper }: Rig): number {
  return new Int32Array(keeper.words)[JOURNAL.EPOCH]!;
}

describe('the limit', () => {
  it('holds; writes wait, are refused, and go on when the store has taken what is there', async () => {
    const rig = await rigs.open({ limitBytes: 8 * SEGMENT_BYTES });
    const [writer] = rig.writers;
    expect(await fill(rig)).toBeLessThan(100_000);
    expect(writer!.state).toBe(WRITER_REFUSING);
    expect(refusalOf(rig)).toBe(REFUSE_FULL);
    expect(bytesOnDisk()).toBe(8 * SEGMENT_BYTES);
    expect(rig.logged).toEqual([expect.stringContaining(`its limit of ${8 * SEGMENT_BYTES} bytes`)]);
    expect(rig.keeper.stats[JOURNAL_STATS.REFUSES]).toBe(REFUSE_FULL);
    // Unsaved: nothing goes, however often it looks.
    for (let i = 0; i < 5; i++) await rig.keeper.step();
    expect(epochOf(rig)).toBe(1);
    // Saved: the epoch moves, the full shard adopts it without a segment of it, and the old one goes.
    for (let i = 0; i < 3; i++) {
      writer!.begin(performance.now());
      writer!.show(0, 0);
      await rig.keeper.step();
    }
    expect(refusalOf(rig)).toBe(REFUSE_NONE);
    expect(rig.logged.at(-1)).toContain('goes on');
    expect(append(writer!, 9, 9)).toBe(true);
    expect(await replayed(rigs.directory)).toEqual(['9:9']);
    expect(bytesOnDisk()).toBeLessThanOrEqual(8 * SEGMENT_BYTES);
  });

  it('a shard that is not full gives way, or the full one could never go on', async () => {
    const rig = await rigs.open({ shards: 2, limitBytes: 8 * SEGMENT_BYTES });
    append(rig.writers[1]!, 2, 2);
    await fill(rig);
    expect(rig.writers.map(({ state }) => state)).toEqual([WRITER_REFUSING, WRITER_READY]);
    // The spares of the second are used up, too, as if it had filled them.
    for (let turn = 0; turn < 6; turn++) {
      for (const writer of rig.writers) {
        writer.begin(performance.now());
        writer.show(0, 0);
      }
      await rig.keeper.step();
    }
    for (const writer of rig.writers) expect(append(writer, 5, 5)).toBe(true);
    expect((await readJournal(rigs.directory)).damages).toEqual([]);
  });

  it('asks the shards to carry over when half is used and an old epoch remains', async () => {
    const rig = await rigs.open({ limitBytes: 16 * SEGMENT_BYTES });
    const carry = (): number => new Int32Array(rig.keeper.words)[JOURNAL.CARRY]!;
    await fill(rig, 40_000);
    await rig.keeper.step();
    expect(carry()).toBe(0);
    await fill(rig, 60_000);
    await rig.keeper.step();
    expect(carry()).toBe(1);
    rig.writers[0]!.show(0, 1); // all carried over to the current epoch, which is 1
    await rig.keeper.step();
    expect(carry()).toBe(0);
    expect(epochOf(rig)).toBe(2);
  });
});

/** Epochs move as soon as they can. */
const AT_ONCE = { carryBytes: 0 };

describe('files', () => {
  it('are as many as the last epoch needed, not as the largest', async () => {
    const rig = await rigs.open(AT_ONCE);
    const [writer] = rig.writers;
    await fill(rig, 100_000);
    const most = bytesOnDisk();
    expect(most).toBeGreaterThan(10 * SEGMENT_BYTES);
    for (let epoch = 1; epoch <= 3; epoch++) {
      append(writer!, 1, epoch);
      for (let i = 0; i < 2; i++) {
        writer!.begin(performance.now());
        writer!.show(0, 0);
        await rig.keeper.step();
      }
    }
    expect(bytesOnDisk()).toBeLessThan(6 * SEGMENT_BYTES);
  });

  it('have room for the end behind the largest frame', async () => {
    const rig = await rigs.open();
    const [writer] = rig.writers;
    const endWords = (): number => new Int32Array(rig.keeper.words)[shardAt(0) + JOURNAL_SHARD.END]!;
    // Frames so that the largest would end with the file.
    const left = SEGMENT_BYTES / 4 - FRAME_WORDS_MAX - endWords();
    const FRAMES = 13;
    const images = (left - FRAMES * FRAME.WORDS) / IMAGE.WORDS;
    for (let frame = 0; frame < FRAMES - 2; frame++) append(writer!, 1, frame);
    append(writer!, 1, 1, Math.floor((images - FRAMES + 2) / 2));
    append(writer!, 1, 1, Math.ceil((images - FRAMES + 2) / 2));
    expect(endWords() + FRAME_WORDS_MAX).toBe(SEGMENT_BYTES / 4);
    expect(append(writer!, 1, 1, FRAME_IMAGES_MAX)).toBe(true);
    const content = await readJournal(rigs.directory);
    expect([content.damages, content.images]).toEqual([[], images + FRAME_IMAGES_MAX]);
  });
});

describe('epochs', () => {
  it('do not move while a shard has not adopted the last one, or users are unsaved from the one before', async () => {
    const rig = await rigs.open({ shards: 2, limitBytes: 6 * SEGMENT_BYTES });
    const [first, second] = rig.writers;
    await fill(rig, 20_000);
    for (const writer of rig.writers) writer.show(0, 5); // unsaved since epoch 1, the current one
    await rig.keeper.step();
    expect(epochOf(rig)).toBe(2);
    first!.begin(performance.now());
    append(first!, 1, 1);
    first!.show(5, 0);
    await rig.keeper.step();
    expect(segmentsIn(rigs.directory).length).toBeGreaterThan(2); // the second has not adopted
    second!.begin(performance.now());
    second!.show(0, 1); // adopted, one user not saved since epoch 1
    await rig.keeper.step();
    expect(segmentsIn(rigs.directory).length).toBeGreaterThan(2);
    expect(epochOf(rig)).toBe(2);
    second!.show(1, 0);
    await rig.keeper.step();
    expect(segmentsIn(rigs.directory).length).toBe(2);
  });

  it('do not move on while a shard may still write in the one before, though nobody is unsaved', async () => {
    const rig = await rigs.open({ shards: 2, ...AT_ONCE });
    const [first, second] = rig.writers;
    append(first!, 1, 1);
    for (const writer of rig.writers) writer.show(0, 0);
    second!.begin(performance.now()); // its turn has begun when the epoch moves
    await rig.keeper.step();
    expect(epochOf(rig)).toBe(2);
    expect(commit(second!, 2, 2)).toBe(true);
    first!.begin(performance.now());
    first!.show(0, 0);
    await rig.keeper.step();
    expect(await replayed(rigs.directory)).toContain('2:2');
    second!.show(0, 1);
    second!.begin(performance.now());
    second!.show(0, 1);
    await rig.keeper.step();
    expect(await replayed(rigs.directory)).toContain('2:2');
  });

  it('keep a segment that was empty in those before, until what is in it is saved', async () => {
    const rig = await rigs.open({ shards: 2, ...AT_ONCE });
    const [first, second] = rig.writers;
    /** Nobody is unsaved, and all adopt the epoch that comes. */
    const move = async (): Promise<void> => {
      append(second!, 2, epochOf(rig));
      for (const writer of rig.writers) writer.show(0, 0);
      await rig.keeper.step();
      for (const writer of rig.writers) {
        writer.begin(performance.now());
        writer.show(0, 0);
      }
    };
    for (let i = 0; i < 3; i++) await move();
    const epoch = epochOf(rig);
    expect(epoch).toBe(4);
    const segments = segmentsIn(rigs.directory).length;
    append(first!, 1, 1);
    while (segmentsIn(rigs.directory).length === segments) append(first!, 3, 3, 2000);
    first!.show(1, 0); // unsaved since this epoch
    for (let i = 0; i < 3; i++) await rig.keeper.step();
    expect(await replayed(rigs.directory)).toContain('1:1');
  });

  it('do not move when nothing was written', async () => {
    const rig = await rigs.open(AT_ONCE);
    const [writer] = rig.writers;
    append(writer!, 1, 1);
    const epochs: number[] = [];
    for (let i = 0; i < 4; i++) {
      writer!.begin(performance.now());
      writer!.show(0, 0);
      await rig.keeper.step();
      epochs.push(epochOf(rig));
    }
    expect(epochs).toEqual([2, 2, 2, 2]);
  });

  it('begin after those that do not count any more, also when no segment is left', async () => {
    const live = await LiveFile.open(rigs.directory, false);
    await live.write({ oldestEpoch: 9, runs: [] });
    await live.close();
    const rig = await rigs.open();
    expect(append(rig.writers[0]!, 1, 1)).toBe(true);
    expect(await replayed(rigs.directory)).toEqual(['1:1']);
  });

  it('counts are not shown while images wait to be written', async () => {
    const rig = await rigs.open();
    const [writer] = rig.writers;
    writer!.imageCount = 1;
    writer!.show(7, 7);
    writer!.imageCount = 0;
    expect([...new Int32Array(rig.keeper.words)].includes(7)).toBe(false);
    writer!.show(7, 7);
    expect([...new Int32Array(rig.keeper.words)].includes(7)).toBe(true);
  });
});

/** Users of a shard by the oldest epoch and the version of what the store lacks. */
type Unsaved = Map<number, { epoch: number; version: number }>;

describe('at any moment', () => {
  it.each([1, 2, 3, 4])(
    'everything unsaved is in the files, through failures and restarts (seed %i)',
    async (seed) => {
      const random = new Random(seed);
      const below = (bound: number): number => random.next(bound);
      const shards = 2;
      const limitBytes = 14 * SEGMENT_BYTES;
      let rig = await rigs.openFaulty({ shards, limitBytes, sync: seed % 2 === 0 });
      const unsaved: Unsaved[] = [new Map(), new Map()];
      let version = 0;
      let now = performance.now();
      const show = (shard: number): void => {
        const counts = [0, 0];
        for (const { epoch } of unsaved[shard]!.values()) counts[epoch & 1]!++;
        rig.writers[shard]!.show(counts[0]!, counts[1]!);
      };
      for (let step = 0; step < 250; step++) {
        now += 100;
        const shard = below(shards);
        const writer = rig.writers[shard]!;
        const action = below(100);
        if (action < 50) {
          writer.begin(now);
          if (writer.state === WRITER_READY) {
            const user = shard * 100 + below(10);
            const count = 1 + below(1500);
            version += 2000;
            const before = unsaved[shard]!.get(user);
            const epoch = before?.epoch ?? writer.epoch;
            if (append(writer, user, version, count))
              unsaved[shard]!.set(user, { epoch, version: version + count - 1 });
            // A change that failed is kept by the writer and comes later: the user is unsaved all the same.
            else if (before === undefined) unsaved[shard]!.set(user, { epoch, version: -1 });
          }
        } else if (action < 70) {
          for (const user of unsaved[shard]!.keys()) if (below(2) === 0) unsaved[shard]!.delete(user);
          show(shard);
        } else if (action < 90) {
          for (let i = 0; i < shards; i++) {
            rig.writers[i]!.begin(now);
            show(i);
          }
          await rig.keeper.step().catch(() => {});
        } else if (action < 95) {
          const calls = ['create', 'write', 'sync', 'rename', 'recycle', 'syncDirectory'];
          rig.faults.failing = below(2) === 0 ? {} : { [calls[below(calls.length)]!]: 'EIO' };
          rig.faults.partial = below(200);
        } else if (action < 97) {
          rig.faults.failing = {};
          await rigs.close(rig);
          rig = await rigs.openFaulty({ shards, limitBytes: limitBytes + bytesOnDisk() });
          const parity = rig.keeper.run - 1;
          for (const users of unsaved) for (const each of users.values()) each.epoch = parity;
          now = performance.now();
        }
        const content = await readJournal(rigs.directory);
        expect([step, content.damages]).toEqual([step, []]);
        const last = new Map(
          imagesOf(content).map((image) => image.split(':').map(Number) as [number, number]),
        );
        for (const users of unsaved)
          for (const [user, each] of users)
            expect([step, user, (last.get(user) ?? -1) >= each.version]).toEqual([step, user, true]);
      }
    },
  );
});
