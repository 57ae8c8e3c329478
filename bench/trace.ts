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

interface RawDispatch {
  t?: string | null;
  d?: {
    id?: string;
    channel_id?: string;
    author?: { id?: string };
    mentions?: { id: string }[];
    user_id?: string;
    message_id?: string;
    mention_count?: number | null;
    manual?: boolean | null;
    timestamp_ms?: number;
    timestamp?: string;
  };
}

/** @returns undefined for a dispatch of another kind. @throws Error that names what is missing */
export function parseDispatch(line: string, previousMs: number): Dispatch | undefined {
  const { t, d } = JSON.parse(line) as RawDispatch;
  if (t !== 'MESSAGE_CREATE' && t !== 'MESSAGE_ACK') return undefined;
  if (d === undefined) throw new Error(`a ${t} without d`);
  const given = d.timestamp_ms ?? (d.timestamp === undefined ? undefined : Date.parse(d.timestamp));
  if (t === 'MESSAGE_CREATE') {
    const id = need(d.id, t, 'id');
    return {
      kind: 'message',
      atMs: checkTime(given ?? snowflakeMs(id)),
      id,
      channelId: need(d.channel_id, t, 'channel_id'),
      authorId: need(d.author?.id, t, 'author.id'),
      mentionIds: (d.mentions ?? []).map((mention) => need(mention.id, t, 'mentions[].id')),
    };
  }
  return {
    kind: 'ack',
    atMs: checkTime(given ?? previousMs),
    userId: need(d.user_id, t, 'user_id'),
    channelId: need(d.channel_id, t, 'channel_id'),
    messageId: need(d.message_id, t, 'message_id'),
    mentionCount: d.mention_count ?? undefined,
    manual: d.manual === true,
  };
}

function need(value: string | undefined, kind: string, field: string): string {
  if (typeof value !== 'string') throw new Error(`a ${kind} without ${field}, or it is no string`);
  return value;
}

function checkTime(ms: number): number {
  if (!Number.isFinite(ms)) throw new Error('a time that cannot be read');
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
    let rest = '';
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
        const lines = (rest + chunk).split('\n');
        rest = lines.pop()!;
        for (const line of lines) {
          const dispatch = parse(line);
          if (dispatch !== undefined) yield dispatch;
        }
      }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code?.startsWith('Z_'))
        throw new Error(`${this.#file}: ${(error as Error).message} after line ${lineNumber}`);
      throw error;
    } finally {
      stream.destroy();
      await handle.close();
    }
    const dispatch = parse(rest);
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
