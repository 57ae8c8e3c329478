import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { TaskThread } from '../../workers/task-thread.js';

describe('A thread with one task', () => {
  let directory: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'tidemark-task-'));
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  function file(name: string, text: string): string {
    const path = join(directory, name);
    writeFileSync(path, text);
    return pathToFileURL(path).href;
  }

  it('is not ended before it has loaded its code', async () => {
    const slow = file('slow.mjs', 'await new Promise((resolve) => setTimeout(resolve, 400));');
    const task = file(
      'task.mjs',
      `import ${JSON.stringify(slow)};
       export default async ({ port, flag }) => {
         new Int32Array(flag)[0] = 1;
         port.postMessage({ isLoaded: true });
         await new Promise(() => {});
       };`,
    );
    const flag = new SharedArrayBuffer(4);
    const thread = new TaskThread(task, { flag }, {}, () => {});
    thread.done.catch(() => {});
    await thread.end();
    expect(new Int32Array(flag)[0]).toBe(1);
  });

  it('is ended at once when its code cannot be loaded', async () => {
    const thread = new TaskThread(file('bad.mjs', "throw new Error('not today');"), {}, {}, () => {});
    await expect(thread.done).rejects.toThrow('not today');
    await thread.end();
  });

  it('has stopped when none of its code runs any more, before it is gone', async () => {
    const task = file(
      'task.mjs',
      `export default ({ port, count }) => {
         const words = new Int32Array(count);
         port.postMessage({ isLoaded: true });
         for (;;) words[0]++;
       };`,
    );
    const count = new Int32Array(new SharedArrayBuffer(4));
    const thread = new TaskThread(task, { count: count.buffer }, {}, () => {});
    thread.done.catch(() => {});
    while (count[0] === 0) await sleep(1);
    const gone = thread.end();
    await thread.stopped;
    const last = count[0];
    await gone;
    await sleep(20);
    expect(count[0]).toBe(last);
  });

  it('has stopped when its task has ended, though the thread lives', async () => {
    const task = file(
      'task.mjs',
      `export default ({ port }) => {
         port.close();
       };`,
    );
    const thread = new TaskThread(task, {}, {}, () => {});
    await thread.done;
    await thread.stopped;
    await thread.end();
  });

  it('has a nursery of the size that it is given, which does not grow', async () => {
    const task = file(
      'task.mjs',
      `import { getHeapSpaceStatistics } from 'node:v8';
       export default ({ port }) => {
         const kept = [];
         for (let i = 0; i < 1e6; i++) kept.push({ i }); // what survives has a nursery grow
         port.close();
         const of = getHeapSpaceStatistics().find(({ space_name: name }) => name === 'new_space');
         return kept.length > 0 ? of.space_size / 2 ** 20 : 0;
       };`,
    );
    const sizesMb: number[] = [];
    for (const nurseryMb of [2, 8]) {
      const thread = new TaskThread<number, object>(task, {}, { nurseryMb }, () => {});
      sizesMb.push(await thread.done);
      await thread.end();
    }
    // Twice: what survives a collection goes to the other half.
    expect(sizesMb).toEqual([4, 16]);
  });

  it('gives what it posts, and not that it is loaded', async () => {
    const task = file(
      'task.mjs',
      `export default ({ port, word }) => {
         port.postMessage({ isLoaded: true });
         port.postMessage({ word });
         return 7;
       };`,
    );
    const messages: object[] = [];
    const thread = new TaskThread(task, { word: 'hello' }, { oldSpaceMb: 64 }, (message) =>
      messages.push(message),
    );
    expect(await thread.done).toBe(7);
    for (let waited = 0; messages.length === 0 && waited < 5000; waited += 5) await sleep(5);
    expect(messages).toEqual([{ word: 'hello' }]);
    await thread.end();
  });
});
