/**
 * What a lane does when the persister has ended: nobody will answer what was on its way, and another will look at the
 * rings. A slice in each turn; operations go on meanwhile.
 *
 * I1  Nobody else touches the rings to the store now (engine/lane-control.ts, I4). All answers that were published are
 *     taken first: what is on its way still has none.
 * I2  What is on its way of writes is failed as if the store had refused it, and tried again with later clocks. So a
 *     write of the old persister that is still on its way to the store never replaces what is newer; stores without
 *     clocks have ended it before the thread ended (stores/lmdb.ts).
 * I3  Each load that somebody waits for is sent again, with another tag. Nothing is sent to the store but by this
 *     before the lane is handed to the new persister.
 * I4  All of it can be done twice: a thread that ends in between leaves a lane that begins anew.
 */
import { HOLD_CLEANING, HOLD_LOADING, HOLD_STREAMING } from './holds.js';
import { loadAgain } from './lane-loads.js';
import { HOLD, LANE } from './lane-memory.js';
import type { LaneState } from './lane-state.js';
import { fail, waitForRoom } from './lane-waiting.js';

/** Users looked at in a turn: some 50 us when none has anything on its way. */
const RECALL_STEPS = 4096;

export function beginRecall(lane: LaneState): void {
  lane.recalls = true;
  lane.memory.put(LANE.RECALLED, 0);
  lane.memory.put(LANE.RECALL_FROM, 1);
  lane.done();
}

/** Goes on for a slice. @returns whether all is done: the lane can be handed to the new persister */
export function stepRecall(lane: LaneState): boolean {
  if (lane.storeAnswers.refresh()) return false; // I1
  const { memory, owned } = lane;
  const recalled = memory.get(LANE.RECALLED);
  if (recalled < owned.length) {
    const index = owned[recalled]!;
    const isForgotten = lane.forgetsFlights(index);
    const from = isForgotten
      ? 0
      : lane.partition(index).failFlights(memory.get(LANE.RECALL_FROM), RECALL_STEPS);
    memory.put(LANE.RECALL_FROM, from === 0 ? 1 : from);
    if (from === 0) {
      lane.unsavedAges.lost(index, lane.tick);
      memory.put(LANE.RECALLED, recalled + 1);
    }
    lane.done();
    return false;
  }
  lane.flushes.drop();
  lane.loads.drop();
  sendLoadsAgain(lane);
  lane.recalls = false;
  lane.roomMayBe = true;
  return true;
}

/** I3 */
function sendLoadsAgain(lane: LaneState): void {
  const { holds, parking } = lane;
  for (let hold = 1; hold <= holds.used; hold++) {
    const kind = holds.get(hold, HOLD.KIND);
    if (kind === HOLD_STREAMING) {
      // What has been taken of its rows is on its way to the client: `serveWaiting` asks for all, and they are passed over.
      holds.set(hold, HOLD.KIND, HOLD_CLEANING);
      lane.waiting.push(hold);
    } else if (kind === HOLD_LOADING) {
      if (parking.isEmpty(hold))
        fail(lane, hold); // of a hot user, whom nobody has asked for
      else if (!loadAgain(lane, hold)) waitForRoom(lane, hold);
    }
    lane.done();
  }
}
