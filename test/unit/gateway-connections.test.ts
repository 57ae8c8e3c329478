/** What waits for clients that do not read, with sockets that take nothing until the test says so. */
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ByteBudget } from '../../gateway/byte-builder.js';
import {
  BinaryConnection,
  type Connection,
  JsonConnection,
  Outbox,
  type Socket,
} from '../../gateway/connections.js';

const SHARE_MIN_BYTES = 64 * 1024;
const SHARE_BYTES = 1024 * 1024;
const TOTAL_BYTES = 2 * 1024 * 1024;
const LIST_BYTES = 8 * 1024 * 1024;
const CUT_PATIENCE_MS = 5000;
const LIST_PATIENCE_MS = 10_000;

class StuckSocket {
  waitingBytes = 0;
  /** Code of its end; 0: cut hard. */
  ended: number | null = null;

  getBufferedAmount(): number {
    return this.waitingBytes;
  }
  send(message: Uint8Array): void {
    this.waitingBytes += message.length;
  }
  cork(run: () => void): void {
    run();
  }
  end(code: number): void {
    this.ended = code;
  }
  close(): void {
    this.ended = 0;
  }
}

let outbox: Outbox;
let queueBudget: ByteBudget;
let listBudget: ByteBudget;
let cut: Connection[];

beforeEach(() => {
  vi.useFakeTimers();
  cut = [];
  outbox = new Outbox(SHARE_BYTES, TOTAL_BYTES, (connection) => cut.push(connection));
  queueBudget = new ByteBudget(64 * 1024 * 1024);
  listBudget = new ByteBudget(LIST_BYTES);
});
afterEach(() => {
  vi.useRealTimers();
});

function connect<T extends Connection>(connection: T): { connection: T; socket: StuckSocket } {
  const socket = new StuckSocket();
  connection.socket = socket as unknown as Socket;
  return { connection, socket };
}

function connectBinary(): { connection: BinaryConnection; socket: StuckSocket } {
  return connect(new BinaryConnection(outbox));
}

function connectJson(): { connection: JsonConnection; socket: StuckSocket } {
  return connect(new JsonConnection(outbox, queueBudget, listBudget));
}

/** Gathers and sends so many bytes, a multiple of 4. */
function send(connection: BinaryConnection, bytes: number): void {
  connection.append(new Int32Array(bytes / 4), 0, bytes / 4);
  outbox.flush();
}

/** Its client reads all that waits. */
function read({ connection, socket }: { connection: Connection; socket: StuckSocket }): void {
  socket.waitingBytes = 0;
  connection.drained();
}

describe('a client that does not read', () => {
  it('is cut off when more than its share waits, and told when it has read', () => {
    const client = connectBinary();
    const { connection, socket } = client;
    while (cut.length === 0) send(connection, 32 * 1024);
    expect(socket.waitingBytes).toBe(SHARE_BYTES + 32 * 1024);
    send(connection, 32 * 1024);
    expect(socket.waitingBytes).toBe(SHARE_BYTES + 32 * 1024);
    expect([cut, outbox.slowCloses, socket.ended]).toEqual([[connection], 1, null]);
    socket.waitingBytes = 1;
    connection.drained();
    expect(socket.ended).toBeNull();
    read(client);
    expect(socket.ended).toBe(1013);
    connection.closed();
    vi.advanceTimersByTime(CUT_PATIENCE_MS);
    expect([socket.ended, outbox.backpressureBytes]).toEqual([1013, 0]);
  });

  it('is closed hard when it does not read all of it in time, or has more and more sent by pings', () => {
    const [slow, pinging] = [connectBinary(), connectBinary()];
    for (const { connection, socket } of [slow, pinging]) {
      socket.waitingBytes = 2 * SHARE_BYTES;
      send(connection, 4);
    }
    expect(cut).toHaveLength(2);
    pinging.socket.waitingBytes += SHARE_MIN_BYTES;
    expect([pinging.connection.keepsUp(), pinging.socket.ended]).toEqual([false, null]);
    pinging.socket.waitingBytes++;
    expect([pinging.connection.keepsUp(), pinging.socket.ended]).toEqual([false, 0]);
    vi.advanceTimersByTime(CUT_PATIENCE_MS - 1);
    expect(slow.socket.ended).toBeNull();
    vi.advanceTimersByTime(1);
    expect(slow.socket.ended).toBe(0);
  });

  it('counts until it is closed, and leaves less to the others', () => {
    const first = connectBinary();
    first.socket.waitingBytes = TOTAL_BYTES - SHARE_BYTES / 2;
    first.connection.keepsUp();
    expect([outbox.backpressureBytes, outbox.shareBytes]).toEqual([
      TOTAL_BYTES - SHARE_BYTES / 2,
      SHARE_BYTES / 2,
    ]);
    expect([outbox.fits(SHARE_BYTES / 2), outbox.fits(SHARE_BYTES / 2 + 1)]).toEqual([true, false]);
    first.socket.waitingBytes = TOTAL_BYTES;
    first.connection.keepsUp();
    expect(outbox.shareBytes).toBe(SHARE_MIN_BYTES);
    first.connection.closed();
    expect([outbox.backpressureBytes, outbox.shareBytes]).toEqual([0, SHARE_BYTES]);
    expect(outbox.fits(2 * TOTAL_BYTES)).toBe(true);
  });
});

