/**
 * `tidemark replay`: plays recorded gateway dispatches against a running service, measures it, and compares what it
 * holds at the end with what it should hold.
 *
 * All operations about a user go over one connection (`connection = hash(user) mod connections`), so the service does
 * them in the order of the trace and the end is known exactly. Latencies count from the moment an operation was due;
 * with `--speed max` that is when it was handed over.
 */
import cliProgress from 'cli-progress';
import { Command, Option } from 'commander';
import { hashUser } from '../engine/hash.js';
import { parsed, parseId } from '../engine/ids.js';
import { assert } from '../engine/layout.js';
import {
  ACK_EXTRA,
  OP_ACK,
  OP_LIST,
  OP_MENTION,
  REQUEST,
  REQUEST_HAS_COUNT,
  REQUEST_MANUAL,
} from '../engine/messages.js';
import { TidemarkClient, TidemarkError } from '../gateway/client/index.js';
import { nowUs, sleep, yieldToEvents } from './clock.js';
import { type Driver, drain, openDriver } from './driver.js';
import { ExpectedState } from './expected-state.js';
import { rawWebSocket } from './raw-web-socket.js';
import { type ModelOptions, type Operation, ReaderModel } from './reader-model.js';
import { formatCount, formatSummary, KINDS, machine, RunStats, type RunSummary } from './run-stats.js';
import {
  addTargetOptions,
  checkResultFile,
  connectionCount,
  decimal,
  durationOption,
  rateOrMax,
  readToken,
  type TargetOptions,
  wholeNumber,
  writeResult,
} from './target-options.js';
import { type Dispatch, Trace } from './trace.js';

export interface ReplayOptions extends TargetOptions {
  /** Times the recorded pace; Infinity: as fast as the service answers. */
  speed: number;
  /** Messages to play; the rest of the file is not read. */
  limit?: number;
  /** Added to every user id, so that one service can take several replays. */
  userOffset: number;
  readers: boolean;
  readerShare: number;
  burst: number;
  view: number;
  idle: number;
  seed: number;
}

export interface ReplayResult {
  file: string;
  machine: Record<string, unknown>;
  protocol: string;
  connections: number;
  speed: number | 'max';
  model: ModelOptions;
  messages: number;
  skippedDispatches: number;
  users: number;
  entries: number;
  run: RunSummary;
  /** Differences between the service and what it should hold, the first `DIFFERENCES_KEPT`. */
  differences: string[];
  differenceCount: number;
}

const DIFFERENCES_KEPT = 20;
/** The first users of the trace are looked up before the start: a service that knows them is not fresh. */
const FRESH_DISPATCHES = 1000;
const LISTS_AT_ONCE = 256;
const OPS_PER_FRAME = 64;
const [ACK, MENTION, LIST] = [KINDS.indexOf('ack'), KINDS.indexOf('mention'), KINDS.indexOf('list')];

const HELP = `
FILE: gateway dispatches. {"t":"MESSAGE_CREATE","d":{"id","channel_id","author":{"id"},"mentions":[{"id"}],"timestamp_ms"}}
becomes an ack by its author and a mention of each user named; {"t":"MESSAGE_ACK","d":{"user_id","channel_id",
"message_id","mention_count"?,"manual"?,"timestamp_ms"?}} is an ack as it stands; others are passed over. A user who
shows up first, or again after --idle, lists. Readers who have a channel in view ack when it has been quiet for
--burst (a fifth earlier or later), or at once when they are named; --no-readers when the file has all acks.
Durations: 500ms, 3s, 10m, 1h. Exits with 1 on errors, and when a user's list is not as simulated.`;

export function replayCommand(): Command {
  const command = addTargetOptions(
    new Command('replay')
      .description(
        'play recorded gateway dispatches against a fresh service, and check what it holds at the end',
      )
      .argument('<file>', 'dispatches, one JSON object a line, plain or gzip'),
  )
    .addOption(
      new Option('--speed <times>', 'times the recorded pace, or max').argParser(rateOrMax).default(1),
    )
    .option('--limit <messages>', 'stop after this many messages', wholeNumber(1, 1e9))
    .option('--user-offset <number>', 'add this to every user id', wholeNumber(0, 1e15), 0)
    .option('--no-readers', 'do not model the acks of readers')
    .option('--reader-share <share>', 'share of a channel’s viewers who ack what they see', decimal(0, 1), 1)
    .addOption(durationOption('--burst', 'quiet time before a reader acks', '3s'))
    .addOption(durationOption('--view', 'how long a channel stays in view after writing', '10m'))
    .addOption(durationOption('--idle', 'pause after which a user connects again', '30m'))
    .option('--seed <number>', 'of the model', wholeNumber(0, 2 ** 31 - 1), 1)
    .addHelpText('after', HELP);
  return command.action(async (file: string, options: ReplayOptions) => {
    const say = (text: string): void => void process.stdout.write(`${text}\n`);
    try {
      await checkResultFile(options.json);
      const result = await replay(file, options, say);
      await writeResult(options.json, result);
      if (result.differenceCount > 0 || Object.keys(result.run.errors).length > 0) process.exitCode = 1;
    } catch (error) {
      process.stderr.write(`replay: ${(error as Error).message}\n`);
      process.exitCode = 1;
    }
  });
}

