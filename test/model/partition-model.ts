/**
 * What the read states must be: plain Maps, no residency, no store, no slots. Every operation has an answer here,
 * whatever the real partition has to load, evict or flush before it can give the same one.
 */
import { META_FLAGS_SHIFT, META_TYPE_MASK, META_VIEWED_SHIFT } from '../../engine/layout.js';
import { MENTION_WINDOW } from '../../engine/mention-window.js';
import {
  ACK_EXTRA,
  BULK_ITEM,
  ENTRY,
  OP_ACK,
  OP_ACK_BULK,
  OP_DELETE,
  OP_DELETE_USER,
  OP_GET,
  OP_MENTION,
  OP_PIN_ACK,
  OP_SUBSCRIBE,
  OP_UNSUBSCRIBE,
  REQUEST,
  REQUEST_HAS_COUNT,
  REQUEST_HAS_EXTRA,
  REQUEST_HAS_FLAGS,
  REQUEST_HAS_VIEWED,
  REQUEST_MANUAL,
  STATUS_BUSY,
  STATUS_DUPLICATE,
  STATUS_OK,
  STATUS_SUPPRESSED,
  STATUS_UNKNOWN,
} from '../../engine/messages.js';

const COUNT_MAX = 0x7fffffff;

export interface ModelEntry {
  channel: bigint;
  type: number;
  message: bigint;
  count: number;
  flags: number;
  /** 0 = null, else last_viewed + 1. */
  viewed: number;
  pin: bigint;
  version: number;
  /** Message of the latest mention that had one. */
  latestMention: bigint;
}

export interface ModelUser {
  version: number;
  deletedVersion: number;
  entries: Map<string, ModelEntry>;
  /** Versions at which the entries were deleted that are not there. */
  deletions: Map<string, number>;
  /** After a crash: `deletedVersion` is at least the latest of `deletions`, as far as the store knows. */
  isDeletedVague: boolean;
}

export interface Operation {
  op: number;
  flags: number;
  user: bigint;
  channel: bigint;
  type: number;
  /** Message id, ms, or since. */
  argument: bigint;
  count: number;
  entryFlags: number;
  viewed: number;
  items: { channel: bigint; type: number; message: bigint }[];
}

export interface Answer {
  status: number;
  changed: boolean;
  count: number;
  version: number;
  /** The entry as it now is, null if there is none. */
  entry: ModelEntry | null;
  /** Of an ack_bulk, one an item, each as it was just after that item. */
  entries: ModelEntry[];
  /** Keys of the entries that changed, in the order of their versions. */
  changedKeys: string[];
}

export function keyOf(channel: bigint, type: number): string {
  return `${channel}/${type}`;
}

function low(id: bigint): number {
  return Number(id & 0xffffffffn) | 0;
}
function high(id: bigint): number {
  return Number(id >> 32n) | 0;
}
export function joinId(lo: number, hi: number): bigint {
  return (BigInt(hi) << 32n) | BigInt(lo >>> 0);
}

/** The REQUEST words of an operation. */
export function encode(operation: Operation, requestId: number): Int32Array {
  const { op, flags, items } = operation;
  const hasExtra = (flags & REQUEST_HAS_EXTRA) !== 0;
  const words = new Int32Array(
    REQUEST.WORDS + (hasExtra ? ACK_EXTRA.WORDS : 0) + items.length * BULK_ITEM.WORDS,
  );
  words[REQUEST.HEAD] = op | (operation.type << 8) | flags;
  words[REQUEST.REQUEST_ID] = requestId;
  words[REQUEST.USER_LO] = low(operation.user);
  words[REQUEST.USER_HI] = high(operation.user);
  words[REQUEST.CHANNEL_LO] = op === OP_ACK_BULK ? items.length : low(operation.channel);
  words[REQUEST.CHANNEL_HI] = op === OP_ACK_BULK ? 0 : high(operation.channel);
  words[REQUEST.ARGUMENT_LO] = low(operation.argument);
  words[REQUEST.ARGUMENT_HI] = high(operation.argument);
  if (hasExtra) {
    words[REQUEST.WORDS + ACK_EXTRA.MENTION_COUNT] = operation.count;
    words[REQUEST.WORDS + ACK_EXTRA.ENTRY_META] =
      (operation.entryFlags << META_FLAGS_SHIFT) | (operation.viewed << META_VIEWED_SHIFT);
  }
  items.forEach((item, i) => {
    const at = REQUEST.WORDS + i * BULK_ITEM.WORDS;
    words[at + BULK_ITEM.CHANNEL_LO] = low(item.channel);
    words[at + BULK_ITEM.CHANNEL_HI] = high(item.channel);
    words[at + BULK_ITEM.MESSAGE_LO] = low(item.message);
    words[at + BULK_ITEM.MESSAGE_HI] = high(item.message);
    words[at + BULK_ITEM.TYPE] = item.type;
  });
  return words;
}

