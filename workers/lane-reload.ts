/**
 * What a lane does with a partition that could not be repaired: it was emptied (lane-state.ts), and comes back from the
 * journal, as after a crash of the process, and lazily from the store. Operations of its users wait in its lobby
 * meanwhile, or are answered busy; other partitions serve.
 *
 * R1  Nothing of the old content is relied on: who waited in holds goes to the front of the lobby, a list of which some is
 *     on its way already is answered busy. Answers to writes of the old content are counted, and not taken; only when none
 *     is on its way any more does the partition come back.
 * R2  What was unsaved is in the journal's segments of the current epoch and of the one before, and the lane keeps both
 *     (LaneJournal.holdsEpochs). What is restored counts as unsaved since the one before.
 * R3  The flush clock goes on above whatever it had reached (warm/flush-clock.ts, I3).
 * R4  All of it can begin anew: a thread that ends in between leaves a partition that is to be emptied.
 */
import { ROUTED, STATUS_BUSY } from '../engine/messages.js';
import { HOLD_FREE, type HoldQueue } from './holds.js';
import { Replay } from './journal/replay.js';
import { HOLD, LANE, LANE_PARTITION } from './lane-memory.js';
import type { JournalSegments } from './lane-options.js';
import type { LaneState } from './lane-state.js';
import { LANE_STATS } from './stats.js';
import { clockAfterLoss } from './warm/flush-clock.js';

/** A partition that could not be repaired. */
export interface LostPartition {
  readonly index: number;
  readonly reason: string;
  /** Users with changes that the store does not have, as far as is known; null: it is not. */
  readonly unsaved: number | null;
  readonly knowsWatched: boolean;
  /** Of its last flush, microseconds since 1970, as it was found: it may be anything. */
  readonly clockUs: number;
}

/** What a reload needs of those around the lane. */
interface ReloadParts {
  readonly warn: (warning: string) => void;
  /** Asks for the journal's segments: `restoreFrom` follows. */
  readonly askForJournal: () => void;
  readonly clockLimitUs: number;
}

export class LaneReload {
  readonly #lane: LaneState;
  readonly #parts: ReloadParts;
  readonly #lost: readonly LostPartition[];
  #holdsAreGone = false;
  #hasAsked = false;
  #replay: Replay | null = null;
  #damages: readonly string[] = [];

  constructor(lane: LaneState, parts: ReloadParts) {
    this.#lane = lane;
    this.#parts = parts;
    this.#lost = [...lane.lost];
    if (lane.journal !== null) lane.journal.holdsEpochs = true;
    const { clockLimitUs: limitUs } = parts;
    if (Number.isFinite(limitUs))
      for (const { index, clockUs } of this.#lost)
        lane.partition(index).boundClock(clockAfterLoss(limitUs, clockUs), limitUs); // R3
    this.#sayWhatIsLost();
  }

  /** With one warning for all that are lost in the same way: of an engine of objects, it is all of the lane. */
  #sayWhatIsLost(): void {
    const indexes = new Map<string, number[]>();
    for (const { index, reason, unsaved, knowsWatched } of this.#lost) {
      const users = unsaved === null ? '' : ` of up to ${unsaved} users`;
      const from =
        this.#lane.journal === null
          ? `from the store alone: there is no journal (--durability none), and changes${users} since their last flush are lost`
          : 'from the journal and the store: nothing that was answered is lost';
      const deaf = knowsWatched ? '' : ' Subscriptions to its users hear nothing until they subscribe again.';
      const text = `is broken (${reason}). It is emptied and comes back ${from}.${deaf}`;
      indexes.set(text, [...(indexes.get(text) ?? []), index]);
    }
    for (const [text, lost] of indexes)
      this.#parts.warn(`Partition ${lost.join(', ')}${lost.length > 1 ? ': each' : ''} ${text}`);
  }

  /** Comes before anything else of a turn. @returns false: the turn must not go on (R1) */
  begin(): boolean {
    this.#holdsAreGone ||= this.#dropHolds();
    return this.#holdsAreGone;
  }