describe('a long list', () => {
  const HALF_BYTES = LIST_BYTES / 2;

  function sendList({ connection }: { connection: JsonConnection }): void {
    expect(listBudget.take(HALF_BYTES)).toBe(true);
    connection.sendList('', new Uint8Array(HALF_BYTES), '', () => listBudget.give(HALF_BYTES));
  }

  it('is of the budget until the client has it', () => {
    const client = connectJson();
    sendList(client);
    expect(listBudget.usedBytes).toBe(HALF_BYTES);
    client.socket.waitingBytes = 1000;
    client.connection.drained();
    expect(listBudget.usedBytes).toBe(1000);
    read(client);
    expect(listBudget.usedBytes).toBe(0);
    vi.advanceTimersByTime(2 * LIST_PATIENCE_MS);
    expect(cut).toEqual([]);
  });

  it('has the client cut off that takes nothing of it for long, but not one that takes some', () => {
    const [stuck, slow] = [connectJson(), connectJson()];
    sendList(stuck);
    sendList(slow);
    vi.advanceTimersByTime(LIST_PATIENCE_MS - 1);
    slow.socket.waitingBytes -= 1000;
    slow.connection.drained();
    vi.advanceTimersByTime(LIST_PATIENCE_MS - 1);
    expect(cut).toEqual([stuck.connection]);
    vi.advanceTimersByTime(CUT_PATIENCE_MS);
    expect(stuck.socket.ended).toBe(0);
    stuck.connection.closed();
    expect(listBudget.usedBytes).toBe(HALF_BYTES - 1000);
    slow.connection.closed();
    expect(listBudget.usedBytes).toBe(0);
  });
});

describe('requests that wait behind a long one', () => {
  const QUEUE_BYTES = 4 * 1024 * 1024;

  it('are bounded for each connection', () => {
    const { connection } = connectJson();
    expect(connection.enqueue(1, QUEUE_BYTES - 10)).toBe(true);
    expect([connection.enqueue(2, 11), connection.enqueue(3, 10)]).toEqual([false, true]);
    const ran: unknown[] = [];
    connection.dequeue((request) => {
      ran.push(request);
      connection.stalled = true;
    });
    expect([ran, connection.queueLength, queueBudget.usedBytes]).toEqual([[1], 1, 10]);
    expect(connection.enqueue(4, QUEUE_BYTES - 10)).toBe(true);
  });

  it('leave the budget of all with their connection', () => {
    const { connection } = connectJson();
    connection.enqueue(1, 1000);
    connection.closed();
    expect([connection.queueLength, queueBudget.usedBytes]).toEqual([0, 0]);
  });
});
