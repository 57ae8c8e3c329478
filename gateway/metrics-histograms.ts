/** Histograms whose buckets are counted elsewhere: prom-client has no way to fill one. */
import type { Metric, Registry } from 'prom-client';
import type { IntrospectionMemory } from '../workers/introspection/lane-introspection.js';
import { countBelow, countsOf, LATENCIES } from '../workers/introspection/latency-histogram.js';
import { type Counters, LATENCY_BOUNDS, OP_NAMES } from './counters.js';

/** Powers of two, which the finer buckets of the shards end at: 16 us to 8.4 s. */
const SERVICE_BOUNDS_US = Array.from({ length: 20 }, (_, i) => 2 ** (i + 4));
const SERVICE_BOUNDS = SERVICE_BOUNDS_US.map((us) => us / 1e6);

interface Counted {
  /** Of each bound: how many took no longer. */
  readonly upTo: readonly number[];
  readonly total: number;
  readonly seconds: number;
}

/**
 * @param bounds  of the buckets, in seconds
 * @param of      an operation's counts; null: it has none, and no samples
 */
function register(
  registry: Registry,
  name: string,
  help: string,
  bounds: readonly number[],
  of: (op: number) => Counted | null,
): void {
  const get = async (): Promise<unknown> => {
    const values: object[] = [];
    const add = (rest: string, labels: object, value: number): void => {
      values.push({ metricName: `${name}_${rest}`, labels, value });
    };
    OP_NAMES.forEach((operation, op) => {
      const counted = of(op);
      if (counted === null) return;
      bounds.forEach((le, i) => {
        add('bucket', { le, operation }, counted.upTo[i]!);
      });
      add('bucket', { le: '+Inf', operation }, counted.total);
      add('sum', { operation }, counted.seconds);
      add('count', { operation }, counted.total);
    });
    return { name, help, type: 'histogram', values, aggregator: 'sum' };
  };
  registry.registerMetric({ name, get, labelNames: ['operation'] } as unknown as Metric);
}

function sumOf(values: Iterable<number>): number {
  let sum = 0;
  for (const value of values) sum += value;
  return sum;
}

/** What the front counts of requests that it answers one at a time. */
export function registerRequestTimes(
  registry: Registry,
  name: string,
  help: string,
  times: Counters['http'],
): void {
  register(registry, name, help, LATENCY_BOUNDS, (op) => {
    const buckets = times.bucketsOf(op);
    const total = sumOf(buckets);
    if (total === 0) return null;
    let below = 0;
    const upTo = LATENCY_BOUNDS.map((_, i) => {
      below += buckets[i]!;
      return below;
    });
    return { upTo, total, seconds: times.secondsSum[op]! };
  });
}

/** From the request ring to the answer; nothing with introspection off. */
export function registerServiceTimes(
  registry: Registry,
  introspection: readonly IntrospectionMemory[],
): void {
  const name = 'tidemark_operation_duration_seconds';
  const help = 'From the request ring to the answer, of all shards.';
  const blocks = introspection.map(({ latencies }) => new Float64Array(latencies));
  register(registry, name, help, SERVICE_BOUNDS, (op) => {
    const counts = blocks.map((block) => countsOf(block, op));
    const total = sumOf(counts.map(sumOf));
    if (total === 0) return null;
    return {
      upTo: SERVICE_BOUNDS_US.map((bound) => sumOf(counts.map((of) => countBelow(of, bound)))),
      total,
      seconds: sumOf(blocks.map((block) => block[LATENCIES.SUM_US + op]!)) / 1e6,
    };
  });
}
