/** The client, and a service or network that fails it. */
import { expect, test } from 'vitest';
import type { TidemarkEvent } from '../../gateway/client/index.js';
import { stage } from './client-stage.js';

const tests = stage();
const { connect } = tests;

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

test('a listener that throws loses nobody anything, and its error is the uncaught one', async () => {
  const client = connect({ timeoutMs: 500 });
  const heard: TidemarkEvent[] = [];
  await client.subscribe(['7'], () => {
    throw new Error('of the listener');
  });
  await client.subscribe(['7'], (event) => heard.push(event));
  const handlers = process.listeners('uncaughtException');
  process.removeAllListeners('uncaughtException');
  const uncaught: Error[] = [];
  process.on('uncaughtException', (error) => uncaught.push(error));
  try {
    // Both events and both answers travel in one frame.
    await Promise.all([client.ack('7', '1', '5'), client.ack('7', '2', '5')]);
    await sleep(20);
  } finally {
    process.removeAllListeners('uncaughtException');
    for (const handler of handlers) process.on('uncaughtException', handler);
  }
  expect(heard).toHaveLength(2);
  expect(uncaught.map(({ message }) => message)).toEqual(['of the listener', 'of the listener']);
  expect(client.connected).toBe(true);
});
