/** The repository as the checks see it: its files with their text, and how a check reports. */
import { readdirSync, readFileSync, realpathSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

/** The folder of package.json, seen from dist/scripts/. */
export const ROOT = fileURLToPath(new URL('../..', import.meta.url));

export interface RepositoryFile {
  /** Relative to the root, with `/`. */
  path: string;
  text: string;
}

/** Folders that hold nothing of ours: the same as in .gitignore. */
const IGNORED = new Set(['.git', 'node_modules', 'dist', 'coverage', '.cache', '.ci-cache', 'data']);
const BINARY = /\.(png|jpe?g|gif|ico|webp|woff2?|gz|bin)$/;

/** All files of the repository; a binary one with empty text. */
export function readRepository(root: string): RepositoryFile[] {
  const files: RepositoryFile[] = [];
  const visit = (folder: string): void => {
    for (const entry of readdirSync(join(root, folder), { withFileTypes: true })) {
      const path = folder === '' ? entry.name : `${folder}/${entry.name}`;
      if (entry.isDirectory()) {
        if (!IGNORED.has(folder === '' || entry.name === 'node_modules' ? entry.name : '')) visit(path);
      } else if (entry.isFile()) {
        files.push({ path, text: BINARY.test(path) ? '' : readFileSync(join(root, path), 'utf8') });
      }
    }
  };
  visit('');
  return files.sort((a, b) => (a.path < b.path ? -1 : 1));
}

/** Whether the module at this URL is the one that node was started with. */
export function isMain(moduleUrl: string): boolean {
  const started = process.argv[1];
  return started !== undefined && pathToFileURL(realpathSync(started)).href === moduleUrl;
}

/** Prints the problems, one a line, and makes the process fail when there are any. */
export function report(check: string, problems: string[], fileCount: number): void {
  for (const problem of problems) console.error(problem);
  if (problems.length === 0) console.log(`${check}: ${fileCount} files, no problems`);
  else console.error(`${check}: ${problems.length} problem${problems.length === 1 ? '' : 's'}`);
  if (problems.length > 0) process.exitCode = 1;
}
