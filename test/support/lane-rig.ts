/** A lane without a thread, stepped by the test, which plays the front, the store and the clock. */
import { MessageChannel } from 'node:worker_threads';
import { createDoorbell, Doorbell } from '../../engine/doorbell.js';
import { hashUser } from '../../engine/hash.js';
import { REQUEST, ROUTED } from '../../engine/messages.js';
import { RingReader, RingWriter } from '../../engine/ring.js';
import { slab } from '../../engine/slab.js';
import { UndoLog } from '../../engine/undo-log.js';
import { FrontBell } from '../../workers/front-bell.js';
import { Lane } from '../../workers/lane.js';
import { createLaneMemory } from '../../workers/lane-memory.js';
import {
  COLD_START,
  createRings,
  type LaneOptions,
  laneSizes,
  partitionOptions,
  ringSizes,
  type ServiceOptions,
  type Takeover,
} from '../../workers/lane-options.js';
import { createStats, LANE_STATS, PARTITION_STATS } from '../../workers/stats.js';
import { ManualClock } from './manual-clock.js';

export interface LaneRig {
  readonly service: ServiceOptions;
  readonly own: LaneOptions;
  readonly stats: Float64Array;
  /** The front's ends. */
  readonly requests: RingWriter;
  readonly replies: RingReader;
  /** The persister's ends. */
  readonly loads: RingReader;
  readonly flushes: RingReader;
  readonly storeAnswers: RingWriter;
  readonly clock: ManualClock;
  /**
   * An operation of a client, as the front would write it: of the user and channel with these low words.
   * @param argument  its low word
   * @returns false if the ring is full
   */
  ask(op: number, user: number, channel?: number, argument?: number): boolean;
  /** Attaches the lane, as a thread that takes it up. */
  attach(nowMs: number, takeover?: Takeover): Lane;
  /** A turn of the lane, and of the bell of its thread. */
  turn(lane: Lane, nowMs: number): boolean;
  close(): void;
}

/** Lane 0 of a service with one partition and one lane. */
export function createLaneRig(
  service: Partial<ServiceOptions> = {},
  own: Partial<LaneOptions> = {},
): LaneRig {
  const options: ServiceOptions = {
    engine: 'slab',
    lanes: 1,
    partitions: 1,
    recordsMax: 1000,
    usersMax: 1000,
    watchedMax: 1,
    lastWrite: false,
    flushDelayMs: 1000,
    loadTimeoutMs: 60_000,
    roomTimeoutMs: 1000,
    parkedMax: 1000,
    limits: { userPerS: 0, channelPerS: 0 },
    frontDoorbell: createDoorbell(),
    persisterDoorbell: createDoorbell(),
    partitionStats: createStats(PARTITION_STATS, service.partitions ?? 1),
    ...service,
  };
  const rings = createRings(ringSizes(1, options.lanes));
  const bytes = options.engine === 'slab' ? slab.sharedBytes(partitionOptions(options)) : 0;
  const owned = Array.from({ length: options.partitions }, (_, index) => ({
    index,
    memory: bytes === 0 ? null : new SharedArrayBuffer(bytes),
    byteOffset: 0,
  }));
  const stats = createStats(LANE_STATS);
  const lane: LaneOptions = {
    lane: 0,
    rings,
    memory: createLaneMemory(laneSizes(options)),
    undo: new SharedArrayBuffer(UndoLog.bytes()),
    stats,
    introspection: null,
    owned,
    start: COLD_START,
    journal: null,
    ...own,
  };
  const channel = new MessageChannel();
  const clock = new ManualClock();
  const bell = new FrontBell(new Doorbell(options.frontDoorbell));
  const requests = new RingWriter(rings.requests);
  return {
    service: options,
    own: lane,
    stats: new Float64Array(stats),
    requests,
    replies: new RingReader(rings.replies),
    loads: new RingReader(rings.loads),
    flushes: new RingReader(rings.flushes),
    storeAnswers: new RingWriter(rings.storeAnswers),
    clock,
    ask(op, user, channel = 0, argument = 0) {
      const length = ROUTED.WORDS + REQUEST.WORDS;
      const at = requests.reserve(length);
      if (at === -1) return false;
      const { words } = requests;
      words.fill(0, at, at + length);
      words[at + ROUTED.ROUTE] = user;
      words[at + ROUTED.USER_HASH] = hashUser(user, 0);
      const opAt = at + ROUTED.WORDS;
      words[opAt + REQUEST.HEAD] = op;
      words[opAt + REQUEST.USER_LO] = user;
      words[opAt + REQUEST.CHANNEL_LO] = channel;
      words[opAt + REQUEST.ARGUMENT_LO] = argument;
      requests.commit(length);
      requests.publish();
      return true;
    },
    attach(nowMs, takeover) {
      clock.ms = nowMs;
      return new Lane(options, lane, channel.port1, bell, clock, takeover);
    },
    turn(attached, nowMs) {
      clock.ms = nowMs;
      const busy = attached.turn();
      bell.ringIfDue(busy && attached.goesOn);
      return busy;
    },
    close() {
      channel.port1.close();
    },
  };
}
