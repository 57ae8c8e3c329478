/**
 * The log: JSON lines on stdout, written at once, so that the last line before an exit is not lost.
 *
 * A line that cannot be written (a full disk, a reader who has gone) is lost, and never an exception to who wrote it: the
 * disk of the log is often that of the data, and the service says by its log that this is full. What was lost is
 * counted, and said when lines can be written again.
 */
import { writeSync } from 'node:fs';
import { type Logger, pino } from 'pino';

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];
export type { Logger };

const STDOUT = 1;
/** Between two tries to write to a pipe that is full, where it is one that does not block. */
const FULL_PIPE_MS = 100;
/** Whoever logs waits for it so often, and then not again until a line gets through: a reader that hangs must not have the service hang, too. */
const FULL_PIPE_TRIES = 10;

export function createLogger(level: LogLevel, fd = STDOUT): Logger {
  const timestamp = pino.stdTimeFunctions.isoTime;
  const output = new LogOutput(
    (bytes) => writeSync(fd, bytes),
    (lost, why) => logger.warn(`${lost} lines of the log could not be written: ${why}.`),
  );
  const logger = pino({ level, base: null, timestamp }, output);
  return logger;
}

/** Where pino writes. */
export class LogOutput {
  readonly #write: (bytes: Buffer) => number;
  readonly #onWritten: (lost: number, why: string) => void;
  #lost = 0;
  #why = '';
  /** The last line ends in its middle. */
  #isTorn = false;

  /**
   * @param write  as writeSync: some bytes at least, or an error
   * @param onWritten  a line has been written behind so many that were lost, the last for this reason
   */
  constructor(write: (bytes: Buffer) => number, onWritten: (lost: number, why: string) => void) {
    this.#write = write;
    this.#onWritten = onWritten;
  }

  write(line: string): void {
    let tries = this.#lost > 0 ? FULL_PIPE_TRIES : 0;
    let rest = Buffer.from(this.#isTorn ? `\n${line}` : line);
    while (rest.length > 0) {
      try {
        rest = rest.subarray(this.#write(rest));
        this.#isTorn = rest.length > 0;
      } catch (error) {
        const { code, message } = error as NodeJS.ErrnoException;
        if (code !== 'EAGAIN' || ++tries > FULL_PIPE_TRIES) {
          this.#lost++;
          this.#why = message;
          return;
        }
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, FULL_PIPE_MS);
      }
    }
    const lost = this.#lost;
    if (lost === 0) return;
    this.#lost = 0;
    this.#onWritten(lost, this.#why);
  }
}
