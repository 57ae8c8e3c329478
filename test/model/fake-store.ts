/**
 * A store that keeps what the contract of messages.ts asks: each row remembers the clock of its last write, nothing
 * older overwrites it, and a wipe drops what is older than its own clock. Groups may be applied in any order.
 */
import { joinWords } from '../../engine/ids.js';
import { META_DELETED, META_ENTRY_MASK, META_STORED, META_TYPE_MASK } from '../../engine/layout.js';
import { ENTRY, FLUSH, FLUSH_ROW, FLUSH_WIPE, ROW } from '../../engine/messages.js';
import { joinId, keyOf } from './partition-model.js';

interface StoredRow {
  clock: number;
  /** ROW words, null = deleted. */
  words: Int32Array | null;
}
interface StoredUser {
  clock: number;
  wipeClock: number;
  version: number;
  deletedVersion: number;
  rows: Map<string, StoredRow>;
}

/** What a load saw. */
export interface Snapshot {
  version: number;
  deletedVersion: number;
  /** ROW words, by key. */
  rows: Map<string, Int32Array>;
}

export function flushClock(group: Int32Array): number {
  return joinWords(group[FLUSH.CLOCK_LO]!, group[FLUSH.CLOCK_HI]!);
}

export class FakeStore {
  readonly users = new Map<bigint, StoredUser>();

  /** Stores one FLUSH message. */
  apply(group: Int32Array): void {
    const id = joinId(group[FLUSH.USER_LO]!, group[FLUSH.USER_HI]!);
    const clock = flushClock(group);
    let user = this.users.get(id);
    if (user === undefined) {
      user = { clock: 0, wipeClock: 0, version: 0, deletedVersion: 0, rows: new Map() };
      this.users.set(id, user);
    }
    if (clock > user.clock) {
      user.clock = clock;
      user.version = group[FLUSH.VERSION]!;
      // 0 of a user restored from a journal, of whom the store may know more.
      user.deletedVersion = group[FLUSH.DELETED_VERSION]! || user.deletedVersion;
    }
    if ((group[FLUSH.KIND]! & FLUSH_WIPE) !== 0 && clock > user.wipeClock) {
      user.wipeClock = clock;
      for (const [key, row] of user.rows) if (row.clock < clock) user.rows.delete(key);
    }
    for (let i = 0; i < group[FLUSH.COUNT]!; i++) {
      const at = FLUSH.WORDS + i * FLUSH_ROW.WORDS + FLUSH_ROW.ROW;
      const words = group.slice(at, at + ROW.WORDS);
      const meta = words[ROW.ENTRY + ENTRY.META]!;
      const key = keyOf(
        joinId(words[ROW.ENTRY + ENTRY.CHANNEL_LO]!, words[ROW.ENTRY + ENTRY.CHANNEL_HI]!),
        meta & META_TYPE_MASK,
      );
      words[ROW.ENTRY + ENTRY.META] = meta & META_ENTRY_MASK;
      // The deletion of a row that cannot be there is left out.
      if ((meta & (META_DELETED | META_STORED)) === META_DELETED) continue;
      if (clock < user.wipeClock || clock < (user.rows.get(key)?.clock ?? 0)) continue;
      user.rows.set(key, { clock, words: (meta & META_DELETED) !== 0 ? null : words });
    }
  }

  /** What is stored of a user now; `keys`: only these rows. */
  snapshot(id: bigint, keys: readonly string[] | null): Snapshot {
    const user = this.users.get(id);
    const rows = new Map<string, Int32Array>();
    for (const [key, row] of user?.rows ?? []) {
      if (row.words !== null && (keys === null || keys.includes(key))) rows.set(key, row.words);
    }
    return { version: user?.version ?? 0, deletedVersion: user?.deletedVersion ?? 0, rows };
  }
}
