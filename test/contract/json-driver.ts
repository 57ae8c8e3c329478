/** Over a WebSocket with JSON: the calls of one tick travel as one array. */
import { WebSocket } from 'ws';
import {
  type AckFields,
  type BadgeAnswer,
  type BulkItem,
  type ChangeEvent,
  type Entry,
  type ListAnswer,
  type MentionAnswer,
  type MentionFields,
  Refused,
  type StreamDriver,
} from './driver.js';

interface Waiting {
  resolve(ok: unknown): void;
  reject(error: Error): void;
}

interface Message {
  id?: number | string | null;
  ok?: unknown;
  error?: { code: string; message: string; errors: { path: string }[] };
  event?: string;
}

export class JsonDriver implements StreamDriver {
  readonly events: ChangeEvent[] = [];
  readonly socket: WebSocket;
  /** Ids of the answers, in the order in which they came. */
  readonly answered: unknown[] = [];
  /** Code of the close. */
  readonly closed: Promise<number>;
  readonly #waiting = new Map<number | string | null, Waiting>();
  #gathered: object[] = [];
  #lastId = 0;

  private constructor(socket: WebSocket) {
    this.socket = socket;
    socket.on('message', (data: Buffer) => this.#receive(JSON.parse(data.toString()) as Message));
    this.closed = new Promise((resolve) => {
      socket.on('close', (code) => {
        for (const { reject } of this.#waiting.values()) reject(new Error(`closed with ${code}`));
        resolve(code);
      });
    });
  }

  static async open(streamUrl: string): Promise<JsonDriver> {
    const socket = new WebSocket(streamUrl, 'tidemark.v1.json', { perMessageDeflate: false });
    const driver = new JsonDriver(socket);
    await new Promise((resolve, reject) => {
      socket.on('open', resolve);
      socket.on('error', reject);
    });
    return driver;
  }

  #receive(message: Message): void {
    if (message.event !== undefined) {
      this.events.push(message as ChangeEvent);
      return;
    }
    this.answered.push(message.id);
    const waiting = this.#waiting.get(message.id!);
    if (waiting === undefined) throw new Error(`an answer to ${message.id}, which nobody asked`);
    this.#waiting.delete(message.id!);
    const { error } = message;
    if (error === undefined) waiting.resolve(message.ok);
    else
      waiting.reject(
        new Refused(
          error.code,
          error.errors.map(({ path }) => path),
          error.message,
        ),
      );
  }

  /** The answer to what is sent with this id, by whatever way. */
  answerTo(id: number | string | null): Promise<unknown> {
    return new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
  }

  ask<T>(op: string, fields: object): Promise<T> {
    const id = ++this.#lastId;
    if (this.#gathered.length === 0) queueMicrotask(() => this.#flush());
    this.#gathered.push({ id, op, ...fields });
    return this.answerTo(id) as Promise<T>;
  }

  #flush(): void {
    const gathered = this.#gathered;
    this.#gathered = [];
    this.socket.send(JSON.stringify(gathered.length === 1 ? gathered[0] : gathered));
  }

  async get(user: string, channel: string, type?: number): Promise<Entry | null> {
    try {
      return await this.ask<Entry>('get', { user_id: user, channel_id: channel, ...typed(type) });
    } catch (error) {
      if (error instanceof Refused && error.code === 'unknown_read_state') return null;
      throw error;
    }
  }

  list(user: string, since?: number): Promise<ListAnswer> {
    return this.ask('list', { user_id: user, ...(since === undefined ? {} : { since }) });
  }

  badge(user: string): Promise<BadgeAnswer> {
    return this.ask('badge', { user_id: user });
  }

  ack(user: string, channel: string, message: string, { type, ...fields }: AckFields = {}): Promise<Entry> {
    const request = { user_id: user, channel_id: channel, message_id: message, ...typed(type), ...fields };
    return this.ask('ack', request);
  }

  async ackBulk(user: string, items: readonly BulkItem[]): Promise<Entry[]> {
    return (await this.ask<{ entries: Entry[] }>('ack_bulk', { user_id: user, read_states: items })).entries;
  }

  mention(
    channel: string,
    users: readonly string[],
    { type, ...fields }: MentionFields = {},
  ): Promise<MentionAnswer> {
    return this.ask('mention', { channel_id: channel, user_ids: users, ...typed(type), ...fields });
  }

  pinAck(user: string, channel: string, timestampMs: number, type?: number): Promise<Entry> {
    const request = { user_id: user, channel_id: channel, last_pin_timestamp: timestampMs, ...typed(type) };
    return this.ask('pin_ack', request);
  }

  async delete(user: string, channel: string, type?: number): Promise<void> {
    await this.ask('delete', { user_id: user, channel_id: channel, ...typed(type) });
  }

  async deleteUser(user: string): Promise<void> {
    await this.ask('delete_user', { user_id: user });
  }

  async ping(): Promise<void> {
    await this.ask('ping', {});
  }

  async subscribe(users: readonly string[]): Promise<void> {
    await this.ask('subscribe', { user_ids: users });
  }

  async unsubscribe(users: readonly string[]): Promise<void> {
    await this.ask('unsubscribe', { user_ids: users });
  }

  close(): void {
    this.socket.terminate();
  }
}

function typed(type?: number): object {
  return type === undefined ? {} : { read_state_type: type };
}
