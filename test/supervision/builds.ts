/** Builds of the workers that differ from the one under test in one place, for threads to be started with. */
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { bundleThreads } from '../../scripts/bundle-threads.js';

const DIST = fileURLToPath(new URL('../..', import.meta.url));

export class Builds {
  readonly directory = mkdtempSync(join(tmpdir(), 'tidemark-builds-'));

  constructor() {
    writeFileSync(join(this.directory, 'package.json'), '{"type":"module"}');
    symlinkSync(join(DIST, '..', 'node_modules'), join(this.directory, 'node_modules'));
  }

  /** @returns its directory */
  async make(name: string, file: string, good: string, bad: string): Promise<string> {
    const directory = join(this.directory, name);
    for (const part of ['engine', 'workers'])
      cpSync(join(DIST, part), join(directory, part), { recursive: true });
    const path = join(directory, file);
    const text = readFileSync(path, 'utf8');
    if (text.split(good).length !== 2) throw new Error(`${file} does not have once: ${good}`);
    writeFileSync(
      path,
      text.replace(good, () => bad),
    );
    await bundleThreads(directory);
    return directory;
  }

  remove(): void {
    rmSync(this.directory, { recursive: true });
  }
}
