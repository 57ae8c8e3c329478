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
import {
  FRAME_BYTES,
  JournalWriter,
  NODE_FILES,
  WRITER_READY,
  type WriterFiles,
} from '../../workers/journal/writer.js';
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
  const writers = Array.from({ length: shards }, (_, shard) => {
    const segmentBytes = given.segmentBytes ?? SEGMENT_BYTES;
    const writer = new JournalWriter(
      {
        directory,
        shard,
        run: keeper.run,
        segmentBytes,
        sync,
        words: keeper.words,
        frame: new SharedArrayBuffer(FRAME_BYTES),
      },
      writerFiles,
      new ManualClock(),
    );
    writer.onFailure = ({ message }) => logged.push(`writer ${message}`);
    writer.begin(performance.now());
    writer.show(1, 1);
    return writer;
  });
  await keeper.announce();
  return { directory, keeper, writers, logged, content };
}

/** One commit, if the writer takes one, of `count` images, each of user `user` with the version as its only content. */
export function append(writer: JournalWriter, user: number, version: number, count = 1): boolean {
  writer.begin(performance.now());
  if (writer.state !== WRITER_READY) return false;
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
