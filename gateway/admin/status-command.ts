/** `tidemark status`: what a server says of itself, as text or JSON. */
import { Command } from 'commander';
import { AdminClient, type AdminClientOptions, TOKEN_OPTION, URL_OPTION } from './admin-client.js';
import { ANSI, PLAIN, statusLines } from './status-text.js';

export function statusCommand(): Command {
  return new Command('status')
    .description('what a running server is doing')
    .addOption(URL_OPTION)
    .addOption(TOKEN_OPTION)
    .option('--json', 'all of /admin/status as JSON')
    .action(async (options: AdminClientOptions & { json?: boolean }) => {
      try {
        const status = await new AdminClient(options).status();
        if (options.json === true) {
          process.stdout.write(`${JSON.stringify(status, null, 2)}\n`);
          return;
        }
        const style = process.stdout.isTTY && process.env.NO_COLOR === undefined ? ANSI : PLAIN;
        process.stdout.write(`${statusLines(status, style).join('\n')}\n`);
      } catch (error) {
        process.stderr.write(`tidemark: ${(error as Error).message}\n`);
        process.exitCode = 1;
      }
    });
}
