/** A shard without a thread, on the lane of a rig, and a user of many entries for it. */
import { MessageChannel } from 'node:worker_threads';
import { hashUser } from '../../engine/hash.js';
import type { LaneControlMemory } from '../../engine/lane-control.js';
import { ENTRY, ROW } from '../../engine/messages.js';
import type { UserSlot } from '../../engine/partition.js';
import type { Lane } from '../../workers/lane.js';
import { VERSIONS } from '../../workers/lane-options.js';
import { Shard } from '../../workers/shard.js';
import { createStats, THREAD_STATS } from '../../workers/stats.js';
import type { LaneRig } from './lane-rig.js';

export interface ShardRig {
  readonly shard: Shard;
  close(): void;
}

/** Attaches the lane. @param control  with one seat, 0, and one lane */
export function createShardRig(rig: LaneRig, control: LaneControlMemory): ShardRig {
  const { port1: port, port2: other } = new MessageChannel();
  const shard = new Shard(
    {
      port,
      versions: VERSIONS,
      service: rig.service,
      lanes: [rig.own],
      control,
      seat: 0,
      stats: createStats(THREAD_STATS),
      replay: null,
    },
    rig.clock,
  );
  return {
    shard,
    close() {
      shard.close();
      for (const each of [port, other]) each.close();
    },
  };
}

/** Brings a user with so many records into the lane's first partition. */
export function loadUser({ state }: Lane, userLo: number, records: number): UserSlot {
  const partition = state.partition(0);
  const user = partition.admitUser(hashUser(userLo, 0), userLo, 0);
  const row = new Int32Array(ROW.WORDS);
  for (let channel = 1; channel <= records; channel++) {
    row[ROW.ENTRY + ENTRY.CHANNEL_LO] = channel;
    partition.insertRow(user, row, 0);
    state.done();
  }
  partition.applyUserRow(user, 1, 0);
  state.done();
  return user;
}
