/**
 * `make replay-cassandra`: recorded traffic at 60 times its pace against a service on a Cassandra of its own, and how
 * few rows were written for all the updates, beside what the trace allows at best (coalescing.ts): with the flush delay
 * at that speed, which is 60 times as much of the trace, and at the trace's own pace. The whole trace, 36 hours, takes 36 minutes. Ends with 1 when the rows are more than a tenth of the updates, or a list is wrong.
 */
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { Command } from 'commander';
import { CassandraCluster } from '../scripts/cassandra/cluster.js';
import { createKeyspace } from '../scripts/cassandra/keyspace.js';
import { sleep } from './clock.js';
import { coalescingBound } from './coalescing.js';
import { sourceState } from './commit.js';
import { MODEL_DEFAULTS } from './reader-model.js';
import { type ReplayOptions, replay } from './replay.js';
import { formatCount, formatTable } from './run-stats.js';
import { killChild, readMetrics, startService } from './service-child.js';

import { decimal, durationOption, wholeNumber } from './target-options.js';

const TRACE = '../shared/traffic/ubuntu-irc.ndjson.gz';
const RATIO_MAX = 0.1;
const DRAIN_POLL_MS = 500;
const RESULT = 'bench/results/replay-cassandra.json';

interface Options {
  speed: number;
  flushDelay: number;
  limit?: number;
  durability?: string;
  json: string;
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** Waits until the store has everything. */
async function drained(url: URL): Promise<Map<string, number>> {
  for (;;) {
    const metrics = await readMetrics(url);
    if (metrics.get('tidemark_shard_dirty_users') === 0) return metrics;
    await sleep(DRAIN_POLL_MS);
  }
}

function share(rows: number, updates: number): string {
  return `${((100 * rows) / updates).toFixed(2)} %`;
}

async function main(file: string, options: Options): Promise<void> {
  if (!existsSync(file)) throw new Error(`there is no ${resolve(file)}. Name a trace: ARGS=FILE`);
  const { speed, limit, flushDelay } = options;
  const data = mkdtempSync(join(tmpdir(), 'tidemark-replay-'));
  const cluster = await CassandraCluster.start({ durable: false });
  try {
    const store = await createKeyspace(cluster.contactPoints);
    const args = ['--data', data, '--store', store, '--flush-delay', `${flushDelay}ms`];
    if (options.durability !== undefined) args.push('--durability', options.durability);
    const { child, url } = await startService(args);
    try {
      const { burstMs: burst, viewMs: view, idleMs: idle, ...model } = MODEL_DEFAULTS;
      const target = { url, protocol: 'bin', speed, userOffset: 0, burst, view, idle, ...model } as const;
      const replayOptions: ReplayOptions = limit === undefined ? target : { ...target, limit };
      const result = await replay(file, replayOptions, say);
      const metrics = await drained(url);
      const written = {
        rows: metrics.get('tidemark_persister_written_rows_total')!,
        groups: metrics.get('tidemark_persister_written_groups_total')!,
        failures: metrics.get('tidemark_persister_write_failures_total')!,
      };
      const bound = await coalescingBound(file, MODEL_DEFAULTS, flushDelay * speed, limit);
      const boundAtOwnPace = await coalescingBound(file, MODEL_DEFAULTS, flushDelay, limit);
      const { updates } = bound;
      const ratio = written.rows / updates;
      say(
        formatTable([
          ['', 'rows', 'of the updates', 'writes'],
          ['updates (acks and mentions)', formatCount(updates), '', ''],
          [
            'written to Cassandra',
            formatCount(written.rows),
            share(written.rows, updates),
            formatCount(written.groups),
          ],
          [
            'at best, a user together',
            formatCount(bound.rowsByUser),
            share(bound.rowsByUser, updates),
            formatCount(bound.groups),
          ],
          [
            'at best, each entry alone',
            formatCount(bound.rowsByEntry),
            share(bound.rowsByEntry, updates),
            '',
          ],
          [
            "at best at the trace's own pace, a user together",
            formatCount(boundAtOwnPace.rowsByUser),
            share(boundAtOwnPace.rowsByUser, updates),
            formatCount(boundAtOwnPace.groups),
          ],
        ]),
      );
      const met = ratio <= RATIO_MAX && result.differenceCount === 0;
      say(
        `${met ? 'met' : 'MISSED'}: ${(1 / ratio).toFixed(1)} updates for each row written; ${(written.rows / bound.rowsByEntry).toFixed(3)} times the fewest that a delay of ${flushDelay / 1000} s allows`,
      );
      const context = {
        ...sourceState(),
        date: new Date().toISOString(),
        args: args.slice(4),
        speed,
        flushDelayMs: flushDelay,
      };
      mkdirSync(dirname(options.json), { recursive: true });
      writeFileSync(
        options.json,
        `${JSON.stringify({ context, met, ratio, written, bound, boundAtOwnPace, replay: result }, undefined, 2)}\n`,
      );
      say(`written: ${options.json}`);
      if (!met) process.exitCode = 1;
    } finally {
      await killChild(child);
    }
  } finally {
    await cluster.end();
    rmSync(data, { recursive: true, force: true });
  }
}

await new Command('replay-cassandra')
  .description('recorded traffic against a service on Cassandra: rows written for the updates')
  .argument('[file]', 'dispatches, as for tidemark replay', TRACE)
  .option('--speed <times>', 'times the recorded pace', decimal(0.001, 1e6), 60)
  .addOption(durationOption('--flush-delay', 'of the service', '30s'))
  .option('--limit <messages>', 'stop after this many messages', wholeNumber(1, 1e9))
  .option('--durability <level>', 'of the service; default: its own')
  .option('--json <file>', 'where the result goes', RESULT)
  .action((file: string, options: Options) => main(file, options))
  .parseAsync();
