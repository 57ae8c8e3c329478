/** Versions: 32 bits that wrap, compared by their distance. 0 stands for none yet. */

/** Whether `version` is after `other`. */
export function isLater(version: number, other: number): boolean {
  return ((version - other) | 0) > 0;
}

/** The later of two versions, of which any may be 0. */
export function laterVersion(version: number, other: number): number {
  if (version === 0) return other;
  return other !== 0 && isLater(other, version) ? other : version;
}
