/**
 * What a new thread does before it is given lanes of a service that runs: it serves lanes of its own, so that V8 has
 * compiled the code by the time others wait for it. A thread that comes to its first lane without has that lane's requests
 * wait until then: 0.2 to 0.5 s under half of the highest load (make bench-operate, 2-core AMD EPYC, Node 20).
 *
 * The rehearsal plays front and persister. It goes in slices, between which it can rest, and ends early when somebody
 * needs the thread.
 */
import { join } from 'node:path';
import { MessageChannel } from 'node:worker_threads';
import { createDoorbell } from '../engine/doorbell.js';
import { hashUser, partitionOf } from '../engine/hash.js';
import { createLaneControl } from '../engine/lane-control.js';
import {
  FLUSH,
  FLUSH_ROW,
  FLUSHED,
  KIND_FLUSHED,
  KIND_LOADED,
  LOAD,
  LOADED,
  LOADED_LAST,
  OP_ACK,
  OP_BADGE,
  OP_DELETE,
  OP_GET,
  OP_LIST,
  OP_MENTION,
  OP_PIN_ACK,
  REQUEST,
  REQUEST_WITH_ENTRY,
  ROUTED,
} from '../engine/messages.js';
import { RingReader, RingWriter } from '../engine/ring.js';
import { slab } from '../engine/slab.js';
import { UndoLog } from '../engine/undo-log.js';
import type { Clock } from './clock.js';
import { createIntrospection } from './introspection/lane-introspection.js';
import { rehearsalName } from './journal/format.js';
import type { JournalWriterOptions } from './journal/writer.js';
import { createLaneMemory } from './lane-memory.js';
import {
  COLD_START,
  createRings,
  type LaneOptions,
  laneSizes,
  partitionOptions,
  ringSizes,
  type ServiceOptions,
  type ShardOptions,
  VERSIONS,
} from './lane-options.js';
import { RehearsedJournal } from './rehearsed-journal.js';
import { Shard } from './shard.js';
import { createStats, LANE_STATS, PARTITION_STATS, THREAD_STATS } from './stats.js';

/** At the beginning a thread does 45 a millisecond, after 60,000 as many as ever: 1,200. */
const OPERATIONS = 100_000;
/** After each but the last, another shard goes on: what only was so while there was one is not compiled in. */
const PARTS = 3;
const LONGEST_MS = 20_000;
const SLICE_MS = 1;
/**
 * At the end, with rests: V8 still has code to compile that ran often, and would do so while the first lane's requests wait. It gets there
 * in that time on two busy processors.
 */
const SETTLE_MS = 500;
const SETTLE_REST_MS = 9;

/** More channels than records, so that users are evicted, flushed and loaded, too. */
const LANES = 2;
const PARTITIONS = 4;
const USERS = 512;
const CHANNELS = 16;
const CHANNEL_FIRST = 1 << 20;
/** Of a partition. */
const RECORDS_MAX = 1536;
const FLUSH_DELAY_MS = 1000;
const PARKED_MAX = 1024;
/** Operations put into the rings for each turn, in this order: few, many, and none at all. */
const BATCHES = [3, 24, 150, 0, 60, 9, 1, 300];
/** What a round of operations consists of, in this order: the most of what comes. */
const ROUND = [OP_ACK, OP_ACK, OP_MENTION, OP_ACK, OP_GET, OP_ACK, OP_MENTION, OP_ACK];
/** Each so many rounds, one of these has its turn. */
const RARE_EACH = 16;
const RARE = [OP_LIST, OP_BADGE, OP_PIN_ACK, OP_DELETE];

/** What is rehearsed is like the thread's service, but small. */
export type Rehearsed = Pick<ShardOptions, 'service' | 'lanes' | 'seat'>;

/** A lane of the rehearsal, and the ends of its rings that front and persister have. */
class RehearsedLane {
  readonly options: LaneOptions;
  readonly requests: RingWriter;
  readonly replies: RingReader;
  readonly loads: RingReader;
  readonly flushes: RingReader;
  readonly answers: RingWriter;

