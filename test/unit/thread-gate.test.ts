import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { expect, it } from 'vitest';
import { ThreadGate } from '../../workers/thread-gate.js';

const MODULE = new URL('../../workers/thread-gate.js', import.meta.url).href;

/** A thread that goes through the gate when it is told to, stays within for so long, and says when it has come out. */
async function thread(memory: SharedArrayBuffer, withinMs: number): Promise<Worker> {
  const code = `
    const { parentPort, workerData } = require('node:worker_threads');
    import(${JSON.stringify(MODULE)}).then(({ ThreadGate }) => {
      const gate = new ThreadGate(workerData);
      parentPort.on('message', () => {
        gate.within(() => {
          parentPort.postMessage('within');
          Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ${withinMs});
        });
        parentPort.postMessage('out');
      });
      parentPort.postMessage('ready');
    });`;
  const worker = new Worker(code, { eval: true, workerData: memory });
  expect(await once(worker, 'message')).toEqual(['ready']);
  return worker;
}

it('closes when the thread has come out', async () => {
  const memory = ThreadGate.create();
  const worker = await thread(memory, 200);
  worker.postMessage('go');
  expect(await once(worker, 'message')).toEqual(['within']);
  const closed = new ThreadGate(memory).close();
  expect(await Promise.race([closed.then(() => 'closed'), delay(50, 'open')])).toBe('open');
  await closed;
  await worker.terminate();
});

it('holds who comes when it is closed, until the thread is ended', async () => {
  const memory = ThreadGate.create();
  const worker = await thread(memory, 0);
  await new ThreadGate(memory).close();
  const said: unknown[] = [];
  worker.on('message', (what) => said.push(what));
  worker.postMessage('go');
  await delay(100);
  expect(said).toEqual([]);
  await worker.terminate();
});

it('waits a second for a call that hangs, and no longer', async () => {
  const memory = ThreadGate.create();
  const worker = await thread(memory, 60_000);
  worker.postMessage('go');
  await once(worker, 'message');
  const startMs = performance.now();
  await new ThreadGate(memory).close();
  expect(performance.now() - startMs).toBeGreaterThanOrEqual(1000);
  await worker.terminate();
});
