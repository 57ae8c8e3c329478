/** A log that cannot be written costs its lines, and nothing else. */
import { closeSync, openSync } from 'node:fs';
import { expect, test } from 'vitest';
import { createLogger, LogOutput } from '../../gateway/log.js';

test('a full disk under the log is no exception to who logs', () => {
  const fd = openSync('/dev/full', 'w');
  try {
    const log = createLogger('info', fd);
    for (let lines = 0; lines < 3; lines++) log.warn('the disk is full');
    log.fatal({ err: new Error('bug') }, 'the last words');
  } finally {
    closeSync(fd);
  }
});

test('what was lost is said when lines can be written again, and a torn line is ended', () => {
  let text = '';
  let room = 9;
  const said: string[] = [];
  const output = new LogOutput(
    (bytes) => {
      if (room === 0) throw new Error('no space left');
      const part = bytes.subarray(0, room);
      room -= part.length;
      text += part.toString();
      return part.length;
    },
    (lost, why) => said.push(`${lost}: ${why}`),
  );
  for (const line of ['first\n', 'second\n', 'third\n']) output.write(line);
  expect(text).toBe('first\nsec');
  expect(said).toEqual([]);
  room = 100;
  output.write('fourth\n');
  output.write('fifth\n');
  expect(text).toBe('first\nsec\nfourth\nfifth\n');
  expect(said).toEqual(['2: no space left']);
});

test('a pipe that is full and does not block is waited for', () => {
  let tries = 0;
  let text = '';
  const output = new LogOutput(
    (bytes) => {
      if (++tries === 1) throw Object.assign(new Error('full'), { code: 'EAGAIN' });
      text += bytes.toString();
      return bytes.length;
    },
    () => expect.unreachable(),
  );
  output.write('line\n');
  expect(text).toBe('line\n');
});

test('a pipe that stays full is waited for a second, and then not again', () => {
  let tries = 0;
  const output = new LogOutput(
    () => {
      tries++;
      throw Object.assign(new Error('full'), { code: 'EAGAIN' });
    },
    () => expect.unreachable(),
  );
  output.write('line\n');
  expect(tries).toBe(11);
  output.write('line\n');
  expect(tries).toBe(12);
});