  /** @param hasIntrospection  as in the lanes that it is like; so is the journal */
  constructor(
    service: ServiceOptions,
    lane: number,
    hasIntrospection: boolean,
    journal: RehearsedJournal | null,
  ) {
    const rings = createRings(ringSizes(1, Number.MAX_SAFE_INTEGER)); // the smallest
    const bytes = slab.sharedBytes(partitionOptions(service));
    const owned = [];
    for (let index = lane; index < PARTITIONS; index += LANES)
      owned.push({ index, memory: new SharedArrayBuffer(bytes), byteOffset: 0 });
    this.options = {
      lane,
      rings,
      memory: createLaneMemory(laneSizes(service)),
      undo: new SharedArrayBuffer(UndoLog.bytes()),
      stats: createStats(LANE_STATS),
      introspection: hasIntrospection ? createIntrospection() : null,
      owned,
      start: COLD_START,
      journal: journal?.writerOptions(lane) ?? null,
    };
    this.requests = new RingWriter(rings.requests);
    this.replies = new RingReader(rings.replies);
    this.loads = new RingReader(rings.loads);
    this.flushes = new RingReader(rings.flushes);
    this.answers = new RingWriter(rings.storeAnswers);
  }
}

/** Lanes of its own, run by a shard of its own, and their front and persister. */
export class Rehearsal {
  readonly lanes: readonly RehearsedLane[];
  readonly #service: ServiceOptions;
  readonly #control = createLaneControl(1, LANES);
  readonly #journal: RehearsedJournal | null;
  readonly #channel = new MessageChannel();
  readonly #clock: Clock;
  #shard: Shard;
  #turns = 0;
  #sent = 0;
  answered = 0;

  /** @param clock  which `run` reads */
  constructor({ service, lanes, seat }: Rehearsed, clock: Clock) {
    this.#clock = clock;
    this.#service = {
      ...service,
      lanes: LANES,
      partitions: PARTITIONS,
      recordsMax: RECORDS_MAX,
      usersMax: RECORDS_MAX,
      watchedMax: 1,
      flushDelayMs: FLUSH_DELAY_MS,
      parkedMax: PARKED_MAX,
      frontDoorbell: createDoorbell(),
      persisterDoorbell: createDoorbell(),
      partitionStats: createStats(PARTITION_STATS, PARTITIONS),
    };
    const hasIntrospection = lanes[0]!.introspection !== null;
    this.#journal = openJournal(lanes[0]!.journal, seat);
    this.lanes = Array.from(
      { length: LANES },
      (_, lane) => new RehearsedLane(this.#service, lane, hasIntrospection, this.#journal),
    );
    this.#shard = this.#attach();
  }

  #attach(): Shard {
    const shard = new Shard(
      {
        versions: VERSIONS,
        service: this.#service,
        lanes: this.lanes.map(({ options }) => options),
        control: this.#control,
        seat: 0,
        stats: createStats(THREAD_STATS),
        replay: null,
        port: this.#channel.port1,
      },
      this.#clock,
    );
    shard.isReady();
    return shard;
  }

  /** Another shard goes on with the lanes. */
  handOver(): void {
    this.#shard.close();
    this.#shard = this.#attach();
  }

  run(ms: number): void {
    const clock = this.#clock;
    clock.read();
    const startedUs = clock.us;
    do {
      for (let i = BATCHES[this.#turns++ % BATCHES.length]!; i > 0; i--) this.#send();
      for (const { requests } of this.lanes) requests.publish();
      this.#shard.turn();
      for (const lane of this.lanes) {
        store(lane);
        this.answered += takeAnswers(lane);
      }
      this.#journal?.step();
      clock.read();
    } while (((clock.us - startedUs) | 0) < ms * 1000);
  }

  #send(): void {
    const n = this.#sent++;
    const key = Math.imul(n, 0x9e3779b1) >>> 16; // spread, the same in each rehearsal
    const user = 1 + (key % USERS);
    const hash = hashUser(user, 0);
    const { requests } = this.lanes[partitionOf(hash, PARTITIONS) % LANES]!;
    const at = requests.reserve(ROUTED.WORDS + REQUEST.WORDS);
    if (at === -1) return;
    const round = Math.floor(n / ROUND.length);
    const isRare = n % ROUND.length === 0 && round % RARE_EACH === 0;
    const op = isRare ? RARE[(round / RARE_EACH) % RARE.length]! : ROUND[n % ROUND.length]!;
    const isOfUser = op === OP_LIST || op === OP_BADGE;
    const hasArgument = op === OP_ACK || op === OP_MENTION || op === OP_PIN_ACK;
    const { words } = requests;
    const opAt = at + ROUTED.WORDS;
    words.fill(0, at, opAt + REQUEST.WORDS);
    words[at + ROUTED.ROUTE] = 1;
    words[at + ROUTED.USER_HASH] = hash;
    words[opAt + REQUEST.HEAD] = n % 3 === 0 && op === OP_ACK ? op | REQUEST_WITH_ENTRY : op;
    words[opAt + REQUEST.REQUEST_ID] = n;
    words[opAt + REQUEST.USER_LO] = user;
    words[opAt + REQUEST.CHANNEL_LO] = isOfUser
      ? 0
      : CHANNEL_FIRST + user * CHANNELS + ((n >>> 3) % CHANNELS);
    words[opAt + REQUEST.ARGUMENT_LO] = hasArgument ? n + 1 : 0;
    requests.commit(ROUTED.WORDS + REQUEST.WORDS);
  }

  close(): void {
    this.#shard.close();
    this.#channel.port1.close();
    this.#journal?.close();
  }
}

