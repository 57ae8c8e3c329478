/**
 * `/admin/...`: what operators ask and order. On the service's listener, or on one of its own.
 *
 * Who may: with admin tokens, whoever has one. Without (the listener is loopback then), everyone on this machine, but
 * no web page of elsewhere (foreign-pages.ts). A service token is none: where there are such, others are asked for one
 * here, too, or the admin side has a listener of its own, or there is none (config.ts).
 */
import type { HttpRequest, HttpResponse, TemplatedApp } from 'uWebSockets.js';
import { OperateError, type Workers } from '../../workers/workers.js';
import { AdminAuth } from '../auth.js';
import {
  ADMIN_UNAUTHORIZED,
  type ApiError,
  BUSY,
  FOREIGN_ADMIN_HOST,
  FOREIGN_ADMIN_ORIGIN,
  INTERNAL,
  invalid,
  METHOD_NOT_ALLOWED,
  refused,
  STOPPING,
} from '../errors.js';
import { hasForeignHost, hasForeignOrigin } from '../foreign-pages.js';
import type { Front } from '../front.js';
import { HttpCaller } from '../http-answer.js';
import { readJsonBody } from '../http-body.js';
import { readStatus, type StatusSources } from './status.js';

const AFTER_PATTERN = /(?:^|&)after_ms(?:=([^&]*))?(?:&|$)/;
/** A whole number that a double holds. */
const MS_PATTERN = /^\d{1,15}$/;
const NO_TIME = invalid([{ path: 'after_ms', message: 'is not a whole number of ms since 1970' }]);

/** Of the body of an order. */
const ORDER_BYTES_MAX = 4096;

const JSON_HEADERS = { 'Content-Type': 'application/json', 'Cache-Control': 'no-store' };

export class AdminGate {
  readonly #auth: AdminAuth;

  constructor(tokens: readonly string[]) {
    this.#auth = new AdminAuth(tokens);
  }

  /** Why the request is refused, or null. */
  refuse(request: HttpRequest): ApiError | null {
    if (this.#auth.required) {
      if (!this.#auth.admits(request.getHeader('authorization'))) return ADMIN_UNAUTHORIZED;
    } else if (hasForeignHost(request)) {
      return FOREIGN_ADMIN_HOST;
    }
    return hasForeignOrigin(request) ? FOREIGN_ADMIN_ORIGIN : null;
  }
}

/** Adds the admin calls to an app. */
export function addAdminRoutes(app: TemplatedApp, gate: AdminGate, sources: StatusSources): void {
  const { front, workers, sampler, shardCount } = sources;
  const call = (
    method: 'get' | 'post',
    path: string,
    run: (caller: HttpCaller, request: HttpRequest, response: HttpResponse) => void,
  ): void => {
    app[method](path, (response, request) => {
      const caller = new HttpCaller(response, 0, front.counters);
      const refusal = gate.refuse(request);
      if (refusal === null) run(caller, request, response);
      else caller.error(refusal);
    });
    addMethodNotAllowed(app, front, path, method);
  };
  call('get', '/admin/status', (caller) => json(caller, 200, '200 OK', readStatus(sources)));
  call('get', '/admin/history', (caller, request) => {
    const found = AFTER_PATTERN.exec(request.getQuery());
    const after = found === null ? '0' : (found[1] ?? '');
    if (MS_PATTERN.test(after)) json(caller, 200, '200 OK', sampler.history(Number(after)));
    else caller.error(NO_TIME);
  });
  call('post', '/admin/flush', (caller) => {
    if (front.stopping) {
      caller.error(STOPPING);
    } else if (workers.flushNow()) {
      const { totals } = readStatus(sources);
      json(caller, 202, '202 Accepted', { unsaved_users: totals.unsaved_users });
    } else {
      caller.error(BUSY);
    }
  });
  call('post', '/admin/shards', (caller, request, response) => {
    readJsonBody(front, response, request, ORDER_BYTES_MAX, caller, ({ shards }) => {
      if (typeof shards !== 'number' && shards !== 'auto') {
        caller.error(invalid([{ path: 'shards', message: 'must be a number of threads, or "auto"' }]));
        return;
      }
      order(workers, caller, shardCount.order(shards), () => ({ shards: workers.shards().length }));
    });
  });
  call('post', '/admin/reload', (caller, request, response) => {
    readJsonBody(front, response, request, ORDER_BYTES_MAX, caller, ({ dist }) => {
      if (dist !== undefined && typeof dist !== 'string') {
        caller.error(invalid([{ path: 'dist', message: 'must be a directory on the server' }]));
        return;
      }
      order(workers, caller, workers.reload(dist), () => ({ shards: workers.shards().length }));
    });
  });
}

/** Answers when an order is done, or with why it was not. */
function order(workers: Workers, caller: HttpCaller, done: Promise<void>, result: () => object): void {
  const startedMs = performance.now();
  done.then(
    () => json(caller, 200, '200 OK', { ...result(), took_ms: Math.round(performance.now() - startedMs) }),
    (error: Error) => {
      if (error instanceof OperateError) caller.error(refused(error.message));
      else {
        caller.error(INTERNAL);
        workers.onWarning(`An order failed: ${error.stack}`);
      }
    },
  );
}

/** Any other method than the one that the path takes. */
export function addMethodNotAllowed(
  app: TemplatedApp,
  front: Front,
  path: string,
  method: 'get' | 'post',
): void {
  const allow = { Allow: method.toUpperCase() };
  app.any(path, (response, request) => {
    const isHead = request.getMethod() === 'head';
    new HttpCaller(response, 0, front.counters, isHead).error(METHOD_NOT_ALLOWED, allow);
  });
}

function json(caller: HttpCaller, status: number, statusLine: string, body: object): void {
  caller.answer(status, statusLine, JSON_HEADERS, JSON.stringify(body));
}
