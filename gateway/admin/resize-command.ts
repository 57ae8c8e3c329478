/** `tidemark resize`: has a running server change the number of its shard threads. */
import { Command } from 'commander';
import { CommandError } from '../config.js';
import { AdminClient, type AdminClientOptions, TOKEN_OPTION, URL_OPTION } from './admin-client.js';

export function resizeCommand(): Command {
  return new Command('resize')
    .description('change the number of shard threads of a running server')
    .requiredOption(
      '--shards <N>',
      'threads, 1 to its --lanes, which hold until the next order; auto = one for each processor less one, also when their number changes',
    )
    .addOption(URL_OPTION)
    .addOption(TOKEN_OPTION)
    .action(async ({ shards: given, ...options }: AdminClientOptions & { shards: string }) => {
      const shards = given === 'auto' ? given : Number(given);
      if (Number.isNaN(shards)) throw new CommandError(`--shards=${given} is neither a number nor auto.`);
      try {
        const done = await new AdminClient(options).order<{ shards: number; took_ms: number }>(
          '/admin/shards',
          { shards },
        );
        process.stdout.write(`${done.shards} shards, after ${done.took_ms} ms\n`);
      } catch (error) {
        throw new CommandError((error as Error).message);
      }
    });
}
