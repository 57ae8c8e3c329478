/** Over a binary WebSocket, with the client library. */
import { WebSocket } from 'ws';
import {
  type ReadState,
  type Subscription,
  TidemarkClient,
  TidemarkError,
  type WebSocketConstructor,
} from '../../gateway/client/index.js';
import {
  type AckFields,
  type BadgeAnswer,
  type BulkItem,
  type ChangeEvent,
  type Entry,
  type ListAnswer,
  type MentionAnswer,
  type MentionFields,
  Refused,
  type StreamDriver,
} from './driver.js';

export class BinaryDriver implements StreamDriver {
  readonly events: ChangeEvent[] = [];
  readonly #client: TidemarkClient;
  readonly #subscriptions = new Map<string, Subscription>();

  constructor(url: string, timeoutMs = 25_000) {
    this.#client = new TidemarkClient({
      url,
      webSocket: WebSocket as unknown as WebSocketConstructor,
      triesMax: 1, // what the service refuses is to be seen
      timeoutMs,
    });
  }

  async get(user: string, channel: string, type?: number): Promise<Entry | null> {
    const state = await refusals(this.#client.get(user, channel, type));
    return state === null ? null : entryOf(state);
  }

  async list(user: string, since?: number): Promise<ListAnswer> {
    const answer = await refusals(this.#client.list(user, since === undefined ? {} : { since }));
    return { ...answer, entries: answer.entries.map(entryOf) };
  }

  async badge(user: string): Promise<BadgeAnswer> {
    const { mentionCount, unreadMentionChannels } = await refusals(this.#client.badge(user));
    return { mention_count: mentionCount, unread_mention_channels: unreadMentionChannels };
  }

  async ack(user: string, channel: string, message: string, fields: AckFields = {}): Promise<Entry> {
    const { type, manual, mention_count, flags, last_viewed } = fields;
    const options = {
      ...(type === undefined ? {} : { type }),
      ...(manual === undefined ? {} : { manual }),
      ...(mention_count === undefined ? {} : { mentionCount: mention_count }),
      ...(flags === undefined ? {} : { flags }),
      ...(last_viewed === undefined ? {} : { lastViewed: last_viewed }),
    };
    return entryOf(await refusals(this.#client.ack(user, channel, message, options)));
  }

  async ackBulk(user: string, items: readonly BulkItem[]): Promise<Entry[]> {
    const given = items.map(({ channel_id, message_id, read_state_type }) => ({
      channelId: channel_id,
      messageId: message_id,
      ...(read_state_type === undefined ? {} : { type: read_state_type }),
    }));
    return (await refusals(this.#client.ackBulk(user, given))).map(entryOf);
  }

  async mention(
    channel: string,
    users: readonly string[],
    { type, message_id }: MentionFields = {},
  ): Promise<MentionAnswer> {
    const options = {
      ...(type === undefined ? {} : { type }),
      ...(message_id === undefined ? {} : { messageId: message_id }),
    };
    try {
      return await this.#client.mention(channel, users, options);
    } catch (error) {
      // The client throws when all failed. Over JSON that is an answer like any other.
      const refused = error instanceof TidemarkError && error.retryAfterMs !== undefined;
      if (refused) return { applied: 0, suppressed: 0, duplicates: 0, failed: [...new Set(users)] };
      throw error;
    }
  }

  async pinAck(user: string, channel: string, timestampMs: number, type?: number): Promise<Entry> {
    return entryOf(await refusals(this.#client.pinAck(user, channel, timestampMs, type)));
  }

  delete(user: string, channel: string, type?: number): Promise<void> {
    return refusals(this.#client.delete(user, channel, type));
  }

  deleteUser(user: string): Promise<void> {
    return refusals(this.#client.deleteUser(user));
  }

  ping(): Promise<void> {
    return refusals(this.#client.ping());
  }

  async subscribe(users: readonly string[]): Promise<void> {
    for (const user of users) {
      const subscription = await refusals(
        this.#client.subscribe([user], (event) => {
          if (event.event === 'gap') throw new Error('events were lost');
          const { userId } = event;
          if (event.event === 'user_deleted') {
            this.events.push({ event: event.event, user_id: userId, version: event.version });
            return;
          }
          const { cause, manual, entry } = event;
          this.events.push({
            event: event.event,
            user_id: userId,
            cause,
            ...(manual ? { manual } : {}),
            entry: entryOf(entry),
          });
        }),
      );
      this.#subscriptions.set(user, subscription);
    }
  }

  async unsubscribe(users: readonly string[]): Promise<void> {
    for (const user of users) {
      await refusals(this.#subscriptions.get(user)!.unsubscribe());
      this.#subscriptions.delete(user);
    }
  }

  close(): void {
    this.#client.close();
  }
}

async function refusals<T>(answer: Promise<T>): Promise<T> {
  try {
    return await answer;
  } catch (error) {
    if (!(error instanceof TidemarkError)) throw error;
    throw new Refused(error.code, error.field === undefined ? [] : [error.field], error.message);
  }
}

function entryOf(state: ReadState): Entry {
  return {
    id: state.channelId,
    read_state_type: state.type,
    last_message_id: state.lastMessageId,
    mention_count: state.mentionCount,
    last_pin_timestamp: state.lastPinTimestamp?.toISOString() ?? null,
    flags: state.flags,
    last_viewed: state.lastViewed,
    version: state.version,
  };
}
