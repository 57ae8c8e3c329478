/** A process that has an LMDB store, to be killed or starved by lmdb.test.ts. Arguments: directory, mode. */
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { ENTRY, ROW } from '../../engine/messages.js';
import { LmdbStore } from '../../workers/stores/lmdb.js';
import type { WriteGroup } from '../../workers/stores/store.js';
import { ThreadGate } from '../../workers/thread-gate.js';

/** A group of `count` rows: channels 1 to `count`. */
function group(user: number, count: number): WriteGroup {
  const rows = new Int32Array(count * ROW.WORDS);
  for (let i = 0; i < count; i++) {
    rows[i * ROW.WORDS + ENTRY.CHANNEL_LO] = i + 1;
    rows[i * ROW.WORDS + ENTRY.MESSAGE_LO] = user;
  }
  const clock = { clockLo: user, clockHi: 0 };
  return { userLo: user, userHi: 0, version: user, deletedVersion: 0, ...clock, wipe: false, rows, count };
}

/** Without the gate, a process got through half as many in one of two runs. */
const ENDS = 200;

const say = (what: unknown): void => {
  process.stdout.write(`${JSON.stringify(what)}\n`);
};

const [directory, mode] = process.argv.slice(2);
if (mode === 'end') await (isMainThread ? endThreads() : write(workerData as SharedArrayBuffer));

/** Ends threads that write, each within 10 ms of its first transaction. A thread that is ended wrongly ends the process. */
async function endThreads(): Promise<never> {
  for (let i = 0; i < ENDS; i++) {
    const gate = ThreadGate.create();
    const options = { argv: [directory, mode], workerData: gate };
    const thread = new Worker(fileURLToPath(import.meta.url), options);
    await once(thread, 'message');
    await delay(Math.random() * 10);
    await new ThreadGate(gate).close();
    await thread.terminate();
  }
  say('ended');
  process.exit();
}

async function write(gate: SharedArrayBuffer): Promise<never> {
  const written = new LmdbStore(directory!, { replaces: true, gate: new ThreadGate(gate) });
  await written.open();
  parentPort!.postMessage('open');
  for (let user = 1; ; user++) await written.write([group(user % 1000, 1)]);
}

const store = new LmdbStore(directory!);
await store.open();
say('open');

if (mode === 'hold') setInterval(() => {}, 1000);

/** Users 1, 2, 3 … in calls of 7 groups; says which are stored. */
if (mode === 'write') {
  for (let user = 1; ; user += 7) {
    const users = Array.from({ length: 7 }, (_, i) => user + i);
    const results = await store.write(users.map((one) => group(one, 20)));
    say(users.filter((_, index) => results[index] === null));
  }
}

/** A group that is larger than the files may be, one of the same user behind it, two that are not; then another small one. */
if (mode === 'full') {
  const results = await store.write([group(1, 10), group(2, 300_000), group(2, 10), group(3, 10)]);
  say(results.map((error) => error?.message ?? null));
  say((await store.write([group(4, 10)])).map((error) => error?.message ?? null));
  await store.close();
}
