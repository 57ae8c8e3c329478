/** What a new thread does before it has lanes: everything that lanes do, and that without a fault. */
import { readlinkSync } from 'node:fs';
import { getPriority } from 'node:os';
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
import { callFromBackground, enterBackground, leaveBackground } from '../../workers/background.js';
import { Rehearsal, rehearse } from '../../workers/rehearsal.js';
import { LANE_STATS } from '../../workers/stats.js';
import { createLaneRig, type LaneRig } from '../support/lane-rig.js';

describe('a rehearsal', () => {
  let rig: LaneRig;
  let nowMs: number;
  /** A millisecond at each look. */
  const now = (): number => ++nowMs;

  beforeEach(() => {
    rig = createLaneRig();
    nowMs = 0;
  });
  afterEach(() => rig.close());

  function rehearsed(run: (rehearsal: Rehearsal) => void): Rehearsal {
    const rehearsal = new Rehearsal({ service: rig.service, lanes: [rig.own] }, now());
    run(rehearsal);
    rehearsal.close();
    return rehearsal;
  }

  function counted(rehearsal: Rehearsal, field: number): number {
    return rehearsal.lanes.reduce((sum, { options }) => sum + new Float64Array(options.stats)[field]!, 0);
  }

  it('has users loaded, written, flushed and evicted, and refuses nothing', () => {
    const rehearsal = rehearsed((running) => {
      while (running.answered < 20_000) running.run(10, now);
    });
    for (const op of [OP_ACK, OP_MENTION, OP_GET, OP_LIST, OP_BADGE, OP_PIN_ACK, OP_DELETE])
      expect(counted(rehearsal, LANE_STATS.OPERATIONS + op), `operation ${op}`).toBeGreaterThan(10);
    for (const field of [LANE_STATS.LOADS, LANE_STATS.FLUSHED_ROWS, LANE_STATS.EVICTED_USERS])
      expect(counted(rehearsal, field), `field ${field}`).toBeGreaterThan(100);
    for (const field of [LANE_STATS.BUSY, LANE_STATS.REFUSED, LANE_STATS.STORE_UNAVAILABLE])
      expect(counted(rehearsal, field), `field ${field}`).toBe(0);
  });

  it('goes on after a hand-over', () => {
    const rehearsal = rehearsed((running) => {
      running.run(100, now);
      const before = running.answered;
      running.handOver(now());
      running.run(100, now);
      expect(running.answered).toBeGreaterThan(before);
    });
    expect(counted(rehearsal, LANE_STATS.ATTACHED)).toBe(2 * rehearsal.lanes.length);
  });

  it('ends at once when its thread is needed', () => {
    let looks = 0;
    rehearse({ service: rig.service, lanes: [rig.own] }, { now, restsMs: 0, isNeeded: () => ++looks > 0 });
    expect(looks).toBeLessThan(5);
    expect(nowMs).toBeLessThan(50);
  });
});

describe('the background', () => {
  const SEAT = 1;
  const thread = Number(readlinkSync('/proc/thread-self').split('/').at(-1));
  const usual = getPriority(thread);
  let control: LaneControl;

  beforeEach(() => {
    control = new LaneControl(createLaneControl(2, 1));
  });
  afterEach(() => {
    leaveBackground(control, SEAT);
    expect(getPriority(thread)).toBe(usual);
  });

  it('is entered only where there is a way back', () => {
    enterBackground(control, SEAT);
    const isThere = control.backgroundOf(SEAT) !== 0;
    expect(getPriority(thread) > usual).toBe(isThere);
    leaveBackground(control, SEAT);
    expect(control.backgroundOf(SEAT)).toBe(0);
  });

  it.each(['before', 'after'])('is left by a thread that is called %s it enters', (when) => {
    if (when === 'before') callFromBackground(control, SEAT);
    enterBackground(control, SEAT);
    if (when === 'after') callFromBackground(control, SEAT);
    expect(getPriority(thread)).toBe(usual);
  });
});
