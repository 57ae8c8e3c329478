/**
 * The client of Tidemark: read states over one WebSocket, with the binary protocol.
 *
 * Calls of one tick travel in one frame. Calls about one user take effect in the order in which they are made, but for
 * those of which nobody can tell (acks of two channels, say). Trying again does not change that:
 * - While a call waits for its next try, later ones of the same user that must not take effect before it wait, too. All
 *   others go ahead.
 * - If one of those that change something had been sent already, the earlier one is not tried again: it fails. When
 *   an `ack` is refused and a `delete` was sent behind it, a second try would bring the entry back.
 * - A read sees all that was called before it. One that is tried again may also see what was called after it.
 *
 * What is repeated by itself, when the connection is lost before the answer or the service is busy:
 * - `get`, `list`, `badge`, `ping`: they change nothing.
 * - `ack` and `ackBulk` without `manual`, `pinAck`: the mark only moves forward, so a second time does nothing, or
 *   what the same call would have done if it had arrived a little later.
 * - `mention` with a `messageId`: the service knows the message again and does not count twice.
 * Not repeated, because a second time could undo what others did since:
 * - `ack` with `manual`: it could move a mark back that was moved forward since.
 * - `delete`, `deleteUser`: they could delete what was created since.
 * And `mention` without a `messageId` is not repeated, because it could count twice.
 * These, and those that would lose their place, fail with `disconnected`, `journal_unavailable` (in both cases they may
 * have been done), `busy` or `store_unavailable` (nothing was done).
 * A service that was started with `--ack-order last-write` lets every ack move backwards: use `repeatAcks: false`.
 */
import { STATUS_DUPLICATE, STATUS_SUPPRESSED, STATUS_UNKNOWN } from '../../engine/messages.js';
import type { Answer } from './call.js';
import {
  type AckOptions,
  type BulkAck,
  encodeAck,
  encodeAckBulk,
  encodeBadge,
  encodeDelete,
  encodeDeleteUser,
  encodeGet,
  encodeList,
  encodeMention,
  encodePinAck,
  encodePing,
  type ReadState,
} from './codec.js';
import { invalid, TidemarkError } from './errors.js';
import { type ClientOptions, numbersOf } from './options.js';
import { Session } from './session.js';
import type { Listener, Subscription } from './subscription.js';
import { Subscriptions } from './subscriptions.js';

export interface ListResult {
  /** By channel id, then type. */
  entries: ReadState[];
  /** Only what changed since the version that was given. */
  partial: boolean;
  /** For the next `since`. */
  version: number;
}

export interface Badge {
  mentionCount: number;
  /** Entries with mentions. */
  unreadMentionChannels: number;
}

export interface MentionOptions {
  /** Makes a retry harmless, and spares those who have read the message. */
  messageId?: string;
  type?: number;
}

export interface MentionResult {
  applied: number;
  suppressed: number;
  duplicates: number;
  /** Users for whom it failed. */
  failed: string[];
}

const MENTION_USERS_MAX = 10_000;

export class TidemarkClient {
  readonly #session: Session;
  readonly #repeatAcks: boolean;
  readonly #subscriptions: Subscriptions;

