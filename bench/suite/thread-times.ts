/** Processor time of the threads of a process, as Linux counts it. */
import { readdirSync, readFileSync } from 'node:fs';

/** Of a tick of the kernel's clock. */
const TICK_MS = 10;
const [USER_FIELD, SYSTEM_FIELD] = [11, 12];

export type ThreadTimes = ReadonlyMap<number, number>;

/** Milliseconds by number of the thread; the first thread has that of the process. */
export function threadTimes(pid: number): ThreadTimes {
  const times = new Map<number, number>();
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    const text = readFileSync(`/proc/${pid}/task/${thread}/stat`, 'utf8');
    // The name, in brackets, may have blanks.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    times.set(Number(thread), (Number(fields[USER_FIELD]) + Number(fields[SYSTEM_FIELD])) * TICK_MS);
  }
  return times;
}

/** What the front took, the busiest others (the shards first), and all others together. */
export function splitTimes(
  pid: number,
  before: ThreadTimes,
  after: ThreadTimes,
  shards: number,
): { frontMs: number; shardsMs: number; othersMs: number } {
  const grown = (thread: number): number => after.get(thread)! - (before.get(thread) ?? 0);
  const others = [...after.keys()].filter((thread) => thread !== pid).map(grown);
  others.sort((one, other) => other - one);
  const sum = (values: readonly number[]): number => values.reduce((total, ms) => total + ms, 0);
  const [shardsMs, othersMs] = [sum(others.slice(0, shards)), sum(others.slice(shards))];
  return { frontMs: grown(pid), shardsMs, othersMs };
}
