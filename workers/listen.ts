/** How a thread with an event loop hears its doorbell. */
import type { Doorbell } from '../engine/doorbell.js';

/**
 * Calls `onRing` for each ring from now on. The caller then looks at its rings once by itself.
 * @returns ends it
 */
export function listenTo(doorbell: Doorbell, onRing: () => void): () => void {
  let hasEnded = false;
  const listen = (): void => {
    void doorbell.nextRing().then(() => {
      if (hasEnded) return;
      listen(); // first: `onRing` may have the thread sleep again
      onRing();
    });
  };
  listen();
  return () => {
    hasEnded = true;
  };
}
