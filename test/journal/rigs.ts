/** The journals of one test, in a directory of its own: closed, and the directory removed, when it ends. */
import { rmSync } from 'node:fs';
import { afterEach, beforeEach } from 'vitest';
import { type FaultyRig, openFaultyRig } from './faults.js';
import { newDirectory, openRig, type Rig } from './files.js';

type Options = Parameters<typeof openRig>[1];

class Rigs {
  directory = '';
  readonly #rigs = new Set<Rig>();

  begin(): void {
    this.directory = newDirectory();
  }

  async open(options?: Options): Promise<Rig> {
    const rig = await openRig(this.directory, options);
    this.#rigs.add(rig);
    return rig;
  }

  async openFaulty(options?: Options): Promise<FaultyRig> {
    const rig = await openFaultyRig(this.directory, options);
    this.#rigs.add(rig);
    return rig;
  }

  async close(rig: Rig): Promise<void> {
    this.#rigs.delete(rig);
    for (const writer of rig.writers) writer.close();
    await rig.keeper.close();
  }

  async end(): Promise<void> {
    for (const rig of this.#rigs) await this.close(rig);
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** For all tests of a file. */
export function useRigs(): Rigs {
  const rigs = new Rigs();
  beforeEach(() => rigs.begin());
  afterEach(() => rigs.end());
  return rigs;
}
