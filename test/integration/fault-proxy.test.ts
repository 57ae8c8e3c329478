/** The proxy that the tests of outages rely on: each fault does what it says, and is over when it is over. */
import { once } from 'node:events';
import { createServer, connect as open, type Server, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { until } from '../contract/stage.js';
import { CqlMeter } from '../support/cql-meter.js';
import { FaultProxy } from '../support/fault-proxy.js';

const LOCAL = { host: '127.0.0.1', port: 0 };
/** Long enough that what is held back would have come. */
const SILENCE_MS = 100;

/** A client that remembers what it got and how it ended. */
class Caller {
  readonly socket: Socket;
  got = '';
  /** '' = open, or `end`, or the code of the error. */
  ended = '';

  constructor(proxy: FaultProxy) {
    this.socket = open(proxy.address);
    this.socket.on('data', (data) => {
      this.got += data.toString();
    });
    this.socket.on('error', (error: NodeJS.ErrnoException) => {
      this.ended = error.code!;
    });
    this.socket.on('end', () => {
      this.ended = 'end';
    });
  }

  static async open(proxy: FaultProxy): Promise<Caller> {
    const caller = new Caller(proxy);
    await once(caller.socket, 'connect');
    return caller;
  }

  /** Sends a text to the echo; resolves when it is back, with the time in ms. */
  async ask(text: string): Promise<number> {
    const sinceMs = performance.now();
    this.got = '';
    this.socket.write(text);
    await until(() => this.got.length >= text.length || this.ended !== '', `${text.length} bytes are back`);
    expect(this.got).toBe(text);
    return performance.now() - sinceMs;
  }
}

describe('the fault proxy', () => {
  let echo: Server;
  /** Connections at the target. */
  let served: Set<Socket>;
  let proxy: FaultProxy;
  beforeEach(async () => {
    served = new Set();
    echo = createServer((socket) => {
      served.add(socket);
      socket.on('close', () => served.delete(socket));
      socket.on('error', () => {});
      socket.pipe(socket);
    });
    echo.listen(LOCAL);
    await once(echo, 'listening');
    proxy = await FaultProxy.start(LOCAL, { ...LOCAL, port: (echo.address() as { port: number }).port });
  });
  afterEach(async () => {
    await proxy.stop();
    await until(() => served.size === 0, 'no connection is left');
    echo.close();
  });

  it('passes everything on, both ways, also more than fits into buffers, and the end', async () => {
    const caller = await Caller.open(proxy);
    await caller.ask('hello');
    await caller.ask('x'.repeat(20_000_000));
    caller.socket.end();
    await until(() => caller.ended === 'end', 'the end is back');
    await until(() => proxy.connectionCount === 0, 'it has forgotten the connection');
    expect(proxy.accepted).toBe(1);
  });

  it('delays each way, keeps the order when the latency changes, and is quick again', async () => {
    const caller = await Caller.open(proxy);
    proxy.latencyMs = 60;
    expect(await caller.ask('slow')).toBeGreaterThanOrEqual(119);
    caller.got = '';
    caller.socket.write('first ');
    await delay(10);
    proxy.latencyMs = 0;
    caller.socket.write('second');
    await until(() => caller.got.length === 12, 'both are back');
    expect(caller.got).toBe('first second');
    await proxy.heal();
    await caller.ask('quick');
  });

  it('refuses new connections and keeps the old ones', async () => {
    const old = await Caller.open(proxy);
    await old.ask('before');
    await proxy.refuse();
    await old.ask('still');
    const refused = new Caller(proxy);
    await until(() => refused.ended !== '', 'it is refused');
    expect(refused.ended).toBe('ECONNREFUSED');
    const { port } = proxy.address;
    await proxy.heal();
    expect(proxy.address.port).toBe(port);
    await (await Caller.open(proxy)).ask('again');
    await old.ask('old');
  });

  it('cuts connections with a reset to both sides, and takes new ones', async () => {
    const callers = await Promise.all([Caller.open(proxy), Caller.open(proxy)]);
    for (const caller of callers) await caller.ask('before');
    proxy.cut();
    await until(() => callers.every(({ ended }) => ended === 'ECONNRESET'), 'both are cut');
    await until(() => served.size === 0, 'the target knows');
    await (await Caller.open(proxy)).ask('new');
  });

  it('swallows what old and new connections send, and what the target sends', async () => {
    const [asked, idle] = [await Caller.open(proxy), await Caller.open(proxy)];
    await asked.ask('before');
    await idle.ask('before');
    asked.got = '';
    proxy.swallow();
    asked.socket.write('lost');
    const late = await Caller.open(proxy);
    late.socket.write('lost');
    await until(() => served.size === 3, 'the target has all three');
    for (const socket of served) socket.write('unheard');
    await delay(SILENCE_MS);
    expect([asked, late].map(({ got, ended }) => [got, ended])).toEqual([
      ['', ''],
      ['', ''],
    ]);

    await proxy.heal();
    await (await Caller.open(proxy)).ask('after');
    // A stream with a hole never goes on.
    asked.got = '';
    asked.socket.write('nobody hears this');
    await delay(SILENCE_MS);
    expect(asked.got).toBe('');
  });

  it('goes on with a connection that was silent while others were swallowed', async () => {
    const idle = await Caller.open(proxy);
    await idle.ask('before');
    proxy.swallow();
    await proxy.heal();
    await idle.ask('after');
  });

  it('does not tell the target of a client that left while it swallowed, until it is healed', async () => {
    const caller = await Caller.open(proxy);
    await caller.ask('before');
    proxy.swallow();
    caller.socket.destroy();
    await delay(SILENCE_MS);
    expect(served.size).toBe(1);
    await proxy.heal();
    await until(() => served.size === 0, 'the target knows');
  });
});

describe('the meter of CQL requests', () => {
  const [QUERY, RESULT, PREPARE, EXECUTE, BATCH] = [0x07, 0x08, 0x09, 0x0a, 0x0d];

  function frame(opcode: number, stream: number, body: Buffer): Buffer {
    const header = Buffer.alloc(9);
    header[0] = 4;
    header.writeInt16BE(stream, 2);
    header[4] = opcode;
    header.writeUInt32BE(body.length, 5);
    return Buffer.concat([header, body]);
  }
  function longText(text: string): Buffer {
    const length = Buffer.alloc(4);
    length.writeInt32BE(text.length);
    return Buffer.concat([length, Buffer.from(text), Buffer.alloc(7)]);
  }
  const id = (name: string): Buffer => Buffer.concat([Buffer.from([0, name.length]), Buffer.from(name)]);
  const prepared = (name: string): Buffer => Buffer.concat([Buffer.from([0, 0, 0, 4]), id(name)]);

  it.each([1, 2, 9, 10, 1000])('finds reads and writes in chunks of %i bytes', (size) => {
    const meter = new CqlMeter();
    const tap = meter.tap();
    const feed = (take: (chunk: Buffer) => void, ...frames: Buffer[]): void => {
      const bytes = Buffer.concat(frames);
      for (let at = 0; at < bytes.length; at += size) take(bytes.subarray(at, at + size));
    };
    const { toTarget, toClient } = tap;
    feed(toTarget, frame(PREPARE, 1, longText('SELECT a FROM b')));
    feed(toTarget, frame(PREPARE, 2, longText('INSERT INTO b')));
    expect(meter.inFlight).toEqual({ read: 0, write: 0, other: 2 });
    feed(toClient, frame(RESULT, 2, prepared('insert')), frame(RESULT, 1, prepared('select')));
    feed(toTarget, frame(EXECUTE, 1, id('select')), frame(BATCH, 2, Buffer.alloc(0)));
    feed(toTarget, frame(EXECUTE, 3, id('insert')), frame(QUERY, 4, longText('CREATE TABLE b')));
    expect(meter.inFlight).toEqual({ read: 1, write: 2, other: 1 });
    feed(toClient, frame(RESULT, -1, Buffer.alloc(4)), frame(RESULT, 3, Buffer.alloc(4)));
    feed(toClient, frame(RESULT, 1, Buffer.alloc(99)));
    expect(meter.inFlight).toEqual({ read: 0, write: 1, other: 1 });
    expect(meter.most).toEqual({ read: 1, write: 2, other: 2 });
    meter.resetMost();
    expect(meter.most).toEqual({ read: 0, write: 1, other: 1 });
    tap.closed();
    expect(meter.inFlight).toEqual({ read: 0, write: 0, other: 0 });
    expect(meter.total).toEqual({ read: 1, write: 2, other: 3 });
  });
});
