/** The users that a mention or subscription names: a set, in the order of their first appearance. */
import { parsed } from '../engine/ids.js';
import type { Problem } from './errors.js';
import { hashId } from './id-hash.js';
import { readId } from './json-fields.js';

const USERS_MAX = 10_000;
/** An answer that lists thousands of wrong ids helps nobody. */
const PROBLEMS_MAX = 10;

/** Positions (from 1) of the ids seen, found by their hash: at least twice as many buckets as ids. */
const buckets = new Int32Array(32_768);

/** @returns the ids as (low, high) pairs, each once; empty when there is a problem */
export function readUsers(value: unknown, problems: Problem[]): Int32Array {
  if (!Array.isArray(value) || value.length < 1 || value.length > USERS_MAX) {
    problems.push({ path: 'user_ids', message: `must be an array of 1 to ${USERS_MAX} user ids` });
    return new Int32Array(0);
  }
  let mask = 1;
  while (mask < value.length * 2) mask *= 2;
  buckets.fill(0, 0, mask--);
  const users = new Int32Array(value.length * 2);
  let length = 0;
  let wrong = 0;
  for (let i = 0; i < value.length; i++) {
    if (!readId(value[i], `user_ids.${i}`, problems)) {
      if (++wrong === PROBLEMS_MAX) break;
      continue;
    }
    const { lo, hi } = parsed;
    let bucket = hashId(lo, hi) & mask;
    for (let seen = buckets[bucket]!; seen !== 0; seen = buckets[bucket]!) {
      if (users[seen - 1] === lo && users[seen] === hi) break;
      bucket = (bucket + 1) & mask;
    }
    if (buckets[bucket] !== 0) continue;
    users[length] = lo;
    users[length + 1] = hi;
    buckets[bucket] = length + 1;
    length += 2;
  }
  return wrong > 0 ? new Int32Array(0) : users.subarray(0, length);
}
