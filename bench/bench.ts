/**
 * `make bench`: everything that this machine can run, part by part, then the report. Each part writes its own result, so
 * parts can run on different days (`ARGS='--only engine redis'`), one that fails stops no other, and `--resume` goes on
 * where a run was stopped. `QUICK=1` is a look at everything in five minutes; its figures are kept apart.
 */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Command, Option } from 'commander';
import { ROOT, sourceState } from './commit.js';
import { writePicture, writeReport } from './report/report.js';
import { formatTable, machine } from './run-stats.js';
import { coldStartPart } from './suite/cold-start.js';
import { enginePart } from './suite/engine.js';
import { PEER_SIDES } from './suite/engine-peers.js';
import { latencyPart } from './suite/latency.js';
import { mergeBy, PART_NAMES, type Part, type PartContext, type PartName } from './suite/part.js';
import { pausesPart } from './suite/pauses.js';
import { redisPart } from './suite/redis.js';
import type { SavedPart } from './suite/saved.js';
import { sawtoothPart } from './suite/sawtooth.js';
import { scalePart } from './suite/scale.js';
import { decimal, wholeNumber } from './target-options.js';

const PARTS: readonly Part[] = [
  enginePart,
  sawtoothPart,
  pausesPart,
  redisPart,
  scalePart,
  latencyPart,
  coldStartPart,
];
const RESULTS = join(ROOT, 'bench', 'results');
/** In README; commit it with the result that it is drawn from. */
const PICTURE = join(ROOT, 'docs', 'images', 'sawtooth.svg');

interface Options {
  only?: PartName[];
  quick: boolean;
  resume: boolean;
  report: boolean;
  minutes: number;
  rate: number;
  rounds: number;
  seed: number;
  sizes?: number[];
  sides?: string[];
}

function log(text: string): void {
  console.error(text);
}

async function readPart(folder: string, name: PartName): Promise<SavedPart | undefined> {
  try {
    return JSON.parse(await readFile(join(folder, `${name}.json`), 'utf8')) as SavedPart;
  } catch {
    return undefined;
  }
}

async function runPart(part: Part, context: PartContext): Promise<SavedPart> {
  const start = performance.now();
  const { commit, modified } = sourceState();
  const base = { name: part.name, title: part.title, date: new Date().toISOString(), commit, modified };
  const settings = { ...context, tunables: process.env.GLIBC_TUNABLES ?? '' };
  const seconds = (): number => Math.round((performance.now() - start) / 1000);
  try {
    const result = await part.run(context);
    return { ...base, machine: machine(), options: settings, seconds: seconds(), result };
  } catch (error) {
    log(`${part.name} FAILED: ${(error as Error).stack}`);
    return { ...base, machine: machine(), options: settings, seconds: seconds(), failure: String(error) };
  }
}

/** Sizes that were run one after the other, as one result. */
function merged(part: Part, before: SavedPart, now: SavedPart): SavedPart {
  if (part.merge === undefined || before.result === undefined || now.result === undefined) return now;
  const { findings, skipped, settings } = now.result;
  const data = part.merge(before.result.data, now.result.data);
  const own = mergeBy(findings, part.findingsOf?.(data, now.options.quick) ?? [], ({ what }) => what);
  const result = {
    findings: mergeBy(before.result.findings, own, ({ what }) => what),
    skipped: mergeBy(before.result.skipped, skipped, (reason) => reason),
    settings,
    data,
  };
  return { ...now, seconds: before.seconds + now.seconds, result };
}

async function main(options: Options): Promise<void> {
  const quick = options.quick || /^(1|true)$/.test(process.env.QUICK ?? '');
  const folder = join(RESULTS, quick ? 'quick' : 'parts');
  await mkdir(folder, { recursive: true });
  const { minutes, rate, rounds, seed, sizes, sides } = options;
  const { commit } = sourceState();
  for (const part of PARTS) {
    if (options.report || options.only?.includes(part.name) === false) continue;
    const before = await readPart(folder, part.name);
    if (options.resume && before?.commit === commit && before.result !== undefined) {
      log(`== ${part.name}: done at this commit`);
      continue;
    }
    log(`== ${part.name}: ${part.title}`);
    const ran = await runPart(part, { quick, minutes, rate, rounds, seed, sizes, sides, log });
    const saved = options.sizes === undefined || before?.commit !== commit ? ran : merged(part, before, ran);
    await writeFile(join(folder, `${part.name}.json`), `${JSON.stringify(saved)}\n`);
    log(`== ${part.name}: ${saved.seconds} s`);
  }
  const saved: SavedPart[] = [];
  for (const name of PART_NAMES) {
    const part = await readPart(folder, name);
    if (part !== undefined) saved.push(part);
  }
  const file = join(quick ? folder : RESULTS, `${new Date().toISOString().slice(0, 10)}-${commit}.json`);
  // A line for each part.
  await writeFile(file, `[\n${saved.map((part) => JSON.stringify(part)).join(',\n')}\n]\n`);
  const report = join(quick ? folder : RESULTS, 'report.html');
  await writeReport(saved, report);
  await writePicture(saved, quick ? join(folder, 'sawtooth.svg') : PICTURE);
  summarize(saved);
  console.log(`${file}\n${report}`);
  const isMissed = saved.some(({ result }) => result?.findings.some(({ met }) => met === false));
  if (isMissed || saved.some(({ failure }) => failure !== undefined)) process.exitCode = 1;
}

function summarize(saved: readonly SavedPart[]): void {
  const rows = [['what', 'floor', 'measured', '']];
  for (const { result } of saved) {
    for (const { what, floor, measured, met } of result?.findings ?? []) {
      rows.push([what, floor, measured, met === null ? '' : met ? 'met' : 'MISSED']);
    }
  }
  console.log(formatTable(rows));
  for (const { name, result, failure } of saved) {
    for (const reason of result?.skipped ?? []) console.log(`skipped: ${reason}`);
    if (failure !== undefined) console.log(`failed: ${name}: ${failure}`);
  }
}

await new Command('bench')
  .description('everything against everything: parts, and a report of what there is')
  .addOption(new Option('--only <parts...>', 'parts to run').choices(PART_NAMES))
  .option(
    '--quick',
    'everything at small size, in five minutes (QUICK=1): for a look, floors are not judged',
    false,
  )
  .option('--resume', 'leaves out parts that have a result of this commit', false)
  .option('--report', 'runs nothing: the report of what there is', false)
  .option('--minutes <minutes>', 'load on each side of the sawtooth', decimal(0.1, 600), 5)
  .option(
    '--rate <count>',
    'operations a second of open loops at one rate',
    wholeNumber(1000, 5_000_000),
    100_000,
  )
  .option('--rounds <count>', 'rounds of each side', wholeNumber(1, 100), 5)
  .option(
    '--sizes <millions...>',
    'millions of records, instead of those of the part',
    (text, list: number[] = []) => [...list, decimal(0.01, 64)(text)],
  )
  .addOption(
    new Option('--sides <names...>', 'of the engine comparison, beside the slab').choices(
      PEER_SIDES.map(({ name }) => name),
    ),
  )
  .option('--seed <number>', 'of operations', wholeNumber(0, 2 ** 31 - 1), 1)
  .action(main)
  .parseAsync();
