/** A journal whose calls to the system fail when the test says so. */
import { type KeeperFiles, NODE_KEEPER_FILES } from '../../workers/journal/keeper.js';
import type { JournalWriter } from '../../workers/journal/writer.js';
import { NODE_FILES, type WriterFiles } from '../../workers/journal/writer-files.js';
import { openRig, openWriter, type Rig } from './files.js';

/** Files whose calls fail while `failing` names them. */
export class Faults {
  failing: Record<string, string | undefined> = {};
  /** Bytes that the next failing write still writes. */
  partial = 0;
  /** Of the keeper. */
  directorySyncs = 0;

  #check(call: string): void {
    const code = this.failing[call];
    if (code !== undefined) throw Object.assign(new Error(`${code}: ${call} fails`), { code });
  }

  get writerFiles(): WriterFiles {
    return {
      ...NODE_FILES,
      open: (path) => {
        this.#check('open');
        return NODE_FILES.open(path);
      },
      write: (fd, bytes, offset, length, position) => {
        if (this.failing.write !== undefined && this.partial > 0) {
          const written = NODE_FILES.write(fd, bytes, offset, Math.min(this.partial, length), position);
          this.partial = 0;
          return written;
        }
        this.#check('write');
        return NODE_FILES.write(fd, bytes, offset, length, position);
      },
      sync: (fd) => {
        this.#check('sync');
        NODE_FILES.sync(fd);
      },
      rename: (from, to) => {
        this.#check('rename');
        NODE_FILES.rename(from, to);
      },
      syncDirectory: (path) => {
        this.#check('syncDirectory');
        NODE_FILES.syncDirectory(path);
      },
    };
  }

  get keeperFiles(): KeeperFiles {
    return {
      create: async (path, bytes, sync) => {
        this.#check('create');
        await NODE_KEEPER_FILES.create(path, bytes, sync);
      },
      rename: async (from, to) => {
        this.#check('recycle');
        await NODE_KEEPER_FILES.rename(from, to);
      },
      remove: NODE_KEEPER_FILES.remove,
      syncDirectory: async (path) => {
        this.#check('syncDirectory');
        await NODE_KEEPER_FILES.syncDirectory(path);
        this.directorySyncs++;
      },
    };
  }
}

export type FaultyRig = Rig & { readonly faults: Faults };

export async function openFaultyRig(
  directory: string,
  options: Parameters<typeof openRig>[1] = {},
): Promise<FaultyRig> {
  const faults = new Faults();
  const { writerFiles, keeperFiles } = faults;
  return { ...(await openRig(directory, { writerFiles, keeperFiles, ...options })), faults };
}

/** The writer of the thread that comes after the first shard's, which starts while calls fail. */
export function heirOf(rig: FaultyRig, failing: Faults['failing']): JournalWriter {
  rig.writers[0]!.close();
  rig.logged.length = 0;
  rig.faults.failing = failing;
  const heir = openWriter(rig, 0, rig.faults.writerFiles);
  rig.writers[0] = heir;
  return heir;
}
