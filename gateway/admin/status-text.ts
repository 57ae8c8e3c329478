/** `/admin/status` as text for a terminal: the same for `tidemark status` and `tidemark top`. */
import { formatBytes, formatCount, formatMs, formatPart } from './format.js';
import { frontBusyText, refusedPerS, shardCountText } from './status-figures.js';
import type { AdminStatus, LatencyStatus, ShardStatus, SlowStatus, ThreadStatus } from './status-types.js';

/** Rows of a table that can be long. */
const ROWS = 10;
const PARTITIONS_A_LINE = 16;

/** Columns, the first to the left and the others to the right; the header dimmed by `dim`. */
function table(rows: readonly (readonly string[])[], dim: (text: string) => string): string[] {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  return rows.map((row, i) => {
    const line = row
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!)))
      .join('  ');
    return i === 0 ? dim(line) : line;
  });
}

/** How to write what is less or more important; plain where there are no colours. */
export interface Style {
  readonly dim: (text: string) => string;
  readonly bold: (text: string) => string;
  readonly warn: (text: string) => string;
}
export const PLAIN: Style = { dim: (text) => text, bold: (text) => text, warn: (text) => text };
export const ANSI: Style = {
  dim: (text) => `\x1b[2m${text}\x1b[22m`,
  bold: (text) => `\x1b[1m${text}\x1b[22m`,
  warn: (text) => `\x1b[33m${text}\x1b[39m`,
};

/** @returns lines, without their ends */
export function statusLines(status: AdminStatus, style: Style): string[] {
  return [
    ...summary(status, style),
    '',
    ...latencyTable(status, style),
    '',
    ...shardTable(status, style),
    '',
    ...threadTable(status, style),
    '',
    ...partitionMap(status, style),
    ...hotTable(status, style),
    ...slowTable(status, style),
  ];
}

function summary(status: AdminStatus, { bold, dim, warn }: Style): string[] {
  const { totals, settings, store, journal } = status;
  const refused = refusedPerS(status);
  const reloading = status.partitions.filter((each) => each.reloading).map(({ partition }) => partition);
  const up = formatMs(status.uptime_s * 1000);
  const item = (name: string, value: string): string => `${dim(name)} ${value}`;
  return [
    `${bold('tidemark')} ${status.version}  ${status.state}  ${item('up', up)}  ${item('pid', String(status.pid))}  ${item('node', status.node)}  ${item('shards', shardCountText(settings))}  ${item('store', settings.store)}  ${item('durability', settings.durability)}`,
    [
      item('operations/s', bold(formatCount(totals.operations_per_s))),
      item('hits', formatPart(totals.hit_ratio)),
      refused > 0 ? warn(`refused/s ${formatCount(refused)}`) : item('refused/s', '0'),
      totals.front_busy_per_s > 0 ? warn(`by the front since the start: ${frontBusyText(status)}`) : '',
      item('waiting', formatCount(totals.parked)),
      item('events/s', formatCount(totals.events_per_s)),
      totals.shards_replaced > 0 ? warn(`threads of shards replaced ${totals.shards_replaced} times`) : '',
    ]
      .filter((text) => text !== '')
      .join('   '),
    [
      item(
        'records',
        `${formatCount(totals.records)} of ${formatCount(totals.records_max)} (${formatPart(totals.records / Math.max(1, totals.records_max))})`,
      ),
      item('users', formatCount(totals.users)),
      item('evicted users/s', formatCount(totals.evicted_users_per_s)),
      item(
        'unsaved users',
        `${formatCount(totals.unsaved_users)}, the oldest ${formatMs(totals.oldest_unsaved_ms)}`,
      ),
      reloading.length > 0 ? warn(`partitions that come back from the journal: ${reloading.join(', ')}`) : '',
    ]
      .filter((text) => text !== '')
      .join('   '),
    [
      item('store loads/s', `${formatCount(store.loads_per_s)} (${formatMs(store.load_ms)} each)`),
      item('in flight', String(store.loads_in_flight)),
      item('rows written/s', formatCount(store.written_rows_per_s)),
      store.load_circuit === 'open' || store.write_circuit === 'open'
        ? warn('the store does not answer')
        : '',
      store.load_failures + store.write_failures > 0
        ? warn(`failures ${store.load_failures} loads, ${store.write_failures} writes`)
        : item('failures', '0'),
      store.persisters_replaced > 0 ? warn(`persister replaced ${store.persisters_replaced} times`) : '',
    ]
      .filter((text) => text !== '')
      .join('   '),
    ...(journal === null
      ? []
      : [
          [
            item(
              'journal',
              journal.state === 'writing' ? 'writing' : warn(`refuses changes: ${journal.state}`),
            ),
            item('changes/s', formatCount(journal.changes_per_s)),
            item('files', `${formatBytes(journal.file_bytes)} of ${formatBytes(journal.limit_bytes)}`),
            item('of these needed', formatBytes(journal.segment_bytes)),
          ].join('   '),
        ]),
  ];
}

