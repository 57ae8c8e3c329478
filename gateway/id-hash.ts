/**
 * A hash of ids that nobody outside can foresee: whoever chooses ids cannot have all of them meet in one bucket, where each
 * would be compared with all before it.
 */
import { randomInt } from 'node:crypto';
import { mix } from '../engine/hash.js';

/** Of this process. */
const SEED = randomInt(2 ** 32) | 0;

/** 32 bits. */
export function hashId(lo: number, hi: number): number {
  return mix(mix(lo ^ SEED) ^ hi);
}
