/**
 * What one lane works on: its partitions, rings, holds and counters; and the writing of answers and events, which
 * all parts of the lane need. What of it outlives a turn is in the lane's memory (lane-memory.ts); the rest can be made
 * anew by whichever thread goes on with the lane.
 *
 * I1  An operation is begun only when `hasReplyRoom`: then its answer and its events fit, whatever they are, and the
 *     images of what it changes fit into the journal.
 * I2  Work is done in units: an operation, an answer of the store, a step of a list, a group of writes, a tick. After each
 *     comes `done`. What a thread has left half done, the next takes back; what is done it publishes, if the last could not.
 */
import { Doorbell } from '../engine/doorbell.js';
import { hashUser } from '../engine/hash.js';
import { heap } from '../engine/heap.js';
import { assert, broken } from '../engine/layout.js';
import {
  ANSWERED,
  BULK_ITEMS_MAX,
  CAUSE_ACK,
  CAUSE_DELETE,
  CAUSE_MENTION,
  CAUSE_PINS,
  ENTRY,
  EVENT,
  EVENT_WORDS_MAX,
  OP_ACK,
  OP_ACK_BULK,
  OP_DELETE,
  OP_DELETE_USER,
  OP_EVENT,
  OP_MENTION,
  OP_PIN_ACK,
  OP_USER_DELETED,
  REPLY,
  REPLY_CHANGED,
  REPLY_ENTRY,
  REPLY_WORDS_MAX,
  REQUEST,
  REQUEST_MANUAL,
  ROUTE_EVENT,
  ROUTED,
  STATUS_JOURNAL_UNAVAILABLE,
} from '../engine/messages.js';
import {
  type Engine,
  OUTCOME_DONE,
  type Outcome,
  type Partition,
  type PartitionOptions,
  type RecordSlot,
} from '../engine/partition.js';
import { RingReader, RingWriter } from '../engine/ring.js';
import { slab } from '../engine/slab.js';
import { emptyPartition } from '../engine/slab-image.js';
import { holdsWord } from '../engine/slab-memory.js';
import { UndoLog } from '../engine/undo-log.js';
import { HoldQueue, Holds } from './holds.js';
import type { LaneIntrospection } from './introspection/lane-introspection.js';
import { Limiter } from './introspection/limiter.js';
import { UnsavedAges } from './introspection/partition-gauges.js';
import { Cursors } from './lane-cursors.js';
import { isWrite, type LaneJournal } from './lane-journal.js';
import { HOLD, LANE, LANE_PARTITION, LaneMemory, LOBBY_BUCKETS, OPERATION_WORDS_MAX } from './lane-memory.js';
import {
  type LaneOptions,
  laneSizes,
  type OwnedPartition,
  partitionOptions,
  type ServiceOptions,
  TICK_MS,
} from './lane-options.js';
import type { LostPartition } from './lane-reload.js';
import { Parking } from './parking.js';
import { RingWindow } from './ring-window.js';
import { LANE_STATS } from './stats.js';

/** The bits below choose the partition. */
const LOBBY_SHIFT = 8;

function lobbyBucket(userHash: number): number {
  return (userHash >>> LOBBY_SHIFT) & (LOBBY_BUCKETS - 1);
}

/** The largest answer, the events of a bulk ack, and the pad that either may need. */
const REPLY_ROOM_WORDS =
  ANSWERED.WORDS + REPLY_WORDS_MAX + 1 + BULK_ITEMS_MAX * (ANSWERED.WORDS + EVENT_WORDS_MAX + 1);
const REPLY_PAD_WORDS = REPLY_WORDS_MAX + ANSWERED.WORDS + 1;

/** Of a unit of work whose thread ended in it. */
interface TakenBack {
  readonly stores: number;
  /** Of each partition that it had stored to, the words of the partition's buffer. */
  readonly words: ReadonlyMap<number, readonly number[]>;
}

/** Over all that units of work store to, in the same order for every thread. */
function openUndo({ memory, undo, owned, journal }: LaneOptions): UndoLog {
  const memories = new Set([memory]);
  if (journal !== null) memories.add(journal.words);
  for (const partition of owned) if (partition.memory !== null) memories.add(partition.memory);
  return new UndoLog(undo, [...memories]);
}

