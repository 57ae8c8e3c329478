/** Clients that are sent away while much waits for them: it counts, and their slots are taken, until it is gone. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { OP, operation, Stream } from './frames.js';
import { pause, until, Victim } from './victim.js';

const MIB = 2 ** 20;
const LARGER_THAN_SOCKET_BUFFERS = 80_000;

let victim: Victim;
beforeAll(async () => {
  victim = await Victim.start({ capacity: '500k' });
  const stream = await Stream.open(victim.streamUrl, 'bin');
  for (let from = 0; from < LARGER_THAN_SOCKET_BUFFERS; from += 4000) {
    const acks = Array.from({ length: 4000 }, (_, i) => operation(OP.ack, i, 8, from + i + 1, 9));
    stream.frames = [];
    stream.socket.send(Buffer.concat(acks));
    await until(() => stream.replies.length === acks.length, 'the entries are there');
  }
  stream.raw.destroy();
}, 60_000);
afterAll(async () => {
  expect(await victim.stop(), victim.log).toEqual({ code: 0, signal: null });
  expect(victim.log).not.toContain('bug');
});

const waiting = (): Promise<number> => victim.metric('tidemark_ws_backpressure_bytes');
const connections = (): Promise<number> => victim.metric('tidemark_ws_connections{protocol="json"}');

/** A client that has asked for a long list and does not read it. */
async function openSlow(): Promise<Stream> {
  const stream = await Stream.open(victim.streamUrl, 'json');
  stream.raw.pause();
  stream.socket.send(JSON.stringify({ id: 1, op: 'list', user_id: '8' }));
  await until(async () => (await waiting()) > 4 * MIB, 'a list waits for who does not read');
  return stream;
}

describe('a client for which much waits', () => {
  it('is told why it is sent away when it has read that, or cut off after 5 s', async () => {
    const reader = await openSlow();
    reader.socket.send(Buffer.from('{}')); // binary, on a JSON connection
    await pause(500);
    expect(await waiting()).toBeGreaterThan(4 * MIB);
    expect(await connections()).toBe(1);
    reader.raw.resume();
    expect(await reader.whenClosed).toBe(1003);
    await until(async () => (await connections()) === 0 && (await waiting()) === 0, 'it is gone');
    const deaf = await openSlow();
    deaf.socket.send(Buffer.from('{}'));
    await until(async () => (await connections()) === 0 && (await waiting()) === 0, 'it is gone', 10_000);
    deaf.raw.resume();
    expect(await deaf.whenClosed).toBe(1006);
  }, 30_000);
});