/** @throws Error when it cannot start: no service, no file, a service that is not fresh */
export async function replay(
  file: string,
  options: ReplayOptions,
  say: (text: string) => void,
): Promise<ReplayResult> {
  const token = await readToken(options.tokenFile);
  const model: ModelOptions = {
    seed: options.seed,
    readers: options.readers,
    readerShare: options.readerShare,
    burstMs: options.burst,
    viewMs: options.view,
    idleMs: options.idle,
  };
  const client = new TidemarkClient({
    url: options.url.href,
    webSocket: rawWebSocket,
    timeoutMs: 30_000,
    triesMax: 20,
    ...(token === undefined ? {} : { token }),
  });
  const player = new Player(file, options, model);
  const stats = new RunStats();
  const connections = connectionCount(options);
  const { url, protocol } = options;
  try {
    const driver = await openDriver(protocol, { url, token, connections, opsPerFrame: OPS_PER_FRAME, stats });
    let seconds: number;
    try {
      await player.requireFresh(client);
      seconds = await player.play(driver, stats, connections);
    } finally {
      driver.close();
    }
    const { expected } = player;
    const run = stats.summary(seconds);
    say(formatSummary(run));
    const differences = await compareAll(expected, client);
    // Duplicates and suppressed mentions are answers of the service too: they have to be the expected ones.
    if (stats.errorCount === 0) {
      for (const name of ['suppressed', 'duplicates'] as const) {
        if (expected[name] !== stats[name])
          differences.push(`${stats[name]} mentions were ${name}, should be ${expected[name]}`);
      }
    }
    sayDifferences(differences, expected, say);
    return {
      file,
      machine: machine(),
      protocol,
      connections,
      speed: Number.isFinite(options.speed) ? options.speed : 'max',
      model,
      messages: player.messages,
      skippedDispatches: player.trace?.skipped ?? 0,
      users: expected.users.size,
      entries: expected.entryCount,
      run,
      differences: differences.slice(0, DIFFERENCES_KEPT),
      differenceCount: differences.length,
    };
  } finally {
    client.close();
  }
}

function sayDifferences(differences: string[], expected: ExpectedState, say: (text: string) => void): void {
  const held = `${formatCount(expected.entryCount)} entries of ${formatCount(expected.users.size)} users`;
  if (differences.length === 0) {
    say(`state: ${held}, all as expected`);
    return;
  }
  say(`state: ${formatCount(differences.length)} differences in ${held}:`);
  for (const difference of differences.slice(0, DIFFERENCES_KEPT)) say(`  ${difference}`);
}

class Player {
  readonly expected = new ExpectedState();
  trace: Trace | undefined;
  messages = 0;
  readonly #file: string;
  readonly #options: ReplayOptions;
  readonly #model: ReaderModel;
  /** What the model has said and was not sent yet, in order. */
  #pending: Operation[] = [];
  readonly #words = new Int32Array(REQUEST.WORDS + ACK_EXTRA.WORDS);
  readonly #offsetIds = new Map<string, string>();

  constructor(file: string, options: ReplayOptions, model: ModelOptions) {
    this.#file = file;
    this.#options = options;
    this.#model = new ReaderModel(model, (operation) => this.#pending.push(operation));
  }

