/** Hashes of 64-bit keys given as two words. Multiply-xorshift rounds with murmur3's constants; no BigInt. */

/** Spreads all 32 bits over all 32 bits (the finalizer of murmur3). */
export function mix(h: number): number {
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return h ^ (h >>> 16);
}

/** Of a user id. Its low bits choose the partition. */
export function hashUser(lo: number, hi: number): number {
  return mix(Math.imul(lo, 0xcc9e2d51) ^ (Math.imul(hi, 0x1b873593) + 0x3c6ef372));
}

/** Of a record's key, from the hash of its user. */
export function hashRecord(userHash: number, lo: number, hi: number, type: number): number {
  return mix(
    userHash ^ Math.imul(lo, 0x9e3779b1) ^ (Math.imul(hi, 0x27d4eb2f) + Math.imul(type, 0x165667b1)),
  );
}

/** Number of the partition that holds a user. @param partitions  a power of two */
export function partitionOf(userHash: number, partitions: number): number {
  return userHash & (partitions - 1);
}

/** Of a message id, to know the latest mention again; never 0, which means none. */
export function fingerprint(lo: number, hi: number): number {
  return mix(Math.imul(lo, 0x9e3779b1) ^ mix(hi + 0x3c6ef372)) || 1;
}
