/** The options that say which service a load tool talks to, and how; shared by replay and load. */
import { existsSync } from 'node:fs';
import { open, readFile, rm, writeFile } from 'node:fs/promises';
import { type Command, InvalidArgumentError, Option } from 'commander';

export interface TargetOptions {
  url: URL;
  tokenFile?: string;
  protocol: 'bin' | 'http';
  connections?: number;
  json?: string;
}

export function addTargetOptions(command: Command): Command {
  return command
    .addOption(
      new Option('--url <url>', 'the service')
        .argParser(parseUrl)
        .default(new URL('http://127.0.0.1:4040'), 'http://127.0.0.1:4040'),
    )
    .option('--token-file <file>', 'its first line is the token of the service')
    .addOption(
      new Option('--protocol <protocol>', 'WebSocket binary frames, or one HTTP request for each operation')
        .choices(['bin', 'http'])
        .default('bin'),
    )
    .option('--connections <count>', 'connections (default: 8, with HTTP 64)', wholeNumber(1, 4096))
    .option('--json <file>', 'write the result as JSON');
}

/** The first: while tokens are being changed the service's file has more than one, each on a line of its own. */
export async function readToken(file: string | undefined): Promise<string | undefined> {
  return file === undefined ? undefined : (await readFile(file, 'utf8')).trim().split('\n', 1)[0]!.trim();
}

export function connectionCount(options: TargetOptions): number {
  return options.connections ?? (options.protocol === 'bin' ? 8 : 64);
}

function parseUrl(text: string): URL {
  if (!URL.canParse(text) || !/^https?:$/.test(new URL(text).protocol))
    throw new InvalidArgumentError('Not an http or https URL.');
  return new URL(text);
}

export function wholeNumber(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || value < least || value > most)
      throw new InvalidArgumentError(`Not a whole number from ${least} to ${most}.`);
    return value;
  };
}

export function decimal(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^\d+(\.\d+)?$/.test(text) || value < least || value > most)
      throw new InvalidArgumentError(`Not a number from ${least} to ${most}.`);
    return value;
  };
}

/** `max`, or a positive number. */
export function rateOrMax(text: string): number {
  if (text === 'max') return Number.POSITIVE_INFINITY;
  return decimal(0.001, 1e9)(text);
}

const UNITS_MS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** An option that is a duration, shown with its unit. @param given  the default, as it would be typed */
export function durationOption(flag: string, help: string, given: string): Option {
  return new Option(`${flag} <duration>`, help).argParser(durationMs).default(durationMs(given), given);
}

/** `500ms`, `30s`, `10m`, `1h`, in milliseconds. */
export function durationMs(text: string): number {
  const found = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/.exec(text);
  if (found === null) throw new InvalidArgumentError('Not a duration such as 500ms, 30s, 10m or 1h.');
  return Number(found[1]) * UNITS_MS[found[2]!]!;
}

/** Before the run, whose result would be lost otherwise. @throws Error if the file of `--json` cannot be written */
export async function checkResultFile(file: string | undefined): Promise<void> {
  if (file === undefined) return;
  const isNew = !existsSync(file);
  try {
    await (await open(file, 'a')).close();
  } catch (error) {
    throw new Error(`--json=${file} cannot be written: ${(error as Error).message}`);
  }
  if (isNew) await rm(file);
}

export async function writeResult(file: string | undefined, result: object): Promise<void> {
  if (file !== undefined) await writeFile(file, `${JSON.stringify(result, undefined, 2)}\n`);
}
