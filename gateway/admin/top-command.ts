/** `tidemark top`: what `tidemark status` says, live, in the terminal. */
import { setTimeout as delay } from 'node:timers/promises';
import { Command } from 'commander';
import { AdminClient, type AdminClientOptions, TOKEN_OPTION, URL_OPTION } from './admin-client.js';
import { formatCount, formatMs } from './format.js';
import { ANSI, PLAIN, type Style, statusLines } from './status-text.js';
import type { AdminStatus } from './status-types.js';

const SECONDS_MIN = 0.2;
const SECONDS_MAX = 60;
const BARS = '▁▂▃▄▅▆▇█';
/** Columns before a line of bars. */
const LABEL_WIDTH = 14;
const VALUE_WIDTH = 10;

const SCREEN_BEGIN = '\x1b[?1049h\x1b[?25l';
const SCREEN_END = '\x1b[?25h\x1b[?1049l';
const HOME = '\x1b[H';
const CLEAR_LINE = '\x1b[K';
const CLEAR_BELOW = '\x1b[J';
/** Of control sequences as ANSI writes them: they take no room. */
const SEQUENCE = new RegExp(`${String.fromCharCode(27)}\\[\\d+m`, 'g');
/** q, Ctrl-C, Ctrl-D. */
const END_KEYS = ['q', '\x03', '\x04'];

/** What the bars are of, one value a frame. */
interface Trend {
  readonly name: string;
  readonly values: number[];
  readonly of: (status: AdminStatus) => number;
  readonly format: (value: number) => string;
}

export class TopScreen {
  readonly #trends: readonly Trend[] = [
    { name: 'operations/s', values: [], of: ({ totals }) => totals.operations_per_s, format: formatCount },
    { name: 'p99', values: [], of: ({ latencies }) => latencies?.[0]?.p99_ms ?? 0, format: formatMs },
    { name: 'unsaved users', values: [], of: ({ totals }) => totals.unsaved_users, format: formatCount },
  ];

  constructor(readonly style: Style) {}

  /** @returns the lines of one frame, none longer than `columns`, at most `rows` of them */
  frame(status: AdminStatus, columns: number, rows: number): string[] {
    const width = Math.max(8, columns - LABEL_WIDTH - VALUE_WIDTH - 2);
    const trends = this.#trends.map(({ name, values, of, format }) => {
      const value = of(status);
      values.push(value);
      if (values.length > width) values.splice(0, values.length - width);
      return `${this.style.dim(name.padEnd(LABEL_WIDTH))}${format(value).padStart(VALUE_WIDTH)}  ${bars(values)}`;
    });
    const [head = '', ...rest] = statusLines(status, this.style);
    const lines = [head, '', ...trends, '', ...rest].map((line) => clip(line, columns));
    return lines.slice(0, rows);
  }
}

/** One character a value, scaled to the largest. */
function bars(values: readonly number[]): string {
  const most = Math.max(...values);
  return values
    .map(
      (value) => BARS[most === 0 ? 0 : Math.min(BARS.length - 1, Math.floor((value / most) * BARS.length))],
    )
    .join('');
}

/** Cuts off what is beyond `columns`; control sequences stay whole. */
function clip(line: string, columns: number): string {
  if (line.replace(SEQUENCE, '').length <= columns) return line;
  let shown = '';
  let width = 0;
  let at = 0;
  for (const { 0: sequence, index } of line.matchAll(SEQUENCE)) {
    const text = line.slice(at, index).slice(0, columns - width);
    shown += text + sequence;
    width += text.length;
    at = index + sequence.length;
  }
  return shown + line.slice(at).slice(0, columns - width);
}

interface TopOptions extends AdminClientOptions {
  readonly interval: string;
}

export function topCommand(): Command {
  return new Command('top')
    .description('what a running server is doing, live; q ends it')
    .addOption(URL_OPTION)
    .addOption(TOKEN_OPTION)
    .option('--interval <SECONDS>', `between two looks, ${SECONDS_MIN} to ${SECONDS_MAX}`, '1')
    .action(async (options: TopOptions) => {
      try {
        await run(options);
      } catch (error) {
        process.stderr.write(`tidemark: ${(error as Error).message}\n`);
        process.exitCode = 1;
      }
    });
}

async function run(options: TopOptions): Promise<void> {
  const { stdin, stdout } = process;
  const seconds = Number(options.interval);
  if (!(seconds >= SECONDS_MIN && seconds <= SECONDS_MAX))
    throw new Error(`--interval=${options.interval} is not ${SECONDS_MIN} to ${SECONDS_MAX} seconds`);
  if (!stdout.isTTY) throw new Error('top needs a terminal. Use tidemark status, or tidemark status --json.');
  const client = new AdminClient(options);
  const ended = new AbortController();
  const end = (): void => ended.abort();
  process.on('SIGINT', end).on('SIGTERM', end);
  stdin.setRawMode?.(true);
  stdin.on('data', (keys: Buffer) => {
    const text = keys.toString('latin1');
    if (END_KEYS.some((key) => text.includes(key))) end();
  });
  const screen = new TopScreen(process.env.NO_COLOR === undefined ? ANSI : PLAIN);
  let status = await client.status(); // before the screen is taken: an error is to be read
  stdout.write(SCREEN_BEGIN);
  let problem = '';
  try {
    while (!ended.signal.aborted) {
      const lines = screen.frame(status, stdout.columns, stdout.rows - 1);
      if (problem !== '') lines[1] = clip(problem, stdout.columns);
      stdout.write(`${HOME}${lines.map((line) => line + CLEAR_LINE).join('\n')}${CLEAR_BELOW}`);
      await delay(seconds * 1000, undefined, { signal: ended.signal }).catch(() => {});
      if (ended.signal.aborted) break;
      await client.status().then(
        (now) => {
          status = now;
          problem = '';
        },
        (error: Error) => {
          problem = error.message;
        },
      );
    }
  } finally {
    stdout.write(SCREEN_END);
    stdin.setRawMode?.(false);
    stdin.destroy();
  }
}
