/** Lanes go from thread to thread while they serve: nothing is lost, refused or done twice. */
import { afterEach, expect, it } from 'vitest';
import { sleep } from '../../bench/clock.js';
import { SEED, Stage, violationsOf } from './stage.js';

/** A thread that is started takes over within seconds, and within some 10 s where no processor is ever idle. */
const RESIZES_MS = 300_000;

let stage: Stage | undefined;
afterEach(async () => {
  await stage?.end();
  stage = undefined;
});

function mapOf({ workers }: Stage): number[][] {
  return workers.shards().map(({ lanes }) => [...lanes]);
}

it('keeps every answer over resizes under load, and what was written is in the store after a stop', {
  timeout: RESIZES_MS,
}, async () => {
  stage = await Stage.start({ serve: { shards: '1', lanes: '8' } });
  const { load, workers } = stage;
  load.start();
  for (const shards of [4, 2, 8, 3, 1, 2, 1]) {
    await sleep(150);
    const { status, body } = await stage.post('/admin/shards', { shards });
    expect([status, body.shards]).toEqual([200, shards]);
    const map = mapOf(stage);
    expect(map.map((lanes) => lanes.length).reduce((a, b) => a + b)).toBe(8);
    expect(Math.max(...map.map((lanes) => lanes.length)), JSON.stringify(map)).toBe(Math.ceil(8 / shards));
  }
  await stage.verify();
  expect(load.checker.violations, violationsOf(stage)).toEqual([]);
  expect(load.checker.answeredCount).toBeGreaterThan(2000);
  expect([...load.checker.refusedCounts], `seed ${SEED}`).toEqual([]);
  expect(workers.shards().length).toBe(1);
  await stage.restart();
  await stage.verify();
  expect(load.checker.violations, violationsOf(stage)).toEqual([]);
  expect(stage.failures).toEqual([]);
});

it('also while users come and go, and wait for loads and room', { timeout: RESIZES_MS }, async () => {
  stage = await Stage.start({ serve: { shards: '2', lanes: '4', partitions: '4', capacity: '1500' } });
  const { load } = stage;
  load.start();
  for (const shards of [4, 1, 3, 2, 4, 1]) {
    await sleep(200);
    expect((await stage.post('/admin/shards', { shards })).status).toBe(200);
  }
  await stage.verify();
  expect(load.checker.violations, violationsOf(stage)).toEqual([]);
  const counts = stage.workers.laneStats.length;
  expect(counts).toBe(4);
});

it('counts for each shard what it has run, and never less', { timeout: RESIZES_MS }, async () => {
  stage = await Stage.start({ serve: { shards: '1', lanes: '4' } });
  stage.load.start();
  const seen = new Map<string, number>();
  for (const shards of [2, 4, 1, 3]) {
    await sleep(100);
    await stage.workers.resize(shards);
    const text = await (await fetch(new URL('/metrics', stage.url))).text();
    for (const [, name, value] of text.matchAll(/^(tidemark_shard_operations_total\{.*\}) (\d+)$/gm)) {
      expect(Number(value), name).toBeGreaterThanOrEqual(seen.get(name!) ?? 0);
      seen.set(name!, Number(value));
    }
  }
  await stage.verify();
});

it('refuses what cannot be, and says what would help', { timeout: 60_000 }, async () => {
  stage = await Stage.start({ serve: { shards: '1', lanes: '2' } });
  expect(await stage.post('/admin/shards', { shards: 3 })).toEqual({
    status: 409,
    body: {
      code: 'refused',
      message: '3 shards for 2 lanes: give 1 to 2, or start with more --lanes.',
      errors: [],
    },
  });
  expect((await stage.post('/admin/shards', { shards: 1.5 })).status).toBe(409);
  expect((await stage.post('/admin/shards', { shards: 'many' })).status).toBe(400);
  expect((await stage.post('/admin/shards', { shards: 'auto' })).status).toBe(200);
  await stage.end();
  stage = await Stage.start({ serve: { shards: '1', engine: 'heap' } });
  const { status, body } = await stage.post('/admin/shards', { shards: 2 });
  expect(status).toBe(409);
  expect(body.message).toContain('--engine heap');
});
