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
