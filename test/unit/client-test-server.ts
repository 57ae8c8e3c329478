/**
 * A small service with the binary protocol over `ws`, for tests of what talks to one: a plain Map, and faults on
 * demand. It is written from docs/protocol.md, apart from the product's own server and partitions.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import { type WebSocket, WebSocketServer } from 'ws';
import { formatId } from '../../engine/ids.js';
import * as wire from '../../engine/messages.js';

interface Entry {
  channel: bigint;
  type: number;
  mark: bigint;
  mentions: number;
  meta: number;
  version: number;
  pin: bigint;
  mentioned: Set<bigint>;
}
interface User {
  version: number;
  deletedVersion: number;
  entries: Map<string, Entry>;
}

export class TestServer {
  readonly users = new Map<string, User>();
  /** Words of every frame that came. */
  readonly frames: Int32Array[] = [];
  connections = 0;
  /** Answer the next this many operations with this status instead of doing them. */
  refuse = { count: 0, status: wire.STATUS_BUSY };
  /** Asked before each operation: the status to refuse it with, or undefined. */
  refuseIf: ((op: number, userId: string) => number | undefined) | undefined;
  /** Operations that are never answered. */
  unanswered: ((op: number) => boolean) | undefined;
  /** Called when a subscribe was answered; events that it causes come in the same frame, behind the answer. */
  onSubscribed: ((userId: string) => void) | undefined;
  /** Answer so much later. */
  answerDelayMs = 0;
  /** What becomes of handshakes. */
  handshakes: 'accept' | 'ignore' | 'cut' = 'accept';
  /** Do the next this many frames and cut the connection instead of answering. */
  cutAfter = 0;
  /** Do not even look at frames. */
  silent = false;
  /** Entries in one part of a list. */
  partEntries = wire.LIST_PART_ENTRIES;
  token: string | undefined;
  readonly #http = createServer((request, response) => void this.#handleHttp(request, response));
  readonly #sockets = new WebSocketServer({ noServer: true, handleProtocols: () => 'tidemark.v1.bin' });
  readonly #subscribers = new Map<WebSocket, Set<string>>();
  readonly #ignored = new Set<Duplex>();
  /** Sockets of which nothing is heard any more, as if the network had swallowed the other side. */
  readonly #vanished = new Set<WebSocket>();
  /** Whose frame is at work, and its answers. */
  #serving: { socket: WebSocket; out: number[] } | undefined;

  async start(): Promise<string> {
    this.#http.on('upgrade', (request, socket, head) => {
      if (this.token !== undefined && request.headers.authorization !== `Bearer ${this.token}`) {
        socket.end('HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n');
        return;
      }
      if (this.handshakes === 'cut') socket.destroy();
      if (this.handshakes === 'ignore') this.#ignored.add(socket);
      if (this.handshakes !== 'accept') return;
      this.#sockets.handleUpgrade(request, socket, head, (webSocket) => this.#accept(webSocket));
    });
    await new Promise<void>((resolve) => this.#http.listen(0, '127.0.0.1', resolve));
    return this.url;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#http.address() as AddressInfo).port}`;
  }

  cutAll(): void {
    for (const socket of this.#sockets.clients) socket.terminate();
  }

  /** All connections go on without a word of this side. */
  vanish(): void {
    for (const socket of this.#sockets.clients) this.#vanished.add(socket);
  }

  /** Users to whom somebody is subscribed. */
  get subscribed(): string[] {
    return [...new Set([...this.#subscribers.values()].flatMap((users) => [...users]))].sort();
  }

  /** Operations that came, refused ones too: op and user. */
  get operations(): { op: number; userId: string }[] {
    const found: { op: number; userId: string }[] = [];
    for (const words of this.frames) {
      for (let at = 0; at < words.length; at = nextOperation(words, at))
        found.push({ op: words[at]! & 0xff, userId: formatId(words[at + 2]!, words[at + 3]!) });
    }
    return found;
  }

  async stop(): Promise<void> {
    this.cutAll();
    for (const socket of this.#ignored) socket.destroy();
    this.#http.closeAllConnections();
    await new Promise((resolve) => this.#http.close(resolve));
  }

  #accept(socket: WebSocket): void {
    this.connections++;
    this.#subscribers.set(socket, new Set());
    socket.on('close', () => this.#subscribers.delete(socket));
    socket.on('message', (data: Buffer) => {
      if (this.silent || this.#vanished.has(socket)) return;
      const words = new Int32Array(new Uint8Array(data).buffer);
      this.frames.push(words);
      const out: number[] = [];
      this.#serving = { socket, out };
      for (let at = 0; at < words.length; ) at = this.#operation(socket, words, at, out);
      this.#serving = undefined;
      if (this.cutAfter > 0) {
        this.cutAfter--;
        socket.terminate();
      } else if (out.length > 0) {
        const answer = (): void => socket.send(new Uint8Array(Int32Array.from(out).buffer));
        if (this.answerDelayMs === 0) answer();
        else setTimeout(answer, this.answerDelayMs);
      }
    });
  }

  user(id: string): User {
    let user = this.users.get(id);
    if (user === undefined) {
      user = { version: 0, deletedVersion: 0, entries: new Map() };
      this.users.set(id, user);
    }
    return user;
  }

  /** Does what stands at `at`, appends the answer, and says where the next one begins. */
  #operation(socket: WebSocket, words: Int32Array, at: number, out: number[]): number {
    const head = words[at]!;
    const op = head & 0xff;
    const type = (head >>> 8) & 0xff;
    const requestId = words[at + 1]!;
    const userId = formatId(words[at + 2]!, words[at + 3]!);
    const channel = id64(words, at + 4);
    const argument = id64(words, at + 6);
    const next = nextOperation(words, at);
    const answer = (status: number, flags = 0, count = 0, version = 0, ...rest: number[]): void => {
      out.push(op | (status << 8) | flags, requestId, count, version, ...rest);
    };
    if (this.unanswered?.(op) === true) return next;
    let refusal = this.refuseIf?.(op, userId);
    if (this.refuse.count > 0) {
      this.refuse.count--;
      refusal = this.refuse.status;
    }
    if (refusal !== undefined) {
      answer(refusal);
      return next;
    }
    const withEntry = (entry: Entry, changed: boolean): void => {
      const flags = (changed ? wire.REPLY_CHANGED : 0) | wire.REPLY_ENTRY;
      answer(wire.STATUS_OK, flags, entry.mentions, entry.version, ...entryWords(entry));
    };
    const user = this.user(userId);
    switch (op) {
      case wire.OP_PING:
        answer(wire.STATUS_OK);
        break;
      case wire.OP_GET: {
        const entry = user.entries.get(`${channel}/${type}`);
        if (entry === undefined) answer(wire.STATUS_UNKNOWN);
        else withEntry(entry, false);
        break;
      }
      case wire.OP_LIST: {
        const since = words[at + 6]! >>> 0;
        const partial =
          (head & wire.REQUEST_SINCE) !== 0 && since >= user.deletedVersion && since <= user.version;
        const entries = [...user.entries.values()].filter((entry) => !partial || entry.version > since);
        entries.sort((a, b) => (a.channel < b.channel ? -1 : a.channel > b.channel ? 1 : a.type - b.type));
        do {
          const part = entries.splice(0, this.partEntries);
          const flags =
            (part.length > 0 ? wire.REPLY_ENTRY : 0) |
            (entries.length > 0 ? wire.REPLY_MORE : 0) |
            (partial ? wire.REPLY_PARTIAL : 0);
          answer(wire.STATUS_OK, flags, part.length, user.version, ...part.flatMap(entryWords));
        } while (entries.length > 0);
        break;
      }
      case wire.OP_BADGE: {
        const counts = [...user.entries.values()].map(({ mentions }) => mentions);
        const sum = counts.reduce((a, b) => a + b, 0);
        answer(wire.STATUS_OK, 0, sum, counts.filter((count) => count > 0).length);
        break;
      }
      case wire.OP_ACK: {
        let count: number | undefined;
        let meta: number | undefined;
        if ((head & wire.REQUEST_HAS_COUNT) !== 0) count = words[at + 8]!;
        if ((head & (wire.REQUEST_HAS_FLAGS | wire.REQUEST_HAS_VIEWED)) !== 0) meta = words[at + 9]!;
        const manual = (head & wire.REQUEST_MANUAL) !== 0;
        const changed = this.ack(userId, channel, argument, type, manual, count, meta, head);
        withEntry(user.entries.get(`${channel}/${type}`)!, changed);
        break;
      }
      case wire.OP_ACK_BULK: {
        const entries: number[] = [];
        for (let item = at + wire.REQUEST.WORDS; item < next; item += wire.BULK_ITEM.WORDS) {
          const key = `${id64(words, item)}/${words[item + 4]!}`;
          this.ack(userId, id64(words, item), id64(words, item + 2), words[item + 4]!, false);
          entries.push(...entryWords(user.entries.get(key)!));
        }
        answer(wire.STATUS_OK, wire.REPLY_ENTRY, entries.length / wire.ENTRY.WORDS, user.version, ...entries);
        break;
      }
      case wire.OP_MENTION:
        answer(this.mention(userId, channel, argument, type));
        break;
      case wire.OP_PIN_ACK: {
        const [entry, isNew] = this.#entry(userId, channel, type);
        const changed = isNew || argument > entry.pin;
        if (changed) entry.pin = argument;
        if (changed) this.#changed(userId, entry, wire.CAUSE_PINS, false);
        withEntry(entry, changed);
        break;
      }
      case wire.OP_DELETE: {
        const entry = user.entries.get(`${channel}/${type}`);
        if (entry !== undefined) {
          user.entries.delete(`${channel}/${type}`);
          user.deletedVersion = user.version + 1;
          Object.assign(entry, { mark: 0n, mentions: 0, meta: 0, pin: 0n });
          this.#changed(userId, entry, wire.CAUSE_DELETE, false);
        }
        answer(wire.STATUS_OK);
        break;
      }
      case wire.OP_DELETE_USER:
        user.entries.clear();
        user.deletedVersion = ++user.version;
        this.#send(userId, [wire.OP_USER_DELETED, user.version, words[at + 2]!, words[at + 3]!]);
        answer(wire.STATUS_OK);
        break;
      case wire.OP_SUBSCRIBE:
        this.#subscribers.get(socket)?.add(userId);
        answer(wire.STATUS_OK);
        this.onSubscribed?.(userId);
        break;
      case wire.OP_UNSUBSCRIBE:
        this.#subscribers.get(socket)?.delete(userId);
        answer(wire.STATUS_OK);
        break;
      default:
        answer(wire.STATUS_INVALID, 0, wire.FIELD_OP);
        socket.close(1007);
        return words.length;
    }
    return next;
  }

  #entry(userId: string, channel: bigint, type: number): [Entry, boolean] {
    const { entries } = this.user(userId);
    const key = `${channel}/${type}`;
    const found = entries.get(key);
    if (found !== undefined) return [found, false];
    const meta = 0;
    const made = {
      channel,
      type,
      mark: 0n,
      mentions: 0,
      meta,
      version: 0,
      pin: 0n,
      mentioned: new Set<bigint>(),
    };
    entries.set(key, made);
    return [made, true];
  }

  ack(
    userId: string,
    channel: bigint,
    message: bigint,
    type = 0,
    manual = false,
    count = 0,
    meta?: number,
    head = 0,
  ): boolean {
    const [entry] = this.#entry(userId, channel, type);
    if (!manual && message < entry.mark) return false;
    let wanted = entry.meta;
    if (meta !== undefined && (head & wire.REQUEST_HAS_FLAGS) !== 0)
      wanted = (wanted & ~0x7f8) | (meta & 0x7f8);
    if (meta !== undefined && (head & wire.REQUEST_HAS_VIEWED) !== 0)
      wanted = (wanted & ~0x7fff800) | (meta & 0x7fff800);
    if (message === entry.mark && count === entry.mentions && wanted === entry.meta) return false;
    entry.mark = message;
    entry.mentions = count;
    entry.meta = wanted;
    this.#changed(userId, entry, wire.CAUSE_ACK, manual);
    return true;
  }

  mention(userId: string, channel: bigint, message: bigint, type = 0): number {
    const [entry] = this.#entry(userId, channel, type);
    if (message !== 0n && entry.mark >= message) return wire.STATUS_SUPPRESSED;
    if (message !== 0n && entry.mentioned.has(message)) return wire.STATUS_DUPLICATE;
    entry.mentioned.add(message);
    entry.mentions++;
    this.#changed(userId, entry, wire.CAUSE_MENTION, false);
    return wire.STATUS_OK;
  }

  #changed(userId: string, entry: Entry, cause: number, manual: boolean): void {
    const user = this.user(userId);
    entry.version = ++user.version;
    const head = wire.OP_EVENT | (cause << 8) | (manual ? wire.REQUEST_MANUAL : 0);
    this.#send(userId, [head, entry.version, ...pair(BigInt(userId)), ...entryWords(entry)]);
  }

  #send(userId: string, words: number[]): void {
    for (const [socket, users] of this.#subscribers) {
      if (!users.has(userId) || this.#vanished.has(socket)) continue;
      if (socket === this.#serving?.socket) this.#serving.out.push(...words);
      else socket.send(new Uint8Array(Int32Array.from(words).buffer));
    }
  }

  /** What the replay needs of the HTTP side. */
  async #handleHttp(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let text = '';
    for await (const chunk of request) text += chunk;
    const body = (text === '' ? {} : JSON.parse(text)) as Record<string, unknown>;
    const send = (status: number, value: unknown): void => {
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
    };
    const path = request.url!.split('?')[0]!.split('/');
    if (path[2] === 'stream') {
      const isAdmitted = this.token === undefined || request.headers.authorization === `Bearer ${this.token}`;
      return send(isAdmitted ? 400 : 401, {});
    }
    if (path[1] !== 'v1') return send(200, { status: 'ok' });
    if (path[2] === 'channels') {
      const counts = { applied: 0, suppressed: 0, duplicates: 0, failed: [] };
      for (const userId of body.user_ids as string[]) {
        const status = this.mention(userId, BigInt(path[3]!), BigInt((body.message_id as string) ?? 0));
        if (status === wire.STATUS_OK) counts.applied++;
        else if (status === wire.STATUS_SUPPRESSED) counts.suppressed++;
        else counts.duplicates++;
      }
      return send(200, counts);
    }
    const userId = path[3]!;
    const user = this.user(userId);
    if (path[6] === 'ack') {
      const count = (body.mention_count as number) ?? 0;
      this.ack(userId, BigInt(path[5]!), BigInt(body.message_id as string), 0, body.manual === true, count);
      return send(200, entryJson(user.entries.get(`${path[5]}/0`)!));
    }
    if (path[4] === 'badge') {
      const counts = [...user.entries.values()].map(({ mentions }) => mentions);
      return send(200, {
        mention_count: counts.reduce((a, b) => a + b, 0),
        unread_mention_channels: counts.filter((count) => count > 0).length,
      });
    }
    if (path[5] !== undefined) {
      const entry = user.entries.get(`${path[5]}/0`);
      if (entry === undefined) return send(404, { code: 'unknown_read_state', message: 'none', errors: [] });
      return send(200, entryJson(entry));
    }
    return send(200, {
      entries: [...user.entries.values()].map(entryJson),
      partial: false,
      version: user.version,
    });
  }
}

function entryJson(entry: Entry): unknown {
  return {
    id: String(entry.channel),
    read_state_type: entry.type,
    last_message_id: entry.mark === 0n ? null : String(entry.mark),
    mention_count: entry.mentions,
    last_pin_timestamp: null,
    flags: 0,
    last_viewed: null,
    version: entry.version,
  };
}

function nextOperation(words: Int32Array, at: number): number {
  const head = words[at]!;
  const next = at + wire.REQUEST.WORDS;
  if ((head & 0xff) === wire.OP_ACK_BULK) return next + words[at + 4]! * wire.BULK_ITEM.WORDS;
  const hasExtra = (head & 0xff) === wire.OP_ACK && (head & wire.REQUEST_HAS_EXTRA) !== 0;
  return hasExtra ? next + wire.ACK_EXTRA.WORDS : next;
}

function id64(words: Int32Array, at: number): bigint {
  return (BigInt(words[at + 1]!) << 32n) | BigInt(words[at]! >>> 0);
}

function pair(id: bigint): [number, number] {
  return [Number(BigInt.asIntN(32, id)), Number(id >> 32n)];
}

function entryWords(entry: Entry): number[] {
  return [
    ...pair(entry.channel),
    ...pair(entry.mark),
    entry.mentions,
    entry.type | entry.meta,
    entry.version,
    ...pair(entry.pin),
  ];
}