/** What ENTRY words say, but for the latest mention, which they do not carry. */
export function decodeEntry(words: Int32Array, at: number): Omit<ModelEntry, 'latestMention'> {
  const meta = words[at + ENTRY.META]!;
  return {
    channel: joinId(words[at + ENTRY.CHANNEL_LO]!, words[at + ENTRY.CHANNEL_HI]!),
    type: meta & META_TYPE_MASK,
    message: joinId(words[at + ENTRY.MESSAGE_LO]!, words[at + ENTRY.MESSAGE_HI]!),
    count: words[at + ENTRY.MENTION_COUNT]!,
    flags: (meta >>> META_FLAGS_SHIFT) & 0xff,
    viewed: meta >>> META_VIEWED_SHIFT,
    pin: joinId(words[at + ENTRY.PIN_LO]!, words[at + ENTRY.PIN_HI]!),
    version: words[at + ENTRY.VERSION]!,
  };
}

export class PartitionModel {
  readonly users = new Map<bigint, ModelUser>();
  readonly watched = new Set<bigint>();
  /** Keys of the last applied mentions, oldest first, and how often each is among them. */
  readonly #mentions: string[] = [];
  readonly #mentionCounts = new Map<string, number>();

  constructor(
    readonly lastWrite: boolean,
    readonly watchedMax: number,
  ) {}

  /** Forgets what no store keeps. */
  restart(): void {
    this.watched.clear();
    this.#mentions.length = 0;
    this.#mentionCounts.clear();
  }

  /**
   * Forgets what neither a store nor a journal keeps: also when something was deleted that is there again, and whether
   * a carried image of a deletion has a later version.
   */
  crash(): void {
    this.restart();
    for (const user of this.users.values()) user.isDeletedVague = true;
  }

  /** Whether the version may be that of the user's latest deletion. `isKnown`: with what the store knows. */
  isDeletedVersion(id: bigint, version: number, isKnown: boolean): boolean {
    const user = this.user(id);
    if (!user.isDeletedVague) return version === user.deletedVersion;
    return version <= user.version && (!isKnown || version >= Math.max(0, ...user.deletions.values()));
  }

  user(id: bigint): ModelUser {
    let user = this.users.get(id);
    if (user === undefined) {
      user = {
        version: 0,
        deletedVersion: 0,
        entries: new Map(),
        deletions: new Map(),
        isDeletedVague: false,
      };
      this.users.set(id, user);
    }
    return user;
  }

  /** Entries in (channel, type) order that changed after `since`. */
  list(id: bigint, since: number): ModelEntry[] {
    return [...this.user(id).entries.values()]
      .filter((entry) => entry.version > since)
      .sort((a, b) => (a.channel === b.channel ? a.type - b.type : a.channel < b.channel ? -1 : 1));
  }

  /** @param isComplete  the real partition has all of the user, so that it knows when nothing is there to delete */
  apply(operation: Operation, isComplete: boolean): Answer {
    const user = this.user(operation.user);
    const entry = user.entries.get(keyOf(operation.channel, operation.type)) ?? null;
    switch (operation.op) {
      case OP_GET:
        return this.#answer(entry === null ? STATUS_UNKNOWN : STATUS_OK, false, entry);
      case OP_ACK:
        return this.#ack(user, operation);
      case OP_PIN_ACK:
        return this.#pinAck(user, operation);
      case OP_MENTION:
        return this.#mention(user, operation, entry);
      case OP_DELETE:
        return this.#delete(user, entry);
      case OP_DELETE_USER:
        return this.#deleteUser(user, isComplete);
      case OP_ACK_BULK:
        return this.#ackBulk(user, operation);
      case OP_SUBSCRIBE:
        if (!this.watched.has(operation.user) && this.watched.size >= this.watchedMax) {
          return this.#answer(STATUS_BUSY, false, null);
        }
        this.watched.add(operation.user);
        return this.#answer(STATUS_OK, false, null);
      case OP_UNSUBSCRIBE:
        this.watched.delete(operation.user);
        return this.#answer(STATUS_OK, false, null);
      default:
        throw new Error(`the model has no operation ${operation.op}`);
    }
  }

