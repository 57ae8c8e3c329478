/** Over HTTP, with connections that are kept alive. */
import { Agent, type IncomingHttpHeaders, request } from 'node:http';
import {
  type AckFields,
  type BadgeAnswer,
  type BulkItem,
  type Driver,
  type Entry,
  type ListAnswer,
  type MentionAnswer,
  type MentionFields,
  Refused,
} from './driver.js';

export interface HttpAnswer {
  status: number;
  headers: IncomingHttpHeaders;
  // biome-ignore lint/suspicious/noExplicitAny: JSON of any shape
  body: any;
}

export class HttpDriver implements Driver {
  readonly #url: string;
  readonly #agent: Agent;

  /** @param connections  at most; 1 keeps the order of calls */
  constructor(url: string, connections = 8) {
    this.#url = url;
    this.#agent = new Agent({ keepAlive: true, maxSockets: connections });
  }

  /** @param body  text as it is, anything else as JSON */
  send(
    method: string,
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ): Promise<HttpAnswer> {
    const text = body === undefined || typeof body === 'string' ? body : JSON.stringify(body);
    const type: Record<string, string> = text === undefined ? {} : { 'content-type': 'application/json' };
    return new Promise((resolve, reject) => {
      const sent = request(
        this.#url + path,
        { method, agent: this.#agent, headers: { ...type, ...headers } },
        (response) => {
          const parts: Buffer[] = [];
          response.on('data', (part: Buffer) => parts.push(part));
          response.on('error', reject);
          response.on('end', () => {
            const answer = Buffer.concat(parts).toString();
            const isJson = response.headers['content-type'] === 'application/json';
            resolve({
              status: response.statusCode!,
              headers: response.headers,
              body: isJson ? JSON.parse(answer) : answer,
            });
          });
        },
      );
      sent.on('error', reject);
      sent.end(text);
    });
  }

  async #ok<T>(method: string, path: string, body?: unknown): Promise<T> {
    const answer = await this.send(method, path, body);
    if (answer.status === 200 || answer.status === 204) return answer.body as T;
    const { code, message, errors } = answer.body;
    throw new Refused(
      code,
      errors.map((error: { path: string }) => error.path),
      message,
    );
  }

  async get(user: string, channel: string, type?: number): Promise<Entry | null> {
    try {
      return await this.#ok('GET', entryPath(user, channel, '', type));
    } catch (error) {
      if (error instanceof Refused && error.code === 'unknown_read_state') return null;
      throw error;
    }
  }

  list(user: string, since?: number): Promise<ListAnswer> {
    return this.#ok('GET', `/v1/users/${user}/read-states${since === undefined ? '' : `?since=${since}`}`);
  }

  badge(user: string): Promise<BadgeAnswer> {
    return this.#ok('GET', `/v1/users/${user}/badge`);
  }

  ack(user: string, channel: string, message: string, { type, ...fields }: AckFields = {}): Promise<Entry> {
    return this.#ok('POST', entryPath(user, channel, '/ack', type), { message_id: message, ...fields });
  }

  async ackBulk(user: string, items: readonly BulkItem[]): Promise<Entry[]> {
    const path = `/v1/users/${user}/read-states/ack-bulk`;
    return (await this.#ok<{ entries: Entry[] }>('POST', path, { read_states: items })).entries;
  }

  mention(
    channel: string,
    users: readonly string[],
    { type, ...fields }: MentionFields = {},
  ): Promise<MentionAnswer> {
    const typed = type === undefined ? {} : { read_state_type: type };
    return this.#ok('POST', `/v1/channels/${channel}/mentions`, { user_ids: users, ...typed, ...fields });
  }

  pinAck(user: string, channel: string, timestampMs: number, type?: number): Promise<Entry> {
    return this.#ok('POST', entryPath(user, channel, '/pins/ack', type), { last_pin_timestamp: timestampMs });
  }

  async delete(user: string, channel: string, type?: number): Promise<void> {
    await this.#ok('DELETE', entryPath(user, channel, '', type));
  }

  async deleteUser(user: string): Promise<void> {
    await this.#ok('DELETE', `/v1/users/${user}/read-states`);
  }

  close(): void {
    this.#agent.destroy();
  }
}

function entryPath(user: string, channel: string, rest: string, type?: number): string {
  return `/v1/users/${user}/read-states/${channel}${rest}${type === undefined ? '' : `?type=${type}`}`;
}
