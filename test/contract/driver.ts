/** One interface over the three protocols, so that the same scenario runs over each. Answers have the form of HTTP's. */

export interface Entry {
  id: string;
  read_state_type: number;
  last_message_id: string | null;
  mention_count: number;
  last_pin_timestamp: string | null;
  flags: number;
  last_viewed: number | null;
  version: number;
}

export interface AckFields {
  type?: number;
  manual?: boolean;
  mention_count?: number;
  flags?: number;
  last_viewed?: number;
}

export interface BulkItem {
  channel_id: string;
  message_id: string;
  read_state_type?: number;
}

export interface ListAnswer {
  entries: Entry[];
  partial: boolean;
  version: number;
}

export interface BadgeAnswer {
  mention_count: number;
  unread_mention_channels: number;
}

export interface MentionAnswer {
  applied: number;
  suppressed: number;
  duplicates: number;
  failed: string[];
}

export interface MentionFields {
  message_id?: string;
  type?: number;
}

export interface ChangeEvent {
  event: 'read_state' | 'user_deleted';
  user_id: string;
  cause?: string;
  manual?: boolean;
  entry?: Entry;
  version?: number;
}

/** One caller. Calls of one tick travel together where the protocol can. An error of the service is a `Refused`. */
export interface Driver {
  get(user: string, channel: string, type?: number): Promise<Entry | null>;
  list(user: string, since?: number): Promise<ListAnswer>;
  badge(user: string): Promise<BadgeAnswer>;
  ack(user: string, channel: string, message: string, fields?: AckFields): Promise<Entry>;
  ackBulk(user: string, items: readonly BulkItem[]): Promise<Entry[]>;
  mention(channel: string, users: readonly string[], fields?: MentionFields): Promise<MentionAnswer>;
  pinAck(user: string, channel: string, timestampMs: number, type?: number): Promise<Entry>;
  delete(user: string, channel: string, type?: number): Promise<void>;
  deleteUser(user: string): Promise<void>;
  close(): void;
}

/** A driver over a WebSocket. */
export interface StreamDriver extends Driver {
  ping(): Promise<void>;
  subscribe(users: readonly string[]): Promise<void>;
  unsubscribe(users: readonly string[]): Promise<void>;
  /** All that came so far, in the order in which it came. */
  readonly events: ChangeEvent[];
}

/** An error that the service answered with. */
export class Refused extends Error {
  constructor(
    readonly code: string,
    /** Fields that are wrong. */
    readonly paths: readonly string[],
    message: string,
  ) {
    super(`${code}: ${message}`);
  }
}

function isBusy(error: unknown): boolean {
  return error instanceof Refused && error.code === 'busy';
}

const BUSY_PAUSE_MS = 20;

/** Repeats a call that is refused with `busy`: nothing was done then. */
export async function insist<T>(call: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await call();
    } catch (error) {
      if (!isBusy(error)) throw error;
      await new Promise((resolve) => setTimeout(resolve, BUSY_PAUSE_MS));
    }
  }
}

/** Mentions, and again those users for whom it failed. */
export async function mentionSurely(
  driver: Driver,
  channel: string,
  users: readonly string[],
  fields?: MentionFields,
): Promise<Omit<MentionAnswer, 'failed'>> {
  const sum = { applied: 0, suppressed: 0, duplicates: 0 };
  for (let left = users; left.length > 0; ) {
    const answer = await driver.mention(channel, left, fields);
    sum.applied += answer.applied;
    sum.suppressed += answer.suppressed;
    sum.duplicates += answer.duplicates;
    left = answer.failed;
    if (left.length > 0) await new Promise((resolve) => setTimeout(resolve, BUSY_PAUSE_MS));
  }
  return sum;
}
