/** The command line. What a command needs is loaded when it is asked for: a client's tool starts no server code. */
import { Command, CommanderError, Option } from 'commander';
import {
  CommandError,
  ConfigError,
  flagOf,
  OPTIONS,
  type OptionName,
  readConfig,
  variableOf,
} from './config.js';
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

const REPLICAS_MAX = 100;

function schemaCommand(): Command {
  const command = new Command('schema').description(
    'print the CQL that a Cassandra store needs, or apply it',
  );
  const variable = variableOf('store');
  command.addOption(new Option('--store <URL>', `cassandra://…, as of serve (default: ${variable})`));
  command.addOption(new Option('--apply', 'make what is missing, instead of printing'));
  command.addOption(
    new Option('--replicas <N>', 'of each user in the data centre, for a new keyspace').default('3'),
  );
  command.action(async (given: { store?: string; apply?: true; replicas: string }) => {
    const store = given.store ?? process.env[variable];
    const replicas = /^\d+$/.test(given.replicas) ? Number(given.replicas) : 0;
    const problems: string[] = [];
    if (store === undefined) problems.push(`give --store or ${variable}.`);
    if (replicas < 1 || replicas > REPLICAS_MAX)
      problems.push(`--replicas=${given.replicas} is not a whole number from 1 to ${REPLICAS_MAX}.`);
    if (store === undefined || problems.length > 0) throw new ConfigError(problems);
    const { applySchema, printSchema } = await import('./schema.js');
    if (given.apply === undefined) console.log(printSchema(store, replicas));
    else for (const line of await applySchema(store, replicas)) console.log(`tidemark: ${line}`);
  });
  return command;
}

/** The tools that are clients of a server. */
const TOOLS: Record<string, () => Promise<Command>> = {
  top: async () => (await import('./admin/top-command.js')).topCommand(),
  status: async () => (await import('./admin/status-command.js')).statusCommand(),
  resize: async () => (await import('./admin/resize-command.js')).resizeCommand(),
  reload: async () => (await import('./admin/reload-command.js')).reloadCommand(),
  replay: async () => (await import('../bench/replay.js')).replayCommand(),
  load: async () => (await import('../bench/load.js')).loadCommand(),
};

/** If who reads the output has gone, as `head` does, nothing is wrong, and nobody is left to be told. */
function endWithOutput(error: NodeJS.ErrnoException): void {
  if (error.code === 'EPIPE') process.exit(0);
  console.error(`tidemark: the output cannot be written: ${error.message}`);
  process.exit(1);
}

async function main(argv: readonly string[]): Promise<void> {
  const program = new Command('tidemark')
    .description('Read states of a chat: who has read how far, and how many mentions wait')
    .version(packageVersion());
  program.addCommand(serveCommand());
  program.addCommand(schemaCommand());
  const asked = argv[2];
  for (const [name, load] of Object.entries(TOOLS)) {
    if (asked === name || asked === undefined || asked.startsWith('-') || asked === 'help')
      program.addCommand(await load());
  }
  for (const command of [program, ...program.commands]) command.exitOverride();
  const isServer = asked === 'serve' && !argv.includes('--help');
  if (!isServer) process.stdout.on('error', endWithOutput);
  await program.parseAsync(argv);
}

main(process.argv).catch((error: unknown) => {
  if (error instanceof ConfigError) {
    for (const problem of error.problems) console.error(`tidemark: ${problem}`);
    process.exitCode = EXIT_USAGE;
  } else if (error instanceof CommanderError) {
    // Commander has said what is wrong, or has shown the help.
    process.exitCode = error.exitCode === 0 ? 0 : EXIT_USAGE;
  } else if (error instanceof CommandError) {
    console.error(`tidemark: ${error.message}`);
    process.exitCode = 1;
  } else {
    console.error(error);
    process.exitCode = 1;
  }
});
