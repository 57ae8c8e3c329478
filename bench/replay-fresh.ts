/**
 * `make replay`: plays recorded gateway traffic, whole, against a server that is started for it with an empty data
 * directory, and ends with the replay's own check of what the server then lists.
 * Arguments are a file (else the trace beside the repository) and the options of `tidemark replay`.
 */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { CommanderError } from 'commander';
import { replayCommand } from './replay.js';
import { killChild, type Service, startService } from './service-child.js';

const TRACE = '../shared/traffic/ubuntu-irc.ndjson.gz';

const given = process.argv.slice(2);
const hasFile = given[0] !== undefined && !given[0].startsWith('-');
const file = hasFile ? given[0]! : TRACE;
const options = hasFile ? given.slice(1) : given;

if (!existsSync(file)) {
  console.error(`replay: there is no ${resolve(file)}. Name a trace: make replay ARGS=FILE`);
  process.exit(2);
}
const speed = options.includes('--speed') ? [] : ['--speed', 'max'];
const data = mkdtempSync(join(tmpdir(), 'tidemark-replay-'));
let service: Service | null = null;
const command = replayCommand()
  .exitOverride()
  .hook('preAction', async (_, action) => {
    service = await startService(['--data', data]); // not before it is known that the options are right
    action.setOptionValue('url', service.url);
  });
try {
  await command.parseAsync([file, ...speed, ...options], { from: 'user' });
} catch (error) {
  if (!(error instanceof CommanderError)) throw error;
  process.exitCode = error.exitCode; // it has said why
} finally {
  await end(service);
  rmSync(data, { recursive: true, force: true });
}

async function end(started: Service | null): Promise<void> {
  if (started !== null) await killChild(started.child);
}
