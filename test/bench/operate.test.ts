/** The benchmark of operating, at its smallest: its answers are right, and its model would notice if they were not. */
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { AnsweredWrites } from '../../bench/operate/answered-writes.js';
import { WireWorkload } from '../../bench/wire-workload.js';
import {
  ENTRY,
  OP_ACK,
  OP_GET,
  OP_LIST,
  OP_MENTION,
  REPLY,
  REPLY_CHANGED,
  REPLY_ENTRY,
  REQUEST,
  STATUS_BUSY,
  STATUS_INTERNAL,
} from '../../engine/messages.js';

interface Answers {
  readonly writes: number;
  readonly lost: number;
  readonly wrong: number;
  readonly reordered: number;
}

it('loses nothing over kills, resizes and reloads', { timeout: 300_000 }, async () => {
  const directory = mkdtempSync(join(tmpdir(), 'tidemark-operate-'));
  const json = join(directory, 'result.json');
  const args = ['dist/bench/bench-operate.js', '--quick', '--kills', '3', '--json', json];
  // Its floors are for a machine that does nothing else: it may end with 1.
  await promisify(execFile)(process.execPath, args).catch(() => {});
  const { results } = JSON.parse(readFileSync(json, 'utf8')) as { results: Record<string, Answers> };
  rmSync(directory, { recursive: true });
  for (const part of ['kills answers', 'moves answers']) {
    const { writes, lost, wrong, reordered } = results[part]!;
    expect({ part, lost, wrong, reordered }).toEqual({ part, lost: 0, wrong: 0, reordered: 0 });
    expect(writes).toBeGreaterThan(100_000);
  }
});

/** A service of one user with two channels, whose answers can be spoilt. */
class Service {
  readonly model = new AnsweredWrites(new WireWorkload(1, 2), 1, 1);
  readonly #request = new Int32Array(REQUEST.WORDS);
  readonly #entries: number[][] = [];
  #version = 0;
  #id = 0;

