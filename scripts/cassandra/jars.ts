/** Cassandra's jars: fetched by Maven once for each pom.xml, then kept in .cache/cassandra. */
import { execFile, spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { ROOT } from '../repository.js';

const POM = join(ROOT, 'scripts/cassandra/pom.xml');
/** Jars, and what `make cassandra` keeps. Ignored by git. */
export const CACHE = join(ROOT, '.cache/cassandra');

const JAVA_VERSION = 17;
const FETCH_TIMEOUT_MS = 600_000;
const OUTPUT_BYTES_MAX = 2 ** 24;

/** @returns what is missing to run Cassandra, and how to get it; null if nothing is */
export function missingTools(): string | null {
  const java = spawnSync('java', ['-version'], { encoding: 'utf8' });
  const version = /version "(\d+)/.exec(`${java.stderr}${java.stdout}`)?.[1];
  const isMissing: string[] = [];
  if (java.error !== undefined || version === undefined) isMissing.push('java');
  else if (Number(version) !== JAVA_VERSION) isMissing.push(`java ${JAVA_VERSION} (this is ${version})`);
  if (spawnSync('mvn', ['--version']).error !== undefined && jarsIn(jarFolder()).length === 0) {
    isMissing.push('mvn');
  }
  return isMissing.length === 0
    ? null
    : `no ${isMissing.join(' and no ')}; on Debian: apt-get install openjdk-${JAVA_VERSION}-jdk-headless maven`;
}

/**
 * Fetches the jars unless they are there. Several processes may do so at once.
 * @returns the class path
 * @throws Error with Maven's words
 */
export async function prepareJars(): Promise<string> {
  const folder = jarFolder();
  if (jarsIn(folder).length === 0) {
    const missing = missingTools();
    if (missing !== null) throw new Error(`Cassandra cannot run here: ${missing}.`);
    mkdirSync(CACHE, { recursive: true });
    const unfinished = `${folder}.${randomBytes(4).toString('hex')}`;
    try {
      await fetchInto(unfinished);
      if (!existsSync(folder)) renameSync(unfinished, folder);
    } catch (error) {
      // Someone else was faster by a hair.
      if (jarsIn(folder).length === 0) throw error;
    } finally {
      rmSync(unfinished, { recursive: true, force: true });
    }
  }
  return jarsIn(folder).join(':');
}

async function fetchInto(folder: string): Promise<void> {
  const goal = ['dependency:copy-dependencies', '-DincludeScope=runtime', `-DoutputDirectory=${folder}`];
  try {
    await promisify(execFile)('mvn', ['--batch-mode', '--quiet', '--file', POM, ...goal], {
      timeout: FETCH_TIMEOUT_MS,
      maxBuffer: OUTPUT_BYTES_MAX,
    });
  } catch (error) {
    const { message, stdout } = error as Error & { stdout?: string };
    throw new Error(`Maven could not fetch Cassandra: ${message}\n${stdout ?? ''}`);
  }
}

function jarFolder(): string {
  const digest = createHash('sha256').update(readFileSync(POM)).digest('hex').slice(0, 12);
  return join(CACHE, `jars-${digest}`);
}

function jarsIn(folder: string): string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .filter((name) => name.endsWith('.jar'))
    .sort()
    .map((name) => join(folder, name));
}
