/** What a new thread does before it has lanes: everything that lanes do, and that without a fault. */
import { execFile, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { getPriority, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { promisify } from 'node:util';
import { Worker } from 'node:worker_threads';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createLaneControl, LaneControl } from '../../engine/lane-control.js';
import {
  OP_ACK,
  OP_BADGE,
  OP_DELETE,
  OP_GET,
  OP_LIST,
  OP_MENTION,
  OP_PIN_ACK,
} from '../../engine/messages.js';
import {
  BackgroundCompiler,
  callFromBackground,
  compilerThread,
  leaveBackground,
  startInBackground,
} from '../../workers/background.js';
import { seqOfName } from '../../workers/journal/format.js';
import type { JournalWriterOptions } from '../../workers/journal/writer.js';
import { Rehearsal, rehearse } from '../../workers/rehearsal.js';
import { LANE_STATS } from '../../workers/stats.js';
import { createLaneRig, type LaneRig } from '../support/lane-rig.js';
import { ManualClock } from '../support/manual-clock.js';

describe('a rehearsal', () => {
  let rig: LaneRig;
  let clock: ManualClock;

  beforeEach(() => {
    rig = createLaneRig();
    clock = new ManualClock(2);
  });
  afterEach(() => rig.close());

  function rehearsed(run: (rehearsal: Rehearsal) => void): Rehearsal {
    const rehearsal = new Rehearsal({ service: rig.service, lanes: [rig.own], seat: 0 }, clock);
    run(rehearsal);
    rehearsal.close();
    return rehearsal;
  }

  function counted(rehearsal: Rehearsal, field: number): number {
    return rehearsal.lanes.reduce((sum, { options }) => sum + new Float64Array(options.stats)[field]!, 0);
  }

  it('has users loaded, written, flushed and evicted, and refuses nothing', () => {
    const rehearsal = rehearsed((running) => {
      while (running.answered < 20_000) running.run(10);
    });
    for (const op of [OP_ACK, OP_MENTION, OP_GET, OP_LIST, OP_BADGE, OP_PIN_ACK, OP_DELETE])
      expect(counted(rehearsal, LANE_STATS.OPERATIONS + op), `operation ${op}`).toBeGreaterThan(10);
    for (const field of [LANE_STATS.LOADS, LANE_STATS.FLUSHED_ROWS, LANE_STATS.EVICTED_USERS])
      expect(counted(rehearsal, field), `field ${field}`).toBeGreaterThan(50);
    for (const field of [LANE_STATS.BUSY, LANE_STATS.REFUSED, LANE_STATS.STORE_UNAVAILABLE])
      expect(counted(rehearsal, field), `field ${field}`).toBe(0);
  });

  it('has a journal like that of its service, which carries and goes on to other files, and leaves none', () => {
    const directory = mkdtempSync(join(tmpdir(), 'tidemark-rehearsal-'));
    try {
      const like = { ...rig.own, journal: { directory } as JournalWriterOptions };
      const rehearsal = new Rehearsal({ service: rig.service, lanes: [like], seat: 3 }, clock);
      const seqs = (): number[] => segmentsIn(join(directory, 'rehearsal-3'));
      rehearsal.run(100);
      const first = seqs();
      while (rehearsal.answered < 60_000) rehearsal.run(10);
      rehearsal.handOver();
      rehearsal.run(100);
      expect(Math.min(...seqs())).toBeGreaterThan(Math.max(...first));
      expect(seqs().length).toBeLessThanOrEqual(2 * rehearsal.lanes.length);
      rehearsal.close();
      for (const field of [LANE_STATS.JOURNAL_IMAGES, LANE_STATS.CARRIED_IMAGES])
        expect(counted(rehearsal, field), `field ${field}`).toBeGreaterThan(1000);
      for (const field of [LANE_STATS.JOURNAL_FAILURES, LANE_STATS.JOURNAL_UNAVAILABLE, LANE_STATS.BUSY])
        expect(counted(rehearsal, field), `field ${field}`).toBe(0);
      expect(readdirSync(directory)).toEqual([]);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  it('goes without a journal where there is no place for its files', () => {
    const like = { ...rig.own, journal: { directory: '/nowhere' } as JournalWriterOptions };
    const rehearsal = new Rehearsal({ service: rig.service, lanes: [like], seat: 0 }, clock);
    rehearsal.run(100);
    rehearsal.close();
    expect(rehearsal.answered).toBeGreaterThan(100);
    expect(counted(rehearsal, LANE_STATS.JOURNAL_IMAGES)).toBe(0);
  });

  it('goes on after a hand-over', () => {
    const rehearsal = rehearsed((running) => {
      running.run(100);
      const before = running.answered;
      running.handOver();
      running.run(100);
      expect(running.answered).toBeGreaterThan(before);
    });
    expect(counted(rehearsal, LANE_STATS.ATTACHED)).toBe(2 * rehearsal.lanes.length);
  });

  it('ends at once when its thread is needed', () => {
    let looks = 0;
    rehearse(
      { service: rig.service, lanes: [rig.own], seat: 0 },
      { clock, restsMs: 0, isNeeded: () => ++looks > 0 },
    );
    expect(looks).toBeLessThan(5);
    expect(clock.ms).toBeLessThan(50);
  });
});

const SCHED_OTHER = 0;
const SCHED_IDLE = 5;

function segmentsIn(directory: string): number[] {
  return readdirSync(directory)
    .map(seqOfName)
    .filter((seq) => seq !== 0);
}

describe('the background', () => {
  const SEAT = 1;
  const usual = getPriority(process.pid);
  let control: LaneControl;
  let worker: Worker;
  let thread: number;

  function start(isUrgent: boolean): void {
    const before = readdirSync('/proc/self/task');
    const create = (): Worker => new Worker('setInterval(() => {}, 1000)', { eval: true });
    worker = startInBackground(control, SEAT, isUrgent, create);
    thread = Number(readdirSync('/proc/self/task').find((id) => !before.includes(id)));
  }

  beforeEach(() => {
    control = new LaneControl(createLaneControl(2, 1));
  });
  afterEach(async () => {
    await worker.terminate();
  });

  it.each([false, true])('is where a thread starts, where there is a way back (urgent: %s)', (isUrgent) => {
    start(isUrgent);
    const isThere = control.backgroundOf(SEAT) === thread;
    expect(control.backgroundOf(SEAT)).toBe(isThere ? thread : 0);
    expect(getPriority(thread) > usual).toBe(isThere);
    expect(policyOf(thread)).toBe(isThere && !isUrgent ? SCHED_IDLE : SCHED_OTHER);
    leaveBackground(control, SEAT);
    expect(control.backgroundOf(SEAT)).toBe(0);
    expect(getPriority(thread)).toBe(usual);
    expect(policyOf(thread)).toBe(SCHED_OTHER);
  });

  it('is left by a thread that is called', () => {
    start(false);
    callFromBackground(control, SEAT);
    expect(control.isNeeded(SEAT)).toBe(true);
    expect(getPriority(thread)).toBe(usual);
    expect(policyOf(thread)).toBe(SCHED_OTHER);
  });

  it('is not for a thread that cannot be told from another', () => {
    const others: Worker[] = [];
    worker = startInBackground(control, SEAT, false, () => {
      others.push(new Worker('setInterval(() => {}, 1000)', { eval: true }));
      return new Worker('setInterval(() => {}, 1000)', { eval: true });
    });
    expect(control.backgroundOf(SEAT)).toBe(0);
    for (const other of others) void other.terminate();
  });
});

/** See man 5 proc: the 41st field, of which the second may have blanks in it. */
function policyOf(thread: number): number {
  const afterName = readFileSync(`/proc/self/task/${thread}/stat`, 'utf8').split(') ').at(-1)!;
  return Number(afterName.split(' ')[38]);
}

function gate(): { opened: Promise<void>; open: () => Promise<void> } {
  let settle = (): void => {};
  const opened = new Promise<void>((resolve) => {
    settle = resolve;
  });
  return {
    opened,
    open: () => {
      settle();
      return setImmediate();
    },
  };
}

describe('the code of a shard', () => {
  it('loads no native module: a thread that is terminated meanwhile would take the process with it', () => {
    const code = readFileSync(new URL('../../workers/shard-thread.cjs', import.meta.url), 'utf8');
    const modules = [...code.matchAll(/\b(?:require|import)\("([^"]+)"\)/g)].map(([, name]) => name!);
    expect(modules.length).toBeGreaterThan(3);
    expect(modules.filter((name) => !name.startsWith('node:'))).toEqual([]);
    expect(code).toContain('workers/rehearsal.js');
    expect(code).not.toContain('workers/thread-priority.js');
  });
});

describe('the compiler in the background', () => {
  it('is the thread in which V8 compiles', async () => {
    const background = new URL('../../workers/background.js', import.meta.url).href;
    const code = `
      import { readFileSync, readdirSync } from 'node:fs';
      import { compilerThread } from '${background}';
      const endMs = performance.now() + 1000;
      while (performance.now() < endMs) {
        const f = new Function('n', 'let a = 0; for (let i = 0; i < n; i++) a += i % ' + Math.random() + '; return a;');
        f(100_000);
      }
      const ticks = readdirSync('/proc/self/task').filter((thread) => Number(thread) !== process.pid).map((thread) => {
        const [utime, stime] = readFileSync('/proc/self/task/' + thread + '/stat', 'utf8').split(') ')[1].split(' ').slice(11, 13);
        return [Number(utime) + Number(stime), Number(thread)];
      });
      const [busiest] = ticks.sort(([a], [b]) => b - a);
      console.log(busiest[0] > 0 && busiest[1] === compilerThread() ? 'it is' : JSON.stringify([ticks, compilerThread()]));`;
    const flags = ['--v8-pool-size=1', '--single-threaded-gc', '--input-type=module', '--eval', code];
    const { stdout } = await promisify(execFile)(process.execPath, flags);
    expect(stdout.trim()).toBe('it is');
  });

  it('goes there while threads start that nobody waits for', async () => {
    const other = spawn('sleep', ['60']);
    try {
      const compiler = new BackgroundCompiler(other.pid!);
      const isLow = (): boolean => getPriority(other.pid!) > usual;
      const usual = getPriority(other.pid!);
      const [first, second, third] = [gate(), gate(), gate()];
      compiler.begin(first.opened);
      const mayChange = isLow();
      compiler.begin(second.opened);
      await second.open();
      expect(isLow()).toBe(mayChange);
      compiler.hurry(third.opened);
      expect(isLow()).toBe(false);
      await third.open();
      expect(isLow()).toBe(mayChange);
      await first.open();
      expect(isLow()).toBe(false);
    } finally {
      other.kill();
    }
  });

  it('stays as it is where V8 has several threads', () => {
    expect(compilerThread()).toBe(0);
  });
});
