/** Redis or Valkey for the comparison: started, verified against a plain model, filled, measured for its memory. */
import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { compareIds, formatId } from '../../engine/ids.js';
import { OP_ACK, OP_GET, OP_MENTION, REQUEST } from '../../engine/messages.js';
import { startChild } from '../child.js';
import { Random } from '../random.js';
import { ACK_SCRIPT, COMMAND_BYTES_MAX, MENTION_SCRIPT, resp, writeSameOperation } from '../resp-commands.js';
import { RespSocket, type RespValue } from '../resp-socket.js';
import { killChild } from '../service-child.js';
import { WireWorkload } from '../wire-workload.js';

/** Nothing is saved, as for a cache. Threads for input and output would take the core of the client. */
export const RESP_ARGS = ['--save', '', '--appendonly', 'no', '--io-threads', '1'];
const USERS_A_WRITE = 256;
const CHECKED_OPERATIONS = 20_000;

export class RespServer {
  readonly name: string;
  readonly port: number;
  readonly #child: ChildProcess;
  readonly #folder: string;

  private constructor(name: string, port: number, child: ChildProcess, folder: string) {
    this.name = name;
    this.port = port;
    this.#child = child;
    this.#folder = folder;
  }

  static async start(name: string, path: string): Promise<RespServer> {
    const port = await freePort();
    const folder = mkdtempSync(join(tmpdir(), 'tidemark-bench-resp-'));
    const args = ['--port', String(port), '--bind', '127.0.0.1', '--dir', folder, ...RESP_ARGS];
    const { child } = await startChild([path, ...args], /Ready to accept connections/);
    const server = new RespServer(name, port, child, folder);
    await server.ask(resp('SCRIPT', 'LOAD', ACK_SCRIPT) + resp('SCRIPT', 'LOAD', MENTION_SCRIPT), 2);
    return server;
  }

  async ask(commands: string, count: number): Promise<RespValue[]> {
    const socket = await RespSocket.open(this.port);
    try {
      const values = await socket.ask(commands, count);
      if (socket.error !== undefined) throw new Error(`${this.name}: ${socket.error}`);
      return values;
    } finally {
      socket.close();
    }
  }

  /** The answers to operations on few read states are those of a model. @throws Error for the first that is not */
  async verify(seed: number): Promise<void> {
    const workload = new WireWorkload(4, 8);
    const random = new Random(seed);
    const words = new Int32Array(REQUEST.WORDS);
    const bytes = Buffer.alloc(CHECKED_OPERATIONS * COMMAND_BYTES_MAX);
    const model = new ReadStatesModel();
    const expected: RespValue[] = [];
    let end = 0;
    for (let i = 0; i < CHECKED_OPERATIONS; i++) {
      workload.mixed(words, 0, i);
      // The workload's messages only grow: some are made older, so that they are refused.
      const isOld = (words[REQUEST.HEAD]! & 0xff) !== OP_GET && random.below(3) === 0;
      if (isOld) words[REQUEST.ARGUMENT_LO] = 1 + random.below(i + 1);
      end = writeSameOperation(words, bytes, end);
      expected.push(model.run(words));
    }
    const answers = await this.ask(bytes.toString('latin1', 0, end), CHECKED_OPERATIONS);
    const wrong = answers.findIndex((answer, i) => !isDeepStrictEqual(answer, expected[i]));
    if (wrong >= 0) {
      const texts = [answers[wrong], expected[wrong]].map((value) => JSON.stringify(value));
      throw new Error(`${this.name}: answer ${wrong} is ${texts[0]}, not ${texts[1]}`);
    }
    await this.ask(resp('FLUSHALL'), 1);
  }

  /** The records that `workload.ackNext` makes in a service. */
  async fill(workload: WireWorkload): Promise<void> {
    workload.rewind();
    const words = new Int32Array(REQUEST.WORDS);
    const socket = await RespSocket.open(this.port);
    for (let user = 0; user < workload.users; user += USERS_A_WRITE) {
      const users = Math.min(USERS_A_WRITE, workload.users - user);
      let commands = '';
      for (let i = 0; i < users; i++) {
        const fields: string[] = [];
        for (let channel = 0; channel < workload.channelsPerUser; channel++) {
          workload.ackNext(words, 0, 0);
          fields.push(formatId(words[REQUEST.CHANNEL_LO]!, words[REQUEST.CHANNEL_HI]!));
          fields.push(formatId(words[REQUEST.ARGUMENT_LO]!, words[REQUEST.ARGUMENT_HI]!));
        }
        commands += resp('HSET', formatId(words[REQUEST.USER_LO]!, words[REQUEST.USER_HI]!), ...fields);
      }
      const added = (await socket.ask(commands, users)).reduce<number>(
        (sum, value) => sum + Number(value),
        0,
      );
      if (added !== users * workload.channelsPerUser)
        throw new Error(`${added} fields of ${users} users were new`);
    }
    socket.close();
    workload.rewind();
  }

  async memory(): Promise<{ usedBytes: number; residentBytes: number }> {
    const [info] = (await this.ask(resp('INFO', 'memory'), 1)) as [string];
    const field = (name: string): number => Number(new RegExp(`^${name}:(\\d+)`, 'm').exec(info)![1]);
    return { usedBytes: field('used_memory'), residentBytes: field('used_memory_rss') };
  }

  async end(): Promise<void> {
    await killChild(this.#child);
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

class ReadStatesModel {
  readonly #states = new Map<string, { lo: number; hi: number; mentions: number | null }>();

  run(words: Int32Array): RespValue {
    const key = words.slice(REQUEST.USER_LO, REQUEST.CHANNEL_HI + 1).join(' ');
    const [lo, hi] = [words[REQUEST.ARGUMENT_LO]!, words[REQUEST.ARGUMENT_HI]!];
    const state = this.#states.get(key) ?? { lo: 0, hi: 0, mentions: null };
    const order = compareIds(lo, hi, state.lo, state.hi);
    const op = words[REQUEST.HEAD]! & 0xff;
    if (op === OP_GET) {
      const read = state.hi === 0 ? null : formatId(state.lo, state.hi);
      return [read, state.mentions === null ? null : String(state.mentions)];
    }
    if (op === OP_MENTION && order <= 0) return -1;
    if (op === OP_ACK && order < 0) return 0;
    this.#states.set(key, state);
    if (op === OP_MENTION) {
      state.mentions = (state.mentions ?? 0) + 1;
      return state.mentions;
    }
    const didChange = order > 0 || state.mentions !== null;
    Object.assign(state, { lo, hi, mentions: null });
    return didChange ? 1 : 0;
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}
