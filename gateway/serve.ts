/** `tidemark serve`: starts the workers and the server, and stops them in order. */
import { redactStore } from '../workers/stores/cassandra-url.js';
import type { Workers } from '../workers/workers.js';
import type { Config } from './config.js';
import { createLogger } from './log.js';
import { Server } from './server.js';
import { workersOptions } from './workers-options.js';

const EXIT_FAILURE = 1;

/** Starts worker threads; what `serve` needs of workers/supervisor.ts. */
export type StartWorkers = typeof import('../workers/supervisor.js').startWorkers;

/** Runs until a signal comes; sets the exit code. */
export async function serve(config: Config, startWorkers: StartWorkers): Promise<void> {
  const log = createLogger(config.logLevel);
  const fail = (message: string, error: unknown): never => {
    log.fatal({ err: error }, message);
    process.exit(EXIT_FAILURE);
  };
  process.on('uncaughtException', (error) => fail('bug: an exception that nobody caught', error));
  process.on('unhandledRejection', (error) => fail('bug: a rejection that nobody caught', error));

  const workers = await startWorkers({
    ...workersOptions(config),
    log: { info: (message) => log.info(message), warn: (message) => log.warn(message) },
  }).catch((error: unknown) => fail('the workers did not start', error));
  workers.onWarning = (message) => log.warn(message);
  workers.onFailure = (error) => fail('a worker thread ended by itself', error);

  const server = await Server.start(config, workers).catch(async (error: unknown) => {
    await workers.stop().catch(() => {});
    return fail('the server did not start', error);
  });

  server.onWarning = (message) => log.warn(message);

  let stopping = false;
  const stop = (signal: NodeJS.Signals): void => {
    if (stopping) fail(`${signal} again: stopping at once`, undefined);
    stopping = true;
    const { drain } = config;
    log.info(
      { signal },
      drain > 0 ? `draining for ${drain} ms, then stopping` : 'stopping: answering what is in flight',
    );
    shutDown(server, workers, config).then(
      (answered) => {
        if (answered) log.info('stopped');
        else
          log.warn(
            `stopped; not everything was answered and sent within --stop-timeout ${config.stopTimeout}ms`,
          );
        process.exit(0);
      },
      (error: unknown) => fail('the stop failed: not everything is in the store', error),
    );
  };
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
  process.on('SIGHUP', () => {
    workers.reload().then(
      () => log.info('reloaded: new threads run all lanes'),
      (error: Error) => log.warn(`not reloaded, nothing has changed: ${error.message}`),
    );
  });
  server.shardCount.onFollowed = (message) => log.info(message);

  const { shards, lanes, partitions, capacity, engine } = config;
  const store = redactStore(config.store);
  const scheme = config.tlsCert === undefined ? 'http' : 'https';
  const url = `${scheme}://${urlHost(config.host)}:${server.port}`;
  const adminUrl = config.admin ? `${scheme}://${urlHost(config.adminHost)}:${server.adminPort}` : undefined;
  if (config.adminOffReason !== null) log.warn(`/admin and /console are off: ${config.adminOffReason}`);
  log.info({ url, adminUrl, pid: process.pid, shards, lanes, partitions, capacity, store, engine }, 'ready');
}

async function shutDown(server: Server, workers: Workers, config: Config): Promise<boolean> {
  const answered = await server.stop(config.stopTimeout, config.drain);
  await workers.stop();
  return answered;
}

function urlHost(host: string): string {
  return host.includes(':') ? `[${host}]` : host;
}
