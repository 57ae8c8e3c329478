/** The tiles and tables: every figure of `/admin/status` that is not a chart. */
import { formatBytes, formatCount, formatMs, formatPart } from '../admin/format.js';
import { frontBusyText, refusedPerS, shardCountText } from '../admin/status-figures.js';
import type {
  AdminStatus,
  LatencyStatus,
  RingStatus,
  ShardStatus,
  SlowStatus,
  ThreadStatus,
} from '../admin/status-types.js';
import { bar, byId, type Column, element, showTable } from './dom.js';

/** A ring or partition this full is worth a look. */
const HIGH = 0.8;

interface Tile {
  readonly id: string;
  readonly name: string;
  readonly value: string;
  readonly note: string;
  readonly warn?: boolean;
}

function tilesOf(status: AdminStatus): Tile[] {
  const { totals, latencies, store, shards } = status;
  const all = latencies?.[0];
  const refused = refusedPerS(status);
  const busiest = shards.reduce((most, { busy }) => Math.max(most, busy), 0);
  const away = store.load_circuit === 'open' || store.write_circuit === 'open';
  const failures = store.load_failures + store.write_failures;
  return [
    {
      id: 'operations',
      name: 'Operations/s',
      value: formatCount(totals.operations_per_s),
      note: `${formatCount(totals.operations)} since the start`,
    },
    {
      id: 'latency',
      name: 'p99 in service',
      value: formatMs(all?.p99_ms ?? null),
      note: `p99.9 ${formatMs(all?.p999_ms ?? null)}`,
    },
    {
      id: 'hits',
      name: 'Hit ratio',
      value: formatPart(totals.hit_ratio),
      note: `${formatCount(store.loads_per_s)} loads/s`,
    },
    {
      id: 'records',
      name: 'Records',
      value: formatCount(totals.records),
      note: `${formatPart(totals.records / Math.max(1, totals.records_max))} of ${formatCount(totals.records_max)}`,
    },
    {
      id: 'unsaved',
      name: 'Unsaved users',
      value: formatCount(totals.unsaved_users),
      note: totals.unsaved_users === 0 ? 'all is saved' : `the oldest ${formatMs(totals.oldest_unsaved_ms)}`,
    },
    {
      id: 'refused',
      name: 'Refused/s',
      value: formatCount(refused),
      note: `${formatCount(totals.limited_per_s)} of them limited, ${formatCount(totals.front_busy_per_s)} by the front`,
      warn: refused > 0,
    },
    {
      id: 'store',
      name: 'Rows written/s',
      value: formatCount(store.written_rows_per_s),
      note: away
        ? 'the store does not answer'
        : failures === 0
          ? 'no failures'
          : `${formatCount(failures)} failures`,
      warn: away || failures > 0,
    },
    {
      id: 'busy',
      name: 'Busiest shard',
      value: formatPart(busiest),
      note: `${formatCount(totals.parked)} operations wait`,
    },
  ];
}

function meter(part: number): Node {
  const group = document.createDocumentFragment();
  group.append(formatPart(part), bar(part, { class: part >= HIGH ? 'meter high' : 'meter' }));
  return group;
}

function ring({ filled_bytes, capacity_bytes }: RingStatus): string {
  return formatPart(filled_bytes / capacity_bytes);
}

const SHARD_COLUMNS: readonly Column<ShardStatus>[] = [
  { name: 'shard', of: ({ shard }) => String(shard) },
  { name: 'operations/s', of: (one) => formatCount(one.operations_per_s) },
  { name: 'busy', of: ({ busy }) => meter(busy) },
  { name: 'hits', of: ({ hit_ratio }) => formatPart(hit_ratio) },
  { name: 'partitions', of: ({ partitions }) => String(partitions.length) },
  { name: 'users', of: ({ users }) => formatCount(users) },
  { name: 'records', of: ({ records }) => formatCount(records) },
  { name: 'full', of: (one) => meter(one.records / Math.max(1, one.records_max)) },
  { name: 'unsaved users', of: (one) => formatCount(one.unsaved_users) },
  { name: 'waiting', of: ({ parked }) => formatCount(parked) },
  { name: 'ring: requests', of: ({ rings }) => ring(rings.requests) },
  { name: 'replies', of: ({ rings }) => ring(rings.replies) },
  { name: 'loads', of: ({ rings }) => ring(rings.loads) },
  { name: 'flushes', of: ({ rings }) => ring(rings.flushes) },
  { name: 'store answers', of: ({ rings }) => ring(rings.store_answers) },
];

