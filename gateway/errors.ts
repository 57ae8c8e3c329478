/** What goes wrong for a caller: one object for each stable code, over HTTP and WebSocket alike. */
import {
  FIELD_CHANNEL,
  FIELD_COUNT,
  FIELD_FLAGS,
  FIELD_ITEMS,
  FIELD_LENGTH,
  FIELD_MESSAGE,
  FIELD_OP,
  FIELD_PIN,
  FIELD_SINCE,
  FIELD_TYPE,
  FIELD_USER,
  FIELD_VIEWED,
  STATUS_BUSY,
  STATUS_INVALID,
  STATUS_JOURNAL_UNAVAILABLE,
  STATUS_STORE_UNAVAILABLE,
  STATUS_UNKNOWN,
} from '../engine/messages.js';

/** One field that is wrong: where, and what it should be. */
export interface Problem {
  readonly path: string;
  readonly message: string;
}

const REASONS: Record<number, string> = {
  400: '400 Bad Request',
  401: '401 Unauthorized',
  403: '403 Forbidden',
  404: '404 Not Found',
  405: '405 Method Not Allowed',
  409: '409 Conflict',
  413: '413 Payload Too Large',
  415: '415 Unsupported Media Type',
  500: '500 Internal Server Error',
  503: '503 Service Unavailable',
};

export class ApiError {
  readonly statusLine: string;
  /** Seconds after which a retry makes sense, or 0. */
  readonly retryAfterSeconds: number;

  constructor(
    readonly status: number,
    readonly code: string,
    readonly message: string,
    readonly problems: readonly Problem[] = [],
  ) {
    this.statusLine = REASONS[status]!;
    this.retryAfterSeconds = status === 503 ? 1 : 0;
  }

  toJSON(): { code: string; message: string; errors: readonly Problem[] } {
    return { code: this.code, message: this.message, errors: this.problems };
  }
}

export function invalid(problems: readonly Problem[]): ApiError {
  const first = problems[0]!;
  const where = first.path === '' ? first.message : `${first.path}: ${first.message}`;
  const more = problems.length > 1 ? ` (and ${problems.length - 1} more)` : '';
  return new ApiError(400, 'invalid_request', where + more, problems);
}

export const UNAUTHORIZED = new ApiError(
  401,
  'unauthorized',
  'a bearer token that this server knows is needed',
);
export const ADMIN_UNAUTHORIZED = new ApiError(
  401,
  'unauthorized',
  'the admin token is needed: one of those in the file of --admin-token-file',
);
/** An order that cannot be carried out. @param message  why, and what would help */
export function refused(message: string): ApiError {
  return new ApiError(409, 'refused', message);
}
export const FOREIGN_HOST = new ApiError(
  403,
  'forbidden',
  'without a token file the service is answered only under localhost or a loopback address: call it so, or give it --auth-token-file',
);
export const FOREIGN_ORIGIN = new ApiError(
  401,
  'unauthorized',
  'pages of another origin need a server with a bearer token',
);
export const FOREIGN_ADMIN_HOST = new ApiError(
  403,
  'forbidden',
  'without an admin token, admin calls are answered only under localhost or a loopback address',
);
export const FOREIGN_ADMIN_ORIGIN = new ApiError(
  403,
  'forbidden',
  'admin calls of pages of another origin are refused',
);
export const NOT_FOUND = new ApiError(404, 'not_found', 'there is nothing at this path');
const UNKNOWN_READ_STATE = new ApiError(
  404,
  'unknown_read_state',
  'the user has no read state of this channel and type',
);
export const METHOD_NOT_ALLOWED = new ApiError(
  405,
  'method_not_allowed',
  'this path does not take this method',
);
export const UNSUPPORTED_MEDIA_TYPE = new ApiError(
  415,
  'unsupported_media_type',
  'the body must be application/json',
);
export const BUSY = new ApiError(
  503,
  'busy',
  'too much is going on at this moment; nothing was done, try again',
);
export const STOPPING = new ApiError(
  503,
  'busy',
  'the server is stopping; nothing was done, try again elsewhere',
);
export const UNWELL = new ApiError(
  503,
  'busy',
  'threads of the server end again and again, and are replaced later and later; its log says why',
);
const STORE_UNAVAILABLE = new ApiError(
  503,
  'store_unavailable',
  'the read state is not in memory and the store does not answer; nothing was done, try again',
);
const JOURNAL_UNAVAILABLE = new ApiError(
  503,
  'journal_unavailable',
  'the journal cannot be written, so changes are not taken; whether this one was made is not known, read or try again',
);
export const INTERNAL = new ApiError(500, 'internal', 'the server failed; this is a bug');

export function tooLarge(what: string, bytesMax: number): ApiError {
  return new ApiError(413, 'too_large', `the ${what} is larger than ${bytesMax} bytes`);
}

const FIELD_PATHS: Record<number, string> = {
  [FIELD_OP]: 'op',
  [FIELD_TYPE]: 'read_state_type',
  [FIELD_USER]: 'user_id',
  [FIELD_CHANNEL]: 'channel_id',
  [FIELD_MESSAGE]: 'message_id',
  [FIELD_COUNT]: 'mention_count',
  [FIELD_FLAGS]: 'flags',
  [FIELD_VIEWED]: 'last_viewed',
  [FIELD_PIN]: 'last_pin_timestamp',
  [FIELD_ITEMS]: 'read_states',
  [FIELD_LENGTH]: '',
  [FIELD_SINCE]: 'since',
};

/** The error that a status of an answer stands for. @param field  FIELD_* when the status is invalid */
export function errorOfStatus(status: number, field: number): ApiError {
  switch (status) {
    case STATUS_UNKNOWN:
      return UNKNOWN_READ_STATE;
    case STATUS_BUSY:
      return BUSY;
    case STATUS_STORE_UNAVAILABLE:
      return STORE_UNAVAILABLE;
    case STATUS_JOURNAL_UNAVAILABLE:
      return JOURNAL_UNAVAILABLE;
    case STATUS_INVALID:
      return invalid([{ path: FIELD_PATHS[field] ?? '', message: 'is not valid' }]);
    default:
      return INTERNAL;
  }
}
