/**
 * `tidemark serve` as it is, with two things that a test needs: the faults of the memory store, which are switched
 * while it runs, and what the process holds after a collection of garbage. Argument: the options as JSON.
 */
import { type OptionName, readConfig } from '../../gateway/config.js';
import { serve } from '../../gateway/serve.js';
import { createFaults, FAULTS } from '../../workers/stores/memory.js';
import { startWorkers } from '../../workers/supervisor.js';

export interface Fault {
  readonly fault: Exclude<keyof typeof FAULTS, 'WORDS'>;
  readonly value: number;
}
export interface Memory {
  /** Resident bytes; the largest so far; V8's heap; and buffers outside of it. */
  readonly rss: number;
  readonly rssMax: number;
  readonly heap: number;
  readonly buffers: number;
}
export type Order = Fault | 'memory';

const given = JSON.parse(process.argv[2]!) as Partial<Record<OptionName, string>>;
const storeFaults = createFaults();

process.on('message', (order: Order) => {
  if (order !== 'memory') {
    Atomics.store(new Int32Array(storeFaults), FAULTS[order.fault], order.value);
    process.send!('switched');
    return;
  }
  (globalThis as { gc?: () => void }).gc!();
  const { rss, heapUsed, arrayBuffers } = process.memoryUsage();
  process.send!({
    rss,
    rssMax: process.resourceUsage().maxRSS * 1024,
    heap: heapUsed,
    buffers: arrayBuffers,
  } satisfies Memory);
});
// It must not outlive the test.
process.on('disconnect', () => process.exit(3));

await serve(readConfig(given, {}), (options) => startWorkers({ ...options, storeFaults }));
