import { execFile } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { createClock } from '../../workers/clock.js';
import { sharedUs } from '../../workers/introspection/shared-clock.js';

describe('The clock of a thread', () => {
  it('is that of performance.now, in whole milliseconds, and the one that threads share', async () => {
    const clock = await createClock();
    for (let i = 0; i < 20; i++) {
      const beforeMs = performance.now();
      clock.read();
      const afterMs = performance.now();
      // How far the clocks are apart is known to a microsecond, unless every reading of it was interrupted.
      expect(clock.ms).toBeGreaterThanOrEqual(Math.floor(beforeMs - 1));
      expect(clock.ms).toBeLessThanOrEqual(Math.floor(afterMs + 1));
      expect(Number.isInteger(clock.ms)).toBe(true);
      // An interruption between the readings of either offset is part of the difference.
      expect((clock.us - sharedUs(beforeMs)) | 0).toBeGreaterThan(-1000);
      expect((sharedUs(afterMs) - clock.us) | 0).toBeGreaterThan(-1000);
      await sleep(3);
    }
  });

  it('says what it said until it is read again', async () => {
    const clock = await createClock();
    const { ms, us } = clock;
    await sleep(20);
    expect([clock.ms, clock.us]).toEqual([ms, us]);
    clock.read();
    expect(clock.ms).toBeGreaterThanOrEqual(ms + 19);
    expect((clock.us - us) | 0).toBeGreaterThanOrEqual(19_000);
  });

  it('leaves no garbage', async () => {
    const clock = await createClock();
    const calls = 400_000;
    const read = (): void => {
      for (let i = 0; i < calls; i++) clock.read();
    };
    for (let i = 0; i < 5; i++) read(); // compiled
    let least = Number.POSITIVE_INFINITY;
    for (let i = 0; i < 5; i++) {
      const before = process.memoryUsage().heapUsed;
      read();
      const grown = process.memoryUsage().heapUsed - before;
      if (grown >= 0) least = Math.min(least, grown); // less: there was a collection
    }
    // Objects of 16 bytes show as 5 and more, whatever a collection in between has taken away.
    expect(least / calls).toBeLessThan(1);
  });

  it('does not warn of what it is made of', async () => {
    const module = fileURLToPath(new URL('../../workers/clock.js', import.meta.url));
    const script = `const { createClock } = await import(${JSON.stringify(module)}); await createClock();`;
    const { stderr } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script]);
    expect(stderr).toBe('');
  });
});
