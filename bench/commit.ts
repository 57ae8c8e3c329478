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

/** As the process began, whose code is of then: a checkout may go on while a benchmark runs. */
const AT_START = {
  commit: git('rev-parse', '--short=12', 'HEAD') || 'unknown',
  modified: git('status', '--porcelain', '--', 'engine', 'workers', 'gateway', 'bench') !== '',
} as const;

export function sourceState(): { readonly commit: string; readonly modified: boolean } {
  return AT_START;
}
