/**
 * A lane and its journal: what a turn changed is written before the turn's answers and writes to the store go out.
 *
 * I1  Between `begin` and `commit` the images of all that was executed are gathered; nothing leaves the lane there.
 * I2  A change whose image could not be written is not answered as done: its answer becomes journal_unavailable.
 *     Answers of other writes of the turn too, as they may rest on it (a duplicate of a mention, say).
 */
import {
  ANSWERED,
  OP_ACK,
  OP_ACK_BULK,
  OP_DELETE,
  OP_DELETE_USER,
  OP_MENTION,
  OP_PIN_ACK,
  REPLY,
  ROUTE_EVENT,
  STATUS_DUPLICATE,
  STATUS_JOURNAL_UNAVAILABLE,
  STATUS_OK,
  STATUS_SUPPRESSED,
} from '../engine/messages.js';
import type { Partition } from '../engine/partition.js';
import type { RingWriter } from '../engine/ring.js';
import type { UndoLog } from '../engine/undo-log.js';
import type { Clock } from './clock.js';
import {
  JournalWriter,
  type JournalWriterOptions,
  WRITER_READY,
  WRITER_REFUSING,
  WRITER_WAITING,
} from './journal/writer.js';
import { NODE_FILES } from './journal/writer-files.js';
import { LANE_STATS } from './stats.js';

/**
 * Images carried over between two ticks, times the rate, however little changes; and in a turn for that. A busy lane has thousands
 * of turns in a tick: a least number in each had them do little else.
 */
const CARRY_TICK_IMAGES = 8192;
const CARRY_SLICE_IMAGES = 512;
/** Slots looked at for them, at least, and for each image of the turn: many are clean. */
const CARRY_MIN_STEPS = 512;
const CARRY_STEPS_AN_IMAGE = 64;
/**
 * Slots looked at without a find after which a shard without other work sleeps between slices: more than a partition has. What
 * is left cannot be carried then (a wiped user with more rows than a frame has room for).
 */
const CARRY_FRUITLESS_STEPS = 2 ** 23;

/** Statuses of writes that say something about what there is. */
const RESTS_ON_STATE = new Set([STATUS_OK, STATUS_SUPPRESSED, STATUS_DUPLICATE]);

/** Operations that may change something. */
const WRITES = new Set([OP_ACK, OP_ACK_BULK, OP_MENTION, OP_PIN_ACK, OP_DELETE, OP_DELETE_USER]);

/** What of a lane the journal works on. */
interface LaneParts {
  readonly partitions: readonly Partition[];
  readonly replies: RingWriter;
  readonly stats: Float64Array;
  readonly clock: Clock;
  /** Of the lane; with it, a unit of work can be taken back with its images. */
  readonly undo?: UndoLog;
}

export class LaneJournal {
  readonly #writer: JournalWriter;
  readonly #partitions: readonly Partition[];
  readonly #replies: RingWriter;
  readonly #stats: Float64Array;
  /** What threads that ran the lane before have counted. */
  readonly #statsBefore: Float64Array;
  /** A partition comes back from the journal: what the current epoch and the one before have must stay. */
  holdsEpochs = false;
  /** Partition that is carried first. */
  #turn = 0;
  /** Users of the epoch before are being carried over. */
  #carries = false;
  /** The last that was asked for: what was begun goes on. */
  #carryRate = 0;
  /** Images that are still to be carried before the next tick, however little changes. */
  #carryLeast = 0;
  /** Slots looked at since something was carried. */
  #fruitless = 0;