  /** The next operation is done and answered. */
  ask(op: number, spoil: (answer: Int32Array) => void = () => {}): Int32Array {
    const { model } = this;
    const request = this.#request;
    do {
      if (op === OP_LIST) model.listNext(request, 0, ++this.#id);
      else model.mixed(request, 0, ++this.#id, 0);
    } while ((request[REQUEST.HEAD]! & 0xff) !== op);
    const answer = this.#answer(op);
    spoil(answer);
    model.take(answer, 0);
    return answer;
  }

  /** Both entries are there. */
  fill(): void {
    for (let channel = 0; channel < 2; channel++) {
      this.model.ackNext(this.#request, 0, ++this.#id);
      this.model.take(this.#answer(OP_ACK), 0);
    }
  }

  #answer(op: number): Int32Array {
    const request = this.#request;
    const entry = this.#entryOf(request[REQUEST.CHANNEL_LO]!, request[REQUEST.CHANNEL_HI]!);
    const changes = op === OP_ACK || op === OP_MENTION;
    if (changes) entry[ENTRY.VERSION] = ++this.#version;
    if (op === OP_ACK) {
      entry[ENTRY.MESSAGE_LO] = request[REQUEST.ARGUMENT_LO]!;
      entry[ENTRY.MESSAGE_HI] = request[REQUEST.ARGUMENT_HI]!;
      entry[ENTRY.MENTION_COUNT] = 0;
    }
    if (op === OP_MENTION) entry[ENTRY.MENTION_COUNT]!++;
    const count = op === OP_LIST ? this.#entries.length : entry[ENTRY.MENTION_COUNT]!;
    const head = op | REPLY_ENTRY | (changes ? REPLY_CHANGED : 0);
    const entries = op === OP_LIST ? this.#entries.flat() : entry;
    return Int32Array.of(head, this.#id, count, this.#version, ...entries);
  }

  #entryOf(lo: number, hi: number): number[] {
    if (hi === 0) return []; // a list names no channel
    let entry = this.#entries.find((one) => one[ENTRY.CHANNEL_LO] === lo);
    if (entry === undefined) {
      entry = new Array<number>(ENTRY.WORDS).fill(0);
      entry[ENTRY.CHANNEL_LO] = lo;
      entry[ENTRY.CHANNEL_HI] = hi;
      this.#entries.push(entry);
    }
    return entry;
  }
}

it('finds nothing wrong with right answers', () => {
  const service = new Service();
  service.fill();
  for (let i = 0; i < 100; i++) for (const op of [OP_ACK, OP_MENTION, OP_GET, OP_LIST]) service.ask(op);
  const { answered, writes, lost, wrong, reordered, refusedCount, shown } = service.model;
  expect({ lost, wrong, reordered, refusedCount, shown }).toEqual({
    lost: 0,
    wrong: 0,
    reordered: 0,
    refusedCount: 0,
    shown: [],
  });
  expect([answered, writes]).toEqual([402, 202]);
});

it.each([
  ['a version that is too low', OP_ACK, 'lost', (answer: Int32Array) => answer[REPLY.VERSION]!--],
  ['a version that is too high', OP_ACK, 'wrong', (answer: Int32Array) => answer[REPLY.VERSION]!++],
  ['no change', OP_MENTION, 'wrong', (answer: Int32Array) => (answer[REPLY.HEAD]! &= ~REPLY_CHANGED)],
  ['a mention twice', OP_MENTION, 'wrong', (answer: Int32Array) => answer[REPLY.MENTION_COUNT]!++],
  ['an old mark in a get', OP_GET, 'lost', (answer: Int32Array) => answer[REPLY.WORDS + ENTRY.MESSAGE_LO]!--],
  ['a new mark in a get', OP_GET, 'wrong', (answer: Int32Array) => answer[REPLY.WORDS + ENTRY.MESSAGE_LO]!++],
  ['a list without an entry', OP_LIST, 'lost', (answer: Int32Array) => answer[REPLY.MENTION_COUNT]!--],
  ['a list of an old version', OP_LIST, 'lost', (answer: Int32Array) => answer[REPLY.VERSION]!--],
  [
    'a list with an old mark',
    OP_LIST,
    'lost',
    (answer: Int32Array) => answer[REPLY.WORDS + ENTRY.WORDS + ENTRY.MESSAGE_LO]!--,
  ],
  [
    'an internal error',
    OP_ACK,
    'wrong',
    (answer: Int32Array) => (answer[REPLY.HEAD] = OP_ACK | (STATUS_INTERNAL << 8)),
  ],
  ['another order', OP_GET, 'reordered', (answer: Int32Array) => (answer[REPLY.REQUEST_ID]! -= 1000)],
] as const)('finds %s', (_name, op, kind, spoil) => {
  const service = new Service();
  service.fill();
  for (let i = 0; i < 3; i++) service.ask(OP_ACK);
  service.ask(op, spoil);
  expect(service.model[kind]).toBeGreaterThan(0);
  expect(service.model.shown.length).toBeGreaterThan(0);
});

it('finds a refused write that was done all the same', () => {
  const service = new Service();
  service.fill();
  service.ask(OP_ACK, (answer) => {
    answer[REPLY.HEAD] = OP_ACK | (STATUS_BUSY << 8);
  });
  expect(service.model.refusedCount).toBe(1);
  expect(service.model.wrong).toBe(0);
  service.ask(OP_ACK);
  expect(service.model.wrong).toBe(1);
});

it('takes nobody for compared whose list was refused', () => {
  const service = new Service();
  service.fill();
  const { model } = service;
  model.beginComparison();
  service.ask(OP_LIST, (answer) => {
    answer[REPLY.HEAD] = OP_LIST | (STATUS_BUSY << 8);
  });
  expect([model.uncomparedCount, model.refusedCount]).toEqual([1, 1]);
  service.ask(OP_LIST);
  expect([model.uncomparedCount, model.lost, model.wrong]).toEqual([0, 0, 0]);
});

it('lists those who are not compared', () => {
  const workload = new WireWorkload(8, 2);
  const model = new AnsweredWrites(workload, 1, 1);
  model.beginComparison();
  const words = new Int32Array(REQUEST.WORDS);
  const due = new Int32Array(REQUEST.WORDS);
  for (let id = 1; id <= 4; id++) {
    model.listUncompared(words, 0, id);
    if (id % 2 === 0) model.take(Int32Array.of(OP_LIST | REPLY_ENTRY, id, 0, 0), 0);
  }
  expect(model.uncomparedCount).toBe(6);
  model.rewind();
  for (const user of [0, 2, 4, 5, 6, 7, 0]) {
    model.listUncompared(words, 0, 10);
    workload.write(due, 0, 10, OP_LIST, user, -1, 0);
    expect(words).toEqual(due);
  }
});
