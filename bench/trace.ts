/**
 * Reads recorded gateway dispatches: one JSON object a line, plain or gzip, as a stream.
 *
 *     {"op":0,"s":1,"t":"MESSAGE_CREATE","d":{"id":"…","channel_id":"…","author":{"id":"…"},"mentions":[{"id":"…"}],"timestamp_ms":…}}
 *     {"op":0,"s":2,"t":"MESSAGE_ACK","d":{"user_id":"…","channel_id":"…","message_id":"…","mention_count":0,"manual":false,"timestamp_ms":…}}
 *
 * The time is `timestamp_ms`, else `timestamp` (ISO 8601), else that of the message's snowflake; for a MESSAGE_ACK
 * without the first two it is the time of the dispatch before. Dispatches of other kinds are passed over.
 */
import { open, stat } from 'node:fs/promises';
import { type Readable, Transform } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { parseId } from '../engine/ids.js';

export interface MessageCreate {
  kind: 'message';
  atMs: number;
  id: string;
  channelId: string;
  authorId: string;
  mentionIds: string[];
}
export interface MessageAck {
  kind: 'ack';
  atMs: number;
  userId: string;
  channelId: string;
  messageId: string;
  mentionCount: number | undefined;
  manual: boolean;
}
export type Dispatch = MessageCreate | MessageAck;

const SNOWFLAKE_EPOCH_MS = 1_420_070_400_000;

/** Longer than any dispatch; a file without line ends is no trace, and is not gathered in memory to find out. */
const LINE_CHARS_MAX = 16 * 1024 * 1024;
const COUNT_MAX = 2 ** 31 - 1;

type Fields = Record<string, unknown>;

/** @returns undefined for a dispatch of another kind. @throws Error that names what is missing or wrong */
export function parseDispatch(line: string, previousMs: number): Dispatch | undefined {
  const dispatch: unknown = JSON.parse(line);
  if (!isObject(dispatch)) throw new Error('a line that is no JSON object');
  const { t, d } = dispatch;
  if (t !== 'MESSAGE_CREATE' && t !== 'MESSAGE_ACK') return undefined;
  if (!isObject(d)) throw new Error(`a ${t} without d`);
  const given = givenMs(d);
  if (t === 'MESSAGE_CREATE') {
    const id = needId(d.id, t, 'id');
    return {
      kind: 'message',
      atMs: given ?? snowflakeMs(id),
      id,
      channelId: needId(d.channel_id, t, 'channel_id'),
      authorId: needId(idOf(d.author), t, 'author.id'),
      mentionIds: mentionsOf(d.mentions, t),
    };
  }
  return {
    kind: 'ack',
    atMs: given ?? previousMs,
    userId: needId(d.user_id, t, 'user_id'),
    channelId: needId(d.channel_id, t, 'channel_id'),
    messageId: needId(d.message_id, t, 'message_id'),
    mentionCount: countOf(d.mention_count, t),
    manual: d.manual === true,
  };
}

function isObject(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function idOf(value: unknown): unknown {
  return isObject(value) ? value.id : undefined;
}

function needId(value: unknown, kind: string, field: string): string {
  if (typeof value !== 'string') throw new Error(`a ${kind} without ${field}, or it is no string`);
  if (!parseId(value)) throw new Error(`a ${kind} whose ${field} "${value}" is no id, 1 to 2^63-1`);
  return value;
}

function mentionsOf(value: unknown, kind: string): string[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw new Error(`a ${kind} whose mentions are no list`);
  return value.map((mention: unknown) => needId(idOf(mention), kind, 'mentions[].id'));
}

/** What is played is also what is expected: a count that the service cannot have would blame the service. */
function countOf(value: unknown, kind: string): number | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= COUNT_MAX) return value;
  throw new Error(`a ${kind} whose mention_count ${JSON.stringify(value)} is not 0 to ${COUNT_MAX}`);
}

function givenMs({ timestamp_ms: ms, timestamp }: Fields): number | undefined {
  if (ms !== undefined && ms !== null) return checkTime(ms);
  return timestamp === undefined ? undefined : checkTime(Date.parse(String(timestamp)));
}

function checkTime(ms: unknown): number {
  if (typeof ms !== 'number' || !Number.isFinite(ms)) throw new Error('a time that cannot be read');
  return ms;
}

function snowflakeMs(id: string): number {
  return Number(BigInt(id) >> 22n) + SNOWFLAKE_EPOCH_MS;
}

export class Trace {
  readonly fileBytes: number;
  /** Of the file, as far as it is read: for the progress bar. */
  readBytes = 0;
  /** Dispatches of kinds that are passed over. */
  skipped = 0;
  readonly #file: string;

  private constructor(file: string, fileBytes: number) {
    this.#file = file;
    this.fileBytes = fileBytes;
  }

  static async open(file: string): Promise<Trace> {
    return new Trace(file, (await stat(file)).size);
  }

  /** @throws Error with file and line for what cannot be read */
  async *dispatches(): AsyncGenerator<Dispatch> {
    const handle = await open(this.#file);
    const magic = Buffer.alloc(2);
    await handle.read(magic, 0, 2, 0);
    let stream: Readable = handle.createReadStream({ start: 0 });
    stream = stream.pipe(this.#counter());
    if (magic[0] === 0x1f && magic[1] === 0x8b) {
      const gunzip = createGunzip();
      stream.once('error', (error) => gunzip.destroy(error));
      stream = stream.pipe(gunzip);
    }
    stream.setEncoding('utf8');
    let lineNumber = 0;
    /** The line of which a part has come: in pieces, for to put it together with each chunk costs its square. */
    let rest: string[] = [];
    let restChars = 0;
    let previousMs = 0;
    const parse = (line: string): Dispatch | undefined => {
      lineNumber++;
      if (line.trim() === '') return undefined;
      try {
        const dispatch = parseDispatch(line, previousMs);
        if (dispatch === undefined) this.skipped++;
        else previousMs = dispatch.atMs;
        return dispatch;
      } catch (error) {
        throw new Error(`${this.#file}:${lineNumber}: ${(error as Error).message}`);
      }
    };
    try {
      for await (const chunk of stream) {
        const lines = (chunk as string).split('\n');
        const last = lines.pop()!;
        if (lines.length > 0) {
          lines[0] = rest.join('') + lines[0]!;
          rest = [];
          restChars = 0;
        }
        rest.push(last);
        restChars += last.length;
        for (const line of lines) {
          const dispatch = parse(line);
          if (dispatch !== undefined) yield dispatch;
        }
        if (restChars > LINE_CHARS_MAX)
          throw new Error(
            `${this.#file}:${lineNumber + 1}: a line of more than ${LINE_CHARS_MAX} characters`,
          );
      }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code?.startsWith('Z_'))
        throw new Error(`${this.#file}: ${(error as Error).message} after line ${lineNumber}`);
      throw error;
    } finally {
      stream.destroy();
      await handle.close();
    }
    const dispatch = parse(rest.join(''));
    if (dispatch !== undefined) yield dispatch;
  }

  #counter(): Transform {
    return new Transform({
      transform: (chunk: Buffer, _encoding, done) => {
        this.readBytes += chunk.length;
        done(null, chunk);
      },
    });
  }
}
