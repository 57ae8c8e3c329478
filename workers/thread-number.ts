/** Which thread of the system this is. */
import { readlinkSync } from 'node:fs';

/** The system's number of the thread that calls; 0 where it is not known. */
export function ownThread(): number {
  try {
    return Number(readlinkSync('/proc/thread-self').split('/').at(-1));
  } catch {
    return 0; // no Linux
  }
}
