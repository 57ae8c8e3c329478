/** New threads with new code go on with all lanes; a build that does not fit or does not start changes nothing. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { sleep } from '../../bench/clock.js';
import { VERSIONS } from '../../workers/lane-options.js';
import { Builds } from './builds.js';
import { Stage, violationsOf } from './stage.js';

let builds: Builds;
let same: string;
let otherLayout: string;
let throwing: string;
let unloadable: string;
let dying: string;
let shortLived: string;
let telling: string;
beforeAll(async () => {
  builds = new Builds();
  same = await builds.make('same', 'workers/lane.js', 'SWEEP_RECORDS = 256;', 'SWEEP_RECORDS = 128;');
  const version = `lanes: ${VERSIONS.lanes} }`; // constants are numbers in dist/
  otherLayout = await builds.make('layout', 'workers/lane-options.js', version, 'lanes: 1000 }');
  const check = 'selfCheck(options.versions);';
  throwing = await builds.make('throwing', 'workers/shard-task.js', check, "throw new Error('not today');");
  const entry = 'export default';
  unloadable = await builds.make(
    'unloadable',
    'workers/shard-thread.js',
    entry,
    `throw new Error('no way'); ${entry}`,
  );
  const detach = '    detach() {';
  const dies = 'if (this.state.options.lanes === 8) throw'; // not in a rehearsal, which has two
  dying = await builds.make('dying', 'workers/lane.js', detach, `${detach} ${dies} new Error('dies of it');`);
  const served = 'shard.showTurns();';
  shortLived = await builds.make(
    'short',
    'workers/shard-task.js',
    served,
    "throw new Error('lives a second');",
  );
  const tells = "if (shard.hasLanes) options.port.postMessage({ warning: 'of before' });";
  telling = await builds.make('telling', 'workers/shard-task.js', served, `${tells} ${served}`);
});
afterAll(() => builds.remove());

let stage: Stage | undefined;
afterEach(async () => {
  await stage?.end();
  stage = undefined;
});

it('keeps every answer over reloads under load, of the same build and of others', {
  timeout: 300_000,
}, async () => {
  stage = await Stage.start({ serve: { shards: '2', lanes: '4' } });
  const { load } = stage;
  load.start();
  for (const body of [{}, { dist: same }, {}, { dist: same }]) {
    await sleep(100);
    expect((await stage.post('/admin/reload', body)).status).toBe(200);
  }
  const lanes = (await stage.get('/admin/status')).lanes as { attached: number }[];
  expect(lanes.map(({ attached }) => attached)).toEqual([5, 5, 5, 5]);
  await stage.verify();
  expect(load.checker.violations, violationsOf(stage)).toEqual([]);
  expect([...load.checker.refusedCounts]).toEqual([]);
  expect(stage.failures).toEqual([]);
});

it('refuses a build that does not fit or does not start, and changes nothing', {
  timeout: 300_000,
}, async () => {
  stage = await Stage.start({ serve: { shards: '2', lanes: '4' } });
  const { load } = stage;
  load.start();
  const before = await stage.get('/admin/status');
  for (const [dist, reason] of [
    [otherLayout, 'this build has version 1000 of the layout of lanes'],
    [throwing, 'not today'],
    [unloadable, 'no way'],
    [join(builds.directory, 'nowhere'), 'there is no '],
  ] as const) {
    const { status, body } = await stage.post('/admin/reload', { dist });
    expect([status, body.code]).toEqual([409, 'refused']);
    expect(body.message).toContain(reason);
  }
  expect((await stage.get('/admin/status')).lanes).toEqual(before.lanes);
  await stage.verify();
  expect(load.checker.violations, violationsOf(stage)).toEqual([]);
  expect([...load.checker.refusedCounts]).toEqual([]);
  expect(stage.failures).toEqual([]);
});

it('is finished at a stop when it is under way, and refused when it waits for another', {
  timeout: 60_000,
}, async () => {
  stage = await Stage.start({ serve: { shards: '1', lanes: '2' } });
  const orders = [1, 2, 3].map(() => stage!.workers.reload());
  const outcomes = Promise.allSettled(orders);
  await stage.end();
  stage = undefined;
  const stopping = {
    status: 'rejected',
    reason: expect.objectContaining({ message: 'the service is stopping.' }),
  };
  expect(await outcomes).toEqual([{ status: 'fulfilled', value: undefined }, stopping, stopping]);
});

it('goes on when no thread can be started any more, as soon as one can', { timeout: 300_000 }, async () => {
  stage = await Stage.start({ serve: { shards: '1', lanes: '2' } });
  const { load, workers, warnings } = stage;
  load.start();
  const dist = await builds.make('passing', 'workers/lane.js', 'SWEEP_RECORDS = 256;', 'SWEEP_RECORDS = 64;');
  expect((await stage.post('/admin/reload', { dist })).status).toBe(200);
  const file = join(dist, 'workers/shard-thread.cjs');
  const text = readFileSync(file, 'utf8');
  writeFileSync(file, "throw new Error('no way');");
  const isWithout = (): boolean => warnings.some((warning) => warning.includes('has no thread yet'));
  // Spares of before are used up first.
  for (let kill = 1; kill <= 4 && !isWithout(); kill++) {
    await workers.killShard(0);
    await expect.poll(() => isWithout() || workers.replacedThreads >= kill, { timeout: 60_000 }).toBe(true);
  }
  expect(isWithout()).toBe(true);
  expect(warnings.join()).toContain('no way');
  writeFileSync(file, text);
  await stage.verify();
  expect(load.checker.violations, violationsOf(stage)).toEqual([]);
  expect(stage.failures).toEqual([]);
});

it('goes on when threads end while their successors are relieving them', { timeout: 300_000 }, async () => {
  stage = await Stage.start({ serve: { shards: '2', lanes: '8' } });
  const { load } = stage;
  load.start();
  expect((await stage.post('/admin/reload', { dist: dying })).status).toBe(200);
  expect((await stage.post('/admin/reload', {})).status).toBe(200); // a lane without a thread would not be handed over
  expect(stage.warnings.filter((warning) => warning.includes('dies of it'))).toHaveLength(2);
  await stage.verify();
  await stage.restart(); // with a clean stop: each lane has a thread that stops it
  await stage.verify();
  expect(load.checker.violations, violationsOf(stage)).toEqual([]);
  expect(stage.failures).toEqual([]);
});

it('survives a build whose threads end after a second, and is well with another', {
  timeout: 300_000,
}, async () => {
  stage = await Stage.start({ serve: { shards: '2', lanes: '4' } });
  const { load } = stage;
  load.start();
  const { status, body } = await stage.post('/admin/reload', { dist: shortLived });
  if (status !== 200) expect([status, body.code]).toEqual([409, 'refused']);
  await sleep(3000);
  expect((await stage.post('/admin/reload', { dist: same })).status).toBe(200);
  await sleep(2000);
  const ended = stage.warnings.length;
  await stage.verify();
  await sleep(2000);
  expect(stage.warnings.slice(ended)).toEqual([]);
  expect(load.checker.violations, violationsOf(stage)).toEqual([]);
  expect(stage.failures).toEqual([]);
});

it('leaves no thread of before, though one has ended while its successors started', {
  timeout: 300_000,
}, async () => {
  stage = await Stage.start({ serve: { shards: '1', lanes: '2' } });
  const { load, warnings, workers } = stage;
  load.start();
  expect((await stage.post('/admin/reload', { dist: telling })).status).toBe(200);
  await expect.poll(() => warnings.includes('of before'), { timeout: 60_000 }).toBe(true);
  await sleep(3000); // it has its spares
  const reloaded = stage.post('/admin/reload', { dist: same });
  await sleep(20);
  await workers.killShard(0); // one of them has its lanes now, and another spare is begun
  expect((await reloaded).status).toBe(200);
  const before = warnings.length;
  for (let kill = 0; kill < 3; kill++) {
    const { replacedThreads } = workers;
    await workers.killShard(0);
    await expect.poll(() => workers.replacedThreads, { timeout: 60_000 }).toBe(replacedThreads + 1);
    await sleep(1500); // a thread tells each second
  }
  expect(warnings.slice(before).filter((warning) => warning.includes('of before'))).toEqual([]);
  await stage.verify();
  expect(load.checker.violations, violationsOf(stage)).toEqual([]);
  expect(stage.failures).toEqual([]);
});