  #dropHolds(): boolean {
    const { holds, parking, scratch, memory } = this.#lane;
    const lane = this.#lane;
    withdrawLost(lane, lane.ready);
    withdrawLost(lane, lane.waiting);
    for (let hold = 1; hold <= holds.used; hold++) {
      const kind = holds.get(hold, HOLD.KIND);
      const index = holds.get(hold, HOLD.PARTITION);
      if (kind === HOLD_FREE || !lane.reloads(index)) continue;
      if (!lane.repliesHaveRoom()) return false;
      if (holds.isBegun(hold)) {
        parking.peek(hold, scratch);
        lane.refuse(scratch, 0, STATUS_BUSY, LANE_STATS.BUSY);
        parking.shift(hold);
      }
      if (!parking.isEmpty(hold)) {
        const lobby = lane.lobbyOf(index);
        parking.peek(hold, scratch);
        lane.setLobbySince(index);
        lane.countInLobby(scratch[ROUTED.USER_HASH]!, parking.moveToFront(hold, lobby));
      }
      holds.release(hold);
      lane.done();
    }
    memory.put(LANE.RECALL_FROM, 1); // of a recall that was in the middle of what is gone
    lane.done();
    return true;
  }

  /** After the journal's commit. @returns whether all partitions serve again */
  step(): boolean {
    const lane = this.#lane;
    if (this.#replay !== null) {
      if (this.#replay.step()) {
        lane.flushSoon ||= this.#replay.needsRoom;
        lane.done();
        return false;
      }
    } else if (lane.journal !== null) {
      if (!this.#hasAsked && this.#isQuiet()) {
        this.#hasAsked = true;
        this.#parts.askForJournal();
      }
      return false;
    } else if (!this.#isQuiet()) {
      return false;
    }
    this.#serve();
    return true;
  }

  /** R1: nothing of the old content is on its way, to the store or to the journal. */
  #isQuiet(): boolean {
    const { memory, journal } = this.#lane;
    if (journal?.isWritten === false) return false;
    return this.#lost.every(({ index }) => {
      const at = memory.partitionAt(index);
      return (
        memory.get(at + LANE_PARTITION.OLDER_COUNT) === 0 &&
        memory.get(at + LANE_PARTITION.YOUNGER_COUNT) === 0
      );
    });
  }

  restoreFrom({ segments, damages }: JournalSegments): void {
    if (!this.#hasAsked || this.#replay !== null) return;
    const lane = this.#lane;
    const lost = new Set(this.#lost.map(({ index }) => index));
    this.#damages = damages;
    lane.restores = true;
    for (const index of lost) lane.partition(index).setEpoch((lane.journal!.epoch - 1) & 1); // R2
    this.#replay = new Replay(segments, (hash) => {
      lane.done(); // the image before is back
      const index = lane.partitionOf(hash);
      return lost.has(index) ? lane.partition(index) : null;
    });
  }

  #serve(): void {
    const { memory, journal } = this.#lane;
    const lane = this.#lane;
    for (const { index } of this.#lost) {
      if (journal !== null) lane.partition(index).setEpoch(journal.epoch & 1);
      memory.put(memory.partitionAt(index) + LANE_PARTITION.RELOADS, 0);
      memory.add(LANE.LOBBY_COUNT, -1);
    }
    lane.restores = false;
    lane.count(LANE_STATS.RELOADED, this.#lost.length);
    lane.roomMayBe = true;
    lane.done();
    if (journal !== null) journal.holdsEpochs = false;
    const indexes = this.#lost.map(({ index }) => index).join(', ');
    const restored = this.#replay?.restored ?? 0;
    const damage =
      this.#damages.length === 0
        ? ''
        : ` The journal is damaged, so that changes may be lost: ${this.#damages.join(' ')}`;
    this.#parts.warn(
      `Partition ${indexes} serves again, with ${restored} changes from the journal.${damage}`,
    );
  }
}

/** Takes the holds of partitions that do not serve out of a queue. */
function withdrawLost(lane: LaneState, queue: HoldQueue): void {
  for (let count = queue.count; count > 0; count--) {
    const hold = queue.shift();
    if (!lane.reloads(lane.holds.get(hold, HOLD.PARTITION))) queue.push(hold);
    lane.done();
  }
}
