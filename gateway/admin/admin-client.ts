/** Asks a server's admin side; what `tidemark status` and `tidemark top` share. */
import { Option } from 'commander';
import { readTokens } from '../auth.js';
import type { AdminStatus } from './status-types.js';

const TIMEOUT_MS = 10_000;
/** Threads start, and lanes go over one after another. */
const ORDER_TIMEOUT_MS = 120_000;

export interface AdminClientOptions {
  readonly url: string;
  readonly adminTokenFile?: string;
}

export const URL_OPTION = new Option('--url <URL>', 'the server, or its --admin-port').default(
  'http://127.0.0.1:4040',
);
export const TOKEN_OPTION = new Option('--admin-token-file <FILE>', 'its first line is the token').env(
  'TIDEMARK_ADMIN_TOKEN_FILE',
);

export class AdminClient {
  readonly #url: URL;
  readonly #headers: Record<string, string>;

  /** @throws Error when the address or the token file is not good */
  constructor({ url, adminTokenFile }: AdminClientOptions) {
    if (!URL.canParse(url)) throw new Error(`--url=${url} is no URL like http://127.0.0.1:4040`);
    this.#url = new URL(url);
    this.#headers = {};
    if (adminTokenFile === undefined) return;
    try {
      this.#headers.authorization = `Bearer ${readTokens(adminTokenFile)[0]!}`;
    } catch (error) {
      throw new Error(`--admin-token-file=${adminTokenFile} ${(error as Error).message}`);
    }
  }

  /** @throws Error that says what the server answered, or that there was none */
  status(): Promise<AdminStatus> {
    return this.#call('GET', '/admin/status', TIMEOUT_MS);
  }

  /** Has the server change its threads. @throws as `status` */
  order<T>(path: string, body: object): Promise<T> {
    return this.#call('POST', path, ORDER_TIMEOUT_MS, body);
  }

  async #call<T>(method: string, path: string, timeoutMs: number, body?: object): Promise<T> {
    const url = new URL(path, this.#url);
    const response = await fetch(url, {
      method,
      headers: { ...this.#headers, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
      signal: AbortSignal.timeout(timeoutMs),
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    }).catch((error: Error) => {
      throw new Error(
        `${url.origin} does not answer: ${(error.cause as Error | undefined)?.message ?? error.message}`,
      );
    });
    if (!response.ok) {
      const body = (await response.json().catch(() => ({}))) as { message?: string };
      const hint = response.status === 404 ? ' (the admin side is off there, or at its --admin-port)' : '';
      throw new Error(
        `${url.href} answers ${response.status}: ${body.message ?? response.statusText}${hint}`,
      );
    }
    return (await response.json()) as T;
  }
}
