/** Binary frames as docs/protocol.md has them, written once more on its own, so that the service's codec is not its judge. */
import { WebSocket } from 'ws';

export const OP = {
  ping: 1,
  get: 2,
  list: 3,
  badge: 4,
  ack: 5,
  mention: 6,
  pinAck: 7,
  delete: 8,
  deleteUser: 9,
  ackBulk: 10,
  subscribe: 11,
  unsubscribe: 12,
} as const;
export const STATUS = {
  ok: 0,
  invalid: 1,
  unknown: 2,
  suppressed: 3,
  duplicate: 4,
  busy: 5,
  storeUnavailable: 6,
} as const;
const OP_EVENT = 0x80;
const OP_USER_DELETED = 0x81;
const FLAG_ENTRY = 1 << 16;
const FLAG_MORE = 1 << 17;
export const REQUEST_BYTES = 32;
const REPLY_BYTES = 16;
const ENTRY_BYTES = 36;
const EVENT_BYTES = 16;

/** An operation without what may follow it. Numbers are safe integers or BigInts. */
export function operation(
  op: number,
  requestId: number,
  user: number | bigint,
  channel: number | bigint = 0,
  argument: number | bigint = 0,
  flags = 0,
): Buffer {
  const bytes = Buffer.alloc(REQUEST_BYTES);
  bytes.writeUInt32LE((op | (flags << 16)) >>> 0, 0);
  bytes.writeUInt32LE(requestId, 4);
  bytes.writeBigUInt64LE(BigInt(user), 8);
  bytes.writeBigUInt64LE(BigInt(channel), 16);
  bytes.writeBigUInt64LE(BigInt(argument), 24);
  return bytes;
}

export interface Entry {
  readonly channel: bigint;
  readonly message: bigint;
  readonly mentions: number;
  readonly version: number;
}

export interface Reply {
  readonly op: number;
  readonly status: number;
  readonly requestId: number;
  readonly count: number;
  readonly version: number;
  readonly more: boolean;
  readonly entries: readonly Entry[];
}

export interface Received {
  readonly replies: Reply[];
  readonly events: number;
}

/** All of a service's frames, one after the other; throws where they are no sequence of answers and events. */
function readFrames(frames: readonly Buffer[]): Received {
  const replies: Reply[] = [];
  let events = 0;
  for (const bytes of frames) {
    for (let at = 0; at < bytes.length; ) {
      const head = bytes.readUInt32LE(at);
      const op = head & 0xff;
      if (op === OP_EVENT || op === OP_USER_DELETED) {
        events++;
        at += EVENT_BYTES + (op === OP_EVENT ? ENTRY_BYTES : 0);
        if (at > bytes.length) throw new Error('an event that ends beyond its frame');
        continue;
      }
      const status = (head >>> 8) & 0xff;
      // What could not be understood is echoed as it is.
      if ((op > OP.unsubscribe && status !== STATUS.invalid) || status > STATUS.storeUnavailable) {
        throw new Error(`an answer with op ${op} and status ${status} at byte ${at} of ${bytes.length}`);
      }
      const count = bytes.readUInt32LE(at + 8);
      const entries: Entry[] = [];
      const many = op === OP.list || op === OP.ackBulk;
      let left = (head & FLAG_ENTRY) === 0 ? 0 : many ? count : 1;
      const reply: Reply = {
        op,
        status,
        requestId: bytes.readUInt32LE(at + 4),
        count,
        version: bytes.readUInt32LE(at + 12),
        more: (head & FLAG_MORE) !== 0,
        entries,
      };
      at += REPLY_BYTES;
      for (; left > 0; left--) {
        entries.push({
          channel: bytes.readBigUInt64LE(at),
          message: bytes.readBigUInt64LE(at + 8),
          mentions: bytes.readUInt32LE(at + 16),
          version: bytes.readUInt32LE(at + 24),
        });
        at += ENTRY_BYTES;
      }
      replies.push(reply);
    }
  }
  return { replies, events };
}

/** A WebSocket that counts what comes, and keeps it unless told not to. */
export class Stream {
  readonly socket: WebSocket;
  frames: Buffer[] = [];
  /** Code of the close; 0 while open. */
  closeCode = 0;
  readonly whenClosed: Promise<number>;

  private constructor(socket: WebSocket) {
    this.socket = socket;
    socket.on('message', (data: Buffer) => this.frames.push(data));
    socket.on('error', () => {});
    this.whenClosed = new Promise((resolve) => {
      socket.on('close', (code) => {
        this.closeCode = code;
        resolve(code);
      });
    });
  }

  /** @param protocol  the part after `tidemark.v1.` */
  static open(url: string, protocol: 'bin' | 'json'): Promise<Stream> {
    const socket = new WebSocket(url, `tidemark.v1.${protocol}`, { perMessageDeflate: false });
    const stream = new Stream(socket);
    return new Promise((resolve, reject) => {
      socket.once('open', () => resolve(stream));
      socket.once('error', reject);
    });
  }

  /** The raw socket below: to stop reading, or to vanish. */
  get raw(): { pause(): void; resume(): void; destroy(): void } {
    return (this.socket as unknown as { _socket: { pause(): void; resume(): void; destroy(): void } })
      ._socket;
  }

  get replies(): Reply[] {
    return readFrames(this.frames).replies;
  }

  get texts(): Record<string, unknown>[] {
    return this.frames.map((data) => JSON.parse(data.toString()) as Record<string, unknown>);
  }
}
