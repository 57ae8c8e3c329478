/** What a journal gives back: all of it, and what is torn, damaged or missing is said. */
import { copyFileSync, cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { IMAGE } from '../../engine/messages.js';
import { END_WORDS, FRAME, SEGMENT, SEGMENT_MAGIC } from '../../workers/journal/format.js';
import { LIVE_NAME } from '../../workers/journal/live-file.js';
import { type JournalContent, readJournal } from '../../workers/journal/reader.js';
import { append, imagesOf, type Rig, replayed, SEGMENT_BYTES, segmentsIn } from './files.js';
import { useRigs } from './rigs.js';

const rigs = useRigs();

/** Frames of 1, 2, 3 images in one segment. @returns its path */
async function threeFrames(): Promise<string> {
  const { writers } = await rigs.open();
  append(writers[0]!, 1, 10);
  append(writers[0]!, 2, 20, 2);
  append(writers[0]!, 3, 30, 3);
  return segmentsIn(rigs.directory)[0]!;
}
const ALL = ['1:10', '2:20', '2:21', '3:30', '3:31', '3:32'];
const LAST_FRAME_AT = SEGMENT.WORDS + 2 * FRAME.WORDS + 3 * IMAGE.WORDS;
const END_AT = LAST_FRAME_AT + FRAME.WORDS + 3 * IMAGE.WORDS;

/** Fills segments until the shard has `count`. */
async function segments({ keeper, writers }: Rig, count: number): Promise<string[]> {
  for (let version = 1; segmentsIn(rigs.directory).length < count; version++) {
    append(writers[0]!, version, version, 2000);
    await keeper.step();
  }
  return segmentsIn(rigs.directory);
}

/** All is saved, and the keeper finds it worth an epoch: more than half of the limit is used. */
async function nextEpoch({ keeper, writers }: Rig): Promise<void> {
  writers[0]!.show(0, 0);
  await keeper.step();
}

function said({ notes, damages }: JournalContent): string[] {
  return [...notes, ...damages];
}

describe('what was committed', () => {
  it('comes back in its order, from one segment', async () => {
    await threeFrames();
    const content = await readJournal(rigs.directory);
    expect(imagesOf(content)).toEqual(ALL);
    expect(content.images).toBe(ALL.length);
    expect(said(content)).toEqual([]);
  });

  it('comes back from many segments of two shards, and from an earlier run', async () => {
    const expected: string[] = [];
    for (let run = 0; run < 2; run++) {
      const rig = await rigs.open({ shards: 2 });
      const { keeper, writers } = rig;
      for (let i = 0; i < 40; i++) {
        const user = run * 1000 + i;
        append(writers[i & 1]!, user, i, 1500);
        expected.push(`${user}:${i}`);
        await keeper.step();
      }
      await rigs.close(rig);
    }
    const content = await readJournal(rigs.directory);
    expect(segmentsIn(rigs.directory).length).toBeGreaterThan(8);
    expect(said(content)).toEqual([]);
    const images = imagesOf(content);
    expect(images.length).toBe(80 * 1500);
    expect(expected.filter((each) => !images.includes(each))).toEqual([]);
  });

  it('is nothing when there is no rigs.directory', async () => {
    const content = await readJournal(join(rigs.directory, 'none'));
    expect(content).toMatchObject({ images: 0, lastSeq: 0, lastEpoch: 0, notes: [], damages: [] });
  });
});

describe('a torn end', () => {
  it.each([
    ['of a new file', 0],
    ['of a recycled file', 0x41],
  ])('at every byte of the last frame %s is cut and said', async (_title, old) => {
    const path = await threeFrames();
    const whole = readFileSync(path);
    const [from, to] = [LAST_FRAME_AT * 4, END_AT * 4];
    for (let cut = from; cut < to; cut++) {
      if (old === 0 && whole.subarray(cut, to).every((byte) => byte === 0)) break; // nothing is missing
      const torn = Buffer.from(whole);
      torn.fill(old, cut);
      torn.fill(0, cut, Math.max(cut, from + FRAME.WORDS * 4)); // what the commit before wrote
      writeFileSync(path, torn);
      const content = await readJournal(rigs.directory);
      expect([cut, imagesOf(content)]).toEqual([cut, ALL.slice(0, 3)]);
      expect(content.damages).toEqual([]);
      // Where the checksum, say, begins with zeros, nothing was written yet.
      const isTorn = torn.subarray(from, cut).some((byte) => byte !== 0);
      expect([cut, content.notes.length]).toEqual([cut, isTorn ? 1 : 0]);
      if (isTorn) expect(content.notes[0]).toContain(`${path}: byte ${from}: the last write was cut short`);
    }
  });

  it('of the header alone, before the file has its name, leaves no segment', async () => {
    const { writers } = await rigs.open();
    append(writers[0]!, 1, 1);
    writeFileSync(join(rigs.directory, 'spare-0-1'), Buffer.alloc(1000, 0x41));
    expect(await replayed(rigs.directory)).toEqual(['1:1']);
  });
});

describe('a flipped byte', () => {
  it('is said, whichever word of the segment it is in', async () => {
    const path = await threeFrames();
    const whole = readFileSync(path);
    for (let word = 0; word < END_AT + FRAME.WORDS; word++) {
      const flipped = Buffer.from(whole);
      flipped[word * 4 + (word % 4)]! ^= 1 << (word % 8);
      writeFileSync(path, flipped);
      if (word === SEGMENT.FORMAT) {
        // The checksum does not fit either, so it is no other format.
        expect((await readJournal(rigs.directory)).damages[0]).toContain('no header');
        continue;
      }
      const content = await readJournal(rigs.directory);
      const images = imagesOf(content);
      expect([word, said(content).length > 0]).toEqual([word, true]);
      expect([word, content.damages.length > 0]).toEqual([word, word < LAST_FRAME_AT]);
      // What is whole is there, also behind the damage.
      const lost = word < SEGMENT.WORDS || word >= END_AT ? [] : lostAt(word);
      expect([word, images]).toEqual([word, ALL.filter((image) => !lost.includes(image))]);
    }
  });

  function lostAt(word: number): string[] {
    if (word >= LAST_FRAME_AT) return ALL.slice(3);
    return word >= SEGMENT.WORDS + FRAME.WORDS + IMAGE.WORDS ? ALL.slice(1, 3) : ALL.slice(0, 1);
  }

  it('in a segment that has a successor is damage, also in its last frame', async () => {
    const rig = await rigs.open();
    append(rig.writers[0]!, 1, 1);
    const [path] = await segments(rig, 2);
    const words = new Int32Array(readFileSync(path!).buffer);
    let last = SEGMENT.WORDS;
    for (let at = last; words[at + FRAME.IMAGES]! > 0; at += words[at + FRAME.LENGTH]!) last = at;
    const end = last + words[last + FRAME.LENGTH]!;
    expect(words[end + FRAME.IMAGES]).toBe(-1);
    words[last + FRAME.WORDS + 5]! ^= 1;
    writeFileSync(path!, new Uint8Array(words.buffer));
    const content = await readJournal(rigs.directory);
    expect(content.damages).toEqual([
      `${path}: byte ${last * 4}: not a whole frame, and the segment was written to byte ${end * 4}.`,
    ]);
  });

  it('in END is said, and harmless as long as the successor is there', async () => {
    const rig = await rigs.open();
    const [path] = await segments(rig, 2);
    append(rig.writers[0]!, 5, 5);
    const words = new Int32Array(readFileSync(path!).buffer);
    let end = SEGMENT.WORDS;
    while (words[end + FRAME.IMAGES] !== -1) end += words[end + FRAME.LENGTH]!;
    const expected = await replayed(rigs.directory);
    for (let word = 0; word < END_WORDS; word++) {
      const flipped = words.slice();
      flipped[end + word]! ^= 1 << word;
      writeFileSync(path!, new Uint8Array(flipped.buffer));
      const content = await readJournal(rigs.directory);
      expect(content.damages).toEqual([]);
      expect(content.notes).toEqual([
        `${path}: byte ${end * 4}: has no end, but its successor says that it is complete.`,
      ]);
      expect(imagesOf(content)).toEqual(expected);
    }
  });
});

describe('a missing file', () => {
  it.each([
    ['first', 0],
    ['one between', 1],
    ['last', 2],
  ])('the %s: said with its name', async (_title, index) => {
    const paths = await segments(await rigs.open(), 3);
    rmSync(paths[index]!);
    const { damages } = await readJournal(rigs.directory);
    expect(damages.length).toBeGreaterThan(0);
    for (const damage of damages) expect(damage).toContain(`${paths[index]} is missing: `);
  });

  it('from after the rigs.directory was listed is none, while the journal is written', async () => {
    const paths = await segments(await rigs.open(), 4);
    rmSync(paths.at(-1)!);
    expect((await readJournal(rigs.directory)).damages).toHaveLength(1);
    expect((await readJournal(rigs.directory, true)).damages).toEqual([]);
    rmSync(paths.at(-3)!);
    expect((await readJournal(rigs.directory, true)).damages).not.toEqual([]);
  });

  it('the only one of a shard', async () => {
    const { writers } = await rigs.open({ shards: 2 });
    append(writers[0]!, 1, 1);
    rmSync(segmentsIn(rigs.directory)[1]!);
    expect((await readJournal(rigs.directory)).damages).toEqual([
      `${rigs.directory}: all segments of shard 1 of the run that began with epoch 1 are missing.`,
    ]);
  });

  it('live.json, or both of its lines', async () => {
    const path = await threeFrames();
    const live = join(rigs.directory, LIVE_NAME);
    const whole = readFileSync(live);
    const lines = [0, 1].map((turn) => {
      const text = Buffer.from(whole);
      text[turn * 4096 + 20]! ^= 1;
      return text;
    });
    for (const line of lines) {
      writeFileSync(live, line);
      expect((await readJournal(rigs.directory)).damages.filter((each) => each.includes(LIVE_NAME))).toEqual(
        [],
      );
    }
    const both = Buffer.from(lines[0]!);
    both[4096 + 20]! ^= 1;
    for (const change of [() => writeFileSync(live, both), () => rmSync(live)]) {
      change();
      const content = await readJournal(rigs.directory);
      expect(content.damages).toEqual([`${live} is missing or cannot be read, and there are segments.`]);
      expect(imagesOf(content)).toEqual(ALL);
    }
    expect(path).toContain(rigs.directory);
  });

  it('a segment of another size or another seq', async () => {
    const path = await threeFrames();
    const whole = readFileSync(path);
    writeFileSync(path, whole.subarray(0, END_AT * 4));
    expect((await readJournal(rigs.directory)).damages[0]).toContain(
      `has ${END_AT * 4} bytes, and should have`,
    );
    writeFileSync(path, whole);
    const copy = path.replace('000000000001', '000000000007');
    copyFileSync(path, copy);
    expect((await readJournal(rigs.directory)).damages).toEqual([
      `${copy}: byte 0: this is no header of segment 7.`,
    ]);
  });

  it('another format is refused, whatever else is wrong', async () => {
    const path = await threeFrames();
    const live = join(rigs.directory, LIVE_NAME);
    const before = readFileSync(live);
    const words = new Int32Array(readFileSync(path).buffer);
    expect(words[SEGMENT.MAGIC]).toBe(SEGMENT_MAGIC);
    words[SEGMENT.FORMAT] = 9;
    const { headerChecksum } = await import('../../workers/journal/format.js');
    words[SEGMENT.CHECKSUM] = headerChecksum(words);
    writeFileSync(path, new Uint8Array(words.buffer));
    await expect(readJournal(rigs.directory)).rejects.toThrow(
      `${path} is of journal format 9, and this version reads 1.`,
    );
    writeFileSync(live, before);
  });
});

describe('a crash between two steps', () => {
  it('of a rotation: a successor without frames, a predecessor without END', async () => {
    const rig = await rigs.open();
    const paths = await segments(rig, 2);
    const words = new Int32Array(readFileSync(paths[0]!).buffer);
    let end = SEGMENT.WORDS;
    while (words[end + FRAME.IMAGES] !== -1) end += words[end + FRAME.LENGTH]!;
    words.fill(0, end, end + END_WORDS);
    writeFileSync(paths[0]!, new Uint8Array(words.buffer));
    const content = await readJournal(rigs.directory);
    expect(content.damages).toEqual([]);
    expect(content.notes).toHaveLength(1);
  });

  it('of the recycling: files of epochs that do not count are no gap', async () => {
    const rig = await rigs.open({ limitBytes: 5 * SEGMENT_BYTES });
    await segments(rig, 3);
    await nextEpoch(rig);
    append(rig.writers[0]!, 7, 7);
    rig.writers[0]!.show(0, 0);
    const before = join(rigs.directory, 'copy');
    mkdirSync(before);
    for (const path of segmentsIn(rigs.directory))
      cpSync(path, join(before, path.slice(rigs.directory.length + 1)));
    await rig.keeper.step();
    // All combinations of files that went and files that did not.
    const kept = segmentsIn(rigs.directory);
    const gone = segmentsIn(before)
      .map((path) => path.slice(before.length + 1))
      .filter((name) => !kept.includes(join(rigs.directory, name)));
    expect(gone.length).toBeGreaterThan(1);
    for (let bits = 0; bits < 2 ** gone.length; bits++) {
      gone.forEach((name, i) => {
        if ((bits >> i) & 1) copyFileSync(join(before, name), join(rigs.directory, name));
        else rmSync(join(rigs.directory, name), { force: true });
      });
      const content = await readJournal(rigs.directory);
      expect(said(content)).toEqual([]);
      expect(imagesOf(content)).toEqual(['7:7']);
    }
  });

  it('frames of a recycled file are never taken for new ones', async () => {
    const rig = await rigs.open({ limitBytes: 5 * SEGMENT_BYTES });
    for (let i = 0; i < 3; i++) {
      await segments(rig, 3);
      await nextEpoch(rig);
      append(rig.writers[0]!, 7, i);
    }
    await nextEpoch(rig);
    const images = await replayed(rigs.directory);
    expect(images.every((image) => image.startsWith('7:'))).toBe(true);
    expect(images).toContain('7:2');
    const recycled = segmentsIn(rigs.directory).some((path) => {
      const words = new Int32Array(readFileSync(path).buffer);
      return words.subarray(1000).some((word) => word !== 0);
    });
    expect(recycled).toBe(true);
  });
});
