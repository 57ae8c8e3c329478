import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { ConnectionGuard } from '../../gateway/connection-guard.js';

const OTHER_FILES = 100;
const FILES_MAX = 20_480;
const HTTP_MAX = 20_000;
const LOOKS_MS = 5000;

let webSockets = 0;
let http = 0;
let isListening = true;
let guard: ConnectionGuard;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'performance'] });
  webSockets = 0;
  http = 0;
  isListening = true;
  const listener = {
    pause: () => {
      isListening = false;
    },
    resume: () => {
      isListening = true;
      return Promise.resolve(true);
    },
    webSockets: () => webSockets,
    warn: () => {},
  };
  guard = new ConnectionGuard(listener, HTTP_MAX, {
    openFiles: () => OTHER_FILES + webSockets + http,
    openSockets: () => webSockets + http,
    openFilesMax: () => FILES_MAX,
  });
});
afterEach(() => {
  guard.end();
  vi.useRealTimers();
});

it('a burst beside many WebSockets is over when it is over', async () => {
  webSockets = 19_000;
  await vi.advanceTimersByTimeAsync(LOOKS_MS);
  expect(isListening).toBe(true);
  http = 1_200;
  await vi.advanceTimersByTimeAsync(LOOKS_MS);
  expect([isListening, guard.pauses]).toEqual([false, 1]);
  http = 1_000;
  await vi.advanceTimersByTimeAsync(LOOKS_MS);
  expect([isListening, guard.pauses]).toEqual([true, 1]);
});

it('a few that come and go at the bound open and close nothing', async () => {
  http = HTTP_MAX + 1;
  await vi.advanceTimersByTimeAsync(LOOKS_MS);
  for (const connections of [HTTP_MAX, HTTP_MAX - 10, HTTP_MAX + 3, HTTP_MAX - 60]) {
    http = connections;
    await vi.advanceTimersByTimeAsync(LOOKS_MS);
    expect([isListening, guard.pauses]).toEqual([false, 1]);
  }
  http = HTTP_MAX - 64;
  await vi.advanceTimersByTimeAsync(LOOKS_MS);
  expect(isListening).toBe(true);
});

it('a flood closes the listener once a second at most', async () => {
  for (let round = 0; round < 50; round++) {
    http = isListening ? HTTP_MAX + 500 : 0;
    await vi.advanceTimersByTimeAsync(200);
  }
  expect(guard.pauses).toBeGreaterThan(3);
  expect(guard.pauses).toBeLessThanOrEqual(10);
});