  async requireFresh(client: TidemarkClient): Promise<void> {
    const trace = await Trace.open(this.#file);
    const users = new Set<string>();
    let count = 0;
    for await (const dispatch of this.#dispatches(trace)) {
      if (dispatch.kind === 'message') {
        for (const userId of [dispatch.authorId, ...dispatch.mentionIds]) users.add(userId);
      } else users.add(dispatch.userId);
      if (++count === FRESH_DISPATCHES) break;
    }
    if (count === 0) throw new Error(`${this.#file} has no MESSAGE_CREATE or MESSAGE_ACK`);
    try {
      await Promise.all(
        [...users].map(async (userId) => {
          const { entries } = await client.list(userId);
          if (entries.length === 0) return;
          throw new Error(
            `the service is not fresh: user ${userId} of the trace has ${entries.length} read states. Start it with an empty --data folder, or move the users with --user-offset 1000000.`,
          );
        }),
      );
    } catch (error) {
      if (!(error instanceof TidemarkError)) throw error;
      throw new Error(`${this.#options.url.origin} does not answer: ${error.code}, ${error.message}`);
    }
  }

  /** @returns seconds from the first operation to the last answer */
  async play(driver: Driver, stats: RunStats, connections: number): Promise<number> {
    const trace = await Trace.open(this.#file);
    this.trace = trace;
    const { speed, limit } = this.#options;
    const bar = new cliProgress.SingleBar({
      format: '{bar} {percentage}% | {messages} messages | {eta_formatted} left',
      stream: process.stderr,
      hideCursor: true,
    });
    const isShown = process.stderr.isTTY === true;
    if (isShown) bar.start(limit ?? trace.fileBytes, 0, { messages: 0 });
    const startUs = nowUs();
    let firstMs: number | undefined;
    let unflushed = 0;
    const send = async (): Promise<void> => {
      for (const operation of this.#pending) {
        this.expected.apply(operation);
        let intendedUs = nowUs();
        if (speed !== Number.POSITIVE_INFINITY) {
          firstMs ??= operation.atMs;
          intendedUs = startUs + ((operation.atMs - firstMs) * 1000) / speed;
          if (intendedUs > nowUs()) {
            driver.flush();
            for (
              let waitMs = (intendedUs - nowUs()) / 1000;
              waitMs > 0;
              waitMs = (intendedUs - nowUs()) / 1000
            )
              await (waitMs > 1.2 ? sleep(waitMs - 1) : yieldToEvents());
          }
        }
        while (!driver.hasRoom()) {
          driver.flush();
          await yieldToEvents();
        }
        this.#submit(driver, operation, connections, intendedUs);
        if (++unflushed === 1024) {
          unflushed = 0;
          driver.flush();
          await yieldToEvents();
        }
      }
      this.#pending = [];
    };
    try {
      for await (const dispatch of this.#dispatches(trace)) {
        if (dispatch.kind === 'message') this.messages++;
        this.#model.take(dispatch);
        if (this.#pending.length > 0) await send();
        if (isShown && (this.messages & 1023) === 0)
          bar.update(limit === undefined ? trace.readBytes : this.messages, { messages: this.messages });
        if (this.messages === limit) break;
      }
      this.#model.finish();
      await send();
      await drain(driver, stats);
      if (isShown) bar.update(bar.getTotal(), { messages: this.messages });
    } finally {
      if (isShown) bar.stop();
    }
    return (nowUs() - startUs) / 1e6;
  }

  async *#dispatches(trace: Trace): AsyncGenerator<Dispatch> {
    for await (const dispatch of trace.dispatches()) {
      if (this.#options.userOffset > 0) {
        if (dispatch.kind === 'ack') dispatch.userId = this.#offset(dispatch.userId);
        else {
          dispatch.authorId = this.#offset(dispatch.authorId);
          dispatch.mentionIds = dispatch.mentionIds.map((id) => this.#offset(id));
        }
      }
      yield dispatch;
    }
  }

  #offset(userId: string): string {
    let id = this.#offsetIds.get(userId);
    if (id === undefined) {
      id = String(BigInt(userId) + BigInt(this.#options.userOffset));
      this.#offsetIds.set(userId, id);
    }
    return id;
  }

  #submit(driver: Driver, operation: Operation, connections: number, intendedUs: number): void {
    const words = this.#words;
    words.fill(0);
    this.#putId(REQUEST.USER_LO, operation.userId);
    const connection = (hashUser(words[REQUEST.USER_LO]!, words[REQUEST.USER_HI]!) >>> 0) % connections;
    if (operation.kind === 'list') {
      words[REQUEST.HEAD] = OP_LIST;
      driver.submit(connection, words, REQUEST.WORDS, LIST, intendedUs);
      return;
    }
    this.#putId(REQUEST.CHANNEL_LO, operation.channelId);
    this.#putId(REQUEST.ARGUMENT_LO, operation.messageId);
    if (operation.kind === 'mention') {
      words[REQUEST.HEAD] = OP_MENTION;
      driver.submit(connection, words, REQUEST.WORDS, MENTION, intendedUs);
      return;
    }
    const { manual, mentionCount } = operation;
    words[REQUEST.HEAD] =
      OP_ACK | (manual ? REQUEST_MANUAL : 0) | (mentionCount === undefined ? 0 : REQUEST_HAS_COUNT);
    words[REQUEST.WORDS + ACK_EXTRA.MENTION_COUNT] = mentionCount ?? 0;
    const length = mentionCount === undefined ? REQUEST.WORDS : REQUEST.WORDS + ACK_EXTRA.WORDS;
    driver.submit(connection, words, length, ACK, intendedUs);
  }

  #putId(at: number, id: string): void {
    if (!parseId(id)) throw new Error(`${this.#file}: "${id}" is no id, 1 to 2^63-1`);
    this.#words[at] = parsed.lo;
    this.#words[at + 1] = parsed.hi;
  }
}

/** Lists every user and compares. */
async function compareAll(expected: ExpectedState, client: TidemarkClient): Promise<string[]> {
  const users = [...expected.users.keys()];
  const differences: string[] = [];
  for (let from = 0; from < users.length; from += LISTS_AT_ONCE) {
    const listed = users.slice(from, from + LISTS_AT_ONCE).map(async (userId) => {
      const { entries, partial } = await client.list(userId);
      assert(!partial, 'a list without since is partial');
      return expected.compare(userId, entries);
    });
    for (const found of await Promise.all(listed)) differences.push(...found);
  }
  return differences;
}
