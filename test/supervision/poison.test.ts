/** Operations that a thread cannot survive: it throws in them, hangs in them, or runs out of heap. */
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { Builds } from './builds.js';
import { Stage, violationsOf } from './stage.js';

let builds: Builds;
let poisoned: string;
beforeAll(async () => {
  builds = new Builds();
  const submit = 'export function submit(lane, words, at, length, likely) {';
  const channel = 'words[at + ROUTED.WORDS + REQUEST.CHANNEL_LO]';
  poisoned = await builds.make(
    'poisoned',
    'workers/lane-waiting.js',
    submit,
    `${submit}
    if (${channel} === 101) throw new Error('poison');
    if (${channel} === 102) for (;;);
    if (${channel} === 103) for (const hoard = []; ; ) hoard.push(new Array(1e5).fill(hoard.length + 0.5));`,
  );
});
afterAll(() => builds.remove());

let stage: Stage | undefined;
afterEach(async () => {
  await stage?.end();
  stage = undefined;
});

it.each([
  ['throws', '101', '20s'],
  ['hangs', '102', '1s'],
  ['runs out of heap', '103', '20s'],
])(
  'in which a thread %s is refused the third time, and the others do not notice',
  {
    timeout: 120_000,
  },
  async (_how, channel, hangTimeout) => {
    stage = await Stage.start({ serve: { shards: '2', lanes: '4', hangTimeout } });
    const { load, workers } = stage;
    expect((await stage.post('/admin/reload', { dist: poisoned })).status).toBe(200);
    load.start();
    const { status, body } = await stage.post(`/v1/users/77/read-states/${channel}/ack`, { message_id: '5' });
    expect([status, body.code]).toEqual([500, 'internal']);
    expect(workers.replacedThreads).toBe(2);
    const text = stage.warnings.join('\n');
    expect(text).toContain('an operation in which 2 threads in a row have ended is refused');
    expect(text).toContain('another runs its 2 lanes');
    expect((await stage.post('/v1/users/77/read-states/1/ack', { message_id: '5' })).status).toBe(200);
    await stage.verify();
    expect(load.checker.violations, violationsOf(stage)).toEqual([]);
    expect(stage.failures).toEqual([]);
  },
);
