/**
 * Lets a thread that starts have only what those who serve leave of the processors: the load of its code (90 ms of a
 * processor) and its rehearsal would take their turns otherwise. The kernel must allow the way back to the priority of
 * before (CAP_SYS_NICE); where it does not, nothing is changed, and the thread has to rest by itself.
 *
 * B1  Who waits for the thread stores NEEDED, then looks at BACKGROUND; the thread stores BACKGROUND, goes, and then looks
 *     at NEEDED. So one of them sees the other, and a thread that somebody waits for does not stay.
 */
import { readlinkSync } from 'node:fs';
import { constants, getPriority, setPriority } from 'node:os';
import type { LaneControl } from '../engine/lane-control.js';

/** The lowest: beside a busy thread, a thread has 1.5% of a processor, and gets on even if there is never one idle. */
const { PRIORITY_LOW } = constants.priority;
/** That of the first thread, which never goes into the background. */
const USUAL = getPriority(process.pid);

/** The thread that calls goes into the background, if the kernel would let it out again. @param seat  its own */
export function enterBackground(control: LaneControl, seat: number): void {
  try {
    const thread = Number(readlinkSync('/proc/thread-self').split('/').at(-1)); // Linux: threads have priorities
    setPriority(thread, USUAL - 1); // needs what the way back will need
    control.setBackground(seat, thread);
    setPriority(thread, PRIORITY_LOW);
    if (control.isNeeded(seat)) setPriority(thread, USUAL); // B1
  } catch {
    control.setBackground(seat, 0); // it stays as it is
  }
}

/** Has a thread leave the background, if it is there; for the thread, or for who waits for it. */
export function leaveBackground(control: LaneControl, seat: number): void {
  const thread = control.backgroundOf(seat);
  if (thread === 0) return;
  control.setBackground(seat, 0);
  try {
    setPriority(thread, USUAL);
  } catch {} // it has ended
}

/** Somebody waits for a thread that may still be on its way. */
export function callFromBackground(control: LaneControl, seat: number): void {
  control.setNeeded(seat, true);
  leaveBackground(control, seat); // B1
}
