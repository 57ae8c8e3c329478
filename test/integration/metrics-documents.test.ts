/** docs/metrics.md, docs/alerts.yml and docs/grafana.json against the metrics that a server registers. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { MetricDescription } from '../../gateway/metrics.js';
import { metricsDocument } from '../../scripts/generate-metrics.js';
import { ROOT } from '../../scripts/repository.js';
import { type Gateway, startGateway } from './gateway-support.js';

let gateway: Gateway;
let metrics: MetricDescription[];
beforeAll(async () => {
  gateway = await startGateway();
  metrics = await gateway.server.metrics.describe();
});
afterAll(() => gateway.close());

const read = (file: string): string => readFileSync(join(ROOT, 'docs', file), 'utf8');

/** The names that may stand in a query: a histogram is asked for by its parts. */
function namesInQueries(): Set<string> {
  return new Set(
    metrics.flatMap(({ name, type }) =>
      type === 'histogram' ? [`${name}_bucket`, `${name}_sum`, `${name}_count`] : [name],
    ),
  );
}

/** What of a query looks like a metric of ours, of Node or of the process. */
function namesOf(query: string): string[] {
  return query.match(/\b(?:tidemark|nodejs|process)_\w+/g) ?? [];
}

/** Names that no server registers. @param queries  with at least one name each */
function unknownNames(queries: readonly string[]): string[] {
  const known = namesInQueries();
  return queries.flatMap(namesOf).filter((name) => !known.has(name));
}

describe('the documents of the metrics', () => {
  it('list every metric, its type and its meaning (make metrics writes it anew)', () => {
    expect(read('metrics.md')).toBe(metricsDocument(metrics));
    for (const { name, help } of metrics) expect(help, name).toMatch(/\S{3}/);
  });

  it('name metrics as Prometheus does', () => {
    const own = metrics.filter(({ name }) => name.startsWith('tidemark_'));
    expect(own.length).toBeGreaterThan(50);
    for (const { name, type } of own) {
      expect(name).toMatch(/^tidemark_[a-z0-9]+(_[a-z0-9]+)*$/);
      expect(name.endsWith('_total'), `${name} is a ${type}`).toBe(type === 'counter');
      expect(name, 'base units').not.toMatch(/_(ms|us|millis|kb|mb|kib|mib|minutes)(_|$)/);
    }
  });

  it('alert on metrics that exist, each with a summary and a severity', () => {
    const text = read('alerts.yml');
    const rules = text.split(/^ {6}- alert: /m).slice(1);
    expect(rules.length).toBeGreaterThan(10);
    const queries = rules.map((rule) => /^ {8}expr: (.+)$/m.exec(rule)?.[1] ?? '');
    for (const [i, rule] of rules.entries()) {
      expect(rule).toMatch(/^Tidemark[A-Za-z]+\n/);
      expect(rule).toMatch(/^ {10}severity: (page|ticket)$/m);
      expect(rule).toMatch(/^ {10}summary: ".+"$/m);
      expect(rule).toMatch(/^ {10}description: ".+"$/m);
      if (!queries[i]!.startsWith('up{')) expect(namesOf(queries[i]!).length, rule).toBeGreaterThan(0);
      expect(queries[i]!.split('(').length, rule).toBe(queries[i]!.split(')').length);
    }
    // The operator finds each by its name.
    const names = rules.map((rule) => rule.slice(0, rule.indexOf('\n')));
    const operations = read('operations.md');
    expect(names.filter((name) => !operations.includes(`| \`${name}\` |`))).toEqual([]);
    expect(unknownNames(queries)).toEqual([]);
    expect(unknownNames(['tidemark_no_such_total'])).toEqual(['tidemark_no_such_total']);
  });

  it('draw metrics that exist', () => {
    interface Panel {
      title: string;
      gridPos: { x: number; y: number; w: number; h: number };
      targets: { expr: string }[];
    }
    const { panels, templating } = JSON.parse(read('grafana.json')) as {
      panels: Panel[];
      templating: { list: { query: string }[] };
    };
    expect(panels.length).toBeGreaterThan(15);
    const queries = panels.flatMap(({ targets }) => targets.map(({ expr }) => expr));
    for (const query of queries) {
      expect(namesOf(query).length, query).toBeGreaterThan(0);
      expect(query.split('(').length, query).toBe(query.split(')').length);
    }
    expect(unknownNames([...queries, ...templating.list.map(({ query }) => query)])).toEqual([]);
    // No panel lies on another.
    const cells = panels.flatMap(({ gridPos: { x, y, w, h } }) =>
      Array.from({ length: w * h }, (_, i) => `${x + (i % w)},${y + Math.floor(i / w)}`),
    );
    expect(new Set(cells).size).toBe(cells.length);
    expect(Math.max(...panels.map(({ gridPos: { x, w } }) => x + w))).toBeLessThanOrEqual(24);
  });
});
