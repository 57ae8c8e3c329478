/** The command line. What a command needs is loaded when it is asked for: a client's tool starts no server code. */
import { Command, CommanderError, Option } from 'commander';
import { ConfigError, flagOf, OPTIONS, type OptionName, readConfig, variableOf } from './config.js';
import { packageVersion } from './version.js';

const EXIT_USAGE = 2;

function serveCommand(): Command {
  const command = new Command('serve').description('run the service until SIGTERM or SIGINT');
  for (const [name, option] of Object.entries(OPTIONS)) {
    const default_ = 'default' in option ? ` (default: ${option.default})` : '';
    command.addOption(new Option(`${flagOf(name)} <${option.value}>`, `${option.help}${default_}`));
  }
  const variables = `Each option can also be set in the environment: --flush-delay as ${variableOf('flushDelay')}.`;
  command.addHelpText('after', `\n${variables}`);
  command.action(async (given: Partial<Record<OptionName, string>>) => {
    const config = readConfig(given, process.env);
    const [{ serve }, { startWorkers }] = await Promise.all([
      import('./serve.js'),
      import('../workers/supervisor.js'),
    ]);
    await serve(config, startWorkers);
  });
  return command;
}

/** The tools that are clients of a server. */
const TOOLS: Record<string, () => Promise<Command>> = {
  status: async () => (await import('./admin/status-command.js')).statusCommand(),
  replay: async () => (await import('../bench/replay.js')).replayCommand(),
  load: async () => (await import('../bench/load.js')).loadCommand(),
};

async function main(argv: readonly string[]): Promise<void> {
  const program = new Command('tidemark')
    .description('Read states of a chat: who has read how far, and how many mentions wait')
    .version(packageVersion());
  program.addCommand(serveCommand());
  const asked = argv[2];
  for (const [name, load] of Object.entries(TOOLS)) {
    if (asked === name || asked === undefined || asked.startsWith('-') || asked === 'help')
      program.addCommand(await load());
  }
  for (const command of [program, ...program.commands]) command.exitOverride();
  await program.parseAsync(argv);
}

main(process.argv).catch((error: unknown) => {
  if (error instanceof ConfigError) {
    for (const problem of error.problems) console.error(`tidemark: ${problem}`);
    process.exitCode = EXIT_USAGE;
  } else if (error instanceof CommanderError) {
    // Commander has said what is wrong, or has shown the help.
    process.exitCode = error.exitCode === 0 ? 0 : EXIT_USAGE;
  } else {
    console.error(error);
    process.exitCode = 1;
  }
});
