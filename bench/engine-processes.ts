/** Child processes of the engine benchmark: started with the same flags and environment, asked, and ended. */
import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** Enough for 8 M records as objects. */
const OLD_SPACE_MB = 12_288;
/** As scripts/tidemark starts a server, whatever the engine; the other caches are not slower with it. */
const INLINING = '--max-inlined-bytecode-size-cumulative=4000';
export const NODE_FLAGS = [`--max-old-space-size=${OLD_SPACE_MB}`, '--expose-gc', INLINING];

export class BenchProcess {
  readonly #child: ChildProcess;
  readonly #name: string;

  /** @param module  in dist/bench */
  constructor(module: string, settings: object, extraFlags: readonly string[] = []) {
    this.#name = module;
    this.#child = fork(fileURLToPath(new URL(module, import.meta.url)), [JSON.stringify(settings)], {
      execArgv: [...NODE_FLAGS, ...extraFlags],
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
  }

  /** The next message of the child. */
  answer<T>(): Promise<T> {
    const child = this.#child;
    return new Promise((resolve, reject) => {
      const onExit = (code: number | null, signal: string | null): void => {
        reject(new Error(`${this.#name} ended with ${signal ?? code}`));
      };
      child.once('exit', onExit);
      child.once('message', (message) => {
        child.off('exit', onExit);
        resolve(message as T);
      });
    });
  }

  ask<T>(order: object): Promise<T> {
    const answer = this.answer<T>();
    this.#child.send(order);
    return answer;
  }

  async end(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = new Promise((resolve) => this.#child.once('exit', resolve));
    this.#child.disconnect();
    await ended;
  }
}