  #answer(status: number, changed: boolean, entry: ModelEntry | null): Answer {
    return {
      status,
      changed,
      count: entry?.count ?? 0,
      version: entry?.version ?? 0,
      entry: entry === null ? null : { ...entry },
      entries: [],
      changedKeys: changed && entry !== null ? [keyOf(entry.channel, entry.type)] : [],
    };
  }

  #entryFor(user: ModelUser, channel: bigint, type: number): { entry: ModelEntry; fresh: boolean } {
    const found = user.entries.get(keyOf(channel, type));
    if (found !== undefined) return { entry: found, fresh: false };
    const entry: ModelEntry = {
      channel,
      type,
      message: 0n,
      count: 0,
      flags: 0,
      viewed: 0,
      pin: 0n,
      version: 0,
      latestMention: 0n,
    };
    user.entries.set(keyOf(channel, type), entry);
    user.deletions.delete(keyOf(channel, type));
    return { entry, fresh: true };
  }

  #ack(user: ModelUser, operation: Operation): Answer {
    const { flags } = operation;
    const { entry, fresh } = this.#entryFor(user, operation.channel, operation.type);
    const exact = this.lastWrite || (flags & REQUEST_MANUAL) !== 0;
    if (!exact && operation.argument < entry.message) return this.#answer(STATUS_OK, false, entry);
    const after = {
      message: operation.argument,
      count: (flags & REQUEST_HAS_COUNT) !== 0 ? operation.count : 0,
      flags: (flags & REQUEST_HAS_FLAGS) !== 0 ? operation.entryFlags : entry.flags,
      viewed: (flags & REQUEST_HAS_VIEWED) !== 0 ? operation.viewed : entry.viewed,
    };
    const same =
      after.message === entry.message &&
      after.count === entry.count &&
      after.flags === entry.flags &&
      after.viewed === entry.viewed;
    if (same && !fresh) return this.#answer(STATUS_OK, false, entry);
    Object.assign(entry, after, { version: ++user.version });
    return this.#answer(STATUS_OK, true, entry);
  }

  #pinAck(user: ModelUser, operation: Operation): Answer {
    const { entry, fresh } = this.#entryFor(user, operation.channel, operation.type);
    const moves = operation.argument > entry.pin || (this.lastWrite && operation.argument !== entry.pin);
    if (!moves && !fresh) return this.#answer(STATUS_OK, false, entry);
    entry.pin = operation.argument;
    entry.version = ++user.version;
    return this.#answer(STATUS_OK, true, entry);
  }

  #mention(user: ModelUser, operation: Operation, found: ModelEntry | null): Answer {
    const message = operation.argument;
    const key = `${operation.user} ${operation.channel} ${operation.type} ${message}`;
    if (message !== 0n) {
      if (found !== null && found.message >= message) return this.#answer(STATUS_SUPPRESSED, false, found);
      if (found?.latestMention === message || this.#mentionCounts.has(key)) {
        return this.#answer(STATUS_DUPLICATE, false, found);
      }
    }
    const { entry } = this.#entryFor(user, operation.channel, operation.type);
    entry.count = Math.min(entry.count + 1, COUNT_MAX);
    entry.version = ++user.version;
    if (message !== 0n) {
      entry.latestMention = message;
      this.#remember(key);
    }
    return this.#answer(STATUS_OK, true, entry);
  }

  #remember(key: string): void {
    this.#mentions.push(key);
    this.#mentionCounts.set(key, (this.#mentionCounts.get(key) ?? 0) + 1);
    if (this.#mentions.length <= MENTION_WINDOW) return;
    const oldest = this.#mentions.shift()!;
    const count = this.#mentionCounts.get(oldest)! - 1;
    if (count === 0) this.#mentionCounts.delete(oldest);
    else this.#mentionCounts.set(oldest, count);
  }

  #delete(user: ModelUser, entry: ModelEntry | null): Answer {
    if (entry === null) return { ...this.#answer(STATUS_OK, false, null), version: user.version };
    user.entries.delete(keyOf(entry.channel, entry.type));
    user.version++;
    user.deletedVersion = user.version;
    user.deletions.set(keyOf(entry.channel, entry.type), user.version);
    user.isDeletedVague = false;
    return {
      ...this.#answer(STATUS_OK, true, null),
      version: user.version,
      changedKeys: [keyOf(entry.channel, entry.type)],
    };
  }

  #deleteUser(user: ModelUser, isComplete: boolean): Answer {
    const changed = user.entries.size > 0 || !isComplete;
    if (changed) {
      user.version++;
      user.deletedVersion = user.version;
      for (const key of user.entries.keys()) user.deletions.set(key, user.version);
      user.isDeletedVague = false;
      user.entries.clear();
    }
    return { ...this.#answer(STATUS_OK, changed, null), version: user.version };
  }

  #ackBulk(user: ModelUser, operation: Operation): Answer {
    const answers = operation.items.map((item) =>
      this.#ack(user, {
        ...operation,
        flags: 0,
        channel: item.channel,
        type: item.type,
        argument: item.message,
      }),
    );
    // A key that changed twice counts where it changed last.
    const keys = answers.flatMap((answer) => answer.changedKeys);
    const changedKeys = keys.filter((key, i) => keys.lastIndexOf(key) === i);
    return {
      ...this.#answer(STATUS_OK, changedKeys.length > 0, null),
      count: operation.items.length,
      version: user.version,
      entries: answers.map((answer) => answer.entry!),
      changedKeys,
    };
  }
}