export class LaneState {
  readonly engine: Engine;
  readonly partitionOptions: PartitionOptions;
  /** By partition number; null = another shard's. */
  readonly partitions: (Partition | null)[];
  /** Numbers of the owned ones. */
  readonly owned: readonly number[];
  /** Position in `owned` of the partition whose changes are the next to be flushed. */
  flushFrom = 0;
  readonly undo: UndoLog;
  /** What the thread before had left half done; null: nothing. */
  readonly takenBack: TakenBack | null;
  readonly memory: LaneMemory;
  /** Partitions that this thread has found broken, and emptied. */
  readonly lost: LostPartition[] = [];
  readonly requests: RingReader;
  readonly replies: RingWriter;
  readonly loads: RingWriter;
  readonly flushes: RingWriter;
  readonly storeAnswers: RingReader;
  readonly persister: Doorbell;
  readonly stats: Float64Array;
  /** Null when there is no limit. */
  readonly limiter: Limiter | null;
  readonly holds: Holds;
  /** Queue n is hold n's; `lobbyOf(p)` is where users without a slot wait. */
  readonly parking: Parking;
  /** Holds that go on at the next turn. */
  readonly ready: HoldQueue;
  /** Holds that wait for their user to be clean: looked at when the store has answered, and each tick. */
  readonly waiting: HoldQueue;
  readonly cursors: Cursors;
  readonly listWindow: RingWindow;
  /** Of the holds that are ready: lists for which the window was closed when they had their turn. */
  listsWaiting = 0;
  /** The operation at hand, when it comes from the parking. */
  readonly scratch = new Int32Array(OPERATION_WORDS_MAX);
  /** LANE.TICK */
  tick = 0;
  /** Something may be due before the next tick: eviction wants to write. */
  flushSoon = true;
  /** Something was freed, or may have become clean: those who wait for it look again. */
  roomMayBe = true;
  readonly unsavedAges: UnsavedAges;
  readonly partitionStats: Float64Array;
  /** All that is unsaved is written at once, due or not. */
  flushAll = false;
  /** The persister has ended, and what was on its way to it is taken back; see lane-recall.ts. */
  recalls = false;
  /** Partitions that reload come back from the journal: what is on its way of theirs is of their new content. */
  restores = false;
  /** Null: nothing is journaled, or not yet. */
  journal: LaneJournal | null = null;
  /** Loads of warm/hot-loader.ts that failed; and whether none has succeeded since. */
  warmingFailures = 0;
  warmingFailed = false;

  constructor(
    readonly options: ServiceOptions,
    readonly own: LaneOptions,
    readonly introspection: LaneIntrospection | null,
  ) {
    this.engine = options.engine === 'slab' ? slab : heap;
    this.partitionOptions = partitionOptions(options);
    this.undo = openUndo(own);
    let logIsBroken = '';
    let takenBack: TakenBack | null = null;
    try {
      takenBack = this.#takeBack();
    } catch (error) {
      logIsBroken = (error as Error).message;
      this.undo.giveUp();
    }
    this.takenBack = takenBack;
    this.memory = new LaneMemory(own.memory, laneSizes(options), this.undo);
    this.partitions = new Array(options.partitions).fill(null);
    this.cursors = new Cursors(options.partitions);
    this.owned = own.owned.map(({ index }) => index);
    for (const partition of own.owned) this.#attach(partition, logIsBroken);
    this.requests = new RingReader(own.rings.requests);
    this.replies = new RingWriter(own.rings.replies);
    this.listWindow = new RingWindow(this.replies);
    this.loads = new RingWriter(own.rings.loads);
    this.flushes = new RingWriter(own.rings.flushes);
    this.storeAnswers = new RingReader(own.rings.storeAnswers);
    this.persister = new Doorbell(options.persisterDoorbell);
    this.stats = new Float64Array(own.stats);
    const { limits, lanes } = options;
    const limited = introspection !== null && limits.userPerS + limits.channelPerS > 0;
    this.limiter = limited ? new Limiter(limits, lanes, hashUser, this.stats) : null;
    this.partitionStats = new Float64Array(options.partitionStats);
    this.unsavedAges = new UnsavedAges(this.memory, this.partitionOptions.flushDelayTicks, TICK_MS);
    const { ready, waiting } = this.memory.regions;
    this.holds = new Holds(this.memory);
    this.parking = new Parking(this.memory);
    this.ready = new HoldQueue(this.memory, ready, LANE.READY_HEAD, LANE.READY_COUNT);
    this.waiting = new HoldQueue(this.memory, waiting, LANE.WAITING_HEAD, LANE.WAITING_COUNT);
    this.tick = this.memory.get(LANE.TICK);
  }

