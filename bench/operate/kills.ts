/** Ends threads of shards at random instants, under load, and measures how long their lanes are silent. */
import { nowUs, sleep } from '../clock.js';
import { Random } from '../random.js';
import type { LatencySummary } from '../run-stats.js';
import type { CheckedLoad } from './checked-load.js';
import type { OperatedService } from './operated-service.js';

export interface KillPlan {
  readonly kills: number;
  /** From when a shard is served again to the next kill: at random between these. */
  readonly distanceMs: readonly [least: number, most: number];
  readonly seed: number;
}

export interface KillResult {
  /** From each kill to the end of the longest silence of a lane of the shard, in their order. */
  readonly servedMs: number[];
  /** From each kill to the next. */
  readonly distancesMs: number[];
  /** Operations on the shards that were hit, from the kill until they were served, and on the others meanwhile. */
  readonly struckMs: LatencySummary;
  readonly sparedMs: LatencySummary;
  /** Of all operations of the phase. */
  readonly allMs: LatencySummary;
}

/** This process's `nowUs` of a moment of the system's clock. */
function ownUs(systemUs: number): number {
  return systemUs - Number(process.hrtime.bigint()) / 1000 + nowUs();
}

/** @returns with the load still running */
export async function killShards(
  service: OperatedService,
  load: CheckedLoad,
  { kills, distanceMs: [least, most], seed }: KillPlan,
): Promise<KillResult> {
  const random = new Random(seed);
  const servedMs: number[] = [];
  const killedAtMs: number[] = [];
  const { shards } = await service.status();
  load.forget();
  for (let kill = 0; kill < kills; kill++) {
    await sleep(least + random.fraction() * (most - least));
    const { shard, lanes } = shards[random.below(shards.length)]!;
    load.watch(lanes, nowUs());
    const { killedUs, replacedUs } = await service.kill(shard);
    await replacedUs;
    const servedUs = await load.servedAgain();
    servedMs.push((servedUs - ownUs(killedUs)) / 1000);
    killedAtMs.push(killedUs / 1000);
  }
  return {
    servedMs,
    distancesMs: killedAtMs.slice(1).map((at, i) => at - killedAtMs[i]!),
    struckMs: load.struckMs,
    sparedMs: load.sparedMs,
    allMs: load.latencyMs,
  };
}
