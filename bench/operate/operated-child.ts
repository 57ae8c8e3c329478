/**
 * `tidemark serve ARGS` with a hand on its shards' threads: `node operated-child.js ARGS`, spawned with a channel. Takes
 * orders to end a thread as a crash would, and says when that was done and when another had its lanes, by the clock that
 * all processes share.
 */
import { startWorkers } from '../../workers/supervisor.js';
import type { Workers } from '../../workers/workers.js';

/** To the service. */
export interface KillOrder {
  readonly kill: number;
}

/** From the service. Microseconds of the system's monotonic clock. */
export type KillReport = { readonly killedUs: number } | { readonly replacedUs: number };

const POLL_MS = 1;

function report(message: KillReport): void {
  process.send!(message);
}

function clockUs(): number {
  return Number(process.hrtime.bigint()) / 1000;
}

let workers: Workers | undefined;

process.on('message', ({ kill }: KillOrder) => {
  const replaced = workers!.replacedThreads;
  const poll = setInterval(() => {
    if (workers!.replacedThreads === replaced) return;
    clearInterval(poll);
    report({ replacedUs: clockUs() });
  }, POLL_MS);
  report({ killedUs: clockUs() });
  void workers!.killShard(kill);
});
process.on('disconnect', () => process.exit());

const [{ OPTIONS, flagOf, readConfig }, { serve }] = await Promise.all([
  import('../../gateway/config.js'),
  import('../../gateway/serve.js'),
]);
const args = process.argv.slice(2);
const given = Object.keys(OPTIONS).flatMap((name) => {
  const at = args.indexOf(flagOf(name));
  return at === -1 ? [] : [[name, args[at + 1]!]];
});
await serve(readConfig(Object.fromEntries(given) as Record<string, string>, process.env), async (options) => {
  workers = await startWorkers(options);
  return workers;
});
