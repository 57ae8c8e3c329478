/** The service in a process of its own, operated while it serves: its threads ended, its shards resized, reloaded. */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { startChild } from '../child.js';
import { ROOT } from '../commit.js';
import { httpGet, httpPost, killChild } from '../service-child.js';
import type { KillOrder, KillReport } from './operated-child.js';

const READY_TIMEOUT_MS = 120_000;
const REPLACE_TIMEOUT_MS = 60_000;

/** What of `/admin/status` is looked at. */
export interface OperatedStatus {
  readonly settings: { readonly lanes: number; readonly partitions: number; readonly shards: number };
  readonly shards: readonly {
    readonly shard: number;
    readonly lanes: readonly number[];
    readonly records: number;
  }[];
  readonly lanes: readonly { readonly shard: number | null; readonly attached: number }[];
  readonly threads: readonly { readonly thread: string; readonly buffer_bytes_max: number | null }[];
}

/** The flags with which scripts/tidemark starts a node. */
function launcherFlags(): string[] {
  const text = readFileSync(join(ROOT, 'scripts', 'tidemark'), 'utf8');
  return ['slab', 'inlining'].flatMap((name) => {
    const flags = new RegExp(`^${name}=(?:'(.+)'|(\\S+))$`, 'm').exec(text);
    if (flags === null) throw new Error(`scripts/tidemark has no line ${name}=`);
    return (flags[1] ?? flags[2]!).split(' ');
  });
}

export class OperatedService {
  readonly #child: ChildProcess;
  readonly url: URL;

  private constructor(child: ChildProcess, url: URL) {
    this.#child = child;
    this.url = url;
  }

  /** @param args  of `tidemark serve`, but for the port */
  static async start(args: readonly string[]): Promise<OperatedService> {
    const file = fileURLToPath(new URL('./operated-child.js', import.meta.url));
    const command = [process.execPath, ...launcherFlags(), file, '--port', '0', ...args];
    const env = { GLIBC_TUNABLES: 'glibc.malloc.hugetlb=1', ...process.env };
    const { child, line } = await startChild(command, /"msg":"ready"/, env, READY_TIMEOUT_MS, true);
    const url = new URL((JSON.parse(line) as { url: string }).url);
    return new OperatedService(child, url);
  }

  get pid(): number {
    return this.#child.pid!;
  }

  /** Ends a shard's thread. @returns when, and a promise of when another had its lanes; us of the system's clock */
  async kill(shard: number): Promise<{ killedUs: number; replacedUs: Promise<number> }> {
    const killed = this.#report('killedUs');
    const replacedUs = this.#report('replacedUs');
    replacedUs.catch(() => {});
    this.#child.send({ kill: shard } satisfies KillOrder);
    return { killedUs: await killed, replacedUs };
  }

  async #report(name: 'killedUs' | 'replacedUs'): Promise<number> {
    const signal = AbortSignal.timeout(REPLACE_TIMEOUT_MS);
    for (;;) {
      const [message] = (await once(this.#child, 'message', { signal })) as [KillReport];
      if (name in message) return (message as Record<typeof name, number>)[name];
    }
  }

  async status(): Promise<OperatedStatus> {
    const { body } = await httpGet(this.url, '/admin/status');
    return JSON.parse(body) as OperatedStatus;
  }

  /** An order to `/admin/...`. @returns how long it took, ms; @throws Error if it is refused */
  async order(path: 'shards' | 'reload', body: object): Promise<number> {
    const startMs = performance.now();
    const reply = await httpPost(this.url, `/admin/${path}`, body);
    if (reply.status !== 200) throw new Error(`${path} ${JSON.stringify(body)}: ${reply.body}`);
    return performance.now() - startMs;
  }

  /** From now on `peakBytes` is of what comes. */
  forgetPeak(): void {
    writeFileSync(`/proc/${this.pid}/clear_refs`, '5');
  }

  end(): Promise<void> {
    return killChild(this.#child);
  }
}
