/** Starts child processes that end with this one, and waits for what they say first. */
import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** Starts `node FILE ARGS`, see `startChild`. */
export function startModule(file: string, args: string[], ready: RegExp): ReturnType<typeof startChild> {
  return startChild([process.execPath, file, ...args], ready);
}

/**
 * Starts a command; resolves when a line of its output matches, with that line.
 * @param hasChannel  a node that takes messages
 */
export function startChild(
  command: string[],
  ready: RegExp,
  env: NodeJS.ProcessEnv = process.env,
  timeoutMs = 60_000,
  hasChannel = false,
): Promise<{ child: ChildProcess; line: string }> {
  const [file, ...args] = command as [string, ...string[]];
  const child = spawn(file, args, {
    env,
    stdio: hasChannel ? ['pipe', 'pipe', 'pipe', 'ipc'] : ['pipe', 'pipe', 'pipe'],
  });
  return new Promise((resolve, reject) => {
    let seen = '';
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      reject(new Error(`${command.join(' ')} was not ready within ${timeoutMs} ms: ${seen.slice(-2000)}`));
    }, timeoutMs);
    const onData = (chunk: Buffer): void => {
      if (seen.length > 1 << 16) seen = seen.slice(-4096);
      seen += chunk.toString();
      const line = seen.split('\n').find((text) => ready.test(text));
      if (line === undefined) return;
      clearTimeout(timer);
      child.stdout!.off('data', onData).resume();
      child.stderr!.off('data', onData).resume();
      resolve({ child, line });
    };
    child.stdout!.on('data', onData);
    child.stderr!.on('data', onData);
    child.once('error', reject);
    child.once('exit', (code, signal) => {
      clearTimeout(timer);
      reject(
        new Error(
          `${command.join(' ')} ended with ${signal ?? code} before it was ready: ${seen.slice(-2000)}`,
        ),
      );
    });
  });
}

export async function startEcho(): Promise<{ child: ChildProcess; url: URL }> {
  const file = fileURLToPath(new URL('./bare-echo.js', import.meta.url));
  const { child, line } = await startModule(file, [], /^listening \d+/);
  return { child, url: new URL(`http://127.0.0.1:${line.split(' ')[1]}`) };
}
