/** What a call of the client can fail with. */

/**
 * - `invalid_request`: refused by the client or the service; `field` names what is wrong. Nothing was done.
 * - `busy`, `store_unavailable`: refused for now, nothing was done; try again after `retryAfterMs`.
 * - `journal_unavailable`: the service cannot write its journal and takes no changes; this one may or may not have been
 *   made. Reads go on.
 * - `unauthorized`: the service does not take the token. Nothing was done.
 * - `timeout`, `disconnected`: no answer came; a change may or may not have been made.
 * - `closed`: the client was closed; a change that was on its way may or may not have been made.
 * - `internal`: a bug of the service; nothing was done.
 * - `protocol`: the service answered something that this client does not understand (a bug, or another version); a change
 *   may or may not have been made.
 */
export type TidemarkErrorCode =
  | 'invalid_request'
  | 'busy'
  | 'store_unavailable'
  | 'journal_unavailable'
  | 'internal'
  | 'unauthorized'
  | 'timeout'
  | 'disconnected'
  | 'closed'
  | 'protocol';

export interface TidemarkErrorDetails {
  retryAfterMs?: number;
  field?: string;
}

export class TidemarkError extends Error {
  readonly code: TidemarkErrorCode;
  /** When it is worth another try; with `busy`, `store_unavailable` and `journal_unavailable`. */
  readonly retryAfterMs?: number;
  /** The field that is wrong, by its name in JSON, or the option of the client; with `invalid_request`. */
  readonly field?: string;

  constructor(code: TidemarkErrorCode, message: string, details: TidemarkErrorDetails = {}) {
    super(message);
    this.name = 'TidemarkError';
    this.code = code;
    if (details.retryAfterMs !== undefined) this.retryAfterMs = details.retryAfterMs;
    if (details.field !== undefined) this.field = details.field;
  }
}

export function invalid(field: string, message: string): TidemarkError {
  return new TidemarkError('invalid_request', `${field} ${message}`, { field });
}
