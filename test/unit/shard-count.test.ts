import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ShardCount } from '../../gateway/shard-count.js';
import { OperateError, type Workers } from '../../workers/workers.js';

const LANES = 4;
const MINUTE_MS = 60_000;

/** Resizes as the workers do: one after the other, each in its time. */
class SlowWorkers {
  count = 1;
  resizeMs = 0;
  laneStats = Array.from({ length: LANES });
  #last = Promise.resolve();

  shards(): unknown[] {
    return Array.from({ length: this.count });
  }

  resize(shards: number): Promise<void> {
    const next = this.#last.then(async () => {
      if (shards > LANES) throw new OperateError('too many');
      await new Promise((resolve) => setTimeout(resolve, this.resizeMs));
      this.count = shards;
    });
    this.#last = next.catch(() => {});
    return next;
  }
}

let workers: SlowWorkers;
let shardCount: ShardCount;
let processors: number;
const shardsOf = (): number => processors - 1;
beforeEach(() => {
  vi.useFakeTimers();
  processors = 2;
  workers = new SlowWorkers();
  shardCount = new ShardCount(workers as unknown as Workers, true, shardsOf);
});
afterEach(() => {
  shardCount.end();
  vi.useRealTimers();
});

async function order(shards: number | 'auto'): Promise<void> {
  const done = shardCount.order(shards);
  done.catch(() => {});
  await vi.advanceTimersByTimeAsync(workers.resizeMs);
  await done;
}

describe('the number of shards', () => {
  it('follows the processors with auto, and says so', async () => {
    const said: string[] = [];
    shardCount.onFollowed = (message) => said.push(message);
    processors = 4;
    await vi.advanceTimersByTimeAsync(MINUTE_MS);
    expect([workers.count, said]).toEqual([3, ['3 shards now, as there are other processors.']]);
  });

  it('stays as it was ordered until auto is ordered', async () => {
    await order(3);
    expect(shardCount.isAutomatic).toBe(false);
    await vi.advanceTimersByTimeAsync(MINUTE_MS);
    expect(workers.count).toBe(3);
    processors = 3;
    await vi.advanceTimersByTimeAsync(MINUTE_MS);
    expect(workers.count).toBe(3);
    await order('auto');
    expect([workers.count, shardCount.isAutomatic]).toEqual([2, true]);
    processors = 4;
    await vi.advanceTimersByTimeAsync(MINUTE_MS);
    expect(workers.count).toBe(3);
  });

  it('is not followed while an order that takes long is carried out', async () => {
    workers.resizeMs = MINUTE_MS;
    await order(4);
    await vi.advanceTimersByTimeAsync(2 * MINUTE_MS);
    expect(workers.count).toBe(4);
  });

  it('is followed as before when an order is refused', async () => {
    await expect(order(LANES + 1)).rejects.toThrow('too many');
    processors = 4;
    await vi.advanceTimersByTimeAsync(MINUTE_MS);
    expect(workers.count).toBe(3);
  });

  it('is not followed where a number was given at the start', async () => {
    shardCount.end();
    shardCount = new ShardCount(workers as unknown as Workers, false, shardsOf);
    processors = 4;
    await vi.advanceTimersByTimeAsync(MINUTE_MS);
    expect(workers.count).toBe(1);
  });
});
