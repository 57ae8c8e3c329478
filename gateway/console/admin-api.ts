/** The server's admin calls from the page. The token is kept for the life of the tab. */
import type { AdminHistory, AdminStatus } from '../admin/status-types.js';

const TOKEN_KEY = 'tidemark-admin-token';
const TIMEOUT_MS = 5000;
/** Threads start, and lanes go over one after another. */
const ORDER_TIMEOUT_MS = 120_000;

/** The server wants a token, or another one. */
export class TokenNeeded extends Error {}

export function setToken(token: string): void {
  sessionStorage.setItem(TOKEN_KEY, token);
}

export function hasToken(): boolean {
  return sessionStorage.getItem(TOKEN_KEY) !== null;
}

async function call<T>(method: 'GET' | 'POST', path: string, body?: object): Promise<T> {
  const token = sessionStorage.getItem(TOKEN_KEY);
  const response = await fetch(path, {
    method,
    headers: {
      ...(token === null ? {} : { authorization: `Bearer ${token}` }),
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    },
    cache: 'no-store',
    signal: AbortSignal.timeout(body === undefined ? TIMEOUT_MS : ORDER_TIMEOUT_MS),
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  if (response.status === 401) throw new TokenNeeded();
  if (response.ok) return (await response.json()) as T;
  const { message } = (await response.json().catch(() => ({}))) as { message?: string };
  throw new Error(message ?? `the server answers ${response.status}`);
}

export function readStatus(): Promise<AdminStatus> {
  return call('GET', '/admin/status');
}

/** What is younger than `afterMs`. */
export function readHistory(afterMs: number): Promise<AdminHistory> {
  return call('GET', `/admin/history?after_ms=${afterMs}`);
}

export function flushNow(): Promise<{ unsaved_users: number }> {
  return call('POST', '/admin/flush');
}

/** Resolves when that many threads run all lanes; `auto`: as many as the processors have it, from now on. */
export function resize(shards: number | 'auto'): Promise<{ shards: number; took_ms: number }> {
  return call('POST', '/admin/shards', { shards });
}

/** Resolves when new threads, of the build that the server was started from, run all lanes. */
export function reload(): Promise<{ shards: number; took_ms: number }> {
  return call('POST', '/admin/reload', {});
}