/** As the service has one. Where its directory cannot be made, on a full disk say, threads must start all the same. */
function openJournal(like: JournalWriterOptions | null, seat: number): RehearsedJournal | null {
  if (like === null) return null;
  try {
    return new RehearsedJournal(join(like.directory, rehearsalName(seat)), LANES);
  } catch {
    return null;
  }
}

/** The persister of a lane, and a store without rows that takes all that comes. What is in the rings fits the answers' ring. */
function store({ loads, flushes, answers }: RehearsedLane): void {
  const { words } = answers;
  loads.refresh();
  for (let at = loads.next(); at !== -1; at = loads.next()) {
    const out = answers.reserve(LOADED.WORDS);
    words.fill(0, out, out + LOADED.WORDS);
    words[out + LOADED.KIND] = KIND_LOADED | LOADED_LAST;
    words[out + LOADED.TAG] = loads.words[at + LOAD.TAG]!;
    answers.commit(LOADED.WORDS);
  }
  loads.release();
  flushes.refresh();
  for (let at = flushes.next(); at !== -1; at = flushes.next()) {
    const group = flushes.words;
    const rows = group[at + FLUSH.COUNT]!;
    const out = answers.reserve(FLUSHED.WORDS + rows);
    words[out + FLUSHED.KIND] = KIND_FLUSHED | (group[at + FLUSH.KIND]! & ~0xff);
    words[out + FLUSHED.PARTITION] = group[at + FLUSH.PARTITION]!;
    words[out + FLUSHED.USER_SLOT] = group[at + FLUSH.USER_SLOT]!;
    words[out + FLUSHED.COUNT] = rows;
    for (let row = 0; row < rows; row++)
      words[out + FLUSHED.WORDS + row] = group[at + FLUSH.WORDS + row * FLUSH_ROW.WORDS + FLUSH_ROW.SLOT]!;
    answers.commit(FLUSHED.WORDS + rows);
  }
  flushes.release();
  answers.publish();
}

/** @returns how many there were */
function takeAnswers({ replies }: RehearsedLane): number {
  let count = 0;
  replies.refresh();
  while (replies.next() !== -1) count++;
  replies.release();
  return count;
}

/** Where a rehearsal takes place. */
export interface Stage {
  readonly clock: Clock;
  /** After each slice. */
  readonly restsMs: number;
  /** Whether somebody waits for the thread. */
  readonly isNeeded: () => boolean;
}

/** Ends when V8 has compiled what there is to compile, after `LONGEST_MS`, or when the thread is needed. */
export function rehearse(options: Rehearsed, { clock, restsMs, isNeeded }: Stage): void {
  if (isNeeded()) return;
  const rehearsal = new Rehearsal(options, clock);
  const rest = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
  const endMs = clock.ms + LONGEST_MS;
  for (let part = 1; part <= PARTS; part++) {
    while (rehearsal.answered < (OPERATIONS * part) / PARTS && clock.ms < endMs && !isNeeded()) {
      rehearsal.run(SLICE_MS);
      if (restsMs > 0) Atomics.wait(rest, 0, 0, restsMs);
    }
    if (isNeeded()) break;
    if (part < PARTS) rehearsal.handOver();
  }
  const settledMs = clock.ms + SETTLE_MS;
  while (clock.ms < settledMs && !isNeeded()) {
    rehearsal.run(SLICE_MS);
    Atomics.wait(rest, 0, 0, SETTLE_REST_MS);
  }
  rehearsal.close();
}
