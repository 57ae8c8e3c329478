/**
 * The wipes that a journal's replay has met: rows that come later and are older are of before the wipe. Lives on the
 * heap, from the first wipe of a replay to the first epoch after it.
 */
import { isLater } from './versions.js';

export class RestoredWipes {
  /** Versions by high, then low word of the user's id: no object is made for a look. */
  readonly #versions = new Map<number, Map<number, number>>();

  add(userLo: number, userHi: number, version: number): void {
    let users = this.#versions.get(userHi);
    if (users === undefined) {
      users = new Map();
      this.#versions.set(userHi, users);
    }
    const known = users.get(userLo);
    if (known === undefined || isLater(version, known)) users.set(userLo, version);
  }

  /** Whether a row of this version was dropped by a wipe. */
  covers(userLo: number, userHi: number, version: number): boolean {
    const wiped = this.#versions.get(userHi)?.get(userLo);
    return wiped !== undefined && isLater(wiped, version);
  }

  clear(): void {
    this.#versions.clear();
  }
}
