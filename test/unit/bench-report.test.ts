/** The report says what was measured, losses too, and needs nothing from elsewhere. */
import { describe, expect, it } from 'vitest';
import { standalone } from '../../bench/report/palette.js';
import { reportHtml } from '../../bench/report/report.js';
import { decades, lineChart, stack } from '../../bench/report/svg.js';
import type { EngineData } from '../../bench/suite/engine.js';
import { judge, mergeBy, times } from '../../bench/suite/part.js';
import type { SavedPart } from '../../bench/suite/saved.js';

const spread = (median: number) => ({ median, min: median * 0.9, max: median * 1.1 });
const side = (rate: number, ratio: number) => ({
  rate: spread(rate),
  cpuRate: spread(rate),
  slabRatio: spread(ratio),
  hitShare: 0.9,
  gcMaxMs: 1,
  longestBlockMs: 2,
});

function enginePart(ratio: number): SavedPart {
  const data: EngineData = {
    configs: [
      {
        records: 8e6,
        distribution: 'uniform',
        hits: 90,
        sides: { slab: side(2e6, 1), 'rust-lru': side(2e6 / ratio, ratio) },
      },
    ],
    memory: [],
    checksums: {},
  };
  return {
    name: 'engine',
    title: 'Engine <one thread>',
    date: '2026-11-25T10:00:00.000Z',
    commit: '0123456789ab',
    modified: false,
    machine: { cpu: 'a processor', cores: 2, node: 'v20' },
    options: { quick: false, minutes: 5, rate: 1, rounds: 1, seed: 1, sizes: undefined, sides: undefined },
    seconds: 1,
    result: {
      findings: [judge('slab beside rust-lru', ratio, { atLeast: 1, show: times }, true)],
      skipped: ['peers in go: there is no Go'],
      settings: { slab: 'as it comes' },
      data,
    },
  };
}

describe('the report', () => {
  it('names a floor that is missed in its first sentences, and says when all are met', () => {
    const lost = reportHtml([enginePart(0.5)]);
    const opening = (html: string): string =>
      html.slice(html.indexOf('class="answer"'), html.indexOf('<nav>'));
    expect(opening(lost)).toContain('0.50 times Rust’s lru');
    expect(opening(lost)).toContain(
      'missed: slab beside rust-lru (0.50 times; the floor is at least 1.00 times)',
    );
    expect(lost).toContain('<span class="missed">missed</span>');
    expect(opening(reportHtml([enginePart(1.5)]))).toContain('All 1 floors that were judged are met.');
  });

  it('says what was not run, and which part failed with what', () => {
    const { result: _, ...rest } = enginePart(1);
    const html = reportHtml([enginePart(1), { ...rest, name: 'redis', failure: 'Error: no <server>' }]);
    expect(html).toContain('<li>peers in go: there is no Go</li>');
    expect(html).toContain('This part failed: Error: no &lt;server&gt;');
    expect(html).toContain('Engine &lt;one thread&gt;');
  });

  it('loads nothing, and runs no script', () => {
    const html = reportHtml([enginePart(1)]).replaceAll('xmlns="http://www.w3.org/2000/svg"', '');
    expect(html).not.toMatch(/https?:|<script|<link|url\(|@import|src=/);
    expect(html).toContain('prefers-color-scheme:dark');
  });
});

it('keeps of an earlier run what a later one has not', () => {
  const records = (item: { records: number }): number => item.records;
  const before = [
    { records: 1, rate: 10 },
    { records: 8, rate: 20 },
  ];
  expect(mergeBy(before, [{ records: 8, rate: 30 }], records)).toEqual([
    { records: 1, rate: 10 },
    { records: 8, rate: 30 },
  ]);
});

describe('a chart', () => {
  const chart = lineChart({
    title: 'a & b',
    x: { label: 's', scale: 'linear', min: 0, max: 10 },
    y: { label: 'ms', scale: 'log', min: 1, max: 100 },
    width: 374,
    height: 288,
    series: [
      {
        name: 'p50',
        colour: 'c0',
        points: [
          [0, 1],
          [5, 10],
          [10, 100],
        ],
      },
    ],
  });

  it('puts points where the scales say', () => {
    // The plot is 300 wide from 58, and 200 high from 46; 10 is half way between 1 and 100.
    expect(chart).toContain('d="M58 246L208 146L358 46"');
    expect(chart).toContain('aria-label="a &amp; b"');
  });

  it('is a file of its own with a ground and colours', () => {
    const file = standalone(stack('both', [chart, chart]));
    expect(file).toContain('viewBox="0 0 374 576"');
    expect(file.match(/<style>/g)).toHaveLength(1);
    expect(file).toContain('fill="var(--paper)"');
  });

  it('takes whole powers of ten around its values', () => {
    expect(decades([0, 0.2, 30])).toEqual({ min: 0.1, max: 100 });
    expect(decades([10])).toEqual({ min: 10, max: 100 });
    expect(decades([])).toEqual({ min: 0.1, max: 1 });
  });
});
