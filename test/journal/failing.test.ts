/** The journal's files when calls to the system fail: nothing is lost, and it goes on by itself. */
import { readdirSync, writeFileSync } from 'node:fs';
import { describe, expect, it, vi } from 'vitest';
import { NODE_KEEPER_FILES } from '../../workers/journal/keeper.js';
import { readJournal } from '../../workers/journal/reader.js';
import {
  JOURNAL,
  JOURNAL_SHARD,
  REFUSE_FAILED,
  REFUSE_FULL,
  REFUSE_NONE,
  shardAt,
} from '../../workers/journal/shared.js';
import { RETRY_MS, WRITER_READY, WRITER_REFUSING, WRITER_WAITING } from '../../workers/journal/writer.js';
import { NODE_FILES, type WriterFiles } from '../../workers/journal/writer-files.js';
import { JOURNAL_STATS } from '../../workers/stats.js';
import { heirOf } from './faults.js';
import {
  append,
  commit,
  hasSpare,
  imagesOf,
  refusalOf,
  replayed,
  SEGMENT_BYTES,
  segmentsIn,
} from './files.js';
import { useRigs } from './rigs.js';

vi.setConfig({ testTimeout: 180_000 });

const rigs = useRigs();

describe('failures', () => {
  it('ENOSPC for a spare: what is at hand is used, then writes are refused, and go on by themselves', async () => {
    const rig = await rigs.openFaulty();
    const [writer] = rig.writers;
    rig.faults.failing = { create: 'ENOSPC' };
    const turn = async (): Promise<void> => {
      await rig.keeper.step().catch(() => {});
      writer!.begin(performance.now());
    };
    for (let i = 0; i < 3 * (SEGMENT_BYTES / 2000 / 48); i++) {
      await turn();
      if (writer!.state !== WRITER_READY) break;
      append(writer!, 1, i, 2000);
    }
    expect(writer!.state).toBe(WRITER_REFUSING);
    expect(refusalOf(rig)).toBe(REFUSE_FAILED);
    expect(segmentsIn(rigs.directory)).toHaveLength(2); // the one at hand, and the other spare
    expect(rig.logged).toHaveLength(1);
    expect(rig.logged[0]).toContain('cannot go on: ENOSPC: create fails');
    expect(rig.keeper.stats[JOURNAL_STATS.FAILURES]).toBeGreaterThan(1);
    rig.faults.failing = {};
    await turn();
    expect(append(writer!, 2, 2)).toBe(true);
    expect(rig.logged.at(-1)).toContain('goes on');
    expect((await readJournal(rigs.directory)).damages).toEqual([]);
  });

  it.each([
    ['write', 'EIO', false, 0],
    ['write', 'EIO', false, 20],
    ['sync', 'EIO', true, 0],
  ])(
    '%s of a commit: the frame is kept and written to the next segment (%s)',
    async (call, code, sync, partial) => {
      const rig = await rigs.openFaulty({ sync });
      const [writer] = rig.writers;
      append(writer!, 1, 1);
      rig.faults.failing = { [call]: code };
      rig.faults.partial = partial;
      expect(append(writer!, 2, 2)).toBe(false);
      expect(writer!.state).toBe(WRITER_REFUSING);
      expect(writer!.failures).toBe(1);
      expect(rig.logged.at(-1)).toContain(`${code}: ${call} fails`);
      // Not before a while, and not as long as it fails.
      const later = performance.now() + RETRY_MS;
      writer!.begin(later - 500);
      expect([writer!.state, writer!.failures]).toEqual([WRITER_REFUSING, 1]);
      writer!.begin(later + 1);
      expect([writer!.state, writer!.failures, writer!.imageCount]).toEqual([WRITER_REFUSING, 2, 1]);
      rig.faults.failing = {};
      writer!.begin(later + RETRY_MS + 2);
      expect([writer!.state, writer!.imageCount]).toEqual([WRITER_READY, 0]);
      expect(append(writer!, 3, 3)).toBe(true);
      const content = await readJournal(rigs.directory);
      expect(content.damages).toEqual([]);
      expect([...new Set(imagesOf(content))]).toEqual(['1:1', '2:2', '3:3']);
    },
  );

  it('a write that is cut short goes on where it ended', async () => {
    const writerFiles: WriterFiles = {
      ...NODE_FILES,
      write: (fd, bytes, offset, length, position) =>
        NODE_FILES.write(fd, bytes, offset, Math.min(length, 50), position),
    };
    const rig = await rigs.open({ writerFiles });
    for (let version = 1; version <= 3; version++)
      expect(append(rig.writers[0]!, 1, version * 10, 5)).toBe(true);
    const content = await readJournal(rigs.directory);
    expect([content.damages, content.notes]).toEqual([[], []]);
    expect(imagesOf(content)).toEqual(
      [10, 20, 30].flatMap((from) => [0, 1, 2, 3, 4].map((i) => `1:${from + i}`)),
    );
  });

  it('a full disk does not fill with files that could not be finished', async () => {
    let isFull = false;
    const keeperFiles = {
      ...NODE_KEEPER_FILES,
      async create(path: string, bytes: number, sync: boolean): Promise<void> {
        if (!isFull) return NODE_KEEPER_FILES.create(path, bytes, sync);
        writeFileSync(path, 'the first bytes');
        throw new Error('ENOSPC');
      },
    };
    const rig = await rigs.open({ keeperFiles });
    const files = readdirSync(rigs.directory).length;
    isFull = true;
    while (hasSpare(rig)) append(rig.writers[0]!, 1, 1, 2000);
    for (let i = 0; i < 3; i++) await expect(rig.keeper.step()).rejects.toThrow('ENOSPC');
    expect(readdirSync(rigs.directory)).toHaveLength(files);
  });

  it('a file is open for the segment at hand only, whatever fails', async () => {
    const opened = new Set<number>();
    let failing = '';
    const writerFiles: WriterFiles = {
      ...NODE_FILES,
      open(path) {
        const fd = NODE_FILES.open(path);
        opened.add(fd);
        return fd;
      },
      write(fd, bytes, offset, length, position) {
        if (failing === 'write') throw new Error('EIO');
        return NODE_FILES.write(fd, bytes, offset, length, position);
      },
      rename(from, to) {
        if (failing === 'rename') throw new Error('EIO');
        NODE_FILES.rename(from, to);
      },
      close(fd) {
        opened.delete(fd);
        NODE_FILES.close(fd);
      },
    };
    const rig = await rigs.open({ writerFiles });
    const [writer] = rig.writers;
    let nowMs = performance.now();
    for (const call of ['', 'rename', 'write']) {
      const segments = segmentsIn(rigs.directory).length;
      for (let i = 0; segmentsIn(rigs.directory).length < segments + 3; i++) {
        failing = i % 3 === 0 ? call : '';
        nowMs += 2 * RETRY_MS;
        writer!.begin(nowMs);
        if (writer!.state === WRITER_READY) commit(writer!, 1, i, 2000);
        await rig.keeper.step();
        expect(opened.size).toBe(1);
      }
    }
    writer!.close();
    expect(opened.size).toBe(0);
  });

  it('a shard that has given up its segment for a new epoch writes nothing more to it', async () => {
    const rig = await rigs.openFaulty({ limitBytes: 4 * SEGMENT_BYTES });
    const [writer] = rig.writers;
    while (hasSpare(rig)) {
      append(writer!, 1, 1, 2000);
      await rig.keeper.step();
    }
    expect(append(writer!, 2, 2)).toBe(true); // there is room in it
    new Int32Array(rig.keeper.words)[JOURNAL.EPOCH]! += 1;
    for (let i = 0; i < 3; i++) {
      writer!.begin(performance.now());
      expect([writer!.state, writer!.epoch]).toEqual([WRITER_REFUSING, 2]);
    }
  });

  it('a segment in which nothing could be written is tried again, not given up', async () => {
    const rig = await rigs.openFaulty();
    const [writer] = rig.writers;
    rig.faults.failing = { write: 'EIO' };
    expect(append(writer!, 1, 1)).toBe(false);
    for (let i = 1; i < 5; i++) writer!.begin(performance.now() + i * 2 * RETRY_MS);
    rig.faults.failing = {};
    writer!.begin(performance.now() + 10 * RETRY_MS);
    expect(writer!.state).toBe(WRITER_READY);
    expect(segmentsIn(rigs.directory)).toHaveLength(1);
    expect(await replayed(rigs.directory)).toEqual(['1:1']);
  });

  it.each(['rename', 'syncDirectory'])(
    '%s of a new segment: nothing is lost, nothing looks damaged',
    async (call) => {
      const rig = await rigs.openFaulty({ sync: true });
      const [writer] = rig.writers;
      append(writer!, 0, 0);
      rig.faults.failing = { [call]: 'EIO' };
      let images = 0;
      for (; writer!.state === WRITER_READY && images < 50_000; images += 2000) {
        if (!append(writer!, images, images, 2000)) break;
      }
      expect(writer!.state).toBe(WRITER_REFUSING);
      expect((await readJournal(rigs.directory)).damages).toEqual([]);
      rig.faults.failing = {};
      writer!.begin(performance.now() + 2 * RETRY_MS);
      expect(append(writer!, 1, 1)).toBe(true);
      const content = await readJournal(rigs.directory);
      expect([content.damages, content.notes.length]).toEqual([[], 1]);
      expect(content.notes[0]).toContain('its successor says that it is complete');
      expect(imagesOf(content).at(-1)).toBe('1:1');
    },
  );

  it('without another segment the frame is written to its place in this one, or a full journal would stay full', async () => {
    const rig = await rigs.openFaulty({ limitBytes: 4 * SEGMENT_BYTES });
    const [writer] = rig.writers;
    while (hasSpare(rig)) {
      append(writer!, 1, 1, 2000);
      await rig.keeper.step();
    }
    expect([append(writer!, 2, 2), refusalOf(rig)]).toEqual([true, REFUSE_FULL]);
    rig.faults.failing = { write: 'EIO' };
    rig.faults.partial = 20;
    expect(append(writer!, 3, 3)).toBe(false);
    writer!.begin(performance.now() + 2 * RETRY_MS);
    expect([writer!.state, writer!.imageCount]).toEqual([WRITER_REFUSING, 1]);
    rig.faults.failing = {};
    writer!.begin(performance.now() + 4 * RETRY_MS);
    expect([writer!.state, writer!.imageCount]).toEqual([WRITER_READY, 0]);
    const content = await readJournal(rigs.directory);
    expect(content.damages).toEqual([]);
    expect(imagesOf(content).slice(-2)).toEqual(['2:2', '3:3']);
    // The store has taken all: the old segments go, and there are spares again.
    for (let i = 0; i < 3; i++) {
      writer!.begin(performance.now());
      writer!.show(0, 0);
      await rig.keeper.step();
    }
    expect([refusalOf(rig), append(writer!, 4, 4)]).toEqual([REFUSE_NONE, true]);
    expect(await replayed(rigs.directory)).toEqual(['4:4']);
  });

  it.each([true, false])(
    'the names of recycled files are on the disk before they are used (sync: %s)',
    async (sync) => {
      const rig = await rigs.openFaulty({ sync, limitBytes: 4 * SEGMENT_BYTES });
      const [writer] = rig.writers;
      while (hasSpare(rig)) {
        append(writer!, 1, 1, 2000);
        await rig.keeper.step();
      }
      rig.faults.failing = { syncDirectory: 'EIO' };
      let failures = 0;
      for (let i = 0; i < 4; i++) {
        writer!.begin(performance.now() + i * 2 * RETRY_MS);
        writer!.show(0, 0);
        await rig.keeper.step().catch(() => failures++);
      }
      expect([failures > 0, rig.faults.directorySyncs, hasSpare(rig)]).toEqual([sync, 0, !sync]);
      rig.faults.failing = {};
      await rig.keeper.step();
      expect([rig.faults.directorySyncs, hasSpare(rig)]).toEqual([sync ? 1 : 0, true]);
    },
  );

  it('a spare that is not ready yet lets the shard wait, not refuse', async () => {
    const rig = await rigs.open();
    const [writer] = rig.writers;
    for (let i = 0; i < 50; i++) {
      writer!.begin(performance.now());
      if (writer!.state !== WRITER_READY) break;
      append(writer!, 1, i, 2000);
    }
    expect(writer!.state).toBe(WRITER_WAITING);
  });

  it('a thread that cannot open the segment of the one before goes on to another', async () => {
    const rig = await rigs.openFaulty();
    const [before] = rig.writers;
    append(before!, 1, 1);
    const heir = heirOf(rig, { open: 'EMFILE' });
    heir.begin(performance.now());
    expect([heir.state, heir.failures, rig.logged.length]).toEqual([WRITER_REFUSING, 2, 1]);
    expect(rig.logged[0]).toContain('EMFILE: open fails');
    rig.faults.failing = {};
    heir.begin(performance.now() + 2 * RETRY_MS);
    expect([heir.state, append(heir, 2, 2), segmentsIn(rigs.directory).length]).toEqual([
      WRITER_READY,
      true,
      2,
    ]);
    const content = await readJournal(rigs.directory);
    expect(content.damages).toEqual([]);
    expect(imagesOf(content)).toEqual(['1:1', '2:2']);
  });

  it('a thread opens the segment of the one before again, where there is no other for the frame', async () => {
    const rig = await rigs.openFaulty({ limitBytes: 4 * SEGMENT_BYTES });
    const [before] = rig.writers;
    while (hasSpare(rig)) {
      append(before!, 1, 1, 2000);
      await rig.keeper.step();
    }
    rig.faults.failing = { write: 'EIO' };
    expect(append(before!, 2, 2)).toBe(false);
    const heir = heirOf(rig, { open: 'EMFILE' });
    heir.begin(performance.now());
    expect([heir.state, heir.imageCount]).toEqual([WRITER_REFUSING, 1]);
    rig.faults.failing = {};
    heir.begin(performance.now() + 2 * RETRY_MS);
    expect([heir.state, heir.imageCount]).toEqual([WRITER_READY, 0]);
    const content = await readJournal(rigs.directory);
    expect([content.damages, imagesOf(content).at(-1)]).toEqual([[], '2:2']);
  });

  it.each([
    ['open', false],
    ['write', false],
    ['sync', true],
  ])(
    '%s of a segment that the thread before has begun: nothing is written until it is finished',
    async (call, sync) => {
      const rig = await rigs.openFaulty({ sync });
      const [before] = rig.writers;
      append(before!, 1, 1);
      const words = new Int32Array(rig.keeper.words);
      const shared = words.slice();
      rig.faults.failing = { write: 'EIO' };
      append(before!, 2, 2);
      rig.faults.failing = {};
      before!.begin(performance.now() + 2 * RETRY_MS); // to the second segment
      const begun = words[shardAt(0) + JOURNAL_SHARD.SEQ]!;
      // As it was when the file had just got its name.
      words.set(shared);
      words[JOURNAL.SEQ] = begun;
      words[shardAt(0) + JOURNAL_SHARD.BEGUN] = begun;
      words[shardAt(0) + JOURNAL_SHARD.BEGUN_SLOT] = 0;
      const heir = heirOf(rig, { [call]: 'EIO' });
      for (let i = 1; i < 4; i++) {
        heir.begin(performance.now() + i * 2 * RETRY_MS);
        expect([heir.state, words[shardAt(0) + JOURNAL_SHARD.BEGUN]]).toEqual([WRITER_REFUSING, begun]);
      }
      rig.faults.failing = {};
      heir.begin(performance.now() + 10 * RETRY_MS);
      expect([heir.state, append(heir, 3, 3)]).toEqual([WRITER_READY, true]);
      expect(segmentsIn(rigs.directory)).toHaveLength(2);
      const content = await readJournal(rigs.directory);
      expect(content.damages).toEqual([]);
      expect(imagesOf(content)).toEqual(['1:1', '3:3']);
    },
  );

  it('a journal that was removed leaves nothing', async () => {
    const rig = await rigs.open();
    append(rig.writers[0]!, 1, 1);
    for (const writer of rig.writers) writer.close();
    await rig.keeper.remove();
    expect(() => readdirSync(rigs.directory)).toThrow('ENOENT');
    expect(await readJournal(rigs.directory)).toMatchObject({ images: 0, damages: [] });
  });
});
