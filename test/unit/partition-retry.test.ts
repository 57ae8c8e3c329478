/** A user whose writes fail is tried again alone, ever later, and is like any other after one success. */
import { describe, expect, it } from 'vitest';
import { heap } from '../../engine/heap.js';
import { FLUSH, OP_ACK } from '../../engine/messages.js';
import { NO_DUE } from '../../engine/partition.js';
import { ATTEMPTS_MAX, RETRY_QUEUES, retryQueueOf, retryTicks } from '../../engine/retry.js';
import { slab } from '../../engine/slab.js';
import { answer, create, OPTIONS, run, send, TICK } from '../support/partition-driver.js';

describe('the queues of retries', () => {
  it('wait twice as long with each failure, a quarter more or less, to the most', () => {
    const options = { ...OPTIONS, retryFirstTicks: 100, retryMaxTicks: 5000 };
    for (let attempts = 1; attempts <= ATTEMPTS_MAX; attempts++) {
      const whole = Math.min(100 * 2 ** (attempts - 1), 5000);
      const waits = new Set<number>();
      for (let hash = 0; hash < 100; hash++) {
        const queue = retryQueueOf(attempts, hash);
        expect(queue).toBeGreaterThanOrEqual(0);
        expect(queue).toBeLessThan(RETRY_QUEUES);
        waits.add(retryTicks(options, queue));
      }
      expect(waits.size).toBe(4);
      expect(Math.min(...waits)).toBe(whole * 0.75);
      expect(Math.max(...waits)).toBe(whole * 1.25);
    }
  });

  it('wait at least a tick', () => {
    expect(retryTicks({ ...OPTIONS, retryFirstTicks: 0 }, 0)).toBe(1);
  });
});

describe.each([slab, heap])('a $name partition', (engine) => {
  it('tries a user again after its own failures in a row', () => {
    const partition = create(engine);
    run(partition, OP_ACK, 1, 1, 10);
    const waits: number[] = [];
    let tick = TICK;
    for (let attempt = 0; attempt < 8; attempt++) {
      answer(partition, send(partition, 1000, false), false);
      expect(send(partition, 1000, false)).toHaveLength(0);
      waits.push((partition.nextDue() - tick) | 0);
      tick = partition.nextDue();
      partition.setTick(tick);
    }
    waits.forEach((wait, attempt) => {
      const whole = Math.min(OPTIONS.retryFirstTicks * 2 ** attempt, OPTIONS.retryMaxTicks);
      expect(wait).toBeGreaterThanOrEqual(Math.round(whole * 0.75));
      expect(wait).toBeLessThanOrEqual(Math.round(whole * 1.25));
    });
    answer(partition, send(partition, 1000, false), true);
    expect(partition.nextDue()).toBe(NO_DUE);
    run(partition, OP_ACK, 1, 1, 11);
    answer(partition, send(partition, 1000, false), false);
    expect((partition.nextDue() - tick) | 0).toBeLessThanOrEqual(OPTIONS.retryFirstTicks * 1.25 + 0.5);
  });

  it('forgets failures after one success, also of a user who has changed meanwhile', () => {
    const partition = create(engine);
    run(partition, OP_ACK, 1, 1, 10);
    for (let attempt = 0; attempt < 5; attempt++) answer(partition, send(partition), false);
    const group = send(partition);
    run(partition, OP_ACK, 1, 1, 11);
    answer(partition, group, true);
    expect(partition.dirtyUserCount).toBe(1);
    answer(partition, send(partition), false);
    expect((partition.nextDue() - TICK) | 0).toBeLessThanOrEqual(OPTIONS.retryFirstTicks * 1.25 + 0.5);
  });

  it('lets nobody wait for a user whose writes fail', () => {
    const partition = create(engine);
    run(partition, OP_ACK, 1, 1, 10);
    answer(partition, send(partition), false);
    answer(partition, send(partition), false);
    answer(partition, send(partition), false);
    for (const user of [2, 3]) {
      run(partition, OP_ACK, user, 1, 10);
      const group = send(partition, 1000, false);
      expect(group[FLUSH.USER_LO]).toBe(user);
      answer(partition, group, user === 2);
    }
    // The one that failed once is due before the one that failed three times.
    partition.setTick(partition.nextDue());
    expect(send(partition, 1000, false)[FLUSH.USER_LO]).toBe(3);
  });

  it('counts the failed groups of one flight once', () => {
    const partition = create(engine);
    for (let channel = 1; channel <= 250; channel++) run(partition, OP_ACK, 1, channel, 10);
    const groups = [send(partition), send(partition), send(partition)];
    for (const group of groups) answer(partition, group, false);
    expect((partition.nextDue() - TICK) | 0).toBeLessThanOrEqual(OPTIONS.retryFirstTicks * 1.25 + 0.5);
    expect(partition.dirtyUserCount).toBe(1);
    while (partition.dirtyUserCount > 0) answer(partition, send(partition), true);
  });
});
