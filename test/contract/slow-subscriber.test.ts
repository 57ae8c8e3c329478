/** WebSocket: "A subscriber that cannot keep up is closed with code 1013 and loses nothing that `list since` would not bring back." */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { OP_EVENT } from '../../engine/messages.js';
import { encodeSubscribe } from '../../gateway/client/codec.js';
import type { Driver, Entry } from './driver.js';
import { Service } from './service.js';
import { newId, newIds, openDriver, STREAM_PROTOCOLS, until } from './stage.js';

/** The answer to a subscribe, and an event with its entry: docs/protocol.md. */
const REPLY_BYTES = 16;
const EVENT_BYTES = 52;

let service: Service;
let writer: Driver;
beforeAll(async () => {
  service = await Service.start({ maxBackpressure: '64kib' });
  writer = await openDriver(service, 'binary WebSocket');
});
afterAll(() => {
  writer.close();
  return service.stop();
});

/** Versions of the events, in their order. */
function versionsIn(received: Buffer, isJson: boolean): number[] {
  if (isJson) {
    const events = received.toString().matchAll(/"entry":(\{[^}]*\})/g);
    return [...events].map(([, entry]) => (JSON.parse(entry!) as Entry).version);
  }
  const versions: number[] = [];
  for (let at = REPLY_BYTES; at < received.length; at += EVENT_BYTES) {
    expect(received.readUInt8(at)).toBe(OP_EVENT);
    versions.push(received.readUInt32LE(at + 4));
  }
  return versions;
}

describe.each(STREAM_PROTOCOLS)('a subscriber that does not read, %s', (protocol) => {
  it('is closed with 1013, and a list since the last version it has seen brings back what it lost', async () => {
    const isJson = protocol === 'JSON WebSocket';
    const [user, channels] = [newId(), newIds(100)];
    const quick = await openDriver(service, protocol);
    await quick.subscribe([user]);
    const slow = new WebSocket(service.streamUrl, isJson ? 'tidemark.v1.json' : 'tidemark.v1.bin');
    const parts: Buffer[] = [];
    slow.on('message', (data: Buffer) => parts.push(data));
    const closed = new Promise<number>((resolve) => slow.on('close', resolve));
    await new Promise((resolve) => slow.on('open', resolve));
    slow.send(isJson ? `{"id":1,"op":"subscribe","user_ids":["${user}"]}` : encodeSubscribe(1, user));
    await until(() => parts.length === 1, 'it is subscribed');
    slow.pause();

    let changes = 0;
    while (service.subscriptionCount === 2) {
      await Promise.all(channels.map((channel) => writer.mention(channel, [user])));
      changes += channels.length;
      expect(changes).toBeLessThan(500_000);
    }
    await until(() => quick.events.length === changes, 'who reads has all events');
    slow.resume();
    expect(await closed).toBe(1013);
    const versions = versionsIn(Buffer.concat(parts), isJson);
    expect(versions).toEqual(versions.map((_, i) => i + 1));
    const seen = versions.length;
    expect(seen).toBeGreaterThan(0);
    expect(seen).toBeLessThan(changes);

    // Mentions went round the channels, so the last ones of all of them were lost.
    const lost = await quick.list(user, seen);
    expect(lost).toEqual({ ...(await quick.list(user)), partial: true });
    expect(lost.entries.map(({ id }) => id)).toEqual(channels);
    expect(lost.version).toBe(changes);
    quick.close();
  });
});
