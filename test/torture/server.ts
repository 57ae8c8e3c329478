/** The server as a child process, started as an operator would and killed as nobody would. */
import { type ChildProcess, spawn } from 'node:child_process';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';

export const LAUNCHER = fileURLToPath(new URL('../../../scripts/tidemark', import.meta.url));
const LOG_CHARACTERS = 1 << 16;

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export class Server {
  /** Resolves with its address, or undefined when it ended before. */
  readonly ready: Promise<URL | undefined>;
  readonly ended: Promise<Ended>;
  readonly startedMs = performance.now();
  /** The end of what it said, JSON lines. */
  log = '';
  hasEnded = false;
  readonly #child: ChildProcess;

  /** @param args  of `tidemark serve`; the port is a free one */
  constructor(args: readonly string[]) {
    const env = { ...process.env, PATH: `${dirname(process.execPath)}:${process.env.PATH}` };
    const child = spawn(LAUNCHER, ['serve', '--port', '0', ...args], {
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#child = child;
    this.ended = new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code, signal) => {
        this.hasEnded = true;
        resolve({ code, signal });
      });
    });
    this.ready = new Promise((resolve) => {
      let line = '';
      const onData = (chunk: Buffer): void => {
        this.log = (this.log + chunk.toString()).slice(-LOG_CHARACTERS);
        line += chunk.toString();
        for (let end = line.indexOf('\n'); end >= 0; end = line.indexOf('\n')) {
          const text = line.slice(0, end);
          line = line.slice(end + 1);
          if (text.includes('"msg":"ready"')) resolve(new URL((JSON.parse(text) as { url: string }).url));
        }
      };
      child.stdout!.on('data', onData);
      child.stderr!.on('data', onData);
      this.ended.then(
        () => resolve(undefined),
        () => resolve(undefined),
      );
    });
  }

  /** kill -9; resolves when it is gone. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.ended;
  }

  /** An orderly stop. */
  terminate(): Promise<Ended> {
    this.#child.kill('SIGTERM');
    return this.ended;
  }
}
