/**
 * Writes docs/metrics.md from the metrics that a server registers, so that the list cannot be wrong. A metric's help
 * text is its meaning there; its unit is in its name.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { readConfig } from '../gateway/config.js';
import type { MetricDescription } from '../gateway/metrics.js';
import { Server } from '../gateway/server.js';
import { startWorkers } from '../workers/supervisor.js';
import { isMain, ROOT } from './repository.js';

const FILE = 'docs/metrics.md';

/** What the parts of the list are, by the beginnings of their names; the first that fits. */
const PARTS: readonly (readonly [string, string, string])[] = [
  ['tidemark_operation_', 'Operations', 'In service: from the request ring of a shard to the answer.'],
  ['tidemark_partition_', 'Partitions', 'Written by the owner of each, ten times a second.'],
  ['tidemark_shard_', 'Shards', 'One thread each; counters are of the lanes that it has run.'],
  ['tidemark_lane_', 'Lanes', 'What threads hand over to each other; see architecture.md.'],
  ['tidemark_ring_', 'Rings', 'Between the front, the shards and the persister.'],
  ['tidemark_journal_', 'Journal', 'What an answer promises over a kill is written here first.'],
  ['tidemark_persister_', 'Persister and store', 'The thread that talks to the store.'],
  ['tidemark_ws_', 'WebSockets', 'Both protocols.'],
  ['tidemark_', 'Front', 'HTTP, connections, and what belongs to no part.'],
  ['', 'Process', 'Of Node and the operating system, by prom-client.'],
];

/** The unit that a name ends in. */
function unitOf(name: string): string {
  const base = name.replace(/_total$/, '');
  for (const unit of ['seconds', 'bytes', 'percent']) if (base.endsWith(`_${unit}`)) return unit;
  return 'count';
}

/** @returns the whole document */
export function metricsDocument(metrics: readonly MetricDescription[]): string {
  const lines = [
    '# Metrics',
    '',
    'Everything that `GET /metrics` answers, in the text format of Prometheus. Counters count since the start of the',
    'process. Alerts on them are in [alerts.yml](alerts.yml), a dashboard in [grafana.json](grafana.json). This list is',
    'generated: `make metrics` writes it, and a test compares it with what a server registers.',
  ];
  const left = [...metrics].sort((a, b) => (a.name < b.name ? -1 : 1));
  for (const [prefix, title, about] of PARTS) {
    const found = left.filter(({ name }) => name.startsWith(prefix));
    if (found.length === 0) continue;
    for (const metric of found) left.splice(left.indexOf(metric), 1);
    lines.push(
      '',
      `## ${title}`,
      '',
      about,
      '',
      '| metric | type | unit | labels | meaning |',
      '|---|---|---|---|---|',
    );
    for (const { name, type, labels, help } of found) {
      const named = labels.map((label) => `\`${label}\``).join(', ');
      lines.push(`| \`${name}\` | ${type} | ${unitOf(name)} | ${named} | ${help} |`);
    }
  }
  return `${lines.join('\n')}\n`;
}

if (isMain(import.meta.url)) {
  const config = readConfig(
    { port: '0', store: 'memory:', partitions: '1', shards: '1', capacity: '1k' },
    {},
  );
  const { shards, partitions, capacity, engine, store, ackOrder } = config;
  const workers = await startWorkers({
    shards,
    partitions,
    capacity,
    engine,
    store,
    ackOrder,
    flushDelayMs: config.flushDelay,
    loadTimeoutMs: config.loadTimeout,
    roomTimeoutMs: config.roomTimeout,
    parkedMax: config.maxParked,
    watchedUsersMax: config.maxWatched,
  });
  const server = await Server.start(config, workers);
  writeFileSync(join(ROOT, FILE), metricsDocument(await server.metrics.describe()));
  await server.stop(1000);
  await workers.stop();
}