  /** @throws TidemarkError `invalid_request` (names the option and what it may be) */
  constructor(options: ClientOptions) {
    const { url, token, webSocket } = options;
    const { eventsMax, ...numbers } = numbersOf(options);
    this.#repeatAcks = options.repeatAcks ?? true;
    this.#session = new Session(
      { url, token, webSocket, ...numbers },
      (event) => this.#subscriptions.deliver(event),
      () => this.#subscriptions.subscribeAgain(),
      () => this.#subscriptions.size > 0,
      (error) => this.#subscriptions.fail(error),
    );
    this.#subscriptions = new Subscriptions(this.#session, eventsMax);
  }

  get connected(): boolean {
    return this.#session.connected;
  }

  /**
   * Moves the tide mark of one channel forward and sets its mentions, to 0 unless `mentionCount` is given.
   * @returns the entry after the call, also when nothing changed
   * @throws TidemarkError `busy` (retry after `retryAfterMs`), `invalid_request` (names the field)
   * O(1); one round trip; safe to retry unless `manual`.
   */
  async ack(
    userId: string,
    channelId: string,
    messageId: string,
    options: AckOptions = {},
  ): Promise<ReadState> {
    const words = encodeAck(0, userId, channelId, messageId, options);
    return entryOf(await this.#session.submit(words, this.#repeatAcks && options.manual !== true));
  }

  /**
   * Acks up to 100 channels of one user, all or none.
   * @returns the entries after the call, in the order of the items
   * O(items); one round trip; safe to retry.
   */
  async ackBulk(userId: string, items: readonly BulkAck[]): Promise<ReadState[]> {
    return (await this.#session.submit(encodeAckBulk(0, userId, items), this.#repeatAcks)).entries;
  }

  /**
   * Adds one mention for each user in the set; one operation for each travels.
   * @param userIds  1 to 10,000; one that comes twice counts once
   * @returns who was counted, and who was not; throws only if it failed for all
   * Safe to retry with a `messageId`; without one each call counts.
   */
  async mention(
    channelId: string,
    userIds: readonly string[],
    options: MentionOptions = {},
  ): Promise<MentionResult> {
    if (userIds.length < 1 || userIds.length > MENTION_USERS_MAX)
      throw invalid('user_ids', `has ${userIds.length} users, and not 1 to ${MENTION_USERS_MAX}`);
    const { messageId, type } = options;
    const users = [...new Set(userIds)];
    const operations = users.map((userId) => encodeMention(0, channelId, userId, messageId, type));
    const answers = await Promise.allSettled(
      operations.map((words) => this.#session.submit(words, messageId !== undefined)),
    );
    const result: MentionResult = { applied: 0, suppressed: 0, duplicates: 0, failed: [] };
    answers.forEach((answer, index) => {
      if (answer.status === 'rejected') result.failed.push(users[index]!);
      else if (answer.value.status === STATUS_SUPPRESSED) result.suppressed++;
      else if (answer.value.status === STATUS_DUPLICATE) result.duplicates++;
      else result.applied++;
    });
    const [first] = answers;
    if (result.failed.length === users.length && first?.status === 'rejected') throw first.reason;
    return result;
  }

  /** Records that the pins of a channel were seen. Moves forward only. Safe to retry. */
  async pinAck(
    userId: string,
    channelId: string,
    lastPinTimestamp: Date | number,
    type = 0,
  ): Promise<ReadState> {
    const words = encodePinAck(0, userId, channelId, lastPinTimestamp, type);
    return entryOf(await this.#session.submit(words, this.#repeatAcks));
  }

  /** @returns the entry, or null if there is none */
  async get(userId: string, channelId: string, type = 0): Promise<ReadState | null> {
    const answer = await this.#session.submit(encodeGet(0, userId, channelId, type), true);
    return answer.status === STATUS_UNKNOWN ? null : entryOf(answer);
  }

  /** All entries of a user, however many; with `since`, what changed after that version if the service can tell. */
  async list(userId: string, options: { since?: number } = {}): Promise<ListResult> {
    const { entries, partial, version } = await this.#session.submit(
      encodeList(0, userId, options.since),
      true,
    );
    return { entries, partial, version };
  }

  /** Mentions of a user over all entries. */
  async badge(userId: string): Promise<Badge> {
    const { mentionCount, version } = await this.#session.submit(encodeBadge(0, userId), true);
    return { mentionCount, unreadMentionChannels: version };
  }

  /** Removes an entry, also one that is not there. Not repeated by itself. */
  async delete(userId: string, channelId: string, type = 0): Promise<void> {
    await this.#session.submit(encodeDelete(0, userId, channelId, type), false);
  }

  /** Removes all entries of a user. Not repeated by itself. */
  async deleteUser(userId: string): Promise<void> {
    await this.#session.submit(encodeDeleteUser(0, userId), false);
  }

  /** One round trip that touches nothing. */
  async ping(): Promise<void> {
    await this.#session.submit(encodePing(0), true);
  }

  /**
   * Each change of these users from now on, in version order for each user: to the listener, or to whoever iterates
   * over what this returns. After a lost connection it subscribes again by itself and delivers a `gap` with the users
   * of whom events may be missing, some in one and some in another if the service does not take all at once.
   * If it fails for one user it fails for all. A service that does not take the token any more ends it: `unauthorized`
   * is what the iterator throws, and `ended` rejects with.
   */
  async subscribe(userIds: readonly string[], listener?: Listener): Promise<Subscription> {
    return await this.#subscriptions.subscribe(userIds, listener);
  }

  /** Ends all connections; calls without an answer fail with `closed`, iterators of events end. */
  close(): void {
    this.#session.close();
    this.#subscriptions.close();
  }
}

function entryOf(answer: Answer): ReadState {
  const entry = answer.entries[0];
  if (entry === undefined)
    throw new TidemarkError('protocol', `an answer with status ${answer.status} has no entry`);
  return entry;
}
