/** Bearer tokens, from a file with one token a line (more than one while they are being changed). */

import type { HttpRequest } from 'uWebSockets.js';
import { createHash, timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { type ApiError, FOREIGN_HOST, FOREIGN_ORIGIN, UNAUTHORIZED } from './errors.js';
import { hasForeignHost, hasForeignOrigin } from './foreign-pages.js';

const PREFIX = 'Bearer ';
const TOKEN_CHARACTERS_MIN = 16;

export class Auth {
  readonly #tokens: readonly Buffer[];

  /** @param tokens  none: everyone is admitted */
  constructor(tokens: readonly string[]) {
    this.#tokens = tokens.map((token) => Buffer.from(token));
  }

  /** Why the request is refused, or null. Without tokens all of this machine are admitted, but no web page of elsewhere. */
  refuse(request: HttpRequest): ApiError | null {
    if (this.#tokens.length > 0) return this.admits(request.getHeader('authorization')) ? null : UNAUTHORIZED;
    if (hasForeignHost(request)) return FOREIGN_HOST;
    return hasForeignOrigin(request) ? FOREIGN_ORIGIN : null;
  }

  /** Whether the `authorization` header has one of the tokens. How long it takes tells only the token's length. */
  admits(header: string): boolean {
    if (this.#tokens.length === 0) return true;
    if (header.length < PREFIX.length || header.slice(0, PREFIX.length).toLowerCase() !== 'bearer ')
      return false;
    const given = Buffer.from(header.slice(PREFIX.length).trim());
    let admitted = false;
    for (const token of this.#tokens) {
      if (given.length === token.length && timingSafeEqual(given, token)) admitted = true;
    }
    return admitted;
  }
}

/** The admin tokens. Both sides are hashed, so that not even the length of a token shows in the time. */
export class AdminAuth {
  readonly #hashes: readonly Buffer[];

  /** @param tokens  none: everyone is admitted */
  constructor(tokens: readonly string[]) {
    this.#hashes = tokens.map(hashOf);
  }

  get required(): boolean {
    return this.#hashes.length > 0;
  }

  /** Whether the `authorization` header has one of the tokens. */
  admits(header: string): boolean {
    if (this.#hashes.length === 0) return true;
    const isBearer = header.slice(0, PREFIX.length).toLowerCase() === 'bearer ';
    const given = hashOf(isBearer ? header.slice(PREFIX.length).trim() : '');
    let admitted = false;
    for (const hash of this.#hashes) {
      if (timingSafeEqual(given, hash)) admitted = true;
    }
    return admitted;
  }
}

function hashOf(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}

/** @throws Error that says what is wrong with the file */
export function readTokens(file: string): string[] {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw new Error(`cannot be read: ${(error as Error).message}`);
  }
  const tokens = text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
  if (tokens.length === 0)
    throw new Error('has no token: put one on a line of its own, e.g. from openssl rand -hex 32');
  const short = tokens.find((token) => token.length < TOKEN_CHARACTERS_MIN);
  if (short !== undefined) {
    throw new Error(`has a token of ${short.length} characters; ${TOKEN_CHARACTERS_MIN} are the least`);
  }
  return tokens;
}
