/** What of `/admin/status` is put together the same way in the terminal and in the console's page. */
import type { AdminStatus, StatusSettings } from './status-types.js';

/** Operations answered with any of the errors that a client should try again after. */
export function refusedPerS({ totals, journal }: AdminStatus): number {
  return totals.busy_per_s + totals.store_unavailable_per_s + (journal?.unavailable_per_s ?? 0);
}

/** `3 (auto)`, or `3 (fixed)` */
export function shardCountText({ shards, shards_automatic }: StatusSettings): string {
  return `${shards} (${shards_automatic ? 'auto' : 'fixed'})`;
}
