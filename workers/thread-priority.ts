/**
 * Which threads of this process have to stand back for the others, and which go before them. On Linux a thread has a priority and a
 * scheduling policy of its own. Node sets the first; for the second there is libc's sched_setscheduler (man 2 sched_setscheduler).
 *
 * The lowest priority is not enough beside threads that sleep and wake: whoever is on a processor has it to itself for a turn of
 * the scheduler (3 to 4 ms) when they wake, and keeps the kernel from moving one of two that share another. A thread with
 * SCHED_IDLE makes way at once, and a processor that only has such threads counts as idle.
 *
 * For the main thread: one that is terminated while it loads koffi takes the process with it (napi_throw, SIGABRT).
 */
import { createRequire } from 'node:module';
import { constants, getPriority, setPriority } from 'node:os';

const { PRIORITY_LOW } = constants.priority;
/** That of the first thread, which never stands back. */
const USUAL = getPriority(process.pid);

const SCHED_OTHER = 0;
const SCHED_RR = 2;
const SCHED_IDLE = 5;
/** Of SCHED_RR: threads that the thread starts are as any other. */
const SCHED_RESET_ON_FORK = 0x40000000;
const NO_PRIORITY = [0];
/** The lowest of those that SCHED_RR has. */
const FIRST = [1];

type SetPolicy = (thread: number, policy: number, priority: readonly number[]) => number;

/** @returns null where there is no such libc, or koffi has no build for this machine: then priorities have to do */
function loadSetPolicy(): SetPolicy | null {
  try {
    const koffi = createRequire(import.meta.url)('koffi') as typeof import('koffi');
    const libc = koffi.load('libc.so.6');
    return libc.func('int sched_setscheduler(int thread, int policy, const int *priority)');
  } catch {
    return null;
  }
}

let setPolicy: SetPolicy | null | undefined;

/** @returns false where the kernel refuses, or there is no such call */
function changePolicy(thread: number, policy: number, priority: readonly number[] = NO_PRIORITY): boolean {
  setPolicy ??= loadSetPolicy();
  return setPolicy?.(thread, policy, priority) === 0;
}

/**
 * The thread has a processor as soon as it wakes, before all that have not its policy (SCHED_RR). Two threads that wake on
 * one processor while the other is idle wait for each other for a turn of the scheduler otherwise (3 to 4 ms).
 * @returns false where the kernel does not allow it (CAP_SYS_NICE, or a limit RTPRIO): nothing is changed then
 */
export function goFirst(thread: number): boolean {
  return thread !== 0 && changePolicy(thread, SCHED_RR | SCHED_RESET_ON_FORK, FIRST);
}

/**
 * The thread has 1.5% of a processor beside one that wants all of it, and what is left over.
 * @throws Error if the kernel would not let it out again (it needs CAP_SYS_NICE): nothing is changed then
 */
export function standBack(thread: number): void {
  setPriority(thread, USUAL - 1); // needs what the way back will need
  setPriority(thread, PRIORITY_LOW);
}

/** It has next to nothing but what is left over, and is never in the way. @throws Error as `standBack` */
export function makeWay(thread: number): void {
  standBack(thread);
  changePolicy(thread, SCHED_IDLE);
}

/** It is as any other again. Has no effect on a thread that has ended. */
export function standWithOthers(thread: number): void {
  try {
    setPriority(thread, USUAL);
    changePolicy(thread, SCHED_OTHER);
  } catch {} // it has ended
}
