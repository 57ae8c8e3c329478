/** What Linux tells about the memory of a process. */
import { readFileSync } from 'node:fs';

/** On transparent huge pages; 0 where it cannot be known. */
export function hugePageBytes(pid: number): number {
  return kilobytes(`/proc/${pid}/smaps_rollup`, 'AnonHugePages') * 1024;
}

export function residentBytes(pid: number): number {
  return kilobytes(`/proc/${pid}/status`, 'VmRSS') * 1024;
}

/** The most that was resident since the start of the process, or since somebody wrote 5 to its `clear_refs`. */
export function peakResidentBytes(pid: number): number {
  return kilobytes(`/proc/${pid}/status`, 'VmHWM') * 1024;
}

function kilobytes(file: string, name: string): number {
  try {
    return Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(readFileSync(file, 'utf8'))?.[1] ?? 0);
  } catch {
    return 0;
  }
}
