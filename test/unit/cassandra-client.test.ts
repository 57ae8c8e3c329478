/** What is mended of the driver: with the real one, of which only what goes over the network is replaced. */
import { EventEmitter } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { type ControlConnection, createClient } from '../../workers/stores/cassandra-client.js';
import { readCassandraUrl } from '../../workers/stores/cassandra-url.js';

interface Inside extends ControlConnection {
  host: unknown;
  connection: unknown;
  _refreshControlConnection(): Promise<void>;
  _refreshHosts(): Promise<void>;
  _registerToConnectionEvents(): Promise<void>;
}

test('refreshes of the control connection do not overlap, and none fails for nobody to see', async () => {
  const { settings } = readCassandraUrl('cassandra://127.0.0.1/tidemark?dc=datacenter1');
  const client = createClient(settings);
  const { controlConnection: control } = client as unknown as { controlConnection: Inside };
  const host = new EventEmitter();
  let [atOnce, most, refreshes] = [0, 0, 0];
  control._refreshControlConnection = async () => {
    most = Math.max(most, ++atOnce);
    refreshes++;
    control.connection = Object.assign(new EventEmitter(), { endpointFriendlyName: 'x', endpoint: 'x' });
  };
  control._refreshHosts = async () => {
    await delay(5);
    control.host = host;
  };
  control._registerToConnectionEvents = async () => {
    await delay(20);
    atOnce--;
  };
  const first = control._refresh();
  await delay(10);
  await Promise.all([first, control._refresh()]);
  expect({ most, refreshes }).toEqual({ most: 1, refreshes: 1 });
  expect(control.host).toBe(host);
  await control._refresh();
  expect(refreshes).toBe(2);
});