  constructor(options: JournalWriterOptions, lane: LaneParts, warn: (message: string) => void) {
    this.#writer = new JournalWriter(options, NODE_FILES, lane.clock, lane.undo);
    this.#partitions = lane.partitions;
    this.#replies = lane.replies;
    this.#stats = lane.stats;
    this.#statsBefore = lane.stats.slice();
    if (this.#writer.epoch !== 0)
      for (const partition of this.#partitions) partition.setEpoch(this.#writer.epoch & 1);
    this.#writer.onFailure = ({ message }) =>
      warn(`The journal could not be written: ${message}. Changes are refused until it can.`);
  }

  /** The adopted epoch. */
  get epoch(): number {
    return this.#writer.epoch;
  }

  /** No image waits to be written. */
  get isWritten(): boolean {
    return this.#writer.imageCount === 0;
  }

  /** Nothing may be executed: there is no room for what it may change. */
  get isFull(): boolean {
    const { state, hasRoom } = this.#writer;
    return state === WRITER_WAITING || (state !== WRITER_REFUSING && !hasRoom);
  }

  /** Changes are to be refused. */
  get refuses(): boolean {
    return this.#writer.state === WRITER_REFUSING;
  }

  /** Waits for the keeper, who rings. */
  get isWaiting(): boolean {
    return this.#writer.state === WRITER_WAITING;
  }

  /** Before a turn. */
  begin(nowMs: number): void {
    const writer = this.#writer;
    const { epoch } = writer;
    writer.begin(nowMs);
    if (writer.epoch !== epoch)
      for (const partition of this.#partitions) partition.setEpoch(writer.epoch & 1);
  }

  /** Takes what the last operation on the partition, which changed something, has changed. */
  note(partition: Partition, op: number): void {
    const writer = this.#writer;
    if (op === OP_DELETE_USER) {
      partition.writeWipeImage(partition.changedUser, writer.words, writer.imageAt);
      writer.imageCount++;
      return;
    }
    for (let i = 0; i < partition.changedCount; i++) {
      partition.writeImage(partition.changed[i]!, writer.words, writer.imageAt);
      writer.imageCount++;
    }
  }

  /**
   * After everything of a turn that executes.
   * @returns whether there is more to carry over, so that the lane must not sleep
   */
  commit(nowMs: number, ticked: boolean): boolean {
    const writer = this.#writer;
    const { carryRate } = writer;
    if (carryRate !== 0) this.#carryRate = carryRate;
    if (ticked) this.#carryLeast = CARRY_TICK_IMAGES * this.#carryRate;
    if (carryRate !== 0 || this.#carries) this.#carry();
    if (writer.imageCount > 0 && !writer.commit(nowMs)) this.#spoilAnswers();
    if (ticked || this.#carries) this.#show();
    return this.#carries && this.#carryLeast > 0 && this.#fruitless < CARRY_FRUITLESS_STEPS;
  }

  #carry(): void {
    const writer = this.#writer;
    this.#carries = false;
    if (writer.state !== WRITER_READY) return;
    const other = (writer.epoch & 1) ^ 1;
    const changes = writer.imageCount;
    let images = Math.max(Math.min(CARRY_SLICE_IMAGES, this.#carryLeast), changes * this.#carryRate);
    this.#carryLeast = Math.max(0, this.#carryLeast - images);
    let steps = Math.max(CARRY_MIN_STEPS, changes * CARRY_STEPS_AN_IMAGE);
    for (let done = 0; done < this.#partitions.length; ) {
      const partition = this.#partitions[this.#turn]!;
      if (partition.unsavedUsers(other) === 0) {
        done++;
        this.#turn = (this.#turn + 1) % this.#partitions.length;
        continue;
      }
      this.#carries = true;
      if (images <= 0 || steps <= 0) return;
      const looks = Math.min(images, steps);
      const carried = partition.carryUnsaved(writer.words, writer.imageAt, writer.roomImages, looks);
      writer.imageCount += carried;
      this.#stats[LANE_STATS.CARRIED_IMAGES]! += carried;
      this.#fruitless = carried > 0 ? 0 : this.#fruitless + looks;
      images -= carried;
      steps -= looks;
    }
  }

  #show(): void {
    const writer = this.#writer;
    const stats = this.#stats;
    const before = this.#statsBefore;
    const show = (field: number, count: number): void => {
      stats[field] = before[field]! + count;
    };
    show(LANE_STATS.JOURNAL_IMAGES, writer.images);
    show(LANE_STATS.JOURNAL_COMMITS, writer.commits);
    show(LANE_STATS.JOURNAL_BYTES, writer.bytes);
    show(LANE_STATS.JOURNAL_WRITE_SECONDS, writer.writeSeconds);
    show(LANE_STATS.JOURNAL_SYNC_SECONDS, writer.syncSeconds);
    show(LANE_STATS.JOURNAL_FAILURES, writer.failures);
    const held = this.holdsEpochs ? 1 : 0;
    let even = held;
    let odd = held;
    for (const partition of this.#partitions) {
      even += partition.unsavedUsers(0);
      odd += partition.unsavedUsers(1);
    }
    writer.show(even, odd);
  }

  /** I2: the answers that are not published yet. */
  #spoilAnswers(): void {
    const { words } = this.#replies;
    this.#replies.reviseUnpublished((at, length) => {
      const replyAt = at + ANSWERED.WORDS;
      const head = words[replyAt + REPLY.HEAD]!;
      const op = head & 0xff;
      const isAnswer = words[at + ANSWERED.ROUTE] !== ROUTE_EVENT && WRITES.has(op);
      if (!isAnswer || !RESTS_ON_STATE.has((head >>> 8) & 0xff)) return length;
      words[replyAt + REPLY.HEAD] = op | (STATUS_JOURNAL_UNAVAILABLE << 8);
      words[replyAt + REPLY.MENTION_COUNT] = 0;
      words[replyAt + REPLY.VERSION] = 0;
      this.#stats[LANE_STATS.JOURNAL_UNAVAILABLE]! += 1;
      return ANSWERED.WORDS + REPLY.WORDS;
    });
  }

  close(): void {
    this.#writer.close();
  }
}

/** Whether an operation may change something. */
export function isWrite(op: number): boolean {
  return WRITES.has(op);
}
