/** Request bodies: a bounded number of bytes, of each and of all that are not there whole, of JSON, with an object in it. */
import type { HttpRequest, HttpResponse } from 'uWebSockets.js';
import { BUSY, invalid, tooLarge, UNSUPPORTED_MEDIA_TYPE } from './errors.js';
import type { Front } from './front.js';
import type { HttpCaller } from './http-answer.js';
import { isObject } from './json-fields.js';

const JSON_TYPE = /^application\/json[\t ]*(;|$)/i;

/**
 * Reads the body and calls `receive` with the object in it, or answers with what is wrong. What is too much is read
 * and dropped: most clients send it all before they look, and on a connection that is closed meanwhile they would
 * find a reset instead of the answer.
 */
export function readJsonBody(
  front: Front,
  response: HttpResponse,
  request: HttpRequest,
  bytesMax: number,
  caller: HttpCaller,
  receive: (body: Record<string, unknown>) => void,
): void {
  const type = request.getHeader('content-type');
  if (type !== 'application/json' && !JSON_TYPE.test(type)) {
    caller.error(UNSUPPORTED_MEDIA_TYPE);
    return;
  }
  if (Number(request.getHeader('content-length')) > bytesMax) {
    caller.error(tooLarge('body', bytesMax));
    return;
  }
  const { bodyBudget, counters } = front;
  let parts: Buffer[] | null = null;
  /** Of the parts: taken from the budget. */
  let keptBytes = 0;
  let length = 0;
  const drop = (): void => {
    bodyBudget.give(keptBytes);
    keptBytes = 0;
    parts = null;
  };
  response.onData((chunk, isLast) => {
    if (caller.gone) return;
    length += chunk.byteLength;
    if (length > bytesMax) {
      drop();
      caller.error(tooLarge('body', bytesMax));
      return;
    }
    // The chunk is gone when this returns.
    if (!isLast) {
      if (!bodyBudget.take(chunk.byteLength)) {
        drop();
        counters.busy.body_memory++;
        caller.error(BUSY);
        return;
      }
      keptBytes += chunk.byteLength;
      if (parts === null) {
        parts = [];
        caller.onGone = drop;
      }
      parts.push(Buffer.from(chunk.slice(0)));
      return;
    }
    const last = Buffer.from(chunk);
    const body = parseBody(parts === null ? last : Buffer.concat([...parts, last]));
    drop();
    if (typeof body === 'string') caller.error(invalid([{ path: '', message: body }]));
    else receive(body);
  });
}

/** The object, or what is wrong with it. */
function parseBody(bytes: Buffer): Record<string, unknown> | string {
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString());
  } catch {
    return 'the body is not JSON';
  }
  return isObject(value) ? value : 'the body must be a JSON object';
}
