/** Garbage collection pauses of the calling thread. */
import { PerformanceObserver } from 'node:perf_hooks';

/**
 * Calls `record` for each pause of this thread's collector. Entries arrive on the event loop: a thread that never
 * returns to it sees none.
 * @returns a function that ends the observation
 */
export function observeGc(record: (pauseMs: number) => void): () => void {
  const observer = new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) record(entry.duration);
  });
  observer.observe({ entryTypes: ['gc'] });
  return () => observer.disconnect();
}
