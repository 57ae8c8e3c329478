/** What a shard's thread is started with, and the file that a reload looks for. Piscina calls it. */
import { LaneControl } from '../engine/lane-control.js';
import type { ShardOptions } from './lane-options.js';
import { runShard } from './shard-task.js';

export default function shardThread(options: ShardOptions): Promise<void> {
  const control = new LaneControl(options.control);
  // If it has lanes, the service begins: nobody is served yet, and the sooner it begins the better.
  const joins = options.lanes.every(({ lane }) => control.ownerOf(lane) !== options.seat);
  return runShard(options, joins);
}
