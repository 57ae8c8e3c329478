/** The report of `make bench`: one HTML file without scripts that needs nothing from elsewhere. */
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { ColdStartData } from '../suite/cold-start.js';
import type { EngineData } from '../suite/engine.js';
import type { LatencyData } from '../suite/latency.js';
import type { PartName } from '../suite/part.js';
import type { PausesData } from '../suite/pauses.js';
import type { RedisData } from '../suite/redis.js';
import type { SavedPart } from '../suite/saved.js';
import type { SawtoothData } from '../suite/sawtooth.js';
import type { ScaleData } from '../suite/scale.js';
import { answer, dataOf } from './answer.js';
import { chartStyle, standalone } from './palette.js';
import { engineSection, pausesSection, redisSection, sawtoothPicture, sawtoothSection } from './sections.js';
import { coldStartSection, latencySection, scaleSection } from './service-sections.js';
import { escapeText } from './svg.js';
import { table } from './table.js';

const SECTIONS: Record<PartName, (data: never) => string> = {
  engine: (data: EngineData) => engineSection(data),
  sawtooth: (data: SawtoothData) => sawtoothSection(data),
  pauses: (data: PausesData) => pausesSection(data),
  redis: (data: RedisData) => redisSection(data),
  scale: (data: ScaleData) => scaleSection(data),
  latency: (data: LatencyData) => latencySection(data),
  'cold-start': (data: ColdStartData) => coldStartSection(data),
};

const PAGE_STYLE = `
:root{color-scheme:light dark}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,sans-serif}
main{max-width:920px;margin:0 auto;padding:32px 20px 80px}
h1{font-size:28px;line-height:1.2;margin:0 0 4px}h2{margin:48px 0 8px;font-size:21px}h3{margin:24px 0 4px;font-size:15px}
.answer{font-size:18px;background:var(--panel);border-left:4px solid var(--c0);padding:14px 20px;margin:20px 0}
.answer p{margin:8px 0}.soft,small{color:var(--soft)}small{display:block;font-size:11px;line-height:1.1}
figure{margin:16px 0;padding:12px;background:var(--panel);border-radius:6px}figure svg{width:100%;height:auto;display:block}
.table{overflow-x:auto}table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums}
th,td{padding:4px 10px;border-bottom:1px solid var(--grid);text-align:right;vertical-align:top}
th{color:var(--soft);font-weight:600}th:first-child,td:first-child{text-align:left;padding-left:0}
td.text{text-align:left}.met{color:var(--c5)}.missed{color:var(--c1);font-weight:600}
details{margin:12px 0}summary{cursor:pointer;color:var(--soft)}nav a{margin-right:14px}a{color:var(--c3)}
code{font-size:13px}dt{font-weight:600;margin-top:6px}dd{margin:0 0 0 16px;color:var(--soft)}`;

export async function writeReport(parts: readonly SavedPart[], file: string): Promise<void> {
  await writeWhole(file, reportHtml(parts));
}

/** The picture of README: the sawtooth at the largest size. */
export async function writePicture(parts: readonly SavedPart[], file: string): Promise<void> {
  const picture = pictureOf(parts);
  if (picture !== undefined) await writeWhole(file, picture);
}

export function pictureOf(parts: readonly SavedPart[]): string | undefined {
  const largest = dataOf<SawtoothData>(parts, 'sawtooth')?.sizes.at(-1);
  return largest === undefined ? undefined : standalone(sawtoothPicture(largest));
}

async function writeWhole(file: string, text: string): Promise<void> {
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, text);
}

export function reportHtml(parts: readonly SavedPart[]): string {
  const isQuick = parts.some(({ options }) => options.quick);
  const machineOf = parts[0]?.machine ?? {};
  const links = parts.map(({ name, title }) => `<a href="#${name}">${escapeText(title)}</a>`).join(' ');
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>Tidemark: what keeping data away from the collector brings</title>
<style>${chartStyle(':root')}${PAGE_STYLE}</style></head><body><main>
<h1>What keeping data away from the collector brings</h1>
<p class="soft">${escapeText(`${machineOf.cpu}, ${machineOf.cores} cores, Node ${machineOf.node}`)}; load generator on the same machine.${isQuick ? ' <b>A quick look: sizes are small and times short.</b>' : ''}</p>
<div class="answer">${answer(parts)
    .map((sentence) => `<p>${escapeText(sentence)}</p>`)
    .join('')}</div>
<nav>${links}</nav>
${verdicts(parts)}
${parts.map(section).join('\n')}
${skipped(parts)}
</main></body></html>
`;
}

function verdicts(parts: readonly SavedPart[]): string {
  const rows = parts.flatMap(({ result }) =>
    (result?.findings ?? [])
      .filter(({ floor }) => floor !== '')
      .map(({ what, floor, measured, met }) => [
        escapeText(what),
        escapeText(floor),
        escapeText(measured),
        met === null
          ? 'not judged'
          : met
            ? '<span class="met">met</span>'
            : '<span class="missed">missed</span>',
      ]),
  );
  return rows.length === 0 ? '' : `<h2>Floors</h2>${table(['what', 'floor', 'measured', ''], rows)}`;
}

function section({ name, title, result, failure, date, commit, modified, seconds }: SavedPart): string {
  const origin = `${date.slice(0, 16).replace('T', ' ')}, commit ${commit}${modified ? ' with changes' : ''}, ${seconds} s`;
  const head = `<h2 id="${name}">${escapeText(title)}</h2><p class="soft">${escapeText(origin)}; <code>make bench ARGS='--only ${name}'</code></p>`;
  if (result === undefined)
    return `${head}<p class="missed">This part failed: ${escapeText(failure ?? '')}</p>`;
  const free = result.findings.filter(({ floor }) => floor === '');
  const more =
    free.length === 0
      ? ''
      : table(
          ['what', 'measured'],
          free.map(({ what, measured }) => [escapeText(what), escapeText(measured)]),
        );
  const settings = Object.entries(result.settings).map(
    ([side, text]) => `<dt>${escapeText(side)}</dt><dd>${escapeText(text)}</dd>`,
  );
  return [
    head,
    SECTIONS[name](result.data as never),
    more,
    `<details><summary>How each side was set</summary><dl>${settings.join('')}</dl></details>`,
  ].join('\n');
}

function skipped(parts: readonly SavedPart[]): string {
  const reasons = parts.flatMap(({ result }) => result?.skipped ?? []);
  if (reasons.length === 0) return '';
  return `<h2>Not run, and why</h2><ul>${reasons.map((reason) => `<li>${escapeText(reason)}</li>`).join('')}</ul>`;
}
