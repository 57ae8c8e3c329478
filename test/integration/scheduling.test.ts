/** `--scheduling rr`: which threads of the service go before all others, where the system allows it. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { ServeProcess } from './serve-process.js';

const MAIN = fileURLToPath(new URL('../../gateway/main.js', import.meta.url));
const SCHED_RR = '2';
const SHARDS = 2;
const SPARES = 2;
/** For `setpriv`: a process that may not change how its threads are scheduled. */
const WITHOUT = ['--bounding-set=-sys_nice', '--inh-caps=-sys_nice'];

const directory = mkdtempSync(join(tmpdir(), 'tidemark-scheduling-'));
afterAll(() => rmSync(directory, { recursive: true }));

const args = (name: string): string[] => ['--data', join(directory, name), '--scheduling', 'rr'];
const isRefused = /--scheduling=rr: the system does not allow it/;

/** Threads of a process that have the policy. */
function firstThreads(process: number): number[] {
  const tasks = `/proc/${process}/task`;
  return readdirSync(tasks)
    .filter((task) => {
      const afterName = readFileSync(join(tasks, task, 'stat'), 'utf8')
        .split(') ')
        .at(-1)!;
      return afterName.split(' ')[38] === SCHED_RR;
    })
    .map(Number);
}

const mayChange = spawnSync('chrt', ['--rr', '1', 'true']).status === 0;
const mayDrop = spawnSync('setpriv', [...WITHOUT, 'true']).status === 0;

describe('--scheduling rr', () => {
  it('is for front and shards, spares among them, and for nobody else; or it says why not', {
    timeout: 120_000,
  }, async () => {
    const started = ServeProcess.start('--shards', String(SHARDS), ...args('first'));
    if (!mayChange) {
      await expect(started).rejects.toThrow(isRefused);
      return;
    }
    const service = await started;
    const pid = service.child.pid!;
    const serving = 1 + SHARDS + SPARES;
    await expect.poll(() => firstThreads(pid).length, { timeout: 60_000 }).toBe(serving); // its spares are ready
    expect(firstThreads(pid)).toContain(pid);
    expect(await service.stop()).toBe(0);
  });

  it.runIf(mayDrop)('does not start where the system does not allow it', () => {
    const command = [...WITHOUT, process.execPath, MAIN, 'serve', '--port', '0', ...args('second')];
    const { status, stdout } = spawnSync('setpriv', command, { encoding: 'utf8', timeout: 30_000 });
    expect(stdout).toMatch(isRefused);
    expect(status).toBe(1);
  });
});
