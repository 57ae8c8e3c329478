/**
 * One Tidemark to a directory, also after a kill -9, with files alone (Node has no flock).
 *
 * Who wants the directory first puts a file there whose name says which process it is, then looks at the files of
 * the others: a living one means refusal, a dead one's file is removed. Of two that start at once, the one that
 * creates later sees the other; if both see each other, both refuse, which is safe.
 * A process is its pid, the time it started and the boot: a pid alone comes again, in a container at once.
 * Limit: processes that cannot see each other's pids (containers that share a volume) do not notice each other.
 */
import { randomBytes } from 'node:crypto';
import { closeSync, openSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';

/** What of a directory is locked; the store may lie in the data directory itself. */
type LockKind = 'store' | 'data';

const PREFIXES: Record<LockKind, string> = { store: 'tidemark', data: 'tidemark-data' };
const LOCK_NAME = /^(tidemark|tidemark-data)-(\d+)-(\w+)-(\w+)-\w+\.lock$/;
const DEAD_STATES = 'ZX';

/**
 * @param replaces  this process holds the directory, for a thread that has ended
 * @throws Error if a living process holds the directory. @returns a function that gives it back
 */
export function lockDirectory(directory: string, kind: LockKind, replaces = false): () => void {
  const boot = bootId();
  const started = startOf(process.pid) ?? '0';
  const own = `${PREFIXES[kind]}-${process.pid}-${started}-${boot}-${randomBytes(4).toString('hex')}.lock`;
  closeSync(openSync(join(directory, own), 'wx'));
  const release = (): void => rmSync(join(directory, own), { force: true });
  try {
    for (const name of readdirSync(directory)) {
      const match = LOCK_NAME.exec(name);
      if (match === null || match[1] !== PREFIXES[kind] || name === own) continue;
      const pid = Number(match[2]);
      const isOwn = replaces && pid === process.pid;
      if (!isOwn && match[4] === boot && isAlive(pid, match[3]!)) {
        throw new Error(
          `${directory} is in use by the process ${pid} (${name}). Stop it first, or give each server a directory of its own.`,
        );
      }
      rmSync(join(directory, name), { force: true });
    }
  } catch (error) {
    release();
    throw error;
  }
  return release;
}

function bootId(): string {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').replaceAll('-', '').trim();
  } catch {
    return '0'; // no Linux
  }
}

function isAlive(pid: number, started: string): boolean {
  if (started !== '0') return startOf(pid) === started;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** When the process started, in clock ticks since the boot; null if it does not live or there is no /proc. */
function startOf(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The second field, the name, may hold blanks and parentheses; the third is the state, the 22nd the start.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return DEAD_STATES.includes(fields[0]!) ? null : fields[19]!;
  } catch {
    return null;
  }
}
