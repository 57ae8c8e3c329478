/** The clock of the writes to the store does not go back, whatever the wall clock does between two processes. */
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { FlushClock } from '../../workers/warm/flush-clock.js';

const HOUR_MS = 3_600_000;
const RENEW_MS = 5000;
const MARGIN_US = 1e6;
const SLOW_DISK = { timeout: 10_000 };

let directory = '';
let warnings: string[] = [];
const log = { info: () => {}, warn: (message: string) => void warnings.push(message) };
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'tidemark-clock-'));
  warnings = [];
});
afterEach(() => {
  vi.restoreAllMocks();
  rmSync(directory, { recursive: true, force: true });
});

const limitOf = (clock: FlushClock): number => new Float64Array(clock.shared)[0]!;

/** A process that ends at once, at a wall clock. */
async function run(wallMs: number): Promise<{ floorUs: number; limitUs: number }> {
  vi.spyOn(Date, 'now').mockReturnValue(wallMs);
  const clock = await FlushClock.open(directory, log);
  await clock.stop();
  return { floorUs: clock.floorUs, limitUs: limitOf(clock) };
}

describe('the flush clock', () => {
  it('begins above whatever the process before could reach, with the wall clock set back', async () => {
    const nowMs = Date.now();
    const first = await run(nowMs);
    expect(first.floorUs).toBe(0);
    expect(first.limitUs).toBeGreaterThan(nowMs * 1000);
    const second = await run(nowMs - HOUR_MS);
    expect(second.floorUs).toBeGreaterThan(first.limitUs);
    expect(second.limitUs).toBeGreaterThan(second.floorUs);
    expect(warnings).toEqual([expect.stringMatching(/^The wall clock is 36\d\d s behind/)]);
    const third = await run(nowMs - 2 * HOUR_MS);
    expect(third.floorUs).toBeGreaterThan(second.limitUs);
  });

  it('follows the wall clock again when that has overtaken', async () => {
    const nowMs = Date.now();
    await run(nowMs);
    const later = await run(nowMs + HOUR_MS);
    expect(later.limitUs).toBeGreaterThan((nowMs + HOUR_MS) * 1000);
    expect(later.limitUs).toBeLessThan((nowMs + HOUR_MS) * 1000 + 60e6);
    expect(warnings).toEqual([]);
  });

  it('is not pushed ahead by a process that ends again and again', async () => {
    const nowMs = Date.now();
    let limitUs = 0;
    for (let starts = 0; starts < 100; starts++) {
      const next = await run(nowMs + starts * 1000);
      if (starts > 0) expect(next.floorUs).toBeGreaterThan(limitUs);
      limitUs = next.limitUs;
      expect(limitUs).toBeLessThan((nowMs + starts * 1000 + 15_000) * 1000);
    }
    expect(warnings).toEqual([]);
  });

  it('renews its limit before the wall clock is there', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'Date'] });
    const clock = await FlushClock.open(directory, log);
    try {
      const before = limitOf(clock);
      for (let minute = 0; minute < 60; minute++) {
        vi.advanceTimersByTime(1000);
        expect(limitOf(clock)).toBeGreaterThan(Date.now() * 1000);
        await vi.waitFor(() => expect(limitOf(clock)).toBeGreaterThan(before + (minute - 5) * 1e6));
      }
      const file = readFileSync(join(directory, 'clock'), 'utf8').split('\n')[1]!;
      expect(Number(file)).toBeGreaterThan(limitOf(clock));
    } finally {
      await clock.stop();
      vi.useRealTimers();
    }
  });

  it.each([
    ['never falls, when the wall clock is set back', false, 0, 20_000],
    ['grows with the time, when the wall clock was set back before', true, HOUR_MS, 0],
  ])('has a limit that %s', async (_, hasFile, beforeMs, afterMs) => {
    if (hasFile) await run(Date.now());
    vi.restoreAllMocks();
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'Date', 'performance'] });
    vi.setSystemTime(Date.now() - beforeMs);
    const clock = await FlushClock.open(directory, log);
    const path = join(directory, 'clock');
    const fileUs = (): number => Number(readFileSync(path, 'utf8').split('\n')[1]!);
    const fileNumber = (): number => statSync(path).ino; // another one with each write
    try {
      const firstUs = limitOf(clock);
      let limitUs = firstUs;
      vi.setSystemTime(Date.now() - afterMs);
      for (let renewals = 0; renewals < 12; renewals++) {
        const before = fileNumber();
        vi.advanceTimersByTime(RENEW_MS);
        await vi.waitFor(() => expect(fileNumber()).not.toBe(before), SLOW_DISK);
        await vi.waitFor(() => expect(fileUs()).toBe(limitOf(clock) + MARGIN_US), SLOW_DISK);
        expect(limitOf(clock)).toBeGreaterThanOrEqual(limitUs);
        limitUs = limitOf(clock);
      }
      expect(limitUs).toBeGreaterThan(firstUs + 25e6);
    } finally {
      await clock.stop();
      vi.useRealTimers();
    }
  });

  it('says that its file is damaged, and begins at the wall clock', async () => {
    await run(Date.now());
    const path = join(directory, 'clock');
    writeFileSync(
      path,
      readFileSync(path, 'utf8').replace(/\d$/, (digit) => String((Number(digit) + 1) % 10)),
    );
    const clock = await FlushClock.open(directory, log);
    await clock.stop();
    expect(clock.floorUs).toBe(0);
    expect(warnings).toEqual([expect.stringContaining(`${path} is damaged: its checksum does not match`)]);
  });

  it('that cannot be written says so once, and is without limit', async () => {
    rmSync(directory, { recursive: true });
    const clock = await FlushClock.open(directory, log);
    await clock.stop();
    expect(limitOf(clock)).toBe(Number.POSITIVE_INFINITY);
    expect(warnings).toEqual([expect.stringContaining('clock cannot be written: ENOENT')]);
  });
});
