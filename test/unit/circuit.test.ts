/** The circuit with a stepped clock. */
import { describe, expect, it } from 'vitest';
import { Circuit } from '../../workers/circuit.js';

let nowMs = 0;
const circuit = (): Circuit => new Circuit(1000, () => nowMs);
const fail = (one: Circuit, times: number): boolean[] => Array.from({ length: times }, () => one.failed());

describe('Circuit', () => {
  it('opens with the fifth failure in a row, and says so once', () => {
    const one = circuit();
    expect(fail(one, 4)).toEqual([false, false, false, false]);
    one.succeeded();
    expect(fail(one, 4)).toEqual([false, false, false, false]);
    expect(one.isOpen).toBe(false);
    expect(fail(one, 3)).toEqual([true, false, false]);
    expect(one.isOpen).toBe(true);
  });

  it('lets nobody probe while it is closed', () => {
    const one = circuit();
    expect(one.takeProbe()).toBe(false);
    expect(one.probeInMs).toBe(Number.POSITIVE_INFINITY);
  });

  it('lets one probe at a time, each second after the last has failed', () => {
    const one = circuit();
    fail(one, 5);
    expect(one.probeInMs).toBe(1000);
    nowMs += 999;
    expect(one.takeProbe()).toBe(false);
    nowMs += 1;
    expect(one.probeInMs).toBe(0);
    expect(one.takeProbe()).toBe(true);
    nowMs += 5000; // it takes its time
    expect(one.takeProbe()).toBe(false);
    expect(one.probeInMs).toBe(Number.POSITIVE_INFINITY);
    one.probeFailed();
    expect(one.takeProbe()).toBe(false);
    expect(one.probeInMs).toBe(1000);
    nowMs += 1000;
    expect(one.takeProbe()).toBe(true);
    one.succeeded();
    expect(one.isOpen).toBe(false);
  });

  it('is not held up by failures of what was asked before', () => {
    const one = circuit();
    fail(one, 5);
    nowMs += 900;
    fail(one, 100);
    expect(one.probeInMs).toBe(100);
    one.succeeded(); // of what was asked before, too
    expect(one.isOpen).toBe(false);
    expect(fail(one, 4)).not.toContain(true);
  });
});