const LATENCY_COLUMNS: readonly Column<LatencyStatus>[] = [
  { name: 'operation', of: ({ operation }) => operation },
  { name: 'per second', of: ({ per_s }) => formatCount(per_s) },
  { name: 'p50', of: ({ p50_ms }) => formatMs(p50_ms) },
  { name: 'p90', of: ({ p90_ms }) => formatMs(p90_ms) },
  { name: 'p99', of: ({ p99_ms }) => formatMs(p99_ms) },
  { name: 'p99.9', of: ({ p999_ms }) => formatMs(p999_ms) },
  { name: 'longest ever', of: ({ max_ms }) => formatMs(max_ms) },
];

const THREAD_COLUMNS: readonly Column<ThreadStatus>[] = [
  { name: 'thread', of: ({ thread }) => thread },
  { name: 'gc per second', of: (one) => formatMs(one.gc_ms_per_s) },
  { name: 'longest gc', of: (one) => formatMs(one.gc_pause_max_ms) },
  { name: 'heap', of: (one) => formatBytes(one.heap_used_bytes) },
  { name: 'loop delay p99', of: (one) => formatMs(one.loop_delay_p99_ms) },
  { name: 'longest', of: (one) => formatMs(one.loop_delay_max_ms) },
  { name: 'longest turn', of: (one) => formatMs(one.turn_max_ms) },
];

const SLOW_COLUMNS: readonly Column<SlowStatus>[] = [
  { name: 'operation', of: ({ operation }) => operation },
  { name: 'user', of: ({ user_id }) => user_id, className: 'mono' },
  { name: 'channel', of: ({ channel_id }) => channel_id, className: 'mono' },
  { name: 'total', of: ({ total_ms }) => formatMs(total_ms) },
  { name: 'in the ring', of: ({ ring_ms }) => formatMs(ring_ms) },
  { name: 'for the store', of: ({ load_ms }) => formatMs(load_ms) },
  { name: 'for room', of: ({ room_ms }) => formatMs(room_ms) },
  { name: 'for a cursor', of: ({ cursor_ms }) => formatMs(cursor_ms) },
  { name: 'behind others', of: ({ behind_ms }) => formatMs(behind_ms) },
  { name: 'ended', of: ({ ended }) => new Date(ended).toLocaleTimeString() },
];

interface Pair {
  readonly name: string;
  readonly value: string;
}
const PAIR_COLUMNS: readonly Column<Pair>[] = [
  { name: 'what', of: ({ name }) => name },
  { name: 'now', of: ({ value }) => value },
];

function journalPairs({ journal }: AdminStatus): Pair[] {
  if (journal === null) return [];
  return [
    { name: 'journal', value: journal.state === 'writing' ? 'writing' : `refuses changes: ${journal.state}` },
    {
      name: 'journal: files, of these needed',
      value: `${formatBytes(journal.file_bytes)} of ${formatBytes(journal.limit_bytes)}, ${formatBytes(journal.segment_bytes)}`,
    },
    {
      name: 'journal: changes, bytes per second',
      value: `${formatCount(journal.changes_per_s)}, ${formatBytes(Math.round(journal.written_bytes_per_s))}`,
    },
  ];
}

