/** A clock for lanes and rehearsals that a test sets, or that goes on by itself each time it is read. */
import type { Clock } from '../../workers/clock.js';

export class ManualClock implements Clock {
  ms = 0;
  readonly #stepMs: number;

  /** @param stepMs  by which it goes on when it is read */
  constructor(stepMs = 0) {
    this.#stepMs = stepMs;
  }

  get us(): number {
    return (this.ms * 1000) | 0;
  }

  read(): void {
    this.ms += this.#stepMs;
  }
}
