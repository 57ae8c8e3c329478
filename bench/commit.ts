/** Which sources a result is of. */
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));

function git(...args: string[]): string {
  try {
    return execFileSync('git', args, {
      cwd: ROOT,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
  } catch {
    return '';
  }
}

export function sourceState(): { commit: string; modified: boolean } {
  return {
    commit: git('rev-parse', '--short=12', 'HEAD') || 'unknown',
    modified: git('status', '--porcelain', '--', 'engine', 'workers', 'gateway', 'bench') !== '',
  };
}
