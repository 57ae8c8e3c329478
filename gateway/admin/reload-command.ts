/** `tidemark reload`: has a running server go on with new threads, of another build or of the same. */
import { resolve } from 'node:path';
import { Command } from 'commander';
import { CommandError } from '../config.js';
import { AdminClient, type AdminClientOptions, TOKEN_OPTION, URL_OPTION } from './admin-client.js';

export function reloadCommand(): Command {
  return new Command('reload')
    .description("have a running server's shards go on in new threads; connections and memory stay")
    .option('--dist <DIR>', 'the build on the server whose code they run (default: the one that runs)')
    .addOption(URL_OPTION)
    .addOption(TOKEN_OPTION)
    .action(async ({ dist, ...options }: AdminClientOptions & { dist?: string }) => {
      try {
        const body = dist === undefined ? {} : { dist: resolve(dist) };
        const done = await new AdminClient(options).order<{ shards: number; took_ms: number }>(
          '/admin/reload',
          body,
        );
        process.stdout.write(`${done.shards} shards in new threads, after ${done.took_ms} ms\n`);
      } catch (error) {
        throw new CommandError((error as Error).message);
      }
    });
}