function pairsOf(status: AdminStatus): Pair[] {
  const { store, front } = status;
  return [
    ...journalPairs(status),
    { name: 'loads in flight', value: formatCount(store.loads_in_flight) },
    { name: 'time of a load', value: formatMs(store.load_ms) },
    { name: 'groups of writes in flight', value: formatCount(store.writes_in_flight) },
    { name: 'time of a batch of writes', value: formatMs(store.write_ms) },
    {
      name: 'failures of loads, of writes',
      value: `${formatCount(store.load_failures)}, ${formatCount(store.write_failures)}`,
    },
    { name: 'circuit of loads, of writes', value: `${store.load_circuit}, ${store.write_circuit}` },
    {
      name: 'connections: HTTP, WebSocket',
      value: `${formatCount(front.http_connections)}, ${formatCount(front.websockets)}`,
    },
    { name: 'requests that wait', value: formatCount(front.requests_waiting) },
    { name: 'refused by the front', value: frontBusyText(status) },
    { name: 'not read by slow clients', value: formatBytes(front.backpressure_bytes) },
  ];
}

interface Hot {
  readonly id: string;
  readonly per_s: number;
}

function showHot(place: string, what: string, keys: readonly Hot[]): void {
  const most = Math.max(1, ...keys.map(({ per_s }) => per_s));
  const columns: readonly Column<Hot>[] = [
    { name: what, of: ({ id }) => id, className: 'mono' },
    { name: 'per second', of: ({ per_s }) => formatCount(per_s) },
    { name: '', of: ({ per_s }) => element('span', {}, bar(per_s / most, { class: 'meter' })) },
  ];
  showTable(byId(place), columns, keys.slice(0, 8), `no ${what} stands out`);
}

function showTiles(status: AdminStatus): void {
  byId('tiles').replaceChildren(
    ...tilesOf(status).map(({ id, name, value, note, warn }) =>
      element(
        'li',
        { 'data-tile': id, class: warn === true ? 'warn' : '' },
        element('span', { class: 'name' }, name),
        element('span', { class: 'value' }, value),
        element('span', { class: 'note', title: note }, note),
      ),
    ),
  );
}

function showFacts({ settings, version, node, uptime_s, pid, totals, store }: AdminStatus): void {
  const facts: [string, string][] = [
    ['up', formatMs(uptime_s * 1000)],
    ['version', version],
    ['node', node],
    ['pid', String(pid)],
    ['shards', shardCountText(settings)],
    ['store', settings.store],
    ['durability', settings.durability],
    ['flush delay', formatMs(settings.flush_delay_ms)],
    ['spare threads', String(totals.spare_threads)],
    [
      'replaced threads',
      `${totals.shards_replaced} of shards, ${store.persisters_replaced} of the persister`,
    ],
  ];
  byId('facts').replaceChildren(
    ...facts.map(([name, value]) => element('div', {}, element('dt', {}, name), element('dd', {}, value))),
  );
}

export function showFigures(status: AdminStatus): void {
  const off = 'introspection is switched off';
  showFacts(status);
  showTiles(status);
  showTable(byId('shards'), SHARD_COLUMNS, status.shards, 'no shards');
  showTable(byId('latencies'), LATENCY_COLUMNS, status.latencies ?? [], off, ({ operation }) =>
    operation === 'all' ? 'all' : '',
  );
  showTable(byId('threads'), THREAD_COLUMNS, status.threads, 'no threads');
  showTable(byId('store'), PAIR_COLUMNS, pairsOf(status), '');
  showHot(
    'hot-users',
    'user',
    (status.hot?.users ?? []).map(({ user_id: id, per_s }) => ({ id, per_s })),
  );
  showHot(
    'hot-channels',
    'channel',
    (status.hot?.channels ?? []).map(({ channel_id: id, per_s }) => ({ id, per_s })),
  );
  const none = status.slow === null ? off : 'none took a millisecond';
  showTable(byId('slow'), SLOW_COLUMNS, (status.slow ?? []).slice(0, 12), none);
}
