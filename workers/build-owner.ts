/** Whose code a reload may run: it runs as the user of this process. */
import { realpathSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { OperateError } from './workers.js';

const ROOT_USER = 0;

/**
 * Whoever may order a reload names a directory, and without admin tokens that is everyone on this machine. So what is there must be
 * of the user of this process, of root, or of whoever owns the build that runs.
 * @param file  in a folder of the directory
 * @throws OperateError if it is anybody else's
 */
export function checkBuildOwner(directory: string, file: string): void {
  const trusted = new Set([
    ROOT_USER,
    process.getuid!(), // Linux has it
    statSync(fileURLToPath(import.meta.url)).uid,
  ]);
  for (const path of [directory, dirname(file), file].map((named) => realpathSync(named))) {
    const { uid } = statSync(path);
    if (!trusted.has(uid))
      throw new OperateError(
        `${path} belongs to user ${uid}, whose code would run as user ${process.getuid!()}: make it yours first (chown).`,
      );
  }
}
