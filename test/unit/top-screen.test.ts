import { describe, expect, it } from 'vitest';
import { formatCount, formatMs } from '../../gateway/admin/format.js';
import { ANSI, PLAIN } from '../../gateway/admin/status-text.js';
import type { AdminStatus } from '../../gateway/admin/status-types.js';
import { TopScreen } from '../../gateway/admin/top-command.js';

const ring = { filled_bytes: 0, capacity_bytes: 4 };
const STATUS: AdminStatus = {
  time: '2026-01-01T00:00:00.000Z',
  uptime_s: 90,
  version: '1.0.0',
  node: 'v20.0.0',
  pid: 1,
  state: 'serving',
  window_s: 10,
  settings: {
    shards: 1,
    shards_automatic: true,
    lanes: 1,
    partitions: 1,
    capacity: 100,
    engine: 'slab',
    store: 'memory:',
    durability: 'none',
    flush_delay_ms: 1000,
    ack_order: 'forward',
    introspection: true,
  },
  totals: {
    operations: 5,
    operations_per_s: 1234567,
    busy_per_s: 1,
    front_busy_per_s: 0,
    limited_per_s: 0,
    store_unavailable_per_s: 0,
    events_per_s: 0,
    hit_ratio: 0.987,
    records: 50,
    records_max: 100,
    users: 7,
    evicted_users: 0,
    evicted_users_per_s: 0,
    unsaved_users: 3,
    oldest_unsaved_ms: 2500,
    parked: 0,
    shards_replaced: 2,
    spare_threads: 1,
  },
  shards: [
    {
      shard: 0,
      lanes: [0],
      partitions: [0],
      operations_per_s: 1234567,
      busy: 0.5,
      hit_ratio: 1,
      records: 50,
      records_max: 100,
      users: 7,
      unsaved_users: 3,
      parked: 0,
      rings: { requests: ring, replies: ring, loads: ring, flushes: ring, store_answers: ring },
    },
  ],
  lanes: [{ lane: 0, shard: 0, attached: 1 }],
  partitions: [
    {
      partition: 0,
      lane: 0,
      shard: 0,
      records: 50,
      records_max: 100,
      users: 7,
      users_max: 25,
      unsaved_users: 3,
      oldest_unsaved_ms: 2500,
      evicted_users: 0,
      reloading: false,
    },
  ],
  threads: [],
  latencies: [
    { operation: 'all', per_s: 5, p50_ms: 0.05, p90_ms: 0.1, p99_ms: 1.5, p999_ms: 20, max_ms: 1500 },
  ],
  journal: null,
  store: {
    loads: 0,
    loads_per_s: 0,
    loads_in_flight: 0,
    load_failures: 0,
    load_timeouts: 0,
    loads_refused: 0,
    load_circuit: 'closed',
    write_circuit: 'closed',
    load_ms: null,
    written_rows: 0,
    written_rows_per_s: 0,
    writes_in_flight: 0,
    write_failures: 0,
    groups_refused: 0,
    persisters_replaced: 0,
    write_ms: null,
  },
  front: {
    requests_waiting: 0,
    http_connections: 0,
    websockets: 0,
    subscriptions: 0,
    backpressure_bytes: 0,
    list_bytes: 0,
    busy: { ring_full: 0, max_pending: 2 },
  },
  hot: { window_s: 5, users: [{ user_id: '77', per_s: 900 }], channels: [] },
  slow: null,
};

describe('top', () => {
  it('shows the figures, scales its bars to the largest, and keeps within the terminal', () => {
    const screen = new TopScreen(PLAIN);
    for (const rate of [0, 500_000, 1_000_000]) {
      screen.frame({ ...STATUS, totals: { ...STATUS.totals, operations_per_s: rate } }, 120, 50);
    }
    const lines = screen.frame(STATUS, 120, 50);
    expect(lines.find((line) => line.startsWith('operations/s'))).toMatch(/1\.23M {2}▁▄▇█$/);
    const text = lines.join('\n');
    for (const part of [
      '98.7%',
      '50 of 100 (50.0%)',
      '2.5 s',
      '1.5 ms',
      '0:50%',
      '77',
      'refused/s 1',
      'shards 1 (auto)',
    ])
      expect(text).toContain(part);
    const overloaded = { ...STATUS, totals: { ...STATUS.totals, front_busy_per_s: 1 } };
    expect(screen.frame(overloaded, 200, 50).join('\n')).toContain(
      'by the front since the start: max_pending 2',
    );
    const small = new TopScreen(PLAIN).frame(STATUS, 40, 8);
    expect(small).toHaveLength(8);
    expect(Math.max(...small.map((line) => line.length))).toBeLessThanOrEqual(40);
  });

  it('cuts coloured lines without leaving a colour on', () => {
    const lines = new TopScreen(ANSI).frame(STATUS, 30, 50);
    for (const line of lines) {
      const plain = line.replaceAll('\x1b[2m', '').replaceAll('\x1b[1m', '').replaceAll('\x1b[22m', '');
      const ends = line.replaceAll('\x1b[33m', '').replaceAll('\x1b[39m', '').split('\x1b[22m').length;
      expect(plain.replaceAll('\x1b[33m', '').replaceAll('\x1b[39m', '').length).toBeLessThanOrEqual(30);
      expect(line.split('\x1b[2m').length + line.split('\x1b[1m').length - 1).toBe(ends);
    }
  });

  it('writes numbers briefly', () => {
    expect([0, 7, 999, 1000, 12_345, 999_600, 2_500_000_000].map(formatCount)).toEqual([
      '0',
      '7',
      '999',
      '1.00k',
      '12.3k',
      '1.00M',
      '2.50G',
    ]);
    expect([null, 0, 0.0423, 12.34, 4210, 600_000].map(formatMs)).toEqual([
      '-',
      '0',
      '42 us',
      '12.3 ms',
      '4.21 s',
      '10 min',
    ]);
  });
});
