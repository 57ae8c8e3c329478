/**
 * What a shard's thread is started with, and the file that a reload looks for: little, so that a thread that starts
 * beside others is in the background before it loads its code. Piscina calls it.
 */
import { LaneControl } from '../engine/lane-control.js';
import { enterBackground } from './background.js';
import type { ShardOptions } from './lane-options.js';

export default async function shardThread(options: ShardOptions): Promise<void> {
  const control = new LaneControl(options.control);
  // If it has lanes, the service begins: nobody is served yet, and the sooner it begins the better.
  const joins = options.lanes.every(({ lane }) => control.ownerOf(lane) !== options.seat);
  if (joins) enterBackground(control, options.seat);
  const { runShard } = await import('./shard-task.js');
  await runShard(options, joins);
}
