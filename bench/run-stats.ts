/** Counts and latencies of a run by kind of operation, as a table and as JSON. */

import { cpus, loadavg } from 'node:os';
import type { Histogram } from 'hdr-histogram-js';
import { build } from 'hdr-histogram-js';
import { LatencyCounts } from './latency-counts.js';

export const KINDS = ['ack', 'mention', 'get', 'list', 'badge', 'pin_ack', 'delete'] as const;
export type Kind = (typeof KINDS)[number];

/** Microseconds, up to an hour, three digits. */
export function createHistogram(): Histogram {
  return build({
    lowestDiscernibleValue: 1,
    highestTrackableValue: 3_600_000_000,
    numberOfSignificantValueDigits: 3,
    useWebAssembly: false,
  });
}

export interface LatencySummary {
  p50: number;
  p90: number;
  p99: number;
  p999: number;
  max: number;
}

export interface KindSummary {
  kind: Kind | 'all';
  operations: number;
  perSecond: number;
  /** Milliseconds. */
  latencyMs: LatencySummary;
}

export interface RunSummary {
  seconds: number;
  kinds: KindSummary[];
  errors: Record<string, number>;
  /** Mentions of those who had read the message already. */
  suppressed: number;
  duplicates: number;
  unknown: number;
}

export class RunStats {
  readonly #latencies = KINDS.map(() => new LatencyCounts());
  readonly errors = new Map<string, number>();
  suppressed = 0;
  duplicates = 0;
  unknown = 0;
  answered = 0;

  /** @param kind  index in KINDS */
  record(kind: number, latencyUs: number): void {
    this.answered++;
    this.#latencies[kind]!.record(latencyUs);
  }

  error(code: string, count = 1): void {
    this.errors.set(code, (this.errors.get(code) ?? 0) + count);
  }

  get errorCount(): number {
    let sum = 0;
    for (const count of this.errors.values()) sum += count;
    return sum;
  }

  /** Forgets what was measured: the warm-up is over. */
  reset(): void {
    for (const counts of this.#latencies) counts.reset();
    this.errors.clear();
    this.suppressed = 0;
    this.duplicates = 0;
    this.unknown = 0;
    this.answered = 0;
  }

  summary(seconds: number): RunSummary {
    const all = createHistogram();
    const kinds: KindSummary[] = [];
    this.#latencies.forEach((counts, index) => {
      if (counts.total === 0) return;
      const histogram = createHistogram();
      counts.pourInto(histogram);
      all.add(histogram);
      kinds.push(summarize(KINDS[index]!, histogram, seconds));
    });
    if (kinds.length > 1) kinds.push(summarize('all', all, seconds));
    const { suppressed, duplicates, unknown } = this;
    return { seconds, kinds, errors: Object.fromEntries(this.errors), suppressed, duplicates, unknown };
  }
}

function summarize(kind: Kind | 'all', histogram: Histogram, seconds: number): KindSummary {
  return {
    kind,
    operations: histogram.totalCount,
    perSecond: histogram.totalCount / seconds,
    latencyMs: latencyMs(histogram),
  };
}

export function latencyMs(histogram: Histogram): LatencySummary {
  const at = (percentile: number): number => histogram.getValueAtPercentile(percentile) / 1000;
  return { p50: at(50), p90: at(90), p99: at(99), p999: at(99.9), max: histogram.maxValue / 1000 };
}

/** What the figures of a run depend on. */
export function machine(): Record<string, unknown> {
  const processors = cpus();
  return {
    cpu: processors[0]?.model ?? 'unknown',
    cores: processors.length,
    node: process.version,
    // What others did on the machine before the run ended: figures with much of it are rough.
    loadAverage: loadavg()[1],
  };
}

export function formatCount(value: number): string {
  return Math.round(value).toLocaleString('en-US');
}

export function formatMs(value: number): string {
  return value < 10 ? value.toFixed(3) : value < 1000 ? value.toFixed(1) : formatCount(value);
}

/** Columns padded to their widest cell: the first to the left, the others to the right. */
export function formatTable(rows: readonly (readonly string[])[]): string {
  const widths: number[] = [];
  for (const row of rows) {
    row.forEach((cell, column) => {
      widths[column] = Math.max(widths[column] ?? 0, cell.length);
    });
  }
  return rows
    .map((row) =>
      row
        .map((cell, column) => (column === 0 ? cell.padEnd(widths[0]!) : cell.padStart(widths[column]!)))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** The table at the end of a run. */
export function formatSummary(summary: RunSummary): string {
  const rows = [['operation', 'count', 'per second', 'p50 ms', 'p90 ms', 'p99 ms', 'p99.9 ms', 'max ms']];
  for (const { kind, operations, perSecond, latencyMs: latency } of summary.kinds) {
    const { p50, p90, p99, p999, max } = latency;
    rows.push([
      kind,
      formatCount(operations),
      formatCount(perSecond),
      ...[p50, p90, p99, p999, max].map(formatMs),
    ]);
  }
  const lines = [formatTable(rows)];
  const notes = [`${summary.seconds.toFixed(2)} s`];
  if (summary.suppressed > 0)
    notes.push(`${formatCount(summary.suppressed)} mentions suppressed (already read)`);
  if (summary.duplicates > 0) notes.push(`${formatCount(summary.duplicates)} mentions were duplicates`);
  if (summary.unknown > 0) notes.push(`${formatCount(summary.unknown)} gets of unknown entries`);
  lines.push('', notes.join('; '));
  const errors = Object.entries(summary.errors);
  lines.push(
    errors.length === 0
      ? 'no errors'
      : `errors: ${errors.map(([code, count]) => `${code} ${formatCount(count)}`).join(', ')}`,
  );
  return lines.join('\n');
}
