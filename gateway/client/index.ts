/** The client library of Tidemark, `tidemark/client`. */
export {
  type Badge,
  type ClientOptions,
  type ListResult,
  type MentionOptions,
  type MentionResult,
  TidemarkClient,
} from './client.js';
export type { AckOptions, BulkAck, Cause, ChangeEvent, ReadState } from './codec.js';
export { TidemarkError, type TidemarkErrorCode } from './errors.js';
export type { Listener, Subscription, TidemarkEvent } from './subscription.js';
export type { WebSocketConstructor, WebSocketLike } from './transport.js';
