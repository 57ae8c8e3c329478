import { chownSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { checkBuildOwner } from '../../workers/build-owner.js';

const SOMEBODY = 65_533;

/** Only root can give a file to somebody else. */
describe.runIf(process.getuid!() === 0)('a build that a reload names', () => {
  let directory: string;
  let file: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'tidemark-build-'));
    mkdirSync(join(directory, 'workers'));
    file = join(directory, 'workers', 'shard-thread.cjs');
    writeFileSync(file, '');
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  it('is taken if it is of this user', () => {
    expect(() => checkBuildOwner(directory, file)).not.toThrow();
  });

  it.each([[''], ['workers'], ['workers/shard-thread.cjs']])(
    'is refused if its "%s" is of somebody else',
    (part) => {
      chownSync(join(directory, part), SOMEBODY, SOMEBODY);
      expect(() => checkBuildOwner(directory, file)).toThrow(
        `${join(directory, part)} belongs to user ${SOMEBODY}`,
      );
    },
  );
});