  /** I2: takes back what the thread before has left half done. Comes before anything else is looked at. */
  #takeBack(): TakenBack | null {
    const { undo, own, partitionOptions } = this;
    if (undo.pending === 0) return null;
    const words = new Map<number, readonly number[]>();
    for (const { index, memory, byteOffset } of own.owned) {
      if (memory === null) continue;
      const stored = undo.storedTo(memory).filter(holdsWord(partitionOptions, memory.byteLength, byteOffset));
      if (stored.length > 0) words.set(index, stored);
    }
    return { stores: undo.rollBack(), words };
  }

  #attach(owned: OwnedPartition, logIsBroken: string): void {
    const { index, memory, byteOffset } = owned;
    const goesOn = this.memory.get(LANE.READY) !== 0;
    let reason = logIsBroken;
    if (this.reloads(index)) reason = 'its thread ended before it was back';
    else if (goesOn && this.engine.sharedBytes(this.partitionOptions) === 0)
      reason = 'its objects have ended with their thread';
    if (reason === '') {
      try {
        this.partitions[index] = this.engine.attach(this.partitionOptions, memory, byteOffset, this.undo);
        return;
      } catch (error) {
        if (!goesOn) throw error; // what the process before has left: of a start
        reason = (error as Error).message;
      }
    }
    this.#empty(owned, reason);
  }

  /**
   * Looks at a partition that an earlier thread has left; one that is broken is emptied.
   * @param words  of its buffer, around which it looks; null: everything
   * @param beat   called as it goes on
   */
  check(index: number, words: readonly number[] | null, beat: () => void): void {
    if (this.reloads(index)) return;
    const partition = this.partition(index);
    try {
      if (words === null) partition.check(beat);
      else partition.checkAround(words, beat);
    } catch (error) {
      const owned = this.own.owned.find((each) => each.index === index)!;
      this.#empty(owned, (error as Error).message);
    }
  }

  /** A thread that ends in it leaves a partition that is to be emptied. */
  #empty({ index, memory, byteOffset }: OwnedPartition, reason: string): void {
    const { undo, partitionOptions } = this;
    if (!this.reloads(index)) {
      this.memory.put(this.memory.partitionAt(index) + LANE_PARTITION.RELOADS, 1);
      this.memory.add(LANE.LOBBY_COUNT, 1); // so that whoever comes is sent to the lobby
      undo.commit();
    }
    const known =
      memory === null
        ? { unsaved: null, knowsWatched: false, clockUs: 0 }
        : emptyPartition(partitionOptions, memory, byteOffset);
    this.lost.push({ index, reason, ...known });
    this.partitions[index] = this.engine.attach(partitionOptions, memory, byteOffset, undo);
  }

  /** What is on its way to the store of a partition is of content that is gone. */
  forgetsFlights(index: number): boolean {
    return !this.restores && this.reloads(index);
  }

  /** The partition was broken, and does not serve yet. */
  reloads(index: number): boolean {
    return this.memory.get(this.memory.partitionAt(index) + LANE_PARTITION.RELOADS) !== 0;
  }

  /**
   * I2: the unit of work at hand is done. With all that it has stored, answered, and asked of the store it is there to
   * stay, whatever becomes of this thread.
   */
  done(): void {
    const { memory, replies, loads, flushes } = this;
    const { words } = memory;
    if (words[LANE.REPLIES_TAIL] !== replies.position) memory.put(LANE.REPLIES_TAIL, replies.position);
    if (words[LANE.LOADS_TAIL] !== loads.position) memory.put(LANE.LOADS_TAIL, loads.position);
    if (words[LANE.FLUSHES_TAIL] !== flushes.position) memory.put(LANE.FLUSHES_TAIL, flushes.position);
    this.undo.commit();
  }

  /** Goes on in the rings where the last unit that was done has left them. */
  seekRings(): void {
    const { memory } = this;
    this.requests.seek(memory.get(LANE.REQUESTS_DONE));
    this.storeAnswers.seek(memory.get(LANE.ANSWERS_DONE));
    this.replies.seek(memory.get(LANE.REPLIES_TAIL));
    this.loads.seek(memory.get(LANE.LOADS_TAIL));
    this.flushes.seek(memory.get(LANE.FLUSHES_TAIL));
  }

  get stopping(): boolean {
    return this.memory.get(LANE.STOPPING) !== 0;
  }

  get flushOrdered(): boolean {
    return this.memory.get(LANE.FLUSH_ORDERED) !== 0;
  }

  get lobbyCount(): number {
    return this.memory.get(LANE.LOBBY_COUNT);
  }

  partition(index: number): Partition {
    const partition = this.partitions[index];
    if (partition === null || partition === undefined) broken('a partition that is not of this lane', index);
    return partition;
  }

  partitionOf(userHash: number): number {
    return userHash & (this.options.partitions - 1);
  }

  lobbyOf(partition: number): number {
    return this.holds.max + 1 + partition;
  }

  /** Tick at which somebody last got room, or came back for more of it; see hasWaitedTooLong in lane-waiting.ts. */
  lobbySince(partition: number): number {
    return this.memory.get(this.memory.partitionAt(partition) + LANE_PARTITION.LOBBY_SINCE);
  }

  setLobbySince(partition: number): void {
    this.memory.put(this.memory.partitionAt(partition) + LANE_PARTITION.LOBBY_SINCE, this.tick);
  }

  /**
   * Notes that operations of the user entered a lobby, or left one (negative). They are counted by bits of their users'
   * hashes: 0 tells that a user has none there.
   */
  countInLobby(userHash: number, change: number): void {
    this.memory.add(LANE.LOBBY_COUNT, change);
    this.memory.add(this.memory.regions.lobbyUsers + lobbyBucket(userHash), change);
  }

  /** False: no operation of the user is in a lobby. True: one may be. */
  mayBeInLobby(userHash: number): boolean {
    return this.memory.get(this.memory.regions.lobbyUsers + lobbyBucket(userHash)) !== 0;
  }

  count(stat: number, by = 1): void {
    this.stats[stat] = this.stats[stat]! + by;
  }

  /** Counts an operation (from ROUTED on at `words[at]`) whose last answer is written. */
  answered(words: Int32Array, at: number, op: number): void {
    const { introspection } = this;
    if (introspection !== null) {
      if (words === this.scratch) introspection.answeredLate(words, at, op, this.parking.waits);
      else introspection.answered(words, at, op);
    }
    this.count(LANE_STATS.OPERATIONS + op);
  }

  /** The turn's time on the shared clock, in microseconds; 0 without introspection. */
  get nowUs(): number {
    return this.introspection === null ? 0 : this.introspection.nowUs;
  }

  /** The first operation of a hold has waited for something until now. @param what  of WAIT */
  waited(hold: number, what: number): void {
    this.parking.waited(hold, what, (this.nowUs - this.holds.get(hold, HOLD.SINCE_US)) | 0);
    this.holds.set(hold, HOLD.SINCE_US, this.nowUs);
  }

  hasReplyRoom(): boolean {
    if (this.journal?.isFull === true) return false;
    return this.repliesHaveRoom();
  }

  /** Of an answer that says nothing of what there is. */
  repliesHaveRoom(): boolean {
    return this.replies.hasRoom(REPLY_ROOM_WORDS, REPLY_PAD_WORDS);
  }

  /** Where the words of an answer go, ANSWERED written; `commitReply` follows. */
  beginReply(route: number, length: number): number {
    const at = this.replies.reserve(ANSWERED.WORDS + length);
    assert(at !== -1, 'an answer was begun without room');
    this.replies.words[at + ANSWERED.ROUTE] = route;
    return at + ANSWERED.WORDS;
  }

  commitReply(length: number): void {
    this.replies.commit(ANSWERED.WORDS + length);
  }

  /** Runs an operation (from ROUTED on at `words[at]`); answers and announces it if it is done. */
  execute(
    partition: Partition,
    words: Int32Array,
    at: number,
    length: number,
    rowsKnown: boolean,
    likely: RecordSlot = 0,
  ): Outcome {
    const opAt = at + ROUTED.WORDS;
    if (this.journal?.refuses === true && isWrite(words[opAt + REQUEST.HEAD]! & 0xff)) {
      this.refuse(words, at, STATUS_JOURNAL_UNAVAILABLE, LANE_STATS.JOURNAL_UNAVAILABLE);
      return OUTCOME_DONE;
    }
    // A bulk answer has an entry for each item, and an item is longer than half an entry.
    const replyMax = REPLY.WORDS + ENTRY.WORDS + (length - ROUTED.WORDS - REQUEST.WORDS) * 2;
    const out = this.replies.words;
    const outAt = this.beginReply(words[at + ROUTED.ROUTE]!, replyMax);
    const hash = words[at + ROUTED.USER_HASH]!;
    const outcome = partition.execute(hash, words, opAt, out, outAt, rowsKnown, likely);
    if (outcome !== OUTCOME_DONE) return outcome;
    const head = out[outAt + REPLY.HEAD]!;
    const op = words[opAt + REQUEST.HEAD]! & 0xff;
    const entries =
      (head & REPLY_ENTRY) === 0 ? 0 : op === OP_ACK_BULK ? out[outAt + REPLY.MENTION_COUNT]! : 1;
    this.commitReply(REPLY.WORDS + entries * ENTRY.WORDS);
    this.answered(words, at, op);
    if ((head & REPLY_CHANGED) !== 0) {
      this.journal?.note(partition, op);
      if (partition.isWatched(partition.changedUser))
        this.#announce(partition, words, opAt, out[outAt + REPLY.VERSION]!);
    }
    return OUTCOME_DONE;
  }

  /** One event for each record that the last operation changed. */
  #announce(partition: Partition, words: Int32Array, opAt: number, version: number): void {
    const head = words[opAt + REQUEST.HEAD]!;
    const op = head & 0xff;
    const out = this.replies.words;
    if (op === OP_DELETE_USER) {
      this.#beginEvent(OP_USER_DELETED | (CAUSE_DELETE << 8), version, words, opAt);
      this.commitReply(EVENT.WORDS);
      return;
    }
    const cause =
      op === OP_MENTION
        ? CAUSE_MENTION
        : op === OP_PIN_ACK
          ? CAUSE_PINS
          : op === OP_DELETE
            ? CAUSE_DELETE
            : CAUSE_ACK;
    const manual = op === OP_ACK ? head & REQUEST_MANUAL : 0; // the flag says nothing with other operations
    for (let i = 0; i < partition.changedCount; i++) {
      const at = this.#beginEvent(OP_EVENT | (cause << 8) | manual, 0, words, opAt);
      partition.writeEntry(partition.changed[i]!, out, at + EVENT.WORDS);
      out[at + EVENT.VERSION] = out[at + EVENT.WORDS + ENTRY.VERSION]!;
      this.commitReply(EVENT.WORDS + ENTRY.WORDS);
    }
  }

  #beginEvent(head: number, version: number, words: Int32Array, opAt: number): number {
    const at = this.beginReply(ROUTE_EVENT, EVENT_WORDS_MAX);
    const out = this.replies.words;
    out[at + EVENT.HEAD] = head;
    out[at + EVENT.VERSION] = version;
    out[at + EVENT.USER_LO] = words[opAt + REQUEST.USER_LO]!;
    out[at + EVENT.USER_HI] = words[opAt + REQUEST.USER_HI]!;
    this.count(LANE_STATS.EVENTS);
    return at;
  }

  /** Answers an operation with a status and nothing else. */
  refuse(words: Int32Array, at: number, status: number, stat: number): void {
    const opAt = at + ROUTED.WORDS;
    const outAt = this.beginReply(words[at + ROUTED.ROUTE]!, REPLY.WORDS);
    const out = this.replies.words;
    const op = words[opAt + REQUEST.HEAD]! & 0xff;
    out[outAt + REPLY.HEAD] = op | (status << 8);
    out[outAt + REPLY.REQUEST_ID] = words[opAt + REQUEST.REQUEST_ID]!;
    out[outAt + REPLY.MENTION_COUNT] = 0;
    out[outAt + REPLY.VERSION] = 0;
    this.commitReply(REPLY.WORDS);
    this.answered(words, at, op);
    this.count(stat);
  }

  /** Tick after `ms` from now. */
  tickAfter(ms: number): number {
    return (this.tick + Math.ceil(ms / TICK_MS)) | 0;
  }
}
