/** Request bodies: a bounded number of bytes, of JSON, with an object in it. */
import type { HttpRequest, HttpResponse } from 'uWebSockets.js';
import { invalid, tooLarge, UNSUPPORTED_MEDIA_TYPE } from './errors.js';
import type { HttpCaller } from './http-answer.js';
import { isObject } from './json-fields.js';

const JSON_TYPE = /^application\/json[\t ]*(;|$)/i;

/**
 * Reads the body and calls `receive` with the object in it, or answers with what is wrong. What is too much is read
 * and dropped: most clients send it all before they look, and on a connection that is closed meanwhile they would
 * find a reset instead of the answer.
 */
export function readJsonBody(
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
  let parts: Buffer[] | null = null;
  let length = 0;
  response.onData((chunk, isLast) => {
    if (caller.gone) return;
    length += chunk.byteLength;
    if (length > bytesMax) {
      parts = null;
      caller.error(tooLarge('body', bytesMax));
      return;
    }
    // The chunk is gone when this returns.
    if (!isLast) {
      parts ??= [];
      parts.push(Buffer.from(chunk.slice(0)));
      return;
    }
    const last = Buffer.from(chunk);
    const body = parseBody(parts === null ? last : Buffer.concat([...parts, last]));
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