function latencyTable({ latencies, window_s }: AdminStatus, { dim }: Style): string[] {
  if (latencies === null) return [dim('latencies: introspection is off')];
  const row = (one: LatencyStatus): string[] => [
    one.operation,
    formatCount(one.per_s),
    formatMs(one.p50_ms),
    formatMs(one.p90_ms),
    formatMs(one.p99_ms),
    formatMs(one.p999_ms),
    formatMs(one.max_ms),
  ];
  return table(
    [
      [`latency, last ${Math.round(window_s)} s`, 'per s', 'p50', 'p90', 'p99', 'p99.9', 'max since start'],
      ...latencies.map(row),
    ],
    dim,
  );
}

function shardTable({ shards }: AdminStatus, { dim }: Style): string[] {
  const row = (one: ShardStatus): string[] => [
    String(one.shard),
    formatCount(one.operations_per_s),
    formatPart(one.busy),
    formatPart(one.hit_ratio),
    one.lanes.join(' '),
    String(one.partitions.length),
    formatPart(one.records / Math.max(1, one.records_max)),
    formatCount(one.unsaved_users),
    formatCount(one.parked),
    ...Object.values(one.rings).map((ring) => formatPart(ring.filled_bytes / ring.capacity_bytes)),
  ];
  const header = [
    'shard',
    'operations/s',
    'busy',
    'hits',
    'lanes',
    'partitions',
    'full',
    'unsaved',
    'waiting',
  ];
  const rings = ['requests', 'replies', 'loads', 'flushes', 'store answers'];
  return table([[...header, ...rings], ...shards.map(row)], dim);
}

function threadTable({ threads }: AdminStatus, { dim }: Style): string[] {
  const row = (one: ThreadStatus): string[] => [
    one.thread,
    formatMs(one.gc_ms_per_s),
    formatMs(one.gc_pause_max_ms),
    formatBytes(one.heap_used_bytes),
    formatMs(one.loop_delay_p99_ms),
    formatMs(one.loop_delay_max_ms),
    formatMs(one.turn_max_ms),
  ];
  const header = ['thread', 'gc per s', 'longest gc', 'heap', 'loop delay p99', 'max', 'longest turn'];
  return table([header, ...threads.map(row)], dim);
}

/** How full each partition is, with its owner. */
function partitionMap({ partitions }: AdminStatus, { dim }: Style): string[] {
  const lines = [dim('partitions: shard:filled')];
  for (let at = 0; at < partitions.length; at += PARTITIONS_A_LINE) {
    const cells = partitions.slice(at, at + PARTITIONS_A_LINE).map(({ shard, records, records_max }) => {
      const filled = Math.floor((records / Math.max(1, records_max)) * 100);
      return `${shard ?? '-'}:${filled}%`.padEnd(6);
    });
    lines.push(`${dim(String(at).padStart(3))}  ${cells.join(' ')}`);
  }
  return lines;
}

function hotTable({ hot }: AdminStatus, { dim }: Style): string[] {
  if (hot === null || hot.users.length + hot.channels.length === 0) return [];
  const rows: string[][] = [['hot user', 'per s', '  hot channel', 'per s']];
  for (let i = 0; i < Math.min(ROWS, Math.max(hot.users.length, hot.channels.length)); i++) {
    const user = hot.users[i];
    const channel = hot.channels[i];
    rows.push([
      user?.user_id ?? '',
      user === undefined ? '' : formatCount(user.per_s),
      channel?.channel_id ?? '',
      channel === undefined ? '' : formatCount(channel.per_s),
    ]);
  }
  return ['', ...table(rows, dim)];
}

function slowTable({ slow }: AdminStatus, { dim }: Style): string[] {
  if (slow === null || slow.length === 0) return [];
  const row = (one: SlowStatus): string[] => [
    one.operation,
    one.user_id,
    one.channel_id ?? '',
    formatMs(one.total_ms),
    formatMs(one.ring_ms),
    formatMs(one.load_ms),
    formatMs(one.room_ms),
    formatMs(one.cursor_ms),
    formatMs(one.behind_ms),
    one.ended.slice(11, 19),
  ];
  const header = [
    'slowest',
    'user',
    'channel',
    'total',
    'ring',
    'load',
    'room',
    'cursor',
    'behind',
    'ended (UTC)',
  ];
  return ['', ...table([header, ...slow.slice(0, ROWS).map(row)], dim)];
}
