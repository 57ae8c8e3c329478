/** The look at a slab partition that is taken each time it is attached. */
import { assert } from './layout.js';
import { RETRY_QUEUES } from './retry.js';
import { HEADER, type SlabMemory } from './slab-memory.js';

/**
 * What the header says of itself, in O(1): whoever attaches a partition that somebody else left looks at this before the
 * first operation. Only `checkSlab` (slab-check.ts) sees what lies behind it.
 */
export function checkHead(memory: SlabMemory): void {
  const { header, options } = memory;
  checkCount(memory, 'records in use', HEADER.RECORD_COUNT, header[HEADER.RECORD_FRESH]! - 1);
  checkCount(memory, 'records ever used', HEADER.RECORD_FRESH, options.recordsMax + 1);
  checkCount(memory, 'users in use', HEADER.USER_COUNT, header[HEADER.USER_FRESH]! - 1);
  checkCount(memory, 'users ever used', HEADER.USER_FRESH, options.usersMax + 1);
  checkCount(memory, 'first free record', HEADER.RECORD_FREE, header[HEADER.RECORD_FRESH]! - 1);
  checkCount(memory, 'first free user', HEADER.USER_FREE, header[HEADER.USER_FRESH]! - 1);
  checkCount(memory, 'records of passive users', HEADER.PASSIVE_RECORDS, header[HEADER.RECORD_COUNT]!);
  checkCount(memory, 'epoch', HEADER.EPOCH, 1);
  checkCount(memory, 'watched users', HEADER.WATCHED_MAX, options.watchedMax);
  const counts = [HEADER.UNSAVED_0, HEADER.UNSAVED_1, HEADER.DETACHED_IN_FLIGHT, HEADER.RETRYING];
  for (const count of counts) checkCount(memory, 'users unsaved', count, header[HEADER.USER_COUNT]!);
  const ends: [number, number][] = [
    [HEADER.ACTIVE_NEWEST, HEADER.ACTIVE_OLDEST],
    [HEADER.PASSIVE_NEWEST, HEADER.PASSIVE_OLDEST],
    [HEADER.DIRTY_HEAD, HEADER.DIRTY_TAIL],
  ];
  for (let queue = 0; queue < RETRY_QUEUES; queue++)
    ends.push([HEADER.RETRY_HEADS + queue, HEADER.RETRY_TAILS + queue]);
  for (const [first, last] of ends) {
    checkCount(memory, 'end of a list', first, header[HEADER.USER_FRESH]! - 1);
    checkCount(memory, 'end of a list', last, header[HEADER.USER_FRESH]! - 1);
    const both = header[first] === 0 ? 0 : 1;
    assert(both === (header[last] === 0 ? 0 : 1), `a list of users has one end: word ${first}`);
  }
}

function checkCount(memory: SlabMemory, what: string, field: number, most: number): void {
  const found = memory.header[field]!;
  assert(found >= 0 && found <= most, `header of a partition: ${what}: ${found}, not 0 to ${most}`);
}
