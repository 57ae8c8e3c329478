/**
 * The saved partitions: one file for each, with the bytes that were in use one range after the other, and a manifest
 * that says what they are, with a checksum of each.
 *
 * I1  The manifest is written last and removed before anything is served, so that what it names is what the last
 *     process left at a clean stop. Files without a manifest are leftovers.
 * I2  Nothing is trusted that a checksum does not cover. So the partitions need not be synced: what a loss of power
 *     takes is found damaged, and the start is cold.
 */
import { existsSync, rmSync } from 'node:fs';
import { type FileHandle, mkdir, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { LAYOUT_VERSION } from '../../engine/layout.js';
import type { PartitionOptions } from '../../engine/partition.js';
import { type ByteRange, checkHeader, usedRanges } from '../../engine/slab-image.js';
import type { PartitionPlace } from '../partition-memory.js';
import { redactStore } from '../stores/cassandra-url.js';
import { readChecked, syncDirectory, writeChecked } from './checked-file.js';

const MANIFEST = 'manifest';
const MANIFEST_KIND = 'partitions';

/** Bytes of one read or write: large enough that a call costs nothing, small enough for a second-level cache. */
const CHUNK_BYTES = 1 << 20;
/** Files in work at once; the pool of threads that does the work has four, and the store needs one. */
const FILES_AT_ONCE = 3;

/** What must be the same for a saved partition to be of use. In the manifest word for word. */
export interface ImageSettings {
  readonly layoutVersion: number;
  readonly engine: string;
  readonly partitions: number;
  readonly recordsMax: number;
  readonly usersMax: number;
  readonly watchedMax: number;
  /** Without password and parameters. */
  readonly store: string;
}

interface Manifest extends ImageSettings {
  /** Of the store when it was closed; see store-generation.ts. */
  readonly generation: number;
  /** Of the shards. */
  readonly tick: number;
  readonly files: readonly { readonly ranges: readonly ByteRange[]; readonly checksum: number }[];
}

/** What the settings are called by whoever sets them. */
const NAMES: Record<keyof ImageSettings, string> = {
  layoutVersion: 'the layout of the memory (another version of Tidemark)',
  engine: '--engine',
  partitions: '--partitions',
  recordsMax: '--capacity, in records of a partition,',
  usersMax: '--capacity, in users of a partition,',
  watchedMax: '--max-watched, in users of a partition,',
  store: '--store',
};

/** The saved partitions cannot be used; the message is the reason. */
class Refused extends Error {}

export function imageSettings(
  engine: string,
  partitions: number,
  sizes: Pick<PartitionOptions, 'recordsMax' | 'usersMax' | 'watchedMax'>,
  store: string,
): ImageSettings {
  const { recordsMax, usersMax, watchedMax } = sizes;
  return {
    layoutVersion: LAYOUT_VERSION,
    engine,
    partitions,
    recordsMax,
    usersMax,
    watchedMax,
    store: redactStore(store).replace(/\?.*/, ''),
  };
}

/** What came of reading: the tick and the generation of the store that it was saved at, or why it is refused. */
export type ReadImage =
  | { readonly tick: number; readonly generation: number; readonly bytes: number }
  | { readonly refused: string };

export class PartitionImage {
  /** Of the partitions that `read` has begun to read. */
  #ranges: (readonly ByteRange[])[] = [];

  /** @param directory  of the image alone */
  constructor(
    readonly directory: string,
    readonly settings: ImageSettings,
    readonly options: PartitionOptions,
  ) {}

  #fileOf(partition: number): string {
    return join(this.directory, `${partition}.partition`);
  }

  /**
   * Reads the saved partitions into zeroed memory; null if there are none. After a refusal the memory has undefined
   * content: `clear` it.
   * @param places  where the partitions lie, in their order; empty for the heap engine
   */
  async read(places: readonly PartitionPlace[]): Promise<ReadImage | null> {
    try {
      const body = readChecked(join(this.directory, MANIFEST), MANIFEST_KIND);
      if (body === null) return null;
      const manifest = JSON.parse(body.toString()) as Manifest;
      this.#compareSettings(manifest);
      let bytes = 0;
      await inTurn(places.length, async (partition) => {
        const read = await this.#readPartition(manifest, partition, places[partition]!);
        bytes += read;
      });
      return { tick: manifest.tick, generation: manifest.generation, bytes };
    } catch (error) {
      return { refused: (error as Error).message };
    }
  }

  #compareSettings(manifest: Manifest): void {
    for (const name of Object.keys(NAMES) as (keyof ImageSettings)[]) {
      if (manifest[name] === this.settings[name]) continue;
      throw new Refused(`${NAMES[name]} was ${manifest[name]} and is ${this.settings[name]}`);
    }
  }

  async #readPartition(
    manifest: Manifest,
    partition: number,
    { memory, byteOffset }: PartitionPlace,
  ): Promise<number> {
    const path = this.#fileOf(partition);
    const { ranges, checksum } = manifest.files[partition]!;
    this.#ranges[partition] = ranges;
    const file = await open(path, 'r');
    let position = 0;
    let found = 0;
    try {
      await eachChunk(ranges, async (from, bytes) => {
        const chunk = new Uint8Array(memory, byteOffset + from, bytes);
        for (let done = 0; done < bytes; ) {
          const { bytesRead } = await file.read(chunk, done, bytes - done, position);
          if (bytesRead === 0) throw new Refused(`${path} ends at byte ${position}: it is cut short`);
          done += bytesRead;
          position += bytesRead;
        }
        found = crc32(chunk, found);
      });
    } finally {
      await file.close();
    }
    if (found !== checksum) throw new Refused(`${path} is damaged: its checksum does not match`);
    const reason = checkHeader(this.options, memory, byteOffset);
    if (reason !== null) throw new Refused(`${path} is of another size, ${reason}`);
    return position;
  }

  /** Zeroes what `read` has read and nobody may use. */
  clear(places: readonly PartitionPlace[]): void {
    this.#ranges.forEach((ranges, partition) => {
      const { memory, byteOffset } = places[partition]!;
      for (const { from, to } of ranges) new Uint8Array(memory, byteOffset + from, to - from).fill(0);
    });
  }

  /** Makes sure that no later start finds the image. */
  async remove(): Promise<void> {
    const path = join(this.directory, MANIFEST);
    if (!existsSync(path)) return;
    rmSync(path);
    await syncDirectory(this.directory);
  }

  /** Removes what `remove` has left, which nobody needs. */
  async removeFiles(): Promise<void> {
    await rm(this.directory, { recursive: true, force: true });
  }

  /**
   * Saves partitions that nobody uses any more. After an error nothing is left of it.
   * @returns bytes written
   */
  async save(places: readonly PartitionPlace[], tick: number, generation: number): Promise<number> {
    try {
      await mkdir(this.directory, { recursive: true });
      const files: Manifest['files'][number][] = [];
      let bytes = 0;
      await inTurn(places.length, async (partition) => {
        const { memory, byteOffset } = places[partition]!;
        const ranges = usedRanges(this.options, memory, byteOffset);
        const file = await open(this.#fileOf(partition), 'w');
        let checksum = 0;
        try {
          await eachChunk(ranges, async (from, length) => {
            const chunk = new Uint8Array(memory, byteOffset + from, length);
            checksum = crc32(chunk, checksum);
            await writeWhole(file, chunk);
            bytes += length;
          });
        } finally {
          await file.close();
        }
        files[partition] = { ranges, checksum };
      });
      const manifest: Manifest = { ...this.settings, generation, tick, files };
      const path = join(this.directory, MANIFEST);
      await writeChecked(path, MANIFEST_KIND, Buffer.from(`${JSON.stringify(manifest)}\n`));
      return bytes;
    } catch (error) {
      await this.removeFiles();
      throw error;
    }
  }
}

async function writeWhole(file: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    done += (await file.write(bytes, done, bytes.length - done)).bytesWritten;
  }
}

async function eachChunk(
  ranges: readonly ByteRange[],
  work: (from: number, bytes: number) => Promise<void>,
): Promise<void> {
  for (const { from, to } of ranges) {
    for (let at = from; at < to; at += CHUNK_BYTES) await work(at, Math.min(CHUNK_BYTES, to - at));
  }
}

/** Does work 0 to `count` - 1, some at once; after an error no more is begun, and it rejects when all have ended. */
async function inTurn(count: number, work: (index: number) => Promise<void>): Promise<void> {
  let next = 0;
  const runs = Array.from({ length: Math.min(FILES_AT_ONCE, count) }, async () => {
    try {
      while (next < count) await work(next++);
    } catch (error) {
      next = count;
      throw error;
    }
  });
  const failed = (await Promise.allSettled(runs)).find(({ status }) => status === 'rejected');
  if (failed !== undefined) throw (failed as PromiseRejectedResult).reason;
}
