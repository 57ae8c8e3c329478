/**
 * Lets a thread that starts have only what those who serve leave of the processors: the start of a Node (25 ms of a processor),
 * the load of its code (10 ms) and its rehearsal would take their turns otherwise. The kernel must allow the way back
 * (thread-priority.ts); where it does not, nothing is changed, and the thread has to rest by itself.
 *
 * A thread that is ordered (resize, reload) makes way for all, and takes some seconds on busy processors. Spares are urgent,
 * but for those after a reload: without one the end of a thread costs a tenth of a second more, and while the service is young,
 * V8 has to compile for those who serve, too.
 */
import { readdirSync } from 'node:fs';
import type { LaneControl } from '../engine/lane-control.js';
import { makeWay, standBack, standWithOthers } from './thread-priority.js';

/** Of this process, as the kernel numbers them. */
function ownThreads(): number[] {
  try {
    return readdirSync('/proc/self/task').map(Number);
  } catch {
    return []; // no Linux
  }
}

/**
 * Starts a thread and puts it into the background, if the kernel would let it out again.
 * @param start  has one thread more run when it returns. If another began meanwhile, it is not known which is which, and
 *               both stay where they are
 */
export function startInBackground<T>(
  control: LaneControl,
  seat: number,
  isUrgent: boolean,
  start: () => T,
): T {
  const before = new Set(ownThreads());
  const started = start();
  const [thread, ...others] = ownThreads().filter((id) => !before.has(id));
  if (thread === undefined || others.length > 0) return started;
  try {
    if (isUrgent) standBack(thread);
    else makeWay(thread);
    control.setBackground(seat, thread);
  } catch {} // it stays as it is
  return started;
}

/** Has a thread leave the background, if it is there: when it is ready, or when somebody waits for it. */
export function leaveBackground(control: LaneControl, seat: number): void {
  const thread = control.backgroundOf(seat);
  if (thread === 0) return;
  control.setBackground(seat, 0);
  standWithOthers(thread);
}

/** Somebody waits for a thread that is on its way. */
export function callFromBackground(control: LaneControl, seat: number): void {
  control.setNeeded(seat, true);
  leaveBackground(control, seat);
}

/** The flag with which V8 has one thread to compile for all others: scripts/tidemark gives it. */
const ONE_COMPILER = '--v8-pool-size=1';
/** Node starts the first thread, the one of V8's timers, then those of its pool: threads are numbered in that order. */
const COMPILER_PLACE = 2;

/**
 * The thread in which V8 compiles for all threads of this process; 0 where it is not known. Should it not be what Node starts
 * there, another of its own is in the background: none that serves.
 */
export function compilerThread(): number {
  if (!process.execArgv.includes(ONE_COMPILER)) return 0;
  return ownThreads().sort((a, b) => a - b)[COMPILER_PLACE] ?? 0;
}

/**
 * While threads that are not urgent start beside those who serve, V8 compiles for them in the background as well: what they had it compile took a
 * processor from the others for 0.3 s. While somebody waits for one of them it does not, nor when all have started: what was compiled
 * for a rehearsal and does not hold for real lanes is compiled anew at once.
 */
export class BackgroundCompiler {
  readonly #thread: number;
  readonly #counts = { starting: 0, needed: 0 };

  constructor(thread = compilerThread()) {
    this.#thread = thread;
  }

  /** A thread starts beside others, and is not urgent, until `ready` is settled. */
  begin(ready: Promise<unknown>): void {
    this.#count('starting', ready);
  }

  /** Somebody waits for a thread that starts, until `ready` is settled. */
  hurry(ready: Promise<unknown>): void {
    this.#count('needed', ready);
  }

  #count(name: 'starting' | 'needed', ready: Promise<unknown>): void {
    const change = (by: number): void => {
      this.#counts[name] += by;
      this.#set();
    };
    change(1);
    const end = (): void => change(-1);
    ready.then(end, end);
  }

  #set(): void {
    if (this.#thread === 0) return;
    const isBackground = this.#counts.starting > 0 && this.#counts.needed === 0;
    try {
      if (isBackground) makeWay(this.#thread);
      else standWithOthers(this.#thread);
    } catch {} // it stays as it is
  }
}
