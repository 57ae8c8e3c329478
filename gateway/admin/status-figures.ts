/** What of `/admin/status` is put together the same way in the terminal and in the console's page. */
import { formatCount } from './format.js';
import type { AdminStatus, StatusSettings } from './status-types.js';

/** Operations answered with any of the errors that a client should try again after. */
export function refusedPerS({ totals, journal }: AdminStatus): number {
  return totals.busy_per_s + totals.store_unavailable_per_s + (journal?.unavailable_per_s ?? 0);
}

/** `ring_full 12, max_pending 3`: what the front has refused since the start; `none` */
export function frontBusyText({ front }: AdminStatus): string {
  const met = Object.entries(front.busy).filter(([, count]) => count > 0);
  return met.length === 0
    ? 'none'
    : met.map(([reason, count]) => `${reason} ${formatCount(count)}`).join(', ');
}

/** `3 (auto)`, or `3 (fixed)` */
export function shardCountText({ shards, shards_automatic }: StatusSettings): string {
  return `${shards} (${shards_automatic ? 'auto' : 'fixed'})`;
}
