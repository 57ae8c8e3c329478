/** Has lanes go from thread to thread under load, by resizes and reloads, and measures what that takes and copies. */
import { sleep } from '../clock.js';
import { peakResidentBytes, residentBytes } from '../process-memory.js';
import type { LatencySummary } from '../run-stats.js';
import { StolenTime } from '../stolen-time.js';
import type { CheckedLoad } from './checked-load.js';
import type { OperatedService } from './operated-service.js';

/** What is summed up between two parts holds the load generator up, and is no part of either. */
const SETTLE_MS = 500;

export interface MovesResult {
  /** The same load just before. */
  readonly quietMs: LatencySummary;
  readonly allMs: LatencySummary;
  /** Each order, until it was answered. */
  readonly tookMs: number[];
  /** The longest request from each order to the next, and what the host took of the processors meanwhile. */
  readonly longest: { readonly ms: number; readonly stolenMs: number }[];
  /** The most that one thread had in buffers that it made itself; what it copied would be among them. */
  readonly buffersMax: number;
  /** By how much the process was larger at its largest than before, at all threads beside each other. */
  readonly grownBytes: number;
}

/**
 * @param orders   resizes and reloads, one after another
 * @param pauseMs  after each
 * @returns with the load still running
 */
export async function moveLanes(
  service: OperatedService,
  load: CheckedLoad,
  orders: readonly { readonly path: 'shards' | 'reload'; readonly body: object }[],
  pauseMs: number,
): Promise<MovesResult> {
  load.forget();
  await sleep(orders.length * pauseMs);
  const quietMs = load.latencyMs;
  const before = residentBytes(service.pid);
  service.forgetPeak();
  await sleep(SETTLE_MS);
  load.forget();
  const tookMs: number[] = [];
  const longest: MovesResult['longest'] = [];
  const stolen = new StolenTime();
  let buffersMax = 0;
  for (const { path, body } of orders) {
    load.forgetLongest();
    tookMs.push(await service.order(path, body));
    await sleep(pauseMs);
    for (const { buffer_bytes_max: bytes } of (await service.status()).threads)
      buffersMax = Math.max(buffersMax, bytes ?? 0);
    const { dueUs, answeredUs } = load.longest;
    longest.push({ ms: (answeredUs - dueUs) / 1000, stolenMs: stolen.between(dueUs, answeredUs) });
  }
  stolen.end();
  const allMs = load.latencyMs;
  return { quietMs, allMs, tookMs, longest, buffersMax, grownBytes: peakResidentBytes(service.pid) - before };
}
