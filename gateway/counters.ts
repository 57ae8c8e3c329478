/** What the front counts: plain numbers in arrays, read by `/metrics`. Nothing here allocates or looks up by name. */
import {
  OP_ACK,
  OP_ACK_BULK,
  OP_BADGE,
  OP_DELETE,
  OP_DELETE_USER,
  OP_GET,
  OP_LIST,
  OP_MAX,
  OP_MENTION,
  OP_PIN_ACK,
  OP_PING,
  OP_SUBSCRIBE,
  OP_UNSUBSCRIBE,
} from '../engine/messages.js';

/** By OP_*; 0 is what was no operation (an unknown path, health, metrics). */
export const OP_NAMES: readonly string[] = Object.assign(new Array<string>(OP_MAX + 1).fill(''), {
  0: 'other',
  [OP_PING]: 'ping',
  [OP_GET]: 'get',
  [OP_LIST]: 'list',
  [OP_BADGE]: 'badge',
  [OP_ACK]: 'ack',
  [OP_MENTION]: 'mention',
  [OP_PIN_ACK]: 'pin_ack',
  [OP_DELETE]: 'delete',
  [OP_DELETE_USER]: 'delete_user',
  [OP_ACK_BULK]: 'ack_bulk',
  [OP_SUBSCRIBE]: 'subscribe',
  [OP_UNSUBSCRIBE]: 'unsubscribe',
});

/** Upper bounds of the latency buckets, in seconds: 50 us, doubled 16 times to 3.3 s. */
export const LATENCY_BOUNDS: readonly number[] = Array.from({ length: 17 }, (_, i) => 0.00005 * 2 ** i);
const BUCKETS = LATENCY_BOUNDS.length + 1;
const STATUSES = [200, 202, 204, 400, 401, 403, 404, 405, 409, 413, 415, 500, 503];

/** Bounds of the front, beyond which it answers operations busy itself. What shards refuse they count. */
const BUSY_REASONS = [
  'ring_full',
  'max_pending',
  'max_in_flight',
  'max_subscriptions',
  'max_list_memory',
  'max_backpressure_total',
  'queue_memory',
  'body_memory',
] as const;
type BusyReason = (typeof BUSY_REASONS)[number];

/** Requests by operation, and how long they took. */
class Latencies {
  readonly buckets = new Float64Array((OP_MAX + 1) * BUCKETS);
  readonly secondsSum = new Float64Array(OP_MAX + 1);

  observe(op: number, ms: number): void {
    const bucket = ms <= 0.05 ? 0 : Math.min(BUCKETS - 1, Math.ceil(Math.log2(ms / 0.05)));
    this.buckets[op * BUCKETS + bucket]!++;
    this.secondsSum[op]! += ms / 1000;
  }

  /** Requests in the bucket of each bound, and in the last beyond all bounds. */
  bucketsOf(op: number): Float64Array {
    return this.buckets.subarray(op * BUCKETS, (op + 1) * BUCKETS);
  }
}

export class Counters {
  readonly http = new Latencies();
  readonly json = new Latencies();
  readonly #statuses = new Float64Array((OP_MAX + 1) * STATUSES.length);
  httpAborted = 0;
  /** Long answers that are being sent, now. */
  httpSending = 0;
  binaryFrames = 0;
  /** By OP_*; 0 is what could not be understood. */
  readonly binaryOperations = new Float64Array(OP_MAX + 1);
  binaryInvalid = 0;
  binaryBusy = 0;
  /** Operations that the front answered busy, by the bound. */
  readonly busy = Object.fromEntries(BUSY_REASONS.map((reason) => [reason, 0])) as Record<BusyReason, number>;
  jsonFrames = 0;
  jsonErrors = 0;
  connectionsOpened = 0;
  upgradesRefused = 0;

  get busyTotal(): number {
    return Object.values(this.busy).reduce((total, count) => total + count, 0);
  }

  httpAnswered(op: number, status: number, ms: number): void {
    this.#statuses[op * STATUSES.length + STATUSES.indexOf(status)]!++;
    this.http.observe(op, ms);
  }

  /** Calls `visit` for each operation and status that occurred. */
  eachStatus(visit: (op: number, status: number, count: number) => void): void {
    this.#statuses.forEach((count, i) => {
      if (count > 0) visit(Math.floor(i / STATUSES.length), STATUSES[i % STATUSES.length]!, count);
    });
  }
}
