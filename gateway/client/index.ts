/**
 * The client library of Tidemark, `tidemark/client`.
 *
 *     import { TidemarkClient } from 'tidemark/client';
 *     const client = new TidemarkClient({ url: 'http://127.0.0.1:4040', token });
 *     await client.mention(channelId, [userId], { messageId });
 *     const entry = await client.ack(userId, channelId, messageId); // { lastMessageId, mentionCount: 0, … }
 *     for await (const event of await client.subscribe([userId])) console.log(event);
 *
 * Ids are decimal strings. On Node 20 it needs the package `ws`, on Node 22 and newer nothing.
 */
export {
  type Badge,
  type ListResult,
  type MentionOptions,
  type MentionResult,
  TidemarkClient,
} from './client.js';
export type { AckOptions, BulkAck, Cause, ChangeEvent, ReadState } from './codec.js';
export { TidemarkError, type TidemarkErrorCode } from './errors.js';
export type { ClientOptions } from './options.js';
export type { Listener, Subscription, TidemarkEvent } from './subscription.js';
export type { WebSocketConstructor, WebSocketLike } from './transport.js';
