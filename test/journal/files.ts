/** A journal directory with a writer for each shard and no threads: the test is shard and keeper's caller. */
import { mkdtempSync, readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { IMAGE, ROW } from '../../engine/messages.js';
import {
  JournalKeeper,
  type KeeperFiles,
  type KeeperOptions,
  NODE_KEEPER_FILES,
} from '../../workers/journal/keeper.js';
import { type JournalContent, readJournal } from '../../workers/journal/reader.js';
import { Replay } from '../../workers/journal/replay.js';
import { JOURNAL, SPARE, SPARE_READY, spareAt } from '../../workers/journal/shared.js';
import { FRAME_BYTES, JournalWriter, WRITER_READY } from '../../workers/journal/writer.js';
import { NODE_FILES, type WriterFiles } from '../../workers/journal/writer-files.js';
import { ManualClock } from '../support/manual-clock.js';

export const SEGMENT_BYTES = 2 ** 19;

export function newDirectory(): string {
  return mkdtempSync(join(tmpdir(), 'tidemark-journal-'));
}

export interface Rig {
  readonly directory: string;
  readonly keeper: JournalKeeper;
  readonly writers: JournalWriter[];
  readonly logged: string[];
  readonly content: JournalContent;
  readonly options: RigOptions;
  /** Of each shard: the frame at hand. */
  readonly frames: readonly SharedArrayBuffer[];
}

interface RigOptions extends Partial<KeeperOptions> {
  readonly writerFiles?: WriterFiles;
  readonly keeperFiles?: KeeperFiles;
  readonly sync?: boolean;
}

/** Keeper and writers on the directory, each writer with its first segment, unsaved users and no loop of the keeper. */
export async function openRig(directory: string, options: RigOptions = {}): Promise<Rig> {
  const { writerFiles = NODE_FILES, keeperFiles = NODE_KEEPER_FILES, sync = false, ...given } = options;
  const logged: string[] = [];
  const content = await readJournal(directory);
  const shards = given.shards ?? 1;
  const keeper = new JournalKeeper(
    {
      directory,
      shards,
      segmentBytes: SEGMENT_BYTES,
      limitBytes: 64 * SEGMENT_BYTES,
      carryBytes: (given.limitBytes ?? 64 * SEGMENT_BYTES) / 2,
      carryRate: 1,
      flushDelayMs: 0,
      sync,
      ring: () => {},
      log: {
        info: (message) => logged.push(`info ${message}`),
        warn: (message) => logged.push(`warn ${message}`),
      },
      ...given,
    },
    content,
    keeperFiles,
  );
  await keeper.prepare();
  const frames = Array.from({ length: shards }, () => new SharedArrayBuffer(FRAME_BYTES));
  const rig: Rig = { directory, keeper, writers: [], logged, content, options, frames };
  for (let shard = 0; shard < shards; shard++) {
    const writer = openWriter(rig, shard, writerFiles);
    rig.writers.push(writer);
    writer.begin(performance.now());
    writer.show(1, 1);
  }
  await keeper.announce();
  return rig;
}

/** The writer of a thread that takes the shard. */
export function openWriter(
  { directory, keeper, options, logged, frames }: Rig,
  shard: number,
  files: WriterFiles,
): JournalWriter {
  const { segmentBytes = SEGMENT_BYTES, sync = false } = options;
  const frame = frames[shard]!;
  const { run, words } = keeper;
  const writer = new JournalWriter(
    { directory, shard, run, segmentBytes, sync, words, frame },
    files,
    new ManualClock(),
  );
  writer.onFailure = ({ message }) => logged.push(`writer ${message}`);
  return writer;
}

/** One commit, if the writer takes one, of `count` images, each of user `user` with the version as its only content. */
export function append(writer: JournalWriter, user: number, version: number, count = 1): boolean {
  writer.begin(performance.now());
  return writer.state === WRITER_READY && commit(writer, user, version, count);
}

/** The same in a turn that has begun. */
export function commit(writer: JournalWriter, user: number, version: number, count = 1): boolean {
  for (let i = 0; i < count; i++) {
    const at = writer.imageAt;
    writer.words.fill(0, at, at + IMAGE.WORDS);
    writer.words[at + IMAGE.USER_LO] = user;
    writer.words[at + IMAGE.ROW + ROW.FINGERPRINT] = version + i;
    writer.imageCount++;
  }
  return writer.commit(performance.now());
}

/** What a replay of the directory gives: `user:version` in its order. */
export async function replayed(directory: string): Promise<string[]> {
  return imagesOf(await readJournal(directory));
}

export function imagesOf(content: JournalContent): string[] {
  const images: string[] = [];
  const partition = {
    restoreImage(_hash: number, words: Int32Array, at: number): boolean {
      images.push(`${words[at + IMAGE.USER_LO]}:${words[at + IMAGE.ROW + ROW.FINGERPRINT]}`);
      return true;
    },
  };
  const replay = new Replay(content.segments, () => partition as never);
  while (replay.step()) if (replay.needsRoom) throw new Error('nothing needs room here');
  return images;
}

export function segmentsIn(directory: string): string[] {
  return readdirSync(directory)
    .filter((name) => name.endsWith('.segment'))
    .sort()
    .map((name) => join(directory, name));
}

export function refusalOf({ keeper }: Rig): number {
  return new Int32Array(keeper.words)[JOURNAL.REFUSE]!;
}

export function hasSpare({ keeper }: Rig): boolean {
  const words = new Int32Array(keeper.words);
  return [0, 1].some((slot) => words[spareAt(0, slot) + SPARE.STATE] === SPARE_READY);
}

/** Fills segments while the keeper gives new ones. @returns images written */
export async function fill(rig: Rig, imagesMax = 1_000_000): Promise<number> {
  const writer = rig.writers[0]!;
  let images = 0;
  for (; images < imagesMax; images += 2000) {
    writer.begin(performance.now());
    if (writer.state !== WRITER_READY) await rig.keeper.step();
    writer.begin(performance.now());
    if (writer.state !== WRITER_READY) break;
    append(writer, 1, images, 2000);
  }
  return images;
}
