/** The contract as a plain Map: what every call has to answer. Versions are followed, not foretold. */
import type { AckFields, BadgeAnswer, BulkItem, Entry } from './driver.js';

const COUNT_MAX = 2_147_483_647;

/** Its version is the caller's to set. */
type State = Entry;

type MentionOutcome = 'applied' | 'suppressed' | 'duplicates';

export class ServiceModel {
  /** Entries of each user, by channel and type. */
  readonly #users = new Map<string, Map<string, State>>();
  /** Mentions with a message that were counted. All of them are fewer than the window holds. */
  readonly #mentions = new Set<string>();

  #entriesOf(userId: string): Map<string, State> {
    let entries = this.#users.get(userId);
    if (entries === undefined) {
      entries = new Map();
      this.#users.set(userId, entries);
    }
    return entries;
  }

  get(userId: string, channel: string, type: number): State | null {
    return this.#entriesOf(userId).get(`${channel} ${type}`) ?? null;
  }

  /** All entries by (id, type). */
  list(userId: string): State[] {
    return [...this.#entriesOf(userId).values()].sort((a, b) => {
      const order = BigInt(a.id) - BigInt(b.id);
      return order === 0n ? a.read_state_type - b.read_state_type : order < 0n ? -1 : 1;
    });
  }

  badge(userId: string): BadgeAnswer {
    const mentioned = this.list(userId).filter((entry) => entry.mention_count > 0);
    const sum = mentioned.reduce((total, entry) => total + entry.mention_count, 0);
    return { mention_count: Math.min(sum, COUNT_MAX), unread_mention_channels: mentioned.length };
  }

  #entry(userId: string, channel: string, type: number): State {
    const entries = this.#entriesOf(userId);
    const key = `${channel} ${type}`;
    let entry = entries.get(key);
    if (entry === undefined) {
      entry = {
        id: channel,
        read_state_type: type,
        last_message_id: null,
        mention_count: 0,
        last_pin_timestamp: null,
        flags: 0,
        last_viewed: null,
        version: 0,
      };
      entries.set(key, entry);
    }
    return entry;
  }

  /** @returns whether it changed anything, and the entry, whose version is to be learnt */
  ack(userId: string, channel: string, message: string, fields: AckFields): [boolean, State] {
    const isNew = this.get(userId, channel, fields.type ?? 0) === null;
    const entry = this.#entry(userId, channel, fields.type ?? 0);
    const isBelow = entry.last_message_id !== null && BigInt(message) < BigInt(entry.last_message_id);
    if (isBelow && fields.manual !== true) return [false, entry];
    const before = JSON.stringify(entry);
    entry.last_message_id = message;
    entry.mention_count = fields.mention_count ?? 0;
    entry.flags = fields.flags ?? entry.flags;
    entry.last_viewed = fields.last_viewed ?? entry.last_viewed;
    return [isNew || JSON.stringify(entry) !== before, entry];
  }

  ackBulk(userId: string, items: readonly BulkItem[]): [boolean, State][] {
    return items.map(({ channel_id, message_id, read_state_type = 0 }) =>
      this.ack(userId, channel_id, message_id, { type: read_state_type }),
    );
  }

  mention(userId: string, channel: string, type: number, message?: string): [MentionOutcome, State | null] {
    const before = this.get(userId, channel, type);
    const key = `${userId} ${channel} ${type} ${message}`;
    if (message !== undefined) {
      const mark = before?.last_message_id ?? null;
      if (mark !== null && BigInt(mark) >= BigInt(message)) return ['suppressed', before];
      if (this.#mentions.has(key)) return ['duplicates', before];
      this.#mentions.add(key);
    }
    const entry = this.#entry(userId, channel, type);
    entry.mention_count = Math.min(entry.mention_count + 1, COUNT_MAX);
    return ['applied', entry];
  }

  pin(userId: string, channel: string, type: number, ms: number): [boolean, State] {
    const isNew = this.get(userId, channel, type) === null;
    const entry = this.#entry(userId, channel, type);
    const isOlder = entry.last_pin_timestamp !== null && Date.parse(entry.last_pin_timestamp) >= ms;
    if (isOlder && !isNew) return [false, entry];
    entry.last_pin_timestamp = new Date(ms).toISOString();
    return [true, entry];
  }

  /** @returns whether there was one */
  delete(userId: string, channel: string, type: number): boolean {
    return this.#entriesOf(userId).delete(`${channel} ${type}`);
  }

  deleteUser(userId: string): void {
    this.#users.delete(userId);
  }
}
